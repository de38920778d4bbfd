"""Instant-NGP: a hash field, sampled where an occupancy grid says there is something (Mueller et al. 2022)."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from ..config import InstantNGPConfig
from ..data.scene import Cameras
from ..fields.hash_field import HashField
from ..losses import huber
from ..samplers.occupancy import OccupancyGrid
from ..types import Batch, Rays
from .model import Box, Model
from .render import Rendered, render_samples

__all__ = ["Box", "InstantNGP"]


class InstantNGP(Model):
    """A hash field and its occupancy grid; `render` composites rays through both.

    Everything random is a function of `seed`.
    """

    def __init__(self, config: InstantNGPConfig, box: Box, seed: int = 0):
        super().__init__()
        sampling = config.sampling
        self.config, self.box = config, box
        self.cone_angle = sampling.cone_angle
        if self.cone_angle is None:
            self.cone_angle = 0.0 if box.aabb_scale == 1 else 1 / 256
        generator = torch.Generator().manual_seed(seed)
        self.field = HashField(config.field, box.aabb_scale, generator, config.appearance)
        self.appearance = None
        if config.appearance:
            self.appearance = Parameter(0.01 * torch.randn(box.images, config.appearance, generator=generator))
        self.grid = OccupancyGrid(
            sampling.grid_resolution, box.cascades, step_min=math.sqrt(3) / sampling.steps, decay=sampling.decay,
            threshold=sampling.threshold, update_every=sampling.update_every,
            first_update=sampling.first_update, warmup_cells=2 * sampling.cells_per_update,
            warmup_steps=sampling.first_update + sampling.update_every * sampling.warmup_updates,
            cells_per_update=sampling.cells_per_update, seed=seed)

    def render(self, rays: Rays, *, jitter_seed: int | None = None, progress: float = 1.0) -> Rendered:
        """Pixels of `rays` in model space; with a `jitter_seed` the samples are shifted by a random part of a step.

        A pixel of several rays is their mean, its samples are those of all. A ray of no image has the appearance 0,
        which is that of a mean image.
        """
        sampling = self.config.sampling
        samples = self.grid.march(rays, cone_angle=self.cone_angle, near=self.box.near, seed=jitter_seed,
                                  max_samples=sampling.max_samples)
        rendered = render_samples(self.field, samples, rays.directions, sampling.early_stop, self._appearance(rays))
        return rendered.averaged(rays.per_pixel)

    def losses(self, pixels: Rendered, batch: Batch) -> dict[str, Tensor]:
        prediction = pixels.over(batch.background)
        return {"colour": huber(prediction, batch.target, self.config.huber, batch.weight)}

    def density(self, positions: Tensor) -> Tensor:
        """[M] at positions [M, 3] of model space, per model unit."""
        return self.field.density(self.field.encode(positions))[0]

    def tables(self) -> list[tuple[Parameter, Tensor]]:
        return [(self.field.table, self.field.table_gradient)]

    def networks(self) -> list[list[Parameter]]:
        networks = [[*self.field.density_network.parameters(), *self.field.colour_network.parameters()]]
        return networks + ([] if self.appearance is None else [[self.appearance]])

    def before_training(self, cameras: Cameras) -> None:
        """Leave out for good the cells that no camera sees."""
        if self.config.sampling.mark_invisible:
            arrays = (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.size)
            self.grid.mark_invisible(*(torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays),
                                     near=self.box.near)

    def after_step(self, step: int) -> None:
        self.update_grid(step)

    def _appearance(self, rays: Rays) -> Tensor | None:
        """[A, R]"""
        if self.appearance is None:
            return None
        if rays.image_index is None:
            return self.appearance.new_zeros(self.appearance.shape[1], len(rays))
        return self.appearance.index_select(0, rays.image_index).t()

    def update_grid(self, step: int) -> bool:
        """Let the occupancy grid look at the field as it is now, where `step` asks for that."""
        return self.grid.update(self.density, step)

    def rehearsal(self) -> tuple[int, ...]:
        """A step in which the grid is updated as in its warm-up, and one as after it."""
        grid = self.grid
        grid.updates.clamp_(min=1)  # the first update looks at all cells, which takes long
        return tuple(-(-earliest // grid.update_every) * grid.update_every
                     for earliest in (grid.first_update, grid.warmup_steps))
