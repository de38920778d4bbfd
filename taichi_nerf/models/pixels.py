"""What a model shows of rays, whatever it is made of.

P pixels of R rays, K samples that the pixels are made of; of intervals, S between S + 1 fenceposts on each ray.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..types import PackedSamples, Rays

__all__ = ["Level", "Pixels", "gathered_samples", "mean_of", "pixels_of_levels"]


def mean_of(values: Tensor, per_pixel: int) -> Tensor:
    """[P, ..]: the mean of every `per_pixel` of values [R, ..]."""
    return values.unflatten(0, (-1, per_pixel)).mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class Level:
    """What one level of sampling found; s in [0, 1] is a distance normalised between a ray's near and far."""

    s: Tensor
    """[R, S + 1] fenceposts, normalised."""
    t: Tensor
    """[R, S + 1] the same as distances in model units."""
    weights: Tensor
    """[R, S]"""
    pixels: "Pixels | None" = None
    """Those of this level; None for a proposal, which has no colour."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Pixels, what they are made of, and what they cost."""

    colour: Tensor
    """[P, 3], over black."""
    opacity: Tensor
    """[P]"""
    depth: Tensor
    """[P], the sum of w t: divide by the opacity for a mean distance."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """[P, ..] by name: whatever else was composited along the rays. `tint` [P, 3] is how much more than 1 - opacity of
    each channel passes, behind tinted glass."""
    weights: Tensor | None = None
    """[K] of the samples, in their order."""
    marched: int = 0
    """Evaluations of a field, and half of the samples that needed none: what bounds the memory."""
    packed: PackedSamples | None = None
    """The K samples, where they are ragged."""
    rays: Rays | None = None
    """In model space, where every ray has equally many samples."""
    levels: tuple[Level, ...] = ()
    """Of sampling, from the first to the last, whose pixels these are."""

    @property
    def visible(self) -> int:
        """K"""
        return self.weights.numel()

    @property
    def has_samples(self) -> bool:
        """Whether it is known where the K samples are."""
        return self.packed is not None or self.rays is not None

    @cached_property
    def samples(self) -> PackedSamples:
        """The K samples in model space."""
        return self.packed if self.packed is not None else self.samples_of(self.levels[-1])

    def samples_of(self, level: Level) -> PackedSamples:
        """Those of one level, in model space."""
        return _middles(self.rays, level.t)

    def carried(self, values: Tensor) -> Tensor:
        """[R], of each ray the sum of w times `values` [K] of its samples."""
        index = self.samples.ray_index
        return values.new_zeros(self.samples.ray_total).index_add(0, index, self.weights * values)

    def over(self, background: Tensor) -> Tensor:
        """[P, 3]: the colour over `background` [P, 3] or [3]."""
        return self.colour + ((1 - self.opacity)[:, None] + self.extras.get("tint", 0)) * background

    def averaged(self, per_pixel: int) -> "Pixels":
        """Pixels, each the mean of `per_pixel` of these, which follow one another; the samples are those of all."""
        if per_pixel == 1:
            return self
        if self.levels:
            return self._with_levels(lambda pixels: pixels.averaged(per_pixel))
        return replace(self, colour=mean_of(self.colour, per_pixel), opacity=mean_of(self.opacity, per_pixel),
                       depth=mean_of(self.depth, per_pixel),
                       extras={name: mean_of(values, per_pixel) for name, values in self.extras.items()})

    def with_colours(self, change: Callable[[Tensor, Tensor], Tensor]) -> "Pixels":
        """The same with the colour [P, 3], over black, replaced by `change` of it and its opacity, at each level."""
        if self.levels:
            return self._with_levels(lambda pixels: pixels.with_colours(change))
        return replace(self, colour=change(self.colour, self.opacity))

    def _with_levels(self, change: "Callable[[Pixels], Pixels]") -> "Pixels":
        """The same with the pixels of each level replaced by `change` of them."""
        changed = (level if level.pixels is None else replace(level, pixels=change(level.pixels))
                   for level in self.levels)
        return pixels_of_levels(self.rays, tuple(changed))


def pixels_of_levels(rays: Rays, levels: Sequence[Level]) -> Pixels:
    """Those of the last level, of rays in model space; all levels are kept."""
    last = levels[-1]
    return replace(last.pixels, weights=last.weights.reshape(-1), rays=rays, levels=tuple(levels),
                   marched=sum(level.weights.numel() for level in levels))


def gathered_samples(parts: Sequence[tuple[Pixels, Tensor, Tensor]],
                     rays: Rays) -> tuple[PackedSamples | None, Tensor]:
    """The samples of several pixels as those of `rays`, ray after ray and along each, and their weights [K], which no
    gradient flows to; None in place of the samples where some pixels do not know theirs.

    Args:
        parts: of each the pixels of r rays, which ray each of these is [r], and by what its weights count [r]. What
            comes first lies in front.
    """
    if not all(pixels.has_samples for pixels, _, _ in parts):
        return None, torch.cat([pixels.weights.detach() for pixels, _, _ in parts])
    nothing = rays.origins.new_zeros(0)
    columns = [(rays.origins[:0], nothing, nothing, nothing.long(), nothing)]
    for pixels, index, share in parts:
        samples, own = pixels.samples, pixels.samples.ray_index.long()
        columns.append((samples.positions, samples.t, samples.dt, index[own], pixels.weights.detach() * share[own]))
    positions, t, dt, ray_index, weights = (torch.cat(values) for values in zip(*columns))
    ray_index, order = ray_index.sort(stable=True)
    ray_count = torch.bincount(ray_index, minlength=len(rays)).int()
    return PackedSamples(positions[order], t[order], dt[order], ray_index.int(),
                         (ray_count.cumsum(0) - ray_count).int(), ray_count), weights[order]


def _middles(rays: Rays, t: Tensor) -> PackedSamples:
    """Of the intervals between t [R, S + 1]."""
    middle, (count, samples) = (t[:, 1:] + t[:, :-1]) / 2, t.diff(dim=1).shape
    positions = rays.origins[:, None] + middle[..., None] * rays.directions[:, None]  # [R, S, 3]
    index = torch.arange(count, dtype=torch.int32, device=t.device)
    return PackedSamples(positions.reshape(-1, 3), middle.reshape(-1), t.diff(dim=1).reshape(-1),
                         index.repeat_interleave(samples), index * samples, torch.full_like(index, samples))
