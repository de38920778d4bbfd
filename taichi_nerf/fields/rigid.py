"""A warp of rigid motions: each point is turned and shifted by a motion of its own (Park et al. 2021, Nerfies).

    (w, v) = sum_a W_a(windowed sines and cosines of x) code_a      x' = exp(w, v) x,   J = dx' / dx

S samples, R rays. A turn of a part of the scene is one and the same (w, v) all over it, where a displacement would
change from point to point. The derivatives of J are those of the network, carried forward beside its values.

In Nerfies the network is told the code beside x. So it learns at each place how things move there, and of one time what
holds for all (`deformed`); the sum has one W wherever a thing comes by that turns about an axis at rest, and the code
says how far it has come. The first form is kept: `codes_multiply` of the settings says which it is.
"""

from functools import partial

import torch
from torch import Tensor

from ..config import RigidWarpConfig, SliceConfig
from ..ops.combination import combine
from ..ops.positional_encoding import encode_position, encoding_tangents, encoding_width
from ..ops.se3 import displacement, displacement_slopes
from ..types import Shot, of_samples, rays_of_samples
from .mlp import small_network
from .warp import AtAnyTime, OfTime

__all__ = ["OfCodes", "RigidWarp"]

STILL = 1e-4  # weights of the last layer at first: hardly anything moves


class OfCodes(OfTime):
    """What a small network says of points and of the codes `warp` of a shot, which multiply it or are told to it;
    hardly anything at first."""

    def __init__(self, config: RigidWarpConfig | SliceConfig, codes: RigidWarpConfig, outputs: int, side: float,
                 generator: torch.Generator):
        """A network as `config` says, with so many `outputs`; `side` of the box in model units."""
        super().__init__()
        self.config, self.side, self.multiply, self.outputs = config, side, codes.codes_multiply, outputs
        of_point = encoding_width(3, config.levels, True)
        inputs, outputs = (of_point, outputs * codes.code) if self.multiply else (of_point + codes.code, outputs)
        self.network = small_network(config, inputs, outputs, generator)
        with torch.no_grad():
            self.network.weights[-1].uniform_(-STILL, STILL, generator=generator)

    def at(self, positions: Tensor) -> AtAnyTime:
        """[S, outputs] of positions [S, 3]. Differentiable with respect to them."""
        return self.said(positions * (2 / self.side))  # the box is [-1, 1]^3

    def said(self, unit: Tensor) -> AtAnyTime:
        """[S, outputs] of positions [S, 3] of a box that is [-1, 1]^3."""
        encoded = self._encoded(unit).t()
        if self.multiply:
            return partial(self._multiplied, self.network(encoded).to(unit.dtype))
        return lambda shot, ray_index=None: self.network(
            torch.cat([encoded, self._codes(unit, shot, ray_index)])).to(unit.dtype).t()

    @staticmethod
    def _multiplied(coefficients: Tensor, shot: Shot, ray_index: Tensor | None = None) -> Tensor:
        codes = shot.codes["warp"].t().to(coefficients.dtype)
        return combine(coefficients, codes, rays_of_samples(codes.shape[1], coefficients.shape[1], ray_index,
                                                            codes.device))

    def said_with_tangents(self, unit: Tensor, shot: Shot, ray_index: Tensor | None) -> Tensor:
        """[outputs, 4, S]: the same, then its derivatives along x, y and z."""
        encoded, codes = self._encoded(unit), self._codes(unit, shot, ray_index)
        inputs = torch.cat([encoded[None], encoding_tangents(encoded, 3)]).permute(2, 0, 1)  # [I, 4, S]
        if self.multiply:
            return (self.network.with_tangents(inputs).unflatten(0, (self.outputs, -1)) * codes[:, None]).sum(dim=1)
        told = torch.cat([codes[:, None], torch.zeros_like(codes)[:, None].expand(-1, 3, -1)], dim=1)
        return self.network.with_tangents(torch.cat([inputs, told]))

    def _encoded(self, unit: Tensor) -> Tensor:
        """[S, 3 (2 L + 1)]"""
        return encode_position(unit, self.config.levels)

    @staticmethod
    def _codes(positions: Tensor, shot: Shot, ray_index: Tensor | None) -> Tensor:
        """[A, S]"""
        return of_samples(shot.codes["warp"].t(), len(positions), ray_index, dim=1).to(positions.dtype)


class RigidWarp(OfCodes):
    """The displacement x' - x by a rigid motion of each point, as the codes `warp` of a shot say.

    Buffer: `alpha`, how many frequencies of the coordinates are let in.
    """

    def __init__(self, config: RigidWarpConfig, side: float, generator: torch.Generator):
        """`side` of the box in model units."""
        super().__init__(config, config, 6, side, generator)
        self.register_buffer("alpha", torch.tensor(float(config.levels)))

    def let_in(self, share: float) -> None:
        """Let the first `share` of the frequencies of the coordinates be seen, and from 1 on all of them."""
        self.alpha.fill_(self.config.levels * min(share, 1.0))

    def at(self, positions: Tensor) -> AtAnyTime:
        """[S, 3] in model units of positions [S, 3]. Differentiable with respect to them."""
        unit = positions * (2 / self.side)
        twists = self.said(unit)
        return lambda shot, ray_index=None: displacement(twists(shot, ray_index), unit) * (self.side / 2)

    def jacobian(self, positions: Tensor, shot: Shot, ray_index: Tensor | None = None) -> Tensor:
        """[S, 3, 3]: dx' / dx at positions [S, 3]. Differentiable with respect to the network and the codes."""
        unit = positions.detach() * (2 / self.side)
        found = self.said_with_tangents(unit, shot, ray_index)
        slopes = displacement_slopes(found[:, 0].t(), found[:, 1:].permute(2, 1, 0), unit)
        return slopes + torch.eye(3, dtype=unit.dtype, device=unit.device)

    def _encoded(self, unit: Tensor) -> Tensor:
        return encode_position(unit, self.config.levels, alpha=float(self.alpha))
