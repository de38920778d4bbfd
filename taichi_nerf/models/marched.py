"""A field that is sampled where an occupancy grid says there is something (Mueller et al. 2022)."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..config import InstantNGPConfig
from ..data.scene import Cameras
from ..fields.codes import Codes, with_codes
from ..fields.field import Field, Radiance, Samples
from ..fields.hash_field import HashField
from ..losses import huber
from ..samplers.occupancy import OccupancyGrid
from ..types import UNKNOWN, Batch, PackedSamples, Rays, Shot, Standing
from .cones import DISC, radius_of, usual_view
from .model import Box, Model, Space
from .pixels import Pixels
from .render import ended, render_samples

__all__ = ["Marched"]

WIDENED, HALVINGS = 0.8, 6  # the part of a training in which widths are wider, and how often the addition is halved


class Marched(Model):
    """A field and its occupancy grid; `render` composites rays through both.

    Everything random is a function of `seed`.
    """

    ends_rays = True

    def __init__(self, config: InstantNGPConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        sampling = config.sampling
        self.cone_angle = sampling.cone_angle
        if self.cone_angle is None:
            self.cone_angle = 0.0 if box.aabb_scale == 1 else 1 / 256
        generator = torch.Generator().manual_seed(seed)
        self.field = self._field(generator)
        if config.appearance:
            self.codes["appearance"] = Codes(self.counts.get("appearance", 0), config.appearance, generator)
        self.grid = OccupancyGrid(
            sampling.grid_resolution, box.cascades, step_min=math.sqrt(3) / sampling.steps, decay=sampling.decay,
            threshold=sampling.threshold, update_every=sampling.update_every,
            first_update=sampling.first_update, warmup_cells=2 * sampling.cells_per_update,
            warmup_steps=sampling.first_update + sampling.update_every * sampling.warmup_updates,
            warmup_threshold=sampling.warmup_threshold,
            cells_per_update=sampling.cells_per_update, seed=seed)
        self.sees_cones = config.widths == "level"
        if self.sees_cones:  # what a pixel of the training images sees where they look: for positions of no ray
            self.register_buffer("usual_width", torch.zeros(()))

    @classmethod
    def space(cls, config: InstantNGPConfig, box: Box) -> Space:
        grids = "cascade" if box.cascades == 1 else "cascades"
        return Space(f"{box.words}, by an occupancy grid of {box.cascades} {grids}, from {box.near:g} on", beyond=False)

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        """Pixels of `rays` in model space; in training the samples are shifted by a random part of a step.

        A pixel of several rays is their mean, its samples are those of all.
        """
        return self.shown(self.march(rays, standing), rays, standing).averaged(rays.per_pixel)

    def march(self, rays: Rays, standing: Standing | None) -> PackedSamples:
        """Where `rays` are sampled."""
        samples = self.grid.march(rays, cone_angle=self.cone_angle, near=self.box.near,
                                  seed=None if standing is None else standing.seeds.jitter,
                                  max_samples=self.config.sampling.max_samples)
        return ended(samples, rays)

    def shown(self, samples: PackedSamples, rays: Rays, standing: Standing | None) -> Pixels:
        """What `samples` of `rays` show, each ray as a pixel of its own."""
        if self.sees_cones:
            widths = DISC * samples.t * radius_of(rays)[samples.ray_index]
            samples = replace(samples, widths=widths + self.widened(standing))
        shot = self.told(rays.shot, len(rays))
        return render_samples(self.field, samples, rays.directions, self.config.sampling.early_stop, shot)

    def _field(self, generator: torch.Generator) -> Field:
        """What is sampled, untrained."""
        return HashField(self.config.field, self.box.aabb_scale, generator, self.config.appearance)

    def told(self, shot: Shot, count: int) -> Shot:
        """`shot` of `count` rays or points with all that the field asks of it."""
        return with_codes(shot, self.codes, count)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        prediction = pixels.over(batch.background)
        return {"colour": huber(prediction, batch.target, self.config.huber, batch.weight)}

    def density(self, positions: Tensor, shot: Shot = UNKNOWN, standing: Standing | None = None) -> Tensor:
        """As of `Model`, in training where it stands."""
        return self.field.density(self._places(positions, standing), shot)[0]

    @property
    def core(self) -> float | None:
        return None if self.box.aabb_scale == 1 else 0.5

    def radiance(self, positions: Tensor, shot: Shot = UNKNOWN) -> Radiance:
        shot = self.told(shot, len(positions))
        density, hidden = self.field.density(self._places(positions, None), shot)
        return Radiance(density * self.grid.occupied(positions), self.field, hidden, shot)

    def _places(self, positions: Tensor, standing: Standing | None) -> Samples:
        """What the field is asked for at positions [M, 3]."""
        if not self.sees_cones:
            return positions
        return positions, (self.usual_width + self.widened(standing)).expand(len(positions))

    def widened(self, standing: Standing | None) -> float:
        """What is added to the widths in training, in model units: nothing in pictures."""
        if standing is None or standing.progress >= WIDENED:
            return 0.0
        return self.config.widening * 2 ** (-HALVINGS * standing.progress / WIDENED)

    def cropped(self, lower: Sequence[float], upper: Sequence[float]) -> AbstractContextManager[None]:
        """Within the context nothing is seen but what lies between two corners, to a cell of the occupancy grid."""
        return self.grid.cropped(lower, upper)

    def before_training(self, cameras: Cameras) -> None:
        """Leave out for good the cells that no camera sees, and find out what a pixel sees in the middle of the box."""
        super().before_training(cameras)
        if self.sees_cones:
            self.usual_width.copy_(DISC * usual_view(cameras).prod())
        if self.config.sampling.mark_invisible:
            arrays = (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.size)
            self.grid.mark_invisible(*(torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays),
                                     near=self.box.near)

    def after_step(self, standing: Standing) -> None:
        """Let the occupancy grid look at the field as it is now, where the step asks for that."""
        self.grid.update(partial(self.density, standing=standing), standing.step)

    def rehearsal(self) -> tuple[int, ...]:
        """A step in which the grid is updated as in its warm-up, and one as after it."""
        grid = self.grid
        grid.updates.clamp_(min=1)  # the first update looks at all cells, which takes long
        return tuple(-(-earliest // grid.update_every) * grid.update_every
                     for earliest in (grid.first_update, grid.warmup_steps))
