"""What a step is trained on: pixels drawn from the photos, and the rays through them.

P pixels of a step, R rays, `per_pixel` of each pixel.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from ..config import BatchConfig, RayBatchConfig
from ..models.model import Model
from ..ops.camera import TrainingRays, rays_from_pixels, training_rays
from ..ops.conical_frustum import cone_radii
from ..types import Batch, Rays, Standing
from .corrections import Corrections
from .photos import Photos

__all__ = ["AdaptiveBatches", "Batches", "PhotoRays", "PixelBatches", "RayBatches", "batches_for"]

SMOOTHING = 0.8  # of the samples per ray, which decide the number of rays of the next step
CROPPED = 0.25  # of a training at most sees the central half of the images alone
CROP_DRAWS = 6  # pixels drawn for one of the central half of the images, which is a quarter of their area
SPARE = 1.25  # pixels drawn for one of some of the images, times how many all images have for one of theirs


class Batches(Protocol):
    """What a step asks for its pixels."""

    def draw(self, standing: Standing) -> Batch:
        """Those of the step."""

    def adapt(self, rays: int, marched: int, visible: int) -> None:
        """Learn from what a step did."""


class PhotoRays:
    """Rays through the pixels of photos, by what is known of their cameras now; with radii if `cones`."""

    def __init__(self, photos: Photos, corrections: Corrections, *, cones: bool):
        self.photos, self.corrections, self.cones = photos, corrections, cones

    def through(self, image_index: Tensor, place: Tensor, standing: Standing | None, per_pixel: int = 1) -> Rays:
        """Of places [R, 2] in images [R]."""
        images = self.photos.images
        if self.corrections.cameras is not None:
            lines = self.corrections.rays(image_index, place, standing)
        else:
            lines = rays_from_pixels(image_index, place, images.poses, *images.lenses)
        return self._rays(image_index, place, lines, per_pixel)

    def of(self, drawn: TrainingRays, standing: Standing | None, per_pixel: int = 1) -> Rays:
        """Those of pixels that were drawn, all rays of each."""
        if not self.cones and self.corrections.cameras is None:
            return self._rays(drawn.image_index, None, (drawn.origins, drawn.directions), per_pixel)
        place = self.photos.images.ray_places(drawn.image_index, drawn.pixel_index, per_pixel)  # [R, 2]
        if self.corrections.cameras is not None:
            return self.through(drawn.image_index, place, standing, per_pixel)
        return self._rays(drawn.image_index, place, (drawn.origins, drawn.directions), per_pixel)

    def some(self, rays: int) -> Rays:
        """Of the photos, always the same."""
        return self.of(training_rays(self.photos.images, rays, 0), None)

    def _rays(self, image_index: Tensor, place: Tensor | None, lines: tuple[Tensor, Tensor], per_pixel: int) -> Rays:
        """With origins and directions `lines`; places [R, 2] are for cones."""
        radius = cone_radii(image_index, place, *self.photos.images.lenses) if self.cones else None
        return Rays(*lines, radius, self.photos.shots[image_index.long()], per_pixel)


class PixelBatches:
    """Pixels of all photos alike; how many, and which of them, a kind of batch says."""

    photos_seen: Callable[[Standing], Tensor | None] = staticmethod(lambda standing: None)
    """As of `Model`."""

    def __init__(self, source: PhotoRays, config: BatchConfig | RayBatchConfig, most_per_pixel: int, patch: int = 1):
        """A pixel has `most_per_pixel` rays when it has all of them; pixels are drawn as squares of `patch` x
        `patch`."""
        self.source, self.photos, self.config = source, source.photos, config
        self.most_per_pixel, self.patch = most_per_pixel, patch

    @property
    def together(self) -> int:
        """A batch has a multiple of so many rays."""
        return self.most_per_pixel * self.patch**2

    @property
    def random_background(self) -> bool:
        """Whether pixels are composited over a random colour each."""
        return bool(self.config.random_background if self.photos.has_alpha else self.config.opaque)

    def rays_per_pixel(self, standing: Standing) -> int:
        """Rays of each pixel of the step."""
        return 1 if standing.progress < self.config.one_ray else self.most_per_pixel

    def rays_per_step(self) -> int:
        """Rays of the next batch, which are all those of their pixels."""
        raise NotImplementedError

    def draw(self, standing: Standing) -> Batch:
        per_pixel = self.rays_per_pixel(standing)
        of_rays = self.drawn(standing)  # [R], pixel by pixel
        drawn = TrainingRays(*(values[::per_pixel] for values in of_rays))  # [P]
        weight = None if self.photos.area_weight is None else self.photos.area_weight[drawn.image_index.long()]
        return Batch(rays=self.source.of(of_rays, standing, per_pixel), rgba=drawn.rgba,
                     background=self._background(drawn, standing), image_index=drawn.image_index,
                     pixel_index=drawn.pixel_index, weight=weight)

    def drawn(self, standing: Standing) -> TrainingRays:
        """The rays of the step as they are drawn, from the cameras as they are given."""
        seen, rays = self.photos_seen(standing), self.rays_per_step()
        if seen is None:
            return self._drawn(rays, standing)
        area = self.photos.images.size.prod(dim=1).float()  # [N]
        share = float((area * seen).sum() / area.sum())
        drawn = self._drawn(math.ceil(SPARE * rays / share / self.together + 1) * self.together, standing)
        chosen = seen[drawn.image_index.long()].nonzero()[:rays, 0]  # whole pixels and patches, which are of one image
        return TrainingRays(*(values[chosen] for values in drawn))

    def _drawn(self, rays: int, standing: Standing) -> TrainingRays:
        return training_rays(self.photos.images, rays, standing.seeds.rays, self.rays_per_pixel(standing), self.patch)

    def adapt(self, rays: int, marched: int, visible: int) -> None:
        """A batch of fixed size learns nothing."""

    def _background(self, drawn: TrainingRays, standing: Standing) -> Tensor:
        """[P, 3]"""
        background = torch.full_like(drawn.rgba[:, :3], self.photos.background)
        if self.random_background:
            uniform_forward(standing.seeds.background, 0, background.view(-1))
        return background


class AdaptiveBatches(PixelBatches):
    """As many rays as give the configured number of samples, by how many a ray had lately."""

    smoothing = SMOOTHING

    def __init__(self, source: PhotoRays, config: BatchConfig, most_per_pixel: int, expected: float, patch: int = 1):
        """`expected`: samples of a ray before any is known."""
        super().__init__(source, config, most_per_pixel, patch)
        self.marched_per_ray = self.samples_per_ray = expected

    def rays_per_step(self) -> int:
        config = self.config
        rays = min(config.samples / max(self.samples_per_ray, 1e-3),
                   config.marched / max(self.marched_per_ray, 1e-3))
        rays = max(16, self.together, min(int(rays), config.max_rays))
        return rays - rays % self.together

    def adapt(self, rays: int, marched: int, visible: int) -> None:
        self.marched_per_ray += (1 - self.smoothing) * (marched / rays - self.marched_per_ray)
        self.samples_per_ray += (1 - self.smoothing) * (visible / rays - self.samples_per_ray)


class RayBatches(PixelBatches):
    """Equally many rays a step; in the beginning, where images have alpha and the settings ask for it, of the central
    half of the images alone."""

    marched_per_ray = samples_per_ray = 0.0  # a fixed number follows from nothing

    def rays_per_step(self) -> int:
        rays = max(self.config.rays, self.together)
        return rays - rays % self.together

    def rays_per_pixel(self, standing: Standing) -> int:
        return 1 if self._crops(standing) else super().rays_per_pixel(standing)

    def drawn(self, standing: Standing) -> TrainingRays:
        if not self._crops(standing):
            return super().drawn(standing)
        rays = self.rays_per_step()
        drawn = training_rays(self.photos.images, CROP_DRAWS * rays, standing.seeds.rays)
        size = self.photos.images.size[drawn.image_index.long()]  # [6 R, 2]
        place = self.photos.images.pixel_centres(drawn.image_index, drawn.pixel_index) / size  # in [0, 1]
        central = ((place - 0.5).abs() <= 0.25).all(dim=1).nonzero()[:rays, 0]
        return TrainingRays(*(values[central] for values in drawn))

    def _crops(self, standing: Standing) -> bool:
        """Whether a step sees the central half of the images alone; patches are of whole images."""
        begins = standing.step < self.config.crop_steps and standing.progress < CROPPED
        return self.photos.has_alpha and begins and self.patch == 1


def batches_for(model: Model, source: PhotoRays, config: BatchConfig | RayBatchConfig, patch: int = 1) -> PixelBatches:
    """Those that the settings are of, for `model`, as squares of `patch` x `patch` pixels, or less where a batch has no
    room for one."""
    most = config.rays if isinstance(config, RayBatchConfig) else config.max_rays
    patch = max(1, min(patch, math.isqrt(most // model.rays_per_pixel)))
    if config.opaque is None:
        config = replace(config, opaque=model.moves and source.photos.of_place)
    if isinstance(config, RayBatchConfig):
        batches = RayBatches(source, config, model.rays_per_pixel, patch)
    else:
        batches = AdaptiveBatches(source, config, model.rays_per_pixel, float(model.config.sampling.steps), patch)
    batches.photos_seen = model.photos_seen
    return batches
