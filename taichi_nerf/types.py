"""The nouns that travel whole: rays and what they are of, samples along them, what a step is trained on, and where the
training stands.

Sizes: R rays, P pixels, S samples in all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["UNKNOWN", "Batch", "PackedSamples", "Rays", "Seeds", "Shot", "Standing", "of_samples", "rays_of_samples"]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What rays are of besides their lines: a value a ray, or None where that is unknown or does not matter."""

    image: Tensor | None = None
    """[R] int32: the training image."""
    time: Tensor | None = None
    """[R] in [0, 1], of a scene that moves."""
    exposure: Tensor | None = None
    """[R] stops, as of `Split.exposure`."""
    ids: Mapping[str, Tensor] = field(default_factory=dict)
    """[R] int32 by name (`appearance`, `warp`, `camera`): which rays share a latent code."""
    codes: Mapping[str, Tensor] = field(default_factory=dict)
    """[R, A] by the same names: given in place of what the model has learned."""

    @classmethod
    def single(cls, *, image: int | None = None, time: float | None = None, ids: Mapping[str, int] | None = None,
               codes: Mapping[str, Tensor] | None = None) -> "Shot":
        """That of one view, R = 1, on the CPU; `codes` [A] by name."""
        return cls(image=None if image is None else torch.tensor([image], dtype=torch.int32),
                   time=None if time is None else torch.tensor([time]),
                   ids={name: torch.tensor([number], dtype=torch.int32) for name, number in (ids or {}).items()},
                   codes={name: code[None] for name, code in (codes or {}).items()})

    def map(self, change: Callable[[Tensor], Tensor]) -> "Shot":
        """The same with each tensor replaced by `change` of it."""
        return Shot(image=None if self.image is None else change(self.image),
                    time=None if self.time is None else change(self.time),
                    exposure=None if self.exposure is None else change(self.exposure),
                    ids={name: change(values) for name, values in self.ids.items()},
                    codes={name: change(values) for name, values in self.codes.items()})

    def __getitem__(self, index) -> "Shot":
        """Those of some rays."""
        return self.map(lambda values: values[index])


UNKNOWN = Shot()  # of which nothing is known


@dataclass(frozen=True)
class Rays:
    """Half-lines origin + t * direction in model space. Changed with `dataclasses.replace`, never rebuilt."""

    origins: Tensor
    """[R, 3]"""
    directions: Tensor
    """[R, 3], unit length, so that t is a distance"""
    radius: Tensor | None = None
    """[R] of the pixel's cone at distance 1, for models that see cones; else None"""
    shot: Shot = UNKNOWN
    """What the rays are of"""
    per_pixel: int = 1
    """Rays of a pixel, which follow one another: what is rendered of them is their mean"""
    limit: Tensor | None = None
    """[R] finite distances at which rays end, for models that end rays (`Model.ends_rays`); None: they go on"""
    begin: Tensor | None = None
    """[R] distances before which nothing is seen, for the same models; None: everything from the origins on"""

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index) -> "Rays":
        """Some of the rays, each a pixel of its own."""
        return replace(self, origins=self.origins[index], directions=self.directions[index],
                       radius=None if self.radius is None else self.radius[index], shot=self.shot[index], per_pixel=1,
                       limit=None if self.limit is None else self.limit[index],
                       begin=None if self.begin is None else self.begin[index])


class Seeds(NamedTuple):
    """Of the random numbers of one step, by purpose."""

    rays: int
    jitter: int
    background: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a training stands before one of its steps: whatever changes in the course of a training is a function of
    this value."""

    step: int
    """Steps done."""
    progress: float
    """Spent part of the budget, in [0, 1]."""
    seeds: Seeds
    """Of the step."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """P pixels of the training images, drawn for one step."""

    rays: Rays
    """The rays through them, equally many for each."""
    rgba: Tensor
    """[P, 4] in [0, 1], sRGB and straight alpha."""
    background: Tensor
    """[P, 3]: the colour that prediction and truth are both composited over."""
    image_index: Tensor
    """[P] int32"""
    pixel_index: Tensor
    """[P] int32: into the pixels of all images; `TrainingImages.pixel_centres` gives the place in the image."""
    weight: Tensor | None = None
    """[P]: of each pixel's error in the loss, for example its area; None: all are equal."""
    kept: Tensor | None = None
    """[P]: 1 of a pixel that counts, else 0, which is a part of its weight; None: all do."""

    def __len__(self) -> int:
        return len(self.rgba)

    @property
    def target(self) -> Tensor:
        """[P, 3]: the pixels over the background."""
        alpha = self.rgba[:, 3:]
        return self.rgba[:, :3] * alpha + (1 - alpha) * self.background


@dataclass(frozen=True)
class PackedSamples:
    """Samples of many rays, ragged: ray r has ray_count[r], from ray_start[r] on, in order of t."""

    positions: Tensor
    """[S, 3], origin + t * direction"""
    t: Tensor
    """[S], distance along the ray to the middle of the sample's interval"""
    dt: Tensor
    """[S], length of the interval"""
    ray_index: Tensor
    """[S] int32, the ray of each sample, ascending"""
    ray_start: Tensor
    """[R] int32, a ray's first sample"""
    ray_count: Tensor
    """[R] int32, its number of samples; 0 is possible"""
    widths: Tensor | None = None
    """[S], standard deviations of Gaussians around the positions, for fields that see them; else None"""

    def __len__(self) -> int:
        return self.t.shape[0]

    @property
    def places(self) -> Tensor | tuple[Tensor, Tensor]:
        """What a field is asked about: positions, with their widths where they have some"""
        return self.positions if self.widths is None else (self.positions, self.widths)

    @property
    def ray_total(self) -> int:
        """R"""
        return self.ray_start.shape[0]


def of_samples(values: Tensor, samples: int, ray_index: Tensor | None = None, dim: int = 0) -> Tensor:
    """Values of R rays, which lie along `dim`, for each of their `samples`: ragged ones of rays `ray_index` [S], or
    without it equally many of each ray, one ray after the other."""
    if ray_index is not None:
        return values.index_select(dim, ray_index)
    return values.repeat_interleave(samples // max(values.shape[dim], 1), dim=dim)


def rays_of_samples(rays: int, samples: int, ray_index: Tensor | None, device: torch.device) -> Tensor:
    """[S] int32: the ray of each sample, likewise, of so many rays."""
    if ray_index is not None:
        return ray_index
    return of_samples(torch.arange(rays, dtype=torch.int32, device=device), samples)
