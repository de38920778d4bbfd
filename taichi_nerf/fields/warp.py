"""What is said of points of a scene that moves, at any time: what does not depend on the time is computed once.

S points, R rays; a time, or a code of it, is of a ray.
"""

from typing import Protocol

from torch import Tensor, nn

from ..types import Shot

__all__ = ["AtAnyTime", "OfTime"]


class AtAnyTime(Protocol):
    """Of some points [S, 3] what there is of them [S, ..] at the times of a shot, as often as one likes."""

    def __call__(self, shot: Shot, ray_index: Tensor | None = None) -> Tensor: ...


class OfTime(nn.Module):
    """A module of points and times."""

    def at(self, positions: Tensor) -> AtAnyTime:
        """What it says of positions [S, 3]."""
        raise NotImplementedError

    def forward(self, positions: Tensor, shot: Shot, ray_index: Tensor | None = None) -> Tensor:
        """The same of positions [S, 3] at the times of a shot."""
        return self.at(positions)(shot, ray_index)
