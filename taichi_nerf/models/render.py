"""From samples along rays to pixels. The renderer knows no network: it is handed a field.

P pixels, R rays, S samples, K samples that are visible. What a field computes is feature-major, [features, samples].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..ops.volume_rendering import compact_samples, composite, visible_samples
from ..types import PackedSamples
from .model import mean_of


class Field(Protocol):
    """What the renderer asks of a radiance field."""

    def encode(self, positions: Tensor, features: Tensor | None = None) -> Tensor:
        """Features [E, S] of positions [S, 3]; those given are taken over, with their gradient."""

    def density(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Density [S], and what `colour` needs to know of the point, [G, S]."""

    def view(self, directions: Tensor) -> Tensor:
        """Encoding [V, R] of unit directions [R, 3]."""

    def colour(self, geometry: Tensor, view: Tensor) -> Tensor:
        """Colour [S, 3], of geometry [G, S] seen in the encoded directions [V, S]."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Pixels, and what they cost."""

    colour: Tensor
    """[P, 3], over black."""
    opacity: Tensor
    """[P]"""
    depth: Tensor
    """[P], the sum of w t: divide by the opacity for a mean distance."""
    weights: Tensor
    """[K]"""
    samples: PackedSamples
    """The K visible samples."""
    marched: int
    """S, before those behind opaque surfaces were cut."""

    @property
    def visible(self) -> int:
        """K"""
        return len(self.samples)

    def over(self, background: Tensor) -> Tensor:
        """[P, 3]: the colour over `background` [P, 3] or [3]."""
        return self.colour + (1 - self.opacity)[:, None] * background

    def averaged(self, per_pixel: int) -> "Rendered":
        """Pixels, each the mean of `per_pixel` of these, which follow one another."""
        if per_pixel == 1:
            return self
        colour, opacity, depth = (mean_of(values, per_pixel) for values in (self.colour, self.opacity, self.depth))
        return replace(self, colour=colour, opacity=opacity, depth=depth)

    def with_colours(self, change: Callable[[Tensor, Tensor], Tensor]) -> "Rendered":
        """The same with the colour replaced by `change` of it and the opacity."""
        return replace(self, colour=change(self.colour, self.opacity))


def select_visible(samples: PackedSamples, density: Tensor, early_stop: float) -> tuple[PackedSamples, Tensor]:
    """The samples in front of where each ray's transmittance falls below `early_stop`, and their indices [K]."""
    kept_count = visible_samples(density, samples.dt, samples.ray_start, samples.ray_count, early_stop)
    ray_start, kept = compact_samples(samples.ray_start, kept_count)
    return PackedSamples(samples.positions.index_select(0, kept), samples.t.index_select(0, kept),
                         samples.dt.index_select(0, kept), samples.ray_index.index_select(0, kept), ray_start,
                         kept_count), kept


def render_samples(field: Field, samples: PackedSamples, directions: Tensor, early_stop: float,
                   appearance: Tensor | None = None) -> Rendered:
    """Composite `samples` of rays with unit `directions` [R, 3], and with an `appearance` [A, R] if the field has one.

    All samples are encoded once. Those that the density hides are cut, and the colour and every gradient are
    evaluated on the visible ones alone (Mueller et al. 2022, appendix E).
    """
    with torch.no_grad():
        features = field.encode(samples.positions)
        density, geometry = field.density(features)
    visible, kept = select_visible(samples, density, early_stop)
    if torch.is_grad_enabled():
        density, geometry = field.density(field.encode(visible.positions, features.index_select(1, kept)))
    else:
        density, geometry = density.index_select(0, kept), geometry.index_select(1, kept)
    view = field.view(directions)
    if appearance is not None:
        view = torch.cat([view, appearance])
    colour = field.colour(geometry, view.index_select(1, visible.ray_index))
    # the cut has been made: composite must not make another one where rounding differs
    colour, opacity, depth, weights = composite(density, colour, visible.t, visible.dt, visible.ray_start,
                                                visible.ray_count, 0.0)
    return Rendered(colour=colour, opacity=opacity, depth=depth, weights=weights, samples=visible, marched=len(samples))
