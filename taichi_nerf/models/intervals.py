"""What the models share that cut every ray into the same number of intervals.

R rays. They work in unit space, model space times `scale`, so that what matters of a scene has size 1, and frequencies
and densities mean what they mean in the papers. Where the intervals lie is never differentiated.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ..config import RangeConfig
from ..data.scene import Scene
from ..errors import UserError
from ..ops.ray_aabb import intersect_ray_aabb
from ..types import Rays
from .model import Box, Model, Space

__all__ = ["IntervalModel"]


class IntervalModel(Model):
    """A model that samples between `near` and `far` of each ray; `unit_scale` takes model space to unit space."""

    ends_rays = True
    nearest = 0.0
    """Model units: nearer than that no sample lies unless it is asked for."""

    def __init__(self, config, box: Box, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        self.scale = self.unit_scale(config, box)
        self._crop: tuple[Sequence[float], Sequence[float]] | None = None  # two corners, in model units

    @classmethod
    def check_scene(cls, config, scene: Scene) -> None:
        near, far = config.range.near, config.range.far
        near = max(scene.near, cls.nearest) if near is None else near
        if far is not None and far <= near:
            raise UserError(f"--model.range.far is {far:g}, and rays of {scene.name} begin at {near:g}: give a larger "
                            "one, or a smaller --model.range.near")

    @classmethod
    def space(cls, config, box: Box) -> Space:
        """Between which distances rays are sampled; a hash grid covers the box alone."""
        near = box.near if config.range.near is None else config.range.near
        if config.range.far is not None:
            words = f"what rays meet between {near:g} and {config.range.far:g}"
        elif box.bounded:
            words = box.words
        else:
            words = f"what rays meet from {near:g} on to where they leave {box.words}"
        return Space(words, beyond=not box.bounded and config.encoding == "positional")

    def unit_rays(self, rays: Rays) -> Rays:
        """Rays in unit space, whose directions and radii stay."""
        limit = None if rays.limit is None else rays.limit * self.scale
        begin = None if rays.begin is None else rays.begin * self.scale
        return replace(rays, origins=rays.origins * self.scale, limit=limit, begin=begin)

    @contextmanager
    def cropped(self, lower: Sequence[float], upper: Sequence[float]) -> Iterator[None]:
        """Within the context rays begin and end in the box between two corners: nothing else is seen."""
        self._crop = lower, upper
        try:
            yield
        finally:
            self._crop = None

    def ends(self, rays: Rays) -> bool:
        """Whether there is nothing behind the last interval of a ray."""
        return self.box.bounded or self._crop is not None or rays.limit is not None

    def reach(self, rays: Rays, settings: RangeConfig) -> tuple[Tensor, Tensor]:
        """Near and far [R] of rays in unit space. A ray that misses the box of a bounded scene, or the one that is
        cropped to, has near = far; so has one that ends before it begins."""
        return self.within_limit(rays, *self.within_crop(rays, *self._whole_reach(rays, settings)))

    def within_limit(self, rays: Rays, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        """What of the rays in unit space between near and far [R] lies between their begin and their limit."""
        near = near if rays.begin is None else torch.maximum(near, rays.begin)
        far = far if rays.limit is None else torch.minimum(far, rays.limit)
        return torch.minimum(near, far), far

    def within_crop(self, rays: Rays, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        """What of the rays in unit space between near and far [R] lies in the box that is cropped to."""
        if self._crop is None:
            return near, far
        corners = self.scale * rays.origins.new_tensor(self._crop)
        entry, exit_ = intersect_ray_aabb(rays.origins.detach(), rays.directions.detach(), corners)
        start = torch.maximum(near, entry)
        return start, torch.maximum(torch.minimum(far, exit_), start)

    def _whole_reach(self, rays: Rays, settings: RangeConfig) -> tuple[Tensor, Tensor]:
        near = self.scale * (self.box.near if settings.near is None else settings.near)
        nearest = torch.full_like(rays.origins[:, 0], near)
        if settings.far is not None:
            return nearest, torch.full_like(nearest, self.scale * settings.far)
        half = 0.5 * self.box.aabb_scale * self.scale
        corners = rays.origins.new_tensor([[-half] * 3, [half] * 3])
        entry, exit_ = intersect_ray_aabb(rays.origins.detach(), rays.directions.detach(), corners, near)
        start = entry if self.box.bounded else nearest
        return start, torch.maximum(exit_, start)
