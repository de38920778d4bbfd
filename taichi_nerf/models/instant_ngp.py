"""Instant-NGP: a hash field, sampled where an occupancy grid says there is something (Mueller et al. 2022)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..fields.hash_field import HashField
from ..samplers.occupancy import OccupancyGrid
from ..types import Rays
from .render import Rendered, render_samples


@dataclass(frozen=True, kw_only=True)
class Box:
    """The part of space that a model represents: [-side / 2, side / 2]^3, a power of two as its side."""

    aabb_scale: int = 1
    """Side of the box in model units."""
    near: float = 0.0
    """Nothing nearer to a ray's origin is sampled."""

    @property
    def cascades(self) -> int:
        """Number of nested occupancy grids."""
        return self.aabb_scale.bit_length()


class InstantNGP(nn.Module):
    """A hash field and its occupancy grid; `render` composites rays through both.

    Everything random is a function of `seed`.
    """

    def __init__(self, config: ModelConfig, box: Box, seed: int = 0):
        super().__init__()
        sampling = config.sampling
        self.config, self.box = config, box
        self.cone_angle = sampling.cone_angle
        if self.cone_angle is None:
            self.cone_angle = 0.0 if box.aabb_scale == 1 else 1 / 256
        self.field = HashField(config.field, box.aabb_scale, torch.Generator().manual_seed(seed))
        self.grid = OccupancyGrid(
            sampling.grid_resolution, box.cascades, step_min=math.sqrt(3) / sampling.steps, decay=sampling.decay,
            threshold=sampling.threshold, update_every=sampling.update_every,
            first_update=sampling.first_update, warmup_cells=2 * sampling.cells_per_update,
            warmup_steps=sampling.first_update + sampling.update_every * sampling.warmup_updates,
            cells_per_update=sampling.cells_per_update, seed=seed)

    def render(self, rays: Rays, *, jitter_seed: int | None = None) -> Rendered:
        """Pixels of `rays` in model space; with a `jitter_seed` the samples are shifted by a random part of a step."""
        sampling = self.config.sampling
        samples = self.grid.march(rays, cone_angle=self.cone_angle, near=self.box.near, seed=jitter_seed,
                                  max_samples=sampling.max_samples)
        return render_samples(self.field, samples, rays.directions, sampling.early_stop)

    def density(self, positions: Tensor) -> Tensor:
        """[M] at positions [M, 3] of model space, per model unit."""
        return self.field.density(self.field.encode(positions))[0]

    def update_grid(self, step: int) -> bool:
        """Let the occupancy grid look at the field as it is now, where `step` asks for that."""
        return self.grid.update(self.density, step)
