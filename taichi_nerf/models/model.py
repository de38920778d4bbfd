"""What training and rendering ask of a model, so that neither knows which one it is.

R rays. A new system is a field, a sampler and its losses behind this interface, and a configuration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torch.nn import Parameter

from ..data.scene import Cameras, Scene
from ..fields.hash_field import HashDensity
from ..types import Batch, PackedSamples, Rays

__all__ = ["Box", "Model", "Pixels", "mean_of"]


@dataclass(frozen=True, kw_only=True)
class Box:
    """The part of space that a model represents: [-side / 2, side / 2]^3, a power of two as its side."""

    aabb_scale: int = 1
    """Side of the box in model units."""
    near: float = 0.0
    """Nothing nearer to a ray's origin is sampled."""
    bounded: bool = False
    """Whether nothing that is seen lies outside of the box."""
    images: int = 0
    """Training images, each of which may have an appearance of its own."""

    @property
    def cascades(self) -> int:
        """Number of nested occupancy grids."""
        return self.aabb_scale.bit_length()


class Pixels(Protocol):
    """What a model renders of rays: P pixels."""

    colour: Tensor
    """[P, 3], over black."""
    opacity: Tensor
    """[P]"""
    depth: Tensor
    """[P], the sum of w t: divide by the opacity for a mean distance."""
    weights: Tensor
    """Of the samples, in their order."""
    marched: int
    """Evaluations of a field, which bound the memory."""
    visible: int
    """Samples that the pixels are made of."""

    @property
    def samples(self) -> PackedSamples:
        """Those samples, in model space."""

    def over(self, background: Tensor) -> Tensor:
        """[P, 3]: the colour over `background` [P, 3] or [3]."""

    def with_colours(self, change: Callable[[Tensor, Tensor], Tensor]) -> "Pixels":
        """The same with each colour [P, 3], over black, replaced by `change` of it and its opacity [P]."""


def mean_of(values: Tensor, per_pixel: int) -> Tensor:
    """[P, ..]: the mean of every `per_pixel` of values [R, ..]."""
    return values.unflatten(0, (-1, per_pixel)).mean(dim=1)


class Model(nn.Module):
    """A radiance field that renders rays and says how it is trained.

    `config` is its ModelConfig, `box` the part of space that it represents: together with the tensors of its state
    they are the whole of it. Everything random in its making comes from a seed.
    """

    sees_cones = False
    """Whether rays need a radius."""

    @property
    def rays_per_pixel(self) -> int:
        """Rays that a pixel is the mean of."""
        return getattr(self.config, "rays_per_pixel", 1)

    def render(self, rays: Rays, *, jitter_seed: int | None = None, progress: float = 1.0) -> Pixels:
        """Pixels of rays in model space, each the mean of `rays.per_pixel` of them.

        With a `jitter_seed`, as in training, at `progress` in [0, 1] of it.
        """
        raise NotImplementedError

    def losses(self, pixels: Pixels, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss of what `render` gave for `batch.rays`, by name; the loss is their sum."""
        raise NotImplementedError

    def density(self, positions: Tensor) -> Tensor:
        """[M] at positions [M, 3] of model space, per model unit."""
        raise NotImplementedError

    def tables(self) -> list[tuple[Parameter, Tensor]]:
        """Hash tables and the buffers that their gradients are added to: they have Adam of sparse steps."""
        return []

    def networks(self) -> list[list[Parameter]]:
        """All other parameters, network by network; the gradient of each network is clipped on its own."""
        raise NotImplementedError

    @classmethod
    def unit_scale(cls, config, box: Box) -> float:
        """The side that the base cube of `box` has in the space in which a model of `config` works."""
        return 1.0

    @classmethod
    def check_scene(cls, config, scene: Scene) -> None:
        """Raises UserError where a model of `config` cannot represent `scene`, saying why."""

    def before_training(self, cameras: Cameras) -> None:
        """Learn what there is to learn of the training cameras, in model space."""

    def show_levels(self, share: float) -> None:
        """Let the first `share` of the levels of hash grids be seen, from coarse to fine; with 1 or more all are."""
        for module in self.modules():
            if isinstance(module, HashDensity):
                module.show_levels(share)

    def after_step(self, step: int) -> None:
        """After step number `step` of the training, counted from 0."""

    def rehearsal(self) -> tuple[int, ...]:
        """Steps that between them run every kernel of the training; the caller restores the state afterwards."""
        return (0,)
