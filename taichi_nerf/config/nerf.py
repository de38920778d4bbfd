"""NeRF: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import RayBatchConfig
from .fields import HASH_FIELD, LARGE_HASH_FIELD, Encoding, FieldConfig, PositionalFieldConfig
from .intervals import MOST_SAMPLES, RangeConfig
from .model import ModelConfig, RaysPerPixel
from .optimiser import OptimiserConfig
from .settings import MANY, require, within
from .systems import Preset, Recipe, System


@dataclass(frozen=True, kw_only=True)
class NeRFConfig(ModelConfig):
    """NeRF: points along rays, a coarse and a fine network (Mildenhall et al. 2020)."""

    kind: Annotated[Literal["nerf"], Suppress] = dataclasses.field(default="nerf", init=False)
    field: PositionalFieldConfig | FieldConfig = dataclasses.field(default_factory=PositionalFieldConfig)
    range: RangeConfig = dataclasses.field(default_factory=RangeConfig)
    coarse_samples: int = 64
    """Samples of a ray, one in each of as many equal parts."""
    fine_samples: int = 128
    """Further samples where the coarse network finds something; 0: the coarse network alone."""
    density_noise: float | None = None
    """Deviation of noise on the density before its activation, in training; none: 1 with --model.ndc, else 0."""
    ndc: bool = False
    """Normalised device coordinates, for cameras that all face one way."""
    rays_per_pixel: RaysPerPixel = 1
    """Rays whose mean a pixel is, in training and in pictures: one through its centre, or a grid of them over its area,
    for finer detail and smooth edges. Pictures take as many times longer."""

    def __post_init__(self):
        within(self, 3, MOST_SAMPLES, "coarse_samples")
        within(self, 0, MOST_SAMPLES, "fine_samples")
        within(self, 0, MANY, "density_noise")
        require(not self.ndc or self.range == RangeConfig(near=self.range.near),
                "ndc reaches from range.near to infinity: leave far and spacing as they are")
        require(not self.ndc or isinstance(self.field, PositionalFieldConfig),
                "ndc needs --encoding positional: a hash grid covers a box, which these coordinates do not fill")
        require(not self.density_noise or isinstance(self.field, PositionalFieldConfig),
                "density-noise needs --encoding positional: a hash field's density is an exponential, which has no "
                "dead side that noise could reach")

    @property
    def encoding(self) -> Encoding:
        return self.field.encoding

    def settled(self, pixels: float, scales: bool = False) -> "NeRFConfig":
        return replace(self, field=self.field.settled(pixels))


NERF = Recipe(
    model=NeRFConfig(
        field=PositionalFieldConfig(width=128, depth=4, skip=2, bottleneck=64, view_width=64),
        coarse_samples=32, fine_samples=32),
    batch=RayBatchConfig(rays=160, crop_steps=400),
    optimiser=OptimiserConfig(network_learning_rate=2e-3, decay_start=0.0, beta2=0.99, epsilon=1e-8, weight_decay=0.0))
NERF_PAPER = Recipe(
    model=NeRFConfig(),
    batch=RayBatchConfig(rays=1024, crop_steps=500),
    optimiser=OptimiserConfig(network_learning_rate=5e-4, decay_start=0.0, beta2=0.999, epsilon=1e-8, weight_decay=0.0,
                              average_decay=0.0))


def _with_encoding(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    field = HASH_FIELD if preset == "small" else LARGE_HASH_FIELD
    return replace(found, model=replace(found.model, field=field), optimiser=OptimiserConfig())


SYSTEM = System(
    settings=NeRFConfig,
    model="taichi_nerf.models.nerf:NeRF",
    presets={"small": NERF, "paper": NERF_PAPER},
    with_encoding=_with_encoding,
)
