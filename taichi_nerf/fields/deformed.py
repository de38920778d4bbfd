"""A field behind a warp: what is at x at a time is what another field has at x + d(x, time).

S samples, R rays. The displacement d is that of a network, nothing at the time of rest r, so that the other field is of
the scene as it was then. The network is told the time (Pumarola et al. 2021, D-NeRF, section 4.1, where r is the first
one), or gives coefficients a, b of K waves of the time (Wang et al. 2021, Neural Trajectory Fields):

    d(x, t) = sum_k a_k(x) sin(pi k (t - r)) / k + b_k(x) (1 - cos(pi k (t - r))) / k

A network that is told the time has to learn at each place how things move there. In waves all places where a thing
comes by have the same coefficients if it moves rigidly, and what is learned of some times is a guess of the next. Or
else d is that of a rigid motion of each point (`rigid.RigidWarp`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..config import WarpConfig
from ..ops.combination import combine
from ..ops.positional_encoding import encode_position, encoding_width
from ..types import UNKNOWN, Shot, of_samples, rays_of_samples
from .field import Field, Samples
from .mlp import small_network
from .timed import encoded_times, waves
from .warp import AtAnyTime, OfTime

__all__ = ["Correspondence", "Deformed", "Displacement", "Trajectories"]

NEWTON_STEPS, DAMPING = 10, 1e-6  # of the search for the point that a warp takes to a place
# A warp takes about twice as long to be differentiated as to be asked. So where as large a part of the samples of a
# step is kept, it is asked and differentiated at all of them; else it is asked at all and, with gradients, at those.
MOST = 0.75
MOST_KEPT = 2**16  # samples of which all is kept, until that is known, that a warp computes on the way
STILL = 0.01  # of the usual size are the weights of the last layer at first: hardly anything moves


class Displacement(OfTime):
    """d(x, time), a small network of sines and cosines of both; exactly 0 at the time of rest."""

    def __init__(self, config: WarpConfig, side: float, generator: torch.Generator):
        """`side` of the box in model units."""
        super().__init__()
        self.config, self.side = config, side
        inputs = encoding_width(3, config.levels, True) + encoding_width(1, config.time_levels, True)
        self.network = small_network(config, inputs, 3, generator)
        with torch.no_grad():
            self.network.weights[-1].mul_(STILL)

    def at(self, positions: Tensor) -> AtAnyTime:
        """[S, 3] in model units of positions [S, 3]. Differentiable with respect to them."""
        count = len(positions)
        place = encode_position(positions * (2 / self.side), self.config.levels).t()  # the box is [-1, 1]^3

        def at_times(shot: Shot, ray_index: Tensor | None = None) -> Tensor:
            time = encoded_times(shot, self.config.time_levels, count, ray_index, positions.dtype)
            moved = self.network(torch.cat([place, time])).to(positions.dtype).t() * (self.side / 2)
            return moved * of_samples(shot.time != self.config.rest, count, ray_index)[:, None]

        return at_times


class Trajectories(OfTime):
    """d(x, time), a sum of waves of the time whose coefficients are those of a small network of x; exactly 0 at the
    time of rest."""

    def __init__(self, config: WarpConfig, side: float, generator: torch.Generator):
        """`side` of the box in model units."""
        super().__init__()
        self.config, self.side = config, side
        self.network = small_network(config, encoding_width(3, config.levels, True), 3 * 2 * config.waves, generator)
        with torch.no_grad():
            self.network.weights[-1].mul_(STILL)

    def at(self, positions: Tensor) -> AtAnyTime:
        """[S, 3] in model units of positions [S, 3]. Differentiable with respect to them."""
        place = encode_position(positions * (2 / self.side), self.config.levels).t()  # the box is [-1, 1]^3
        coefficients = self.network(place).to(positions.dtype)  # [3 2 K, S]

        def at_times(shot: Shot, ray_index: Tensor | None = None) -> Tensor:
            of_rays = waves(shot.time.to(positions.dtype), self.config.waves, self.config.rest)  # [2 K, R]
            ray_index = rays_of_samples(of_rays.shape[1], len(positions), ray_index, positions.device)
            return combine(coefficients, of_rays, ray_index) * (self.side / 2)

        return at_times


class Correspondence(NamedTuple):
    """Where points are at another time."""

    points: Tensor
    """[P, 3]"""
    residual: Tensor
    """[P]: by how much the warp of these misses the place in the other field that the points were taken to."""


class Looked(NamedTuple):
    """What a field behind a warp knows of samples besides their density."""

    asked: Samples
    """Where the other field was asked; differentiable, if they are few enough."""
    hidden: Any
    """Of the other field."""


class Deformed(Field):
    """`field` seen through a `warp`, which gives [S, 3] of positions [S, 3]."""

    def __init__(self, field: Field, warp: OfTime):
        super().__init__()
        self.field, self.warp = field, warp
        self.harmonics = field.harmonics

    def density(self, samples: Samples, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> tuple[Tensor, Any]:
        return self.field.density(self.asked(samples)(shot, ray_index), shot, ray_index)

    def at(self, samples: Samples) -> Callable[[Shot], Tensor]:
        asked = self.asked(samples)
        return lambda shot: self.field.density(asked(shot), shot)[0]

    def look(self, samples: Samples, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> tuple[Tensor, "Looked"]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and _count(samples) <= MOST_KEPT):
            asked = self.asked(samples)(shot, ray_index)
        density, hidden = self.field.look(_each(asked, Tensor.detach), shot, ray_index)
        return density, Looked(asked, hidden)

    def density_again(self, samples: Samples, known: tuple[Tensor, "Looked"], kept: Tensor, shot: Shot = UNKNOWN,
                      ray_index: Tensor | None = None) -> tuple[Tensor, Any]:
        """Where most samples are kept the warp is not asked again: it is differentiated at all of them."""
        density, (asked, hidden) = known
        if torch.is_grad_enabled() and (_count(asked) > MOST_KEPT or len(kept) < MOST * len(density)):
            asked = self.asked(samples)(shot, ray_index)
        else:
            asked = _each(asked, lambda of_all: of_all.index_select(0, kept))
        return self.field.density_again(asked, (density, hidden), kept, shot, ray_index)

    def asked(self, samples: Samples) -> Callable[..., Samples]:
        """What the other field is asked for, a function of a shot and the ray of each; samples keep their widths."""
        positions, *widths = (samples,) if isinstance(samples, Tensor) else samples
        places = self.places_asked(positions)
        return lambda *times: (places(*times), *widths) if widths else places(*times)

    def places_asked(self, positions: Tensor) -> AtAnyTime:
        """The same of positions [S, 3]."""
        displacement = self.warp.at(positions)
        return lambda shot, ray_index=None: positions + displacement(shot, ray_index)

    def moved(self, positions: Tensor, shot: Shot) -> Tensor:
        """[S, 3] in space, where positions [S, 3] are at the time of rest."""
        return positions + self.warp(positions, shot)

    def correspondence(self, points: Tensor, shot: Shot, other: Shot) -> Correspondence:
        """Where the points [P, 3] of `shot`, R = P, are in `other`: what the warp takes to the same place. Not
        differentiable.

        The warp is inverted by Newton's method from where the points are, damped as Gauss and Newton do where it folds;
        a step that leads farther away is halved.
        """
        place = self.moved(points, shot).detach()
        found, step = points.detach(), torch.zeros_like(points)
        best = torch.full_like(points[:, 0], torch.inf)
        for _ in range(NEWTON_STEPS):
            moved, jacobian = self._with_jacobian(found + step, other)
            missed = place - moved
            closer = missed.norm(dim=1) < best
            best = torch.where(closer, missed.norm(dim=1), best)
            found = torch.where(closer[:, None], found + step, found)
            normal = jacobian.mT @ jacobian + DAMPING * torch.eye(3).to(jacobian)
            newton = torch.linalg.solve(normal, jacobian.mT @ missed[:, :, None])[:, :, 0]
            step = torch.where(closer[:, None], newton, 0.5 * step)
        return Correspondence(found, best)

    def _with_jacobian(self, points: Tensor, shot: Shot) -> tuple[Tensor, Tensor]:
        """[P, 3] where points [P, 3] are moved to, and [P, 3, 3] its derivatives along x, y and z."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            moved = self.moved(points, shot)
            rows = [torch.autograd.grad(moved[:, k].sum(), points, retain_graph=k < 2)[0] for k in range(3)]
        return moved.detach(), torch.stack(rows, dim=1)

    def colour(self, hidden: Any, directions: Tensor, shot: Shot = UNKNOWN,
               ray_index: Tensor | None = None) -> Tensor:
        return self.field.colour(hidden, directions, shot, ray_index)

    def colour_coefficients(self, hidden: Any, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> Tensor:
        return self.field.colour_coefficients(hidden, shot, ray_index)

    @property
    def features_size(self) -> int:
        return self.field.features_size

    def features(self, hidden: Any) -> Tensor:
        return self.field.features(hidden)


def _each(samples: Samples, change: Callable[[Tensor], Tensor]) -> Samples:
    """The same with each tensor replaced by `change` of it."""
    return change(samples) if isinstance(samples, Tensor) else tuple(change(values) for values in samples)


def _count(samples: Samples) -> int:
    """S"""
    return len(samples if isinstance(samples, Tensor) else samples[0])
