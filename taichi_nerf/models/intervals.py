"""What the models share that cut every ray into the same number of intervals.

P pixels, R rays, S intervals between S + 1 fenceposts. They work in unit space, model space times `scale`, so that what
matters of a scene has size 1, and frequencies and densities mean what they mean in the papers; s in [0, 1] is a
distance normalised between a ray's near and far. Where the intervals lie is never differentiated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import Parameter

from ..config import RangeConfig
from ..data.scene import Scene
from ..errors import UserError
from ..ops.ray_aabb import intersect_ray_aabb
from ..types import PackedSamples, Rays
from .model import Box, Model, mean_of

__all__ = ["IntervalModel", "Level", "RenderedIntervals", "seed_of"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """What one level of sampling found. Of a proposal, which has no colour, colour, opacity and depth are None."""

    s: Tensor
    """[R, S + 1] fenceposts, normalised."""
    t: Tensor
    """[R, S + 1] the same as distances in unit space."""
    weights: Tensor
    """[R, S]"""
    colour: Tensor | None = None
    """[P, 3], over black."""
    opacity: Tensor | None = None
    """[P]"""
    depth: Tensor | None = None
    """[P], the sum of w t, in model units."""

    def over(self, background: Tensor) -> Tensor:
        """[P, 3]: the colour over `background` [P, 3] or [3]."""
        return self.colour + (1 - self.opacity)[:, None] * background

    def averaged(self, per_pixel: int) -> "Level":
        """The same with pixels that are the mean of `per_pixel` of these, which follow one another."""
        if self.colour is None or per_pixel == 1:
            return self
        colour, opacity, depth = (mean_of(values, per_pixel) for values in (self.colour, self.opacity, self.depth))
        return replace(self, colour=colour, opacity=opacity, depth=depth)


@dataclass(frozen=True)
class RenderedIntervals:
    """Pixels of the last level, and all levels, from the first to the last."""

    rays: Rays
    """In model space."""
    levels: tuple[Level, ...]
    scale: float
    """Unit lengths of a model unit."""

    @property
    def colour(self) -> Tensor:
        return self.levels[-1].colour

    @property
    def opacity(self) -> Tensor:
        return self.levels[-1].opacity

    @property
    def depth(self) -> Tensor:
        return self.levels[-1].depth

    @property
    def weights(self) -> Tensor:
        """[R * S] of the last level."""
        return self.levels[-1].weights.reshape(-1)

    @property
    def visible(self) -> int:
        return self.levels[-1].weights.numel()

    @property
    def marched(self) -> int:
        return sum(level.weights.numel() for level in self.levels)

    def over(self, background: Tensor) -> Tensor:
        return self.levels[-1].over(background)

    def averaged(self, per_pixel: int) -> "RenderedIntervals":
        """The same with pixels that are the mean of `per_pixel` of these, which follow one another."""
        return RenderedIntervals(self.rays, tuple(level.averaged(per_pixel) for level in self.levels), self.scale)

    def with_colours(self, change: Callable[[Tensor, Tensor], Tensor]) -> "RenderedIntervals":
        """The same with the colour of each level that has one replaced by `change` of it and the opacity."""
        levels = (level if level.colour is None else replace(level, colour=change(level.colour, level.opacity))
                  for level in self.levels)
        return RenderedIntervals(self.rays, tuple(levels), self.scale)

    @cached_property
    def samples(self) -> PackedSamples:
        """The middles of the intervals of the last level, in model space."""
        t = self.levels[-1].t / self.scale
        middle, (rays, count) = (t[:, 1:] + t[:, :-1]) / 2, self.levels[-1].weights.shape
        positions = self.rays.origins[:, None] + middle[..., None] * self.rays.directions[:, None]
        index = torch.arange(rays, dtype=torch.int32, device=t.device)
        return PackedSamples(positions.reshape(-1, 3), middle.reshape(-1), t.diff(dim=1).reshape(-1),
                             index.repeat_interleave(count), index * count, torch.full_like(index, count))


class IntervalModel(Model):
    """A model that samples between `near` and `far` of each ray; `unit_scale` takes model space to unit space."""

    nearest = 0.0
    """Model units: nearer than that no sample lies unless it is asked for."""

    def __init__(self, config, box: Box):
        super().__init__()
        self.config, self.box, self.scale = config, box, self.unit_scale(config, box)

    @classmethod
    def check_scene(cls, config, scene: Scene) -> None:
        near, far = config.range.near, config.range.far
        near = max(scene.near, cls.nearest) if near is None else near
        if far is not None and far <= near:
            raise UserError(f"--model.range.far is {far:g}, and rays of {scene.name} begin at {near:g}: give a larger "
                            "one, or a smaller --model.range.near")

    def fields(self) -> list:
        """The fields (`fields.encoded`) that it consists of."""
        raise NotImplementedError

    def tables(self) -> list[tuple[Parameter, Tensor]]:
        return [table for field in self.fields() for table in field.tables]

    def networks(self) -> list[list[Parameter]]:
        tables = {id(table) for table, _ in self.tables()}
        found = ([p for p in field.parameters() if id(p) not in tables] for field in self.fields())
        return [parameters for parameters in found if parameters]

    def unit_rays(self, rays: Rays) -> Rays:
        """Rays in unit space, whose directions and radii stay."""
        return Rays(rays.origins * self.scale, rays.directions, rays.radius, rays.image_index)

    def reach(self, rays: Rays, settings: RangeConfig) -> tuple[Tensor, Tensor]:
        """Near and far [R] of rays in unit space. A ray that misses the box of a bounded scene has near = far."""
        near = self.scale * (self.box.near if settings.near is None else settings.near)
        nearest = torch.full_like(rays.origins[:, 0], near)
        if settings.far is not None:
            return nearest, torch.full_like(nearest, self.scale * settings.far)
        half = 0.5 * self.box.aabb_scale * self.scale
        corners = rays.origins.new_tensor([[-half] * 3, [half] * 3])
        entry, exit_ = intersect_ray_aabb(rays.origins.detach(), rays.directions.detach(), corners, near)
        start = entry if self.box.bounded else nearest
        return start, torch.maximum(exit_, start)


def seed_of(jitter_seed: int | None, purpose: int) -> int | None:
    """A seed for one of several uses of random numbers in a step; None without one."""
    return None if jitter_seed is None else (jitter_seed + purpose * 0x9E3779B1) % 2**31
