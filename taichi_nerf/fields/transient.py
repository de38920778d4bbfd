"""What one photo alone shows: passers-by, cars, a hand before the lens, in the space of a field that stands.

N samples of R rays, equally many of each; F features of the field at a sample, L numbers in a code.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mlp import MLP

__all__ = ["Transient", "TransientField"]

THIN = 3.0  # subtracted before the density's softplus: at first there is hardly anything
OUTPUTS = 5  # density, three of colour, uncertainty


class Transient(NamedTuple):
    """What passes by at N samples."""

    density: Tensor
    """[N], per unit of the space of the field."""
    colour: Tensor
    """[N, 3] sRGB."""
    beta: Tensor
    """[N], at least 0: how unsure it is of what it shows."""


class TransientField(nn.Module):
    """Density, colour and uncertainty from the features of another field and the code of a photo. It sees no direction
    (Martin-Brualla et al. 2021, section 4.2)."""

    def __init__(self, features: int, code: int, *, width: int, hidden_layers: int, generator: torch.Generator):
        super().__init__()
        self.network = MLP(features + code, OUTPUTS, width=width, hidden_layers=hidden_layers, generator=generator)

    def forward(self, features: Tensor, codes: Tensor) -> Transient:
        """Of features [F, N] at the samples of R rays with codes [R, L]. Differentiable with respect to both."""
        raw = self.network(features, codes.t()).to(codes.dtype)  # [5, N]
        return Transient(F.softplus(raw[0] - THIN), raw[1:4].t().sigmoid(), F.softplus(raw[4]))
