"""Mip-NeRF: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import RayBatchConfig
from .fields import HASH_FIELD, LARGE_HASH_FIELD, Encoding, FieldConfig, PositionalFieldConfig, Widths
from .intervals import MOST_SAMPLES, RangeConfig
from .model import ModelConfig
from .nerf import NERF, NERF_PAPER
from .optimiser import OptimiserConfig
from .settings import MANY, require, within
from .systems import Preset, Recipe, System


@dataclass(frozen=True, kw_only=True)
class MipNeRFConfig(ModelConfig):
    """Mip-NeRF: cones instead of rays, one network for both levels (Barron et al. 2021)."""

    kind: Annotated[Literal["mip-nerf"], Suppress] = dataclasses.field(default="mip-nerf", init=False)
    field: PositionalFieldConfig | FieldConfig = dataclasses.field(
        default_factory=lambda: PositionalFieldConfig(levels=16))
    range: RangeConfig = dataclasses.field(default_factory=RangeConfig)
    samples: int = 128
    """Intervals of each level."""
    padding: float = 0.01
    """Added to the blurred weights of the first level, so that every part of a ray may be sampled."""
    integrated: bool = True
    """Average the encoding over the cone; else it is that of the middle of each interval. A hash grid has
    --model.widths."""
    widths: Widths = "off"
    """What an interval sees of a hash grid, which has no average over a cone of its own. level: at the point in its
    middle, each level the less the finer it is than the pixel's cone. six: so at six points of the cone, whose features
    are averaged (Zip-NeRF), for six times the look-ups. off: all of it."""
    colour_padding: float = 0.001
    """By how much a colour may leave [0, 1]."""
    coarse_weight: float = 0.1
    """Of the first level's loss; that of the second has weight 1."""
    area_weighting: bool = True
    """Weigh the error of a pixel with its area, where images differ in scale."""

    def __post_init__(self):
        within(self, 2, MOST_SAMPLES, "samples")
        within(self, 0, MANY, "padding", "colour_padding", "coarse_weight")
        require(self.widths == "off" or isinstance(self.field, FieldConfig),
                "widths needs --encoding hash: without it the encoding is averaged over the cone (integrated)")

    @property
    def encoding(self) -> Encoding:
        return self.field.encoding

    def settled(self, pixels: float, scales: bool = False) -> "MipNeRFConfig":
        return replace(self, field=self.field.settled(pixels))


MIP_NERF = Recipe(
    model=MipNeRFConfig(
        field=PositionalFieldConfig(levels=16, width=128, depth=4, skip=2, bottleneck=64, view_width=64), samples=32),
    batch=NERF.batch,
    optimiser=replace(NERF.optimiser, warmup_steps=100))
MIP_NERF_PAPER = Recipe(
    model=MipNeRFConfig(),
    batch=RayBatchConfig(rays=4096),
    optimiser=replace(NERF_PAPER.optimiser, final_fraction=0.01, warmup_steps=2500))


def with_hash(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    """The recipe with a hash grid, whose levels fade with the cone."""
    field = HASH_FIELD if preset == "small" else LARGE_HASH_FIELD
    return replace(found, model=replace(found.model, field=field, widths="level"), optimiser=OptimiserConfig())


SYSTEM = System(
    settings=MipNeRFConfig,
    model="taichi_nerf.models.mip_nerf:MipNeRF",
    presets={"small": MIP_NERF, "paper": MIP_NERF_PAPER},
    with_encoding=with_hash,
)
