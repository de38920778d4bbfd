"""HyperNeRF: Nerfies in a space of more than three dimensions, of which each time sees a slice (Park et al. 2021).

The codes of the warp say where a point lies in the ambient dimensions, too. What a motion could explain as well would
be left to them: they come in as what the field is told of the time does, once the course is over, or without one from
coarse to fine.
"""

import torch

from ..fields.deformed import Deformed
from ..fields.rigid import OfCodes
from ..fields.sliced import Sliced
from ..types import Rays, Standing
from .nerfies import Nerfies
from .pixels import Pixels

__all__ = ["HyperNeRF"]


class HyperNeRF(Nerfies):
    """A hash field of more dimensions behind rigid motions, and an occupancy grid of all times. Everything random is a
    function of `seed`."""

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        if standing is not None:
            self.field.field.open(self._open(standing))
        return super().render(rays, standing)

    def _open(self, standing: Standing) -> float:
        """The share of the frequencies of the ambient coordinates that is seen; from 1 on all are."""
        if self.config.warp.course:
            return self._after_course(standing)
        coarse = self.config.slice.coarse
        return standing.progress / coarse if coarse else 1.0

    def _field(self, generator: torch.Generator) -> Deformed:
        config, side = self.config, self.box.aabb_scale
        return Sliced(self._still(generator, ambient=config.slice), self._warp(generator),
                      OfCodes(config.slice, config.warp, config.slice.dimensions, side, generator))
