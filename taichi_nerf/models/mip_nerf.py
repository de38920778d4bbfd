"""Mip-NeRF: cones instead of rays, and one network for both levels (Barron et al. 2021).

A pixel's cone is cut into frustums, each a Gaussian, over which the encoding is averaged: what is finer than the pixel
fades from it. The second level cuts the cone anew where the blurred weights of the first are.
"""

import torch
from torch import Tensor

from ..config import MipNeRFConfig
from ..data.scene import FISHEYE, Scene
from ..errors import UserError
from ..fields.encoded import EncodedGaussians
from ..losses import squared_error
from ..ops.conical_frustum import frustum_gaussians
from ..ops.interval_sampling import blur_weights, distance_from_normalised, sample_histogram, sample_uniform
from ..ops.volume_rendering import composite_intervals
from ..types import Batch, Rays
from .intervals import IntervalModel, Level, RenderedIntervals, seed_of
from .model import Box

COARSE, FINE = range(2)  # purposes of random numbers


class MipNeRF(IntervalModel):
    """One field, asked twice. Everything random is a function of `seed`."""

    sees_cones = True

    def __init__(self, config: MipNeRFConfig, box: Box, seed: int = 0):
        super().__init__(config, box)
        self.field = EncodedGaussians(config.field, 3, torch.Generator().manual_seed(seed),
                                      colour_padding=config.colour_padding)

    @classmethod
    def unit_scale(cls, config: MipNeRFConfig, box: Box) -> float:
        return 2 / box.aabb_scale if box.bounded else 2.0

    @classmethod
    def check_scene(cls, config: MipNeRFConfig, scene: Scene) -> None:
        super().check_scene(config, scene)
        if config.integrated:
            refuse_fisheye(scene, "mip-nerf")

    def fields(self) -> list:
        return [self.field]

    def render(self, rays: Rays, *, jitter_seed: int | None = None, progress: float = 1.0) -> RenderedIntervals:
        count, unit = self.config.samples, self.unit_rays(rays)
        near, far = self.reach(unit, self.config.range)
        ends = jitter_seed is None
        s = sample_uniform(len(rays), count + 1, like=near, seed=seed_of(jitter_seed, COARSE), ends=ends)
        coarse = self._level(unit, s, near, far)
        blurred = blur_weights(coarse.weights, self.config.padding)
        s = sample_histogram(s, blurred, count + 1, seed=seed_of(jitter_seed, FINE), ends=ends)
        return RenderedIntervals(rays, (coarse, self._level(unit, s, near, far)), self.scale)

    def losses(self, pixels: RenderedIntervals, batch: Batch) -> dict[str, Tensor]:
        weight = batch.weight if self.config.area_weighting else None
        coarse, fine = (squared_error(level.over(batch.background), batch.target, weight) for level in pixels.levels)
        return {"coarse": self.config.coarse_weight * coarse, "fine": fine}

    def density(self, positions: Tensor) -> Tensor:
        positions = positions * self.scale
        return self.field.density(positions, torch.zeros_like(positions))[0] * self.scale

    def _level(self, unit: Rays, s: Tensor, near: Tensor, far: Tensor) -> Level:
        """The pixels that the intervals between s [R, S + 1] make."""
        t = distance_from_normalised(s, near, far, self.config.range.spacing)
        radius = torch.zeros_like(near) if unit.radius is None else unit.radius
        mean, variance = frustum_gaussians(t, unit.origins, unit.directions, radius)
        if not self.config.integrated:
            variance = torch.zeros_like(variance)
        density, hidden = self.field.density(mean.view(-1, 3), variance.view(-1, 3))
        colour = self.field.colour(hidden, unit.directions)
        colour, opacity, depth, weights = composite_intervals(density.view(mean.shape[:2]), colour.view(mean.shape), t)
        return Level(s=s, t=t, weights=weights, colour=colour, opacity=opacity, depth=depth / self.scale)


def refuse_fisheye(scene: Scene, model: str) -> None:
    """Raises UserError where a camera has no cones."""
    if any((split.cameras.lens == FISHEYE).any() for split in scene.splits.values()):
        raise UserError(f"--model {model} is not for {scene.name}, whose cameras have fisheye lenses: the cone of a "
                        "pixel is not round, and its Gaussian undefined; use --model.no-integrated, or --model nerf")
