"""D-NeRF: the scene as it was at a time of rest, and where its points are at others (Pumarola et al. 2021).

A displacement bends each point back to where it was at the time of rest, and the field is asked there. With a hash grid
that is the shape of TiNeuVox-S (Fang et al. 2022): the displacement network is small, the field has features of several
strides, and its networks see the time as well, since no displacement makes anything appear.

A displacement is learned from what the field shows nearby: of a thing that is elsewhere by more than about its own size
it learns nothing, and a field of all times at once has the thing nowhere. So a training has a course, as in the code of
D-NeRF. First all photos show what stands still. Then the photos nearest to the time of rest show what moves, nearly
where it rests, and the others come in from there in the order of their times, so that whatever comes in is near to
where the displacement has it already. What moves was nowhere while all stood still, so that the occupancy grid had
given up its cells: for a moment all are sampled again. The displacement learns at the same rate until all photos are
there. Of the time the field is told nothing before that: what it could explain so would be left to it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..config import DNeRFConfig
from ..config.warp import STANDING
from ..fields.deformed import Correspondence, Deformed, Displacement, Trajectories
from ..fields.field import Field
from ..types import Rays, Shot, Standing
from .model import Box, ParameterGroup
from .pixels import Pixels
from .t_nerf import TNeRF

__all__ = ["DNeRF"]

FIRST = 0.06  # part of the photos that shows what moves at first
FINAL = 0.1  # of the displacement's learning rate is left at the end of a training with a course
OCCUPIED = 1 / 8  # of the cells that an update of the grid looks at are drawn from the occupied ones: those are few
REOPENED = 4  # updates for which all cells count as occupied when the photos begin to come in
HEARING = 0.5  # part of what is left after the course in which more and more comes of what waits for its end


class DNeRF(TNeRF):
    """A hash field behind a displacement, and an occupancy grid of the times that are there. Everything random is a
    function of `seed`."""

    def __init__(self, config: DNeRFConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, seed, counts)
        self.register_buffer("under_way", torch.zeros((), dtype=torch.bool) if config.warp.course else None)
        if config.warp.course:
            self.grid.occupied_fraction = OCCUPIED

    def parameter_groups(self) -> list[ParameterGroup]:
        """The displacement learns at a rate of its own."""
        warp = list(self.field.warp.parameters())
        moving = {id(parameter) for parameter in warp}
        groups = [replace(group, parameters=[p for p in group.parameters if id(p) not in moving])
                  for group in super().parameter_groups()]
        return [*groups, ParameterGroup(name="warp", parameters=warp, kind="network", share=self.config.warp.rate,
                                        factor=self._warp_pace)]

    @property
    def _warp_pace(self) -> Callable[[Standing], float] | None:
        """How the displacement's learning rate rises and falls; None: as that of all."""
        return self._pace if self.config.warp.course else None

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        if standing is not None:
            self.field.field.hear(self._after_course(standing))
        return super().render(rays, standing)

    def know(self, shots: Shot) -> None:
        super().know(shots)
        self._from_rest = (shots.time - self.config.warp.rest).abs()  # [N]

    def after_step(self, standing: Standing) -> None:
        if self.under_way is not None and standing.progress >= STANDING and not self.under_way:
            self.under_way.fill_(True)
            self.grid.reopen(REOPENED)
        super().after_step(standing)

    def photos_seen(self, standing: Standing) -> Tensor | None:
        reach = self._reach(standing)
        return None if reach is None else self._from_rest <= reach

    def _reach(self, standing: Standing) -> float | None:
        """How far from the time of rest photos have come in; None: all of them are there."""
        course = self.config.warp.course
        if not STANDING <= standing.progress < course:
            return None
        share = FIRST + (1 - FIRST) * (standing.progress - STANDING) / (course - STANDING)
        return float(self._from_rest.sort().values[math.ceil(share * len(self._from_rest)) - 1])

    def _times_asked(self, share: Tensor, standing: Standing) -> Tensor:
        """Along the course the more densely the farther they are from the time of rest: what came in last is where the
        grid has not looked yet."""
        reach, rest = self._reach(standing), self.config.warp.rest
        if reach is None:
            return share
        before, after = min(reach, rest), min(reach, 1 - rest)
        side = (before + after) * share - before  # of the time of rest, evenly
        edge = torch.where(side < 0, before, after)
        return rest + side.sign() * (edge * side.abs()).sqrt()

    def _after_course(self, standing: Standing) -> float:
        """How much of what waits for all photos to be there has come: 0 along the course, and 1 halfway to the end."""
        course = self.config.warp.course
        return min(max(0.0, (standing.progress - course) / (HEARING * (1 - course))), 1.0) if course else 1.0

    def _pace(self, standing: Standing) -> float:
        """Of the displacement's learning rate: none while all stands still, the same along the course, then less."""
        course = self.config.warp.course
        if standing.progress < STANDING:
            return 0.0
        return FINAL ** max(0.0, (standing.progress - course) / (1 - course))

    def correspondence(self, points: Tensor, time: float, other: float) -> Correspondence:
        """Where the points [P, 3] of `time` are at the `other` time, in model units."""
        return self.field.correspondence(points, *(
            self.told(Shot(time=points.new_full((len(points),), moment)), len(points)) for moment in (time, other)))

    def _field(self, generator: torch.Generator) -> Field:
        return Deformed(self._still(generator), self._warp(generator))

    def _still(self, generator: torch.Generator, **further) -> Field:
        """What is asked where points are at rest, untrained; `further` of what it is told."""
        config = self.config
        return self._told_field(generator, time_levels=config.time_levels if config.field_sees_time else None,
                                late=config.warp.course > 0, **further)

    def _warp(self, generator: torch.Generator) -> nn.Module:
        """What says where points are, untrained."""
        kind = Trajectories if self.config.warp.waves else Displacement
        return kind(self.config.warp, self.box.aabb_scale, generator)
