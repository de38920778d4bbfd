"""From where a point is seen: how much light from it reaches whoever looks at it along a direction.

S samples of R rays, equally many of each.
"""

import torch
from torch import Tensor, nn

from ..ops.positional_encoding import encode_position, encoding_width
from .mlp import MLP

__all__ = ["Visibility"]

DIRECTION_LEVELS = 4


class Visibility(nn.Module):
    """T(x, d) in [0, 1], a small network of sines and cosines of both. It is taught the transmittance that the samples
    of a field have along the rays of the photos, and remembers what these photos saw (Tancik et al. 2022, section
    3.5)."""

    def __init__(self, levels: int, *, width: int, hidden_layers: int, generator: torch.Generator):
        super().__init__()
        self.levels = levels
        inputs = encoding_width(3, levels, True) + encoding_width(3, DIRECTION_LEVELS, True)
        self.network = MLP(inputs, 1, width=width, hidden_layers=hidden_layers, generator=generator)

    def forward(self, positions: Tensor, directions: Tensor) -> Tensor:
        """[S] of positions [S, 3] in [-1, 1]^3 on rays of unit directions [R, 3]."""
        seen = encode_position(directions, DIRECTION_LEVELS).t()  # [27, R]
        return self.network(encode_position(positions, self.levels).t(), seen)[0].to(positions.dtype).sigmoid()
