"""Mip-NeRF 360: its settings, and what it is trained with."""

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import RayBatchConfig
from .fields import (
    Encoding,
    FieldConfig,
    HashProposalConfig,
    PositionalFieldConfig,
    PositionalProposalConfig,
    Widths,
)
from .hash_grid import HashGridConfig
from .intervals import MOST_SAMPLES, RangeConfig
from .model import LONGEST_CODE, ModelConfig, RaysPerPixel
from .optimiser import OptimiserConfig
from .settings import MANY, above, require, within
from .systems import Preset, Recipe, System

MOST_PROPOSALS = 8


@dataclass(frozen=True, kw_only=True)
class MipNeRF360Config(ModelConfig):
    """Mip-NeRF 360: a contraction of unbounded space, and proposals of where to sample (Barron et al. 2022)."""

    kind: Annotated[Literal["mip-nerf-360"], Suppress] = dataclasses.field(default="mip-nerf-360", init=False)
    field: PositionalFieldConfig | FieldConfig = dataclasses.field(
        default_factory=lambda: PositionalFieldConfig(levels=12, width=1024))
    proposal: PositionalProposalConfig | HashProposalConfig = dataclasses.field(
        default_factory=PositionalProposalConfig)
    range: RangeConfig = dataclasses.field(default_factory=lambda: RangeConfig(spacing="disparity"))
    radius: float = 0.7
    """Of the ball around the centre that is left as it is, in model units; the median camera stands at 0.6."""
    contraction: bool | None = None
    """Whether all space beyond that ball is drawn together around it; none: of an unbounded scene."""
    proposal_samples: tuple[int, ...] = (64, 64)
    """Intervals of each proposal."""
    samples: int = 32
    """Intervals of the field."""
    shared_proposal: bool = True
    """One proposal network for all levels."""
    proposal_levels: tuple[int, ...] = ()
    """How many levels of its hash grid each proposal has, from the coarsest on, where they are not shared; Zip-NeRF: 6
    8. none: all."""
    integrated: bool = True
    """Average the encoding over the cone; a hash grid has --model.widths for that."""
    widths: Widths = "off"
    """What an interval sees of a hash grid. off: all of it, at the point in its middle; what is finer than a pixel is
    then learned by heart. level: at that point, each level the less the finer it is than the pixel's cone, at hardly
    any cost. six: so at six points of the cone, whose features are averaged (Zip-NeRF), which also sees how long the
    interval is, for six times the look-ups."""
    single_jitter: bool = True
    """All samples of a ray are shifted alike in training."""
    anneal_slope: float = 10.0
    """How soon in the training proposals are trusted; 1: linearly."""
    dilation: float = 1.0
    """Factor on the paper's widening of a proposal's histogram; 0: none."""
    initial_density: float = 1.0
    """Factor on the density of a hash field, which begins near it."""
    charbonnier: float = 1e-3
    """Error at which the loss turns from quadratic to linear."""
    proposal_weight: float = 1.0
    """Of the loss that lets proposals bound the weights of the field."""
    proposal_blur: tuple[float, ...] = ()
    """How far the field's weights are blurred to either side before each proposal shall have them, as parts of the way
    from near to far; Zip-NeRF: 0.03 0.003. A bound jumps where intervals pass each other along the ray, so that thin
    things may be missed as the camera moves; what is blurred does not. none: bounds, as of mip-NeRF 360."""
    distortion_weight: float = 0.01
    """Of the loss that pulls the weights of a ray together."""
    distortion_distance: Literal["spacing", "power-ladder"] = "spacing"
    """In which distance that loss measures: as samples are spaced between near and far; or power-ladder, which depends
    on neither and counts a gap in the background less than one near by (Zip-NeRF)."""
    appearance: int = 0
    """Numbers that each training image has of its own, for its exposure and white balance; 0: none."""
    rays_per_pixel: RaysPerPixel = 1
    """Rays whose mean a pixel is, in training and in pictures: one through its centre, or a grid of them over its area,
    for finer detail and smooth edges. With a hash grid alone: the cones of a deep network see the whole pixel."""

    def __post_init__(self):
        require(isinstance(self.field, FieldConfig) == isinstance(self.proposal, HashProposalConfig),
                "field and proposal must both have a hash grid, or neither")
        require(1 <= len(self.proposal_samples) <= MOST_PROPOSALS,
                f"proposal-samples must be from 1 to {MOST_PROPOSALS} numbers, got {len(self.proposal_samples)}")
        within(self, 2, MOST_SAMPLES, "proposal_samples", "samples")
        above(self, 0, 1, "proposal_blur")
        require(len(self.proposal_blur) in (0, len(self.proposal_samples)),
                f"proposal-blur must be one number for each of {len(self.proposal_samples)} proposals, or none, got "
                f"{len(self.proposal_blur)}")
        within(self, 1, MANY, "anneal_slope")
        if self.proposal_levels:
            require(isinstance(self.proposal, HashProposalConfig), "proposal-levels needs --encoding hash")
            require(not self.shared_proposal and len(self.proposal_levels) == len(self.proposal_samples),
                    f"proposal-levels must be one number for each of {len(self.proposal_samples)} proposals that are "
                    "not shared (no-shared-proposal), or none")
            within(self, 1, self.proposal.hash_grid.levels, "proposal_levels")
        within(self, 0, MANY, "dilation", "proposal_weight", "distortion_weight")
        within(self, 0, LONGEST_CODE, "appearance")
        above(self, 0, MANY, "radius", "charbonnier", "initial_density")
        require(self.rays_per_pixel == 1 or isinstance(self.field, FieldConfig),
                "rays-per-pixel needs --encoding hash: without it a cone sees the whole pixel")
        require(self.widths == "off" or isinstance(self.field, FieldConfig),
                "widths needs --encoding hash: without it the encoding is averaged over the cone (integrated)")

    @property
    def encoding(self) -> Encoding:
        return self.field.encoding

    def settled(self, pixels: float, scales: bool = False) -> "MipNeRF360Config":
        return replace(self, field=self.field.settled(pixels))


MIP_NERF_360 = Recipe(
    model=MipNeRF360Config(
        field=PositionalFieldConfig(levels=8, width=128, depth=4, skip=2, bottleneck=64, view_width=64),
        proposal=PositionalProposalConfig(width=32, depth=2), proposal_samples=(32, 24), samples=16),
    batch=RayBatchConfig(rays=512),
    optimiser=OptimiserConfig(network_learning_rate=2e-3, decay_start=0.0, final_fraction=0.05, warmup_steps=100,
                              beta2=0.99, epsilon=1e-8, clip_norm=0.1, weight_decay=0.0))
MIP_NERF_360_PAPER = Recipe(
    model=MipNeRF360Config(),
    batch=RayBatchConfig(rays=16384),
    optimiser=OptimiserConfig(network_learning_rate=2e-3, decay_start=0.0, final_fraction=0.01, warmup_steps=512,
                              beta2=0.999, epsilon=1e-6, clip_norm=1e-3, weight_decay=0.0, average_decay=0.0))
HASH_360 = Recipe(
    model=MipNeRF360Config(
        field=FieldConfig(hash_grid=HashGridConfig(log2_entries=17)),
        proposal=HashProposalConfig(), proposal_samples=(48, 24), samples=24, initial_density=0.1, charbonnier=0.03),
    batch=RayBatchConfig(rays=1024),
    optimiser=OptimiserConfig())
# Zip-NeRF. Its levels double from 16 to 8192 across the cube around contracted space, of side 4: 2048 across the radius
# of the ball; those of its proposals to 512 and 2048. Its density is exp(x - 1). Its features begin within 1e-5 of 0,
# and count 10 times: that is, ours begin within 1e-4, learn 10 times as fast, and have a decay of 0.1 / 10^2.
ZIP_NERF_GRID = {"log2_entries": 21, "decay": 1e-3, "decay_until": None}
ZIP_NERF = Recipe(
    model=MipNeRF360Config(
        field=FieldConfig(hash_grid=HashGridConfig(levels=10, features=4, max_resolution=2048, **ZIP_NERF_GRID),
                          geometry_features=256, colour_width=256, colour_layers=3),
        proposal=HashProposalConfig(
            hash_grid=HashGridConfig(levels=8, features=1, max_resolution=512, **ZIP_NERF_GRID), width=64),
        range=RangeConfig(spacing="power-ladder", near=0.0), proposal_samples=(64, 64), samples=32,
        shared_proposal=False, proposal_levels=(6, 8), dilation=0.0, initial_density=math.exp(-1), widths="six",
        proposal_weight=0.01, proposal_blur=(0.03, 0.003), distortion_distance="power-ladder"),
    batch=RayBatchConfig(rays=8192),
    optimiser=OptimiserConfig(learning_rate=10 * 1.25e-3, network_learning_rate=1.25e-3, decay_start=0.0,
                              warmup_steps=2500, weight_decay=0.0, average_decay=0.0))


def _with_encoding(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    return HASH_360 if preset == "small" else ZIP_NERF


SYSTEM = System(
    settings=MipNeRF360Config,
    model="taichi_nerf.models.mip_nerf_360:MipNeRF360",
    presets={"small": MIP_NERF_360, "paper": MIP_NERF_360_PAPER},
    with_encoding=_with_encoding,
)
