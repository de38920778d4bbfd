"""What models and samplers ask of a radiance field, so that none knows what it is made of.

R rays, N samples. Samples are points [N, 3], or means and variances of Gaussians along D axes, [N, D] each. A hash grid
takes points, or points and their widths, [N, 3] and [N], or K of them for each sample, [N, K, 3] and [N, K]. Directions
and what else a shot has are of rays; sample n belongs to ray ray_index[n], or without an index to the rays in order,
equally many to each. At single points each is a ray of its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..types import UNKNOWN, Shot, Standing

__all__ = ["Field", "HashTable", "Radiance", "Samples", "colour_outputs"]

Samples = Tensor | tuple[Tensor, Tensor]


class HashTable(NamedTuple):
    """What is learned of a hash grid."""

    entries: nn.Parameter
    """[E, F]"""
    gradient: Tensor
    """[E, F]: the buffer that its gradient is added to."""
    level_start: tuple[int, ...] = (0,)
    """First entry of each level."""
    decay: Callable[[Standing], float] | None = None
    """Of the levels' mean squares, half of whose sum the loss of a step has this many times; None: never."""


class Radiance(NamedTuple):
    """What a field says at M points, of which colours can be asked for in any direction."""

    density: Tensor
    """[M], per unit of the space in which it was asked for."""
    field: "Field"
    hidden: Any
    shot: Shot
    """Of the points."""

    @property
    def harmonics(self) -> int | None:
        """Degree of those that the colour is in, if it is in any."""
        return self.field.harmonics

    def colour(self, directions: Tensor) -> Tensor:
        """[M, 3] sRGB, of a unit direction [M, 3] for each point."""
        return self.field.colour(self.hidden, directions, self.shot)

    def coefficients(self) -> Tensor:
        """[M, 3, B] of its harmonics, where the field has such."""
        return self.field.colour_coefficients(self.hidden, self.shot)


def colour_outputs(harmonics: int | None) -> int:
    """Outputs of a colour network: colours, or coefficients of harmonics up to a degree."""
    return 3 if harmonics is None else 3 * (harmonics + 1) ** 2


class Field(nn.Module):
    """Density and colour of samples, in two stages: a proposal, and what lies behind a surface, need the first alone.

        density, hidden = field.density(samples, shot, ray_index)
        colour = field.colour(hidden, directions, shot, ray_index)

    `hidden` is the field's own business.
    """

    harmonics: int | None = None
    """Degree of the spherical harmonics that the colour is in; None: it is in none, and has no `coefficients`."""

    def density(self, samples: Samples, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> tuple[Tensor, Any]:
        """Density [N] per unit of the space in which the samples lie, and what `colour` needs to know of them."""
        raise NotImplementedError

    def at(self, samples: Samples) -> Callable[[Shot], Tensor]:
        """Density [N] of samples, a function of a shot of as many rays: what all shots share is computed once."""
        return lambda shot: self.density(samples, shot)[0]

    def places(self, samples: Samples) -> Samples:
        """Where in space samples are, some of whose coordinates may be of other dimensions."""
        return samples

    def told(self, samples: Samples, shot: Shot, ray_index: Tensor | None) -> Tensor | None:
        """[.., N]: what the density network is told of samples besides where they are; None: nothing."""
        return None

    def colour(self, hidden: Any, directions: Tensor, shot: Shot = UNKNOWN,
               ray_index: Tensor | None = None) -> Tensor:
        """sRGB colour [N, 3], of unit directions [R, 3]."""
        raise NotImplementedError

    def colour_coefficients(self, hidden: Any, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> Tensor:
        """[N, 3, (harmonics + 1)^2]: what `ops.harmonic_colours` makes the colour of, in any direction."""
        raise NotImplementedError

    @property
    def features_size(self) -> int:
        """F of `features`."""
        raise NotImplementedError

    def features(self, hidden: Any) -> Tensor:
        """[F, N]: what it knows of the points besides their density, for what else is to be told of them."""
        raise NotImplementedError

    def look(self, samples: Samples, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> tuple[Tensor, Any]:
        """`density` without gradients, of samples some of which `density_again` is asked for: what that is to know."""
        with torch.no_grad():
            return self.density(samples, shot, ray_index)

    def density_again(self, samples: Samples, known: tuple[Tensor, Any], kept: Tensor, shot: Shot = UNKNOWN,
                      ray_index: Tensor | None = None) -> tuple[Tensor, Any]:
        """`density` of some samples of which a `look` is `known`: those numbered `kept` [K].

        A field takes over what would be costly to compute once more.
        """
        return self.density(samples, shot, ray_index)

    def tables(self) -> list[HashTable]:
        """Hash tables of its own."""
        return []

    def let_in(self, share: float) -> None:
        """Let the first `share` of the detail be seen, from coarse to fine, and from 1 on all of it."""
