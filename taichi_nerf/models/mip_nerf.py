"""Mip-NeRF: cones instead of rays, and one network for both levels (Barron et al. 2021).

A pixel's cone is cut into frustums, each a Gaussian, over which the encoding is averaged: what is finer than the pixel
fades from it. The second level cuts the cone anew where the blurred weights of the first are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import MipNeRFConfig
from ..data.scene import FISHEYE, Scene
from ..errors import UserError
from ..fields.encoded import EncodedGaussians
from ..losses import squared_error
from ..ops.conical_frustum import frustum_gaussians
from ..ops.interval_sampling import distance_from_normalised
from ..ops.volume_rendering import composite_intervals
from ..samplers.coarse_to_fine import CoarseToFineCones
from ..types import UNKNOWN, Batch, Rays, Shot, Standing
from .intervals import IntervalModel
from .model import Box
from .pixels import Level, Pixels, pixels_of_levels


class MipNeRF(IntervalModel):
    """One field, asked twice. Everything random is a function of `seed`."""

    sees_cones = True

    def __init__(self, config: MipNeRFConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        self.field = EncodedGaussians(config.field, 3, torch.Generator().manual_seed(seed),
                                      colour_padding=config.colour_padding)
        self.sampler = CoarseToFineCones(config.samples, config.padding)

    @classmethod
    def unit_scale(cls, config: MipNeRFConfig, box: Box) -> float:
        return 2 / box.aabb_scale if box.bounded else 2.0

    @classmethod
    def check_scene(cls, config: MipNeRFConfig, scene: Scene) -> None:
        super().check_scene(config, scene)
        if config.integrated:
            refuse_fisheye(scene, "mip-nerf")

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        unit = self.unit_rays(rays)
        near, far = self.reach(unit, self.config.range)
        levels = self.sampler.sample(near, lambda number, s: self._level(unit, s, near, far), standing)
        return pixels_of_levels(rays, levels).averaged(rays.per_pixel)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        weight = batch.weight if self.config.area_weighting else None
        coarse, fine = (squared_error(level.pixels.over(batch.background), batch.target, weight)
                        for level in pixels.levels)
        return {"coarse": self.config.coarse_weight * coarse, "fine": fine}

    def density(self, positions: Tensor, shot: Shot = UNKNOWN) -> Tensor:
        positions = positions * self.scale
        return self.field.density((positions, torch.zeros_like(positions)), shot)[0] * self.scale

    def _level(self, unit: Rays, s: Tensor, near: Tensor, far: Tensor) -> Level:
        """The pixels that the intervals between s [R, S + 1] make."""
        # a Gaussian for each frustum of a ray's cone
        t = distance_from_normalised(s, near, far, self.config.range.spacing)  # [R, S + 1]
        radius = torch.zeros_like(near) if unit.radius is None else unit.radius
        mean, variance = frustum_gaussians(t, unit.origins, unit.directions, radius)  # [R, S, 3]
        if not self.config.integrated:
            variance = torch.zeros_like(variance)
        # the field over each
        density, hidden = self.field.density((mean.view(-1, 3), variance.view(-1, 3)), unit.shot)  # [R S]
        colour = self.field.colour(hidden, unit.directions, unit.shot)  # [R S, 3]
        colour, opacity, depth, weights = composite_intervals(density.view(mean.shape[:2]), colour.view(mean.shape), t)
        return Level(s=s, t=t / self.scale, weights=weights,
                     pixels=Pixels(colour=colour, opacity=opacity, depth=depth / self.scale))


def refuse_fisheye(scene: Scene, model: str) -> None:
    """Raises UserError where a camera has no cones."""
    if any((split.cameras.lens == FISHEYE).any() for split in scene.splits.values()):
        raise UserError(f"--model {model} is not for {scene.name}, whose cameras have fisheye lenses: the cone of a "
                        "pixel is not round, and its Gaussian undefined; use --model.no-integrated, or --model nerf")
