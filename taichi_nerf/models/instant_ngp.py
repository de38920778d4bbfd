"""Instant-NGP: a hash field, sampled where an occupancy grid says there is something (Mueller et al. 2022)."""

from ..types import UNKNOWN, Shot
from .marched import Marched
from .model import RayRenderer
from .one_launch import FieldArrays, field_arrays, field_renderer

__all__ = ["InstantNGP"]


class InstantNGP(Marched):
    """A hash field and its occupancy grid, which one kernel renders. Everything random is a function of `seed`."""

    def one_launch(self, shot: Shot = UNKNOWN) -> RayRenderer:
        return field_renderer(self, shot)

    def as_field(self) -> FieldArrays:
        """Its field and occupancy grid on the host; of codes of appearance their mean counts."""
        return field_arrays(self)
