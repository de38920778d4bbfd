"""Mip-NeRF: cones instead of rays, and one network for both levels (Barron et al. 2021).

A pixel's cone is cut into frustums, each a Gaussian, over which the encoding is averaged: what is finer than the pixel
fades from it. The second level cuts the cone anew where the blurred weights of the first are.

A hash grid (--encoding hash) has no such average; there the levels that are finer than the pixel fade instead.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..config import FieldConfig, MipNeRFConfig, PositionalFieldConfig
from ..data.scene import FISHEYE, Cameras, Scene
from ..errors import UserError
from ..fields.encoded import EncodedGaussians
from ..fields.field import Radiance, Samples
from ..fields.hash_field import HashField
from ..losses import squared_error
from ..ops.conical_frustum import frustum_gaussians
from ..ops.interval_sampling import distance_from_normalised
from ..ops.volume_rendering import composite_intervals
from ..samplers.coarse_to_fine import CoarseToFineCones
from ..types import UNKNOWN, Batch, Rays, Shot, Standing
from .cones import grid_samples, seen_points, usual_view
from .intervals import IntervalModel
from .model import Box
from .pixels import Level, Pixels, pixels_of_levels


class MipNeRF(IntervalModel):
    """One field, asked twice. Everything random is a function of `seed`."""

    def __init__(self, config: MipNeRFConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        self.hashed = isinstance(config.field, FieldConfig)
        self.sees_cones = not self.hashed or config.widths != "off"
        generator = torch.Generator().manual_seed(seed)
        if self.hashed:
            self.field = HashField(config.field, box.aabb_scale * self.scale, generator, self.told_size)
            if self.sees_cones:  # of the median camera: radius of a pixel's cone, distance of the middle
                self.register_buffer("view", torch.zeros(2))
        else:
            self.field = EncodedGaussians(config.field, 3, generator, appearance=self.told_size,
                                          colour_padding=config.colour_padding)
        self.sampler = CoarseToFineCones(config.samples, config.padding)

    @property
    def told_size(self) -> int:
        """How many numbers the colour is told of each ray besides its direction, as the code of its appearance."""
        return 0

    def told(self, shot: Shot, count: int) -> Shot:
        """`shot` of `count` rays or points with all that the colour is told as the code of its appearance."""
        return shot

    @classmethod
    def unit_scale(cls, config: MipNeRFConfig, box: Box) -> float:
        boxed = box.bounded or isinstance(config.field, FieldConfig)  # the whole box becomes [-1, 1]^3, else its core
        return 2 / box.aabb_scale if boxed else 2.0

    @classmethod
    def check_scene(cls, config: MipNeRFConfig, scene: Scene) -> None:
        super().check_scene(config, scene)
        if config.integrated and isinstance(config.field, PositionalFieldConfig):
            refuse_fisheye(scene, "mip-nerf")

    def before_training(self, cameras: Cameras) -> None:
        if not self.hashed:  # the mean of the encoding over a cone is there already
            return
        super().before_training(cameras)
        if self.sees_cones:
            self.view.copy_(usual_view(cameras) * torch.tensor([1.0, self.scale]))

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        unit = self.unit_rays(replace(rays, shot=self.told(rays.shot, len(rays))))
        near, far = self.reach(unit, self.config.range)

        def look(number: int, s: Tensor) -> Level:
            return self._level(number, unit, s, near, far, standing)

        levels = self.sampler.sample(near, look, standing)
        return pixels_of_levels(rays, levels).averaged(rays.per_pixel)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        weight = batch.weight if self.config.area_weighting else batch.kept
        coarse, fine = (squared_error(level.pixels.over(batch.background), batch.target, weight)
                        for level in pixels.levels)
        return {"coarse": self.config.coarse_weight * coarse, "fine": fine}

    def radiance(self, positions: Tensor, shot: Shot = UNKNOWN) -> Radiance:
        shot = self.told(shot, len(positions))
        samples = positions = positions * self.scale
        if not self.hashed:
            samples = positions, torch.zeros_like(positions)
        elif self.sees_cones:
            samples = seen_points(positions, *self.view)
        density, hidden = self.field.density(samples, shot)
        return Radiance(density * self.scale, self.field, hidden, shot)

    def _level(self, number: int, unit: Rays, s: Tensor, near: Tensor, far: Tensor, standing: Standing | None) -> Level:
        """The pixels that the intervals between s [R, S + 1] make."""
        t = distance_from_normalised(s, near, far, self.config.range.spacing)  # [R, S + 1]
        if self.hashed:
            samples = grid_samples(self.config.widths, unit, t, number, standing)
        else:
            samples = self._gaussians(unit, t)
        density, hidden = self.field.density(samples, unit.shot)  # [R S]
        colour = self.field.colour(hidden, unit.directions, unit.shot)  # [R S, 3]
        rays, intervals = len(t), t.shape[1] - 1
        colour, opacity, depth, weights = composite_intervals(
            density.view(rays, intervals), colour.view(rays, intervals, 3), t)
        return Level(s=s, t=t / self.scale, weights=weights,
                     pixels=Pixels(colour=colour, opacity=opacity, depth=depth / self.scale))

    def _gaussians(self, unit: Rays, t: Tensor) -> Samples:
        """[R S, 3] each: of the frustums between t [R, S + 1] of each ray's cone."""
        radius = torch.zeros_like(t[:, 0]) if unit.radius is None else unit.radius
        mean, variance = frustum_gaussians(t, unit.origins, unit.directions, radius)  # [R, S, 3]
        if not self.config.integrated:
            variance = torch.zeros_like(variance)
        return mean.view(-1, 3), variance.view(-1, 3)


def refuse_fisheye(scene: Scene, model: str) -> None:
    """Raises UserError where a camera has no cones."""
    if any((split.cameras.lens == FISHEYE).any() for split in scene.splits.values()):
        raise UserError(f"--model {model} is not for {scene.name}, whose cameras have fisheye lenses: the cone of a "
                        "pixel is not round, and its Gaussian undefined; use --model.no-integrated, or --model nerf")
