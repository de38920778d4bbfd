"""Block-NeRF: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import RayBatchConfig
from .fields import DEEPEST, WIDEST, FieldConfig, PositionalFieldConfig
from .mip_nerf import MIP_NERF, MIP_NERF_PAPER, MipNeRFConfig, with_hash
from .model import LONGEST_CODE
from .settings import within
from .systems import Recipe, System


@dataclass(frozen=True, kw_only=True)
class BlockNeRFConfig(MipNeRFConfig):
    """Block-NeRF: a mip-NeRF that is told the exposure and the appearance of each photo, and learns from where its
    points are seen (Tancik et al. 2022)."""

    kind: Annotated[Literal["block-nerf"], Suppress] = dataclasses.field(default="block-nerf", init=False)
    field: PositionalFieldConfig | FieldConfig = dataclasses.field(
        default_factory=lambda: PositionalFieldConfig(levels=16, width=512))
    appearance: int = 32
    """Numbers that tell the colour of the light in each photo, or in all that share an id; 0: none."""
    exposure_levels: int = 4
    """Frequencies of the exposure that the colour is told, in stops; 0: it is not told."""
    visibility_width: int = 128
    """Width of the hidden layers of the network that says from where a point is seen."""
    visibility_layers: int = 4
    """Its hidden layers."""
    visibility_levels: int = 6
    """Frequencies of the positions that it sees."""

    def __post_init__(self):
        super().__post_init__()
        within(self, 0, LONGEST_CODE, "appearance")
        within(self, 0, 16, "exposure_levels", "visibility_levels")
        within(self, 1, WIDEST, "visibility_width")
        within(self, 0, DEEPEST, "visibility_layers")


BLOCK_NERF = Recipe(
    model=BlockNeRFConfig(field=MIP_NERF.model.field, samples=MIP_NERF.model.samples, appearance=16,
                          visibility_width=64, visibility_layers=2),
    batch=RayBatchConfig(rays=512), optimiser=MIP_NERF.optimiser)
BLOCK_NERF_PAPER = Recipe(
    model=BlockNeRFConfig(), batch=replace(MIP_NERF_PAPER.batch, rays=16_384),
    optimiser=replace(MIP_NERF_PAPER.optimiser, learning_rate=2e-3, network_learning_rate=2e-3))


SYSTEM = System(
    settings=BlockNeRFConfig,
    model="taichi_nerf.models.block_nerf:BlockNeRF",
    presets={"small": BLOCK_NERF, "paper": BLOCK_NERF_PAPER},
    with_encoding=with_hash,
)
