"""T-NeRF: a field that is told the time, the plain baseline of scenes that move (Pumarola et al. 2021, section 5).

The occupancy grid is of all times at once: a cell is occupied that is so at any of them, so that nothing that moves is
lost. What is asked for at no time is shown as it was at the first, 0.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..config import FieldConfig, TNeRFConfig
from ..data.scene import Scene
from ..errors import UserError
from ..fields.field import Field
from ..fields.timed import TimedHashField, TimedPoints
from ..samplers.seeds import seed_of
from ..types import UNKNOWN, Shot, Standing
from .marched import Marched

__all__ = ["TNeRF"]

TIMES = 64  # purpose of the random times at which the occupancy grid looks


class TNeRF(Marched):
    """A hash field and the time, and an occupancy grid of all times. Everything random is a function of `seed`."""

    @classmethod
    def check_scene(cls, config: TNeRFConfig, scene: Scene) -> None:
        super().check_scene(config, scene)
        time = scene.splits["train"].time
        if time is None:
            raise UserError(f"--model {config.kind} is for scenes that move, and no image of {scene.name} has a time: "
                            "give each frame of a transforms file a 'time' from 0 to 1, or each image of a Nerfies "
                            "folder a 'time_id', or use a model of what stands still")
        if len(time) and time.min() == time.max():
            raise UserError(f"--model {config.kind} is for scenes that move, and all images of {scene.name} have the "
                            f"time {time[0]:g}: give each its own, or use a model of what stands still")

    def told(self, shot: Shot, count: int) -> Shot:
        return super().told(_timed(shot, count, self.grid.values), count)

    def density(self, positions: Tensor, shot: Shot = UNKNOWN, standing: Standing | None = None) -> Tensor:
        return super().density(positions, _timed(shot, len(positions), positions), standing)

    def after_step(self, standing: Standing) -> None:
        """Let the occupancy grid look at the field as it is now, at some times, where the step asks for that."""
        self.grid.update(lambda positions: self._densest(positions, standing), standing.step)

    def _densest(self, positions: Tensor, standing: Standing) -> Tensor:
        """[M]: the largest density of positions [M, 3] at random times, one in each of equal parts of all."""
        generator = torch.Generator(positions.device).manual_seed(seed_of(standing, TIMES))
        parts, densest = self.config.grid_times, torch.zeros_like(positions[:, 0])
        density = self.field.at(self._places(positions, standing))
        for part in range(parts):
            within = torch.rand(len(positions), generator=generator, dtype=positions.dtype, device=positions.device)
            time = self._times_asked((part + within) / parts, standing)
            densest = torch.maximum(densest, density(self.told(Shot(time=time), len(positions))))
        return densest

    def _times_asked(self, share: Tensor, standing: Standing) -> Tensor:
        """[M]: what shares [M] of the times a step can ask for are, even numbers from 0 to 1 of those from the first to
        the last."""
        return share

    def _field(self, generator: torch.Generator) -> Field:
        return self._told_field(generator, time_levels=self.config.time_levels)

    def _told_field(self, generator: torch.Generator, **told) -> Field:
        """Of the encoding that the settings have, untrained, with what it is `told`."""
        config = self.config
        given = config.field, self.box.aabb_scale, generator, config.appearance
        if isinstance(config.field, FieldConfig):
            return TimedHashField(*given, layers=config.density_layers, **told)
        return TimedPoints(*given, **told)


def _timed(shot: Shot, count: int, like: Tensor) -> Shot:
    """`shot` of `count` rays or points with a time: the first, where it has none."""
    return shot if shot.time is not None else replace(shot, time=torch.zeros(count, device=like.device))
