"""D-NeRF: the scene as it was at the first time, and where its points have gone since (Pumarola et al. 2021).

A displacement network bends each point back to where it was at time 0, and the field is asked there. With a hash grid
that is the shape of TiNeuVox-S (Fang et al. 2022): the displacement network is small, the field has features of several
strides, and its networks see the time as well, since no displacement makes anything appear.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..fields.deformed import Correspondence, Deformed, Displacement
from ..fields.field import Field
from ..fields.hash_field import HashField
from ..types import Shot
from .model import ParameterGroup
from .t_nerf import TNeRF

__all__ = ["DNeRF"]


class DNeRF(TNeRF):
    """A hash field behind a displacement, and an occupancy grid of all times. Everything random is a function of
    `seed`."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """The displacement learns at a rate of its own."""
        warp = list(self.field.warp.parameters())
        moving = {id(parameter) for parameter in warp}
        groups = [replace(group, parameters=[p for p in group.parameters if id(p) not in moving])
                  for group in super().parameter_groups()]
        return [*groups, ParameterGroup(name="warp", parameters=warp, kind="network", share=self.config.warp.rate)]

    def correspondence(self, points: Tensor, time: float, other: float) -> Correspondence:
        """Where the points [P, 3] of `time` are at the `other` time, in model units."""
        return self.field.correspondence(points, *(
            self.told(Shot(time=points.new_full((len(points),), moment)), len(points)) for moment in (time, other)))

    def _field(self, generator: torch.Generator) -> Field:
        config, side = self.config, self.box.aabb_scale
        still = super()._field(generator) if config.field_sees_time else HashField(
            config.field, side, generator, config.appearance, layers=config.density_layers)
        return Deformed(still, self._warp(generator))

    def _warp(self, generator: torch.Generator) -> nn.Module:
        """What says where points are, untrained."""
        return Displacement(self.config.warp, self.box.aabb_scale, generator)
