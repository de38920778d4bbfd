"""A field of more than three dimensions, of which the scene at a time is a slice (Park et al. 2021, HyperNeRF).

    a = S(x, code) [A]      what is at x is what the field has at (x', a),   x' where a warp takes x to

S samples. A warp alone bends one scene: it cannot open a mouth, nor let anything appear. In a space of more dimensions
what is to be seen before and after lies side by side, and a slice passes from the one to the other. The slicing surface
is a small network of x and of the code of a time; codes that multiply make a the sum of as many as a code has numbers,
nothing at the time of rest. The field is told a in sines and cosines through a window, without a itself, so that with
the window closed there are no such dimensions.
"""

import torch
from torch import Tensor

from .deformed import Deformed
from .field import Field
from .warp import AtAnyTime, OfTime

__all__ = ["Sliced"]


class Sliced(Deformed):
    """`field`, of points [S, 3 + A], seen through a `warp` at what `surface` says, which gives [S, A]."""

    def __init__(self, field: Field, warp: OfTime, surface: OfTime):
        super().__init__(field, warp)
        self.surface = surface

    def places_asked(self, positions: Tensor) -> AtAnyTime:
        moved, beside = super().places_asked(positions), self.surface.at(positions)
        return lambda *times: torch.cat([moved(*times), beside(*times)], dim=1)
