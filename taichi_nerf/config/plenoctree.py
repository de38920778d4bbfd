"""PlenOctrees: their settings. They are made out of trained models, and then trained further."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import RayBatchConfig
from .model import ModelConfig, RaysPerPixel
from .optimiser import OptimiserConfig
from .settings import MANY, require, within
from .systems import Recipe, System


@dataclass(frozen=True, kw_only=True)
class PlenOctreeConfig(ModelConfig):
    """An octree whose leaves have a density and harmonics of colour (Yu et al. 2021)."""

    kind: Annotated[Literal["plenoctree"], Suppress] = dataclasses.field(default="plenoctree", init=False)
    degree: Literal[1, 2, 3, 4, 5] = 3
    """Bands of the spherical harmonics in which colour changes with the direction: a leaf has degree^2 numbers for each
    channel."""
    centre: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Of the box that the tree divides, x y z."""
    radius: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Half the sides of this box, x y z."""
    unbounded: bool = False
    """Whether all of space is in the tree: the box then is the core, which has half the width of the tree, and all else
    is contracted around it, so that straight rays have few bends."""
    early_stop: float = 1e-3
    """A ray of a picture ends where less than this part of the light gets through; in training none does."""
    skip: float = 0.01
    """Density, per model unit, at or below which a leaf is empty in pictures."""
    rays_per_pixel: RaysPerPixel = 1
    """Rays whose mean a pixel is, in training and in pictures: one through its centre, or a grid of them over its area,
    for finer detail and smooth edges. Pictures take as many times longer."""

    def __post_init__(self):
        for name in ("centre", "radius"):
            values = getattr(self, name)
            require(len(values) == 3, f"{name} must be three numbers, x y z, got {len(values)}")
        within(self, -MANY, MANY, "centre")
        within(self, 1e-6, MANY, "radius")
        within(self, 0, 1, "early_stop")
        within(self, 0, MANY, "skip")


PLENOCTREE = Recipe(
    model=PlenOctreeConfig(),
    batch=RayBatchConfig(rays=4096),
    optimiser=OptimiserConfig(decay_start=0.0))

SYSTEM = System(
    settings=PlenOctreeConfig,
    model="taichi_nerf.models.plenoctree:PlenOctree",
    presets={"small": PLENOCTREE, "paper": PLENOCTREE},
    made_by="taichi-nerf octree RUN",
    one_launch=True,
)
