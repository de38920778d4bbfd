"""A warp of rigid motions: each point is turned and shifted by a motion of its own (Park et al. 2021, Nerfies).

    (w, v) = network(windowed sines and cosines of x, code)      x' = exp(w, v) x,   J = dx' / dx

S samples, R rays. A turn of a part of the scene is one and the same (w, v) all over it, where a displacement would
change from point to point. The derivatives of J are those of the network, carried forward beside its values.
"""

import torch
from torch import Tensor, nn

from ..config import RigidWarpConfig
from ..ops.positional_encoding import encode_position, encoding_tangents, encoding_width
from ..ops.se3 import displacement, displacement_slopes
from ..types import Shot, of_samples
from .mlp import MLP

__all__ = ["RigidWarp"]

STILL = 1e-4  # weights of the last layer at first: hardly anything moves


class RigidWarp(nn.Module):
    """The displacement x' - x by a rigid motion of each point, as the codes `warp` of a shot say.

    Buffer: `alpha`, how many frequencies of the coordinates are let in.
    """

    def __init__(self, config: RigidWarpConfig, side: float, generator: torch.Generator):
        """`side` of the box in model units."""
        super().__init__()
        self.config, self.side = config, side
        self.network = MLP(encoding_width(3, config.levels, True) + config.code, 6, width=config.width,
                           hidden_layers=config.layers, generator=generator)
        with torch.no_grad():
            self.network.weights[-1].uniform_(-STILL, STILL, generator=generator)
        self.register_buffer("alpha", torch.tensor(float(config.levels)))

    def let_in(self, share: float) -> None:
        """Let the first `share` of the frequencies of the coordinates be seen, and from 1 on all of them."""
        self.alpha.fill_(self.config.levels * min(share, 1.0))

    def forward(self, positions: Tensor, shot: Shot, ray_index: Tensor | None = None) -> Tensor:
        """[S, 3] in model units of positions [S, 3]. Differentiable with respect to them."""
        unit = positions * (2 / self.side)  # the box is [-1, 1]^3
        inputs = torch.cat([self._encoded(unit).t(), self._codes(positions, shot, ray_index)])
        twists = self.network(inputs).to(unit.dtype).t()
        return displacement(twists, unit) * (self.side / 2)

    def jacobian(self, positions: Tensor, shot: Shot, ray_index: Tensor | None = None) -> Tensor:
        """[S, 3, 3]: dx' / dx at positions [S, 3]. Differentiable with respect to the network and the codes."""
        unit = positions.detach() * (2 / self.side)
        encoded, codes = self._encoded(unit), self._codes(positions, shot, ray_index)
        values = torch.cat([encoded.t(), codes])  # [I, S]
        tangents = torch.cat([encoding_tangents(encoded, 3).mT, torch.zeros_like(codes).expand(3, -1, -1)], dim=1)
        found = self.network.with_tangents(torch.cat([values[:, None], tangents.transpose(0, 1)], dim=1))  # [6, 4, S]
        slopes = displacement_slopes(found[:, 0].t(), found[:, 1:].permute(2, 1, 0), unit)
        return slopes + torch.eye(3, dtype=unit.dtype, device=unit.device)

    def _encoded(self, unit: Tensor) -> Tensor:
        """[S, 3 (2 L + 1)]"""
        return encode_position(unit, self.config.levels, alpha=float(self.alpha))

    @staticmethod
    def _codes(positions: Tensor, shot: Shot, ray_index: Tensor | None) -> Tensor:
        """[A, S]"""
        return of_samples(shot.codes["warp"].t(), len(positions), ray_index, dim=1).to(positions.dtype)
