"""Instant-NGP: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import MOST_SAMPLES, BatchConfig
from .fields import LARGE_HASH_FIELD, Encoding, FieldConfig, Widths
from .hash_grid import HashGridConfig
from .model import LONGEST_CODE, ModelConfig, RaysPerPixel
from .optimiser import OptimiserConfig
from .settings import LARGEST, MANY, SettingError, above, require, within
from .systems import Preset, Recipe, System

MOST_STEPS = 2**16  # along a ray: a step is then as long as float32 tells distances apart, with room for a hundred more


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Where a ray is sampled: the occupancy grid and the steps through it."""

    grid_resolution: int = 64
    """Cells of the occupancy grid along each cascade, a power of two."""
    steps: int = 256
    """Steps along the base cube's diagonal: a step is sqrt(3) / steps."""
    cone_angle: float | None = None
    """Growth of a step with distance; none: 0 in a scene of one cascade, else 1/256."""
    max_samples: int = 1024
    """Samples of one ray at the most."""
    early_stop: float = 1e-4
    """Transmittance behind which a ray ends."""
    update_every: int = 16
    """Training steps between two updates of the occupancy grid."""
    first_update: int = 64
    """Training step of the first update, which looks at all cells; until then the whole grid counts as occupied."""
    warmup_updates: int = 16
    """Updates in the beginning that look at cells of the whole grid alone."""
    warmup_threshold: float = 0.1
    """Part of the threshold in the first update, which rises to all of it over the warm-up: what is thin is not there
    yet when the first update looks, and a cell that is given up hardly ever comes back. 1: all of it from the start."""
    cells_per_update: int = 2**14
    """Cells whose density an update looks at."""
    decay: float = 0.95
    """What an update multiplies the density of a cell with before it takes the maximum with the new one."""
    threshold: float = 0.01
    """Optical thickness of a step above which a cell is occupied."""
    mark_invisible: bool = True
    """Leave out for good the cells that no training camera sees."""

    def __post_init__(self):
        require(self.grid_resolution in (16, 32, 64, 128, 256, 512),
                f"grid-resolution must be a power of two from 16 to 512, got {self.grid_resolution}")
        within(self, 8, MOST_STEPS, "steps")
        within(self, 1, MOST_STEPS, "max_samples")
        within(self, 0, 0.05, "cone_angle")
        within(self, 1, LARGEST, "update_every")
        within(self, 0, LARGEST, "first_update", "warmup_updates")
        within(self, 1, MOST_SAMPLES, "cells_per_update")
        require(0 <= self.early_stop < 1, f"early-stop must be in [0, 1), got {self.early_stop}")
        above(self, 0, 1, "decay")
        require(0 < self.warmup_threshold <= 1, "warmup-threshold must be above 0 and at most 1, which is the whole "
                f"threshold from the start, got {self.warmup_threshold}")
        within(self, 0, MANY, "threshold")


SMALL_FIELD = FieldConfig(hash_grid=HashGridConfig(decay=0.01))


@dataclass(frozen=True, kw_only=True)
class InstantNGPConfig(ModelConfig):
    """Instant-NGP: a hash field, sampled where an occupancy grid says there is something (Mueller et al. 2022)."""

    kind: Annotated[Literal["instant-ngp"], Suppress] = dataclasses.field(default="instant-ngp", init=False)
    field: FieldConfig = SMALL_FIELD
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    widths: Widths | None = None
    """What a sample sees of the hash grid. off: all of it, at a point, whatever the pixel sees; what is finer than the
    pixels of one photo and not those of another is then learned wrong. level: each level the less the finer it is than
    the pixel's cone at that distance (Zip-NeRF), at hardly any cost. None: level where images are of several scales,
    else off."""
    widening: float = 0.0
    """What is added to the widths when the training begins, in model units: it is halved six times until 0.8 of the
    training is done, and is then nothing. What is large is learned first, and few views are not learned by heart
    (SANeRF). It makes widths level."""
    huber: float = 0.1
    """Error at which the loss turns from quadratic to linear."""
    appearance: int = 0
    """Numbers that tell the colour network of the appearance of each training image; 0: none."""
    rays_per_pixel: RaysPerPixel | None = None
    """Rays whose mean a pixel is, in training and in pictures: one through its centre, or a grid of them over its area,
    for finer detail and smooth edges. Pictures take as many times longer. None: 4 where images are of several scales
    and samples have widths, else 1."""

    def __post_init__(self):
        above(self, 0, MANY, "huber")
        require(self.widths != "six", "widths six is for mip-nerf and mip-nerf-360, whose intervals are long; the "
                "samples of instant-ngp are short: use level or off")
        within(self, 0, MANY, "widening")
        require(self.widening == 0 or self.widths != "off", "widening needs widths level")
        within(self, 0, LONGEST_CODE, "appearance")

    @property
    def encoding(self) -> Encoding:
        return self.field.encoding

    def settled(self, pixels: float, scales: bool = False) -> "InstantNGPConfig":
        widths = self.widths or ("level" if scales or self.widening else "off")
        rays_per_pixel = self.rays_per_pixel or (4 if scales and widths == "level" else 1)
        return replace(self, field=self.field.settled(pixels), widths=widths, rays_per_pixel=rays_per_pixel)


INSTANT_NGP = Recipe(model=InstantNGPConfig(), batch=BatchConfig(), optimiser=OptimiserConfig())
INSTANT_NGP_PAPER = Recipe(
    model=InstantNGPConfig(
        field=LARGE_HASH_FIELD,
        sampling=SamplingConfig(grid_resolution=128, steps=1024, first_update=0, cells_per_update=2**20)),
    batch=BatchConfig(samples=2**18, marched=2**21, max_rays=2**18),  # a GPU wants few large steps
    optimiser=OptimiserConfig())


def _with_encoding(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    raise SettingError(f"encoding {encoding} is not for instant-ngp, whose samples are too many for a deep network: "
                       "use --model nerf")


SYSTEM = System(
    settings=InstantNGPConfig,
    model="taichi_nerf.models.instant_ngp:InstantNGP",
    presets={"small": INSTANT_NGP, "paper": INSTANT_NGP_PAPER},
    batch=BatchConfig,
    with_encoding=_with_encoding,
    resident_step="taichi_nerf.resident.instant_ngp:InstantNGPStep",
    one_launch=True,
    few_views={"training.near_camera.weight": 0.1, "model.field.direction_degree": 2},
)
