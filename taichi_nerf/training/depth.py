"""Supervision by known distances of some pixels: those of depth images, or of points that structure from motion found.

The weights of a ray say where it ends. The loss is how far, on average, they must be carried to the known distance d,
as a part of d, where the opacity that is lacking counts as missing by all of it:

    loss = sum_i w_i max(|t_i - d| - dt_i / 2, 0) / d  +  1 - sum_i w_i

It is the transport distance (Wasserstein's first) between the distribution of where the ray ends and its surface.
Unlike the error of the mean distance it is zero for nothing but a surface at d: fog before it cannot be made up for by
matter behind. It is linear in the weights, and needs no deviation, which the likelihood of DS-NeRF does (Deng et al.
2022).
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from .. import runtime
from ..config import DepthConfig
from ..data.scene import Scene
from ..errors import UserError
from ..models.model import Model
from ..models.pixels import Pixels
from ..types import Batch, Seeds, Standing
from .batches import PhotoRays

__all__ = ["KnownDistances", "known_pixels", "transport_loss"]

DEPTH_RAYS, DEPTH_JITTER = 0x2545F491, 0x1B873593  # purposes of random numbers, by what differs in their seeds


def known_pixels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The pixels [M] of all training images together whose distance is known, and the distances [M] in model units.

    They are those of the depth images, or where there are none, of the points that structure from motion saw in them. A
    pixel that is masked or partly transparent has no one distance.

    Raises UserError where there is none.
    """
    images = scene.splits["train"].images
    found = _of_depth_images(scene) if scene.splits["train"].depth else _of_points(scene)
    if found is None:
        raise UserError(f"{scene.name} knows no distances: it has neither depth images nor points of structure from "
                        "motion; leave --depth.weight out")
    pixel_index, distance = found
    known = np.isfinite(distance) & (distance > 0) & (images.pixels[pixel_index, 3] == 255)
    if images.allowed is not None:
        known &= np.isin(pixel_index, images.allowed)
    if not known.any():
        raise UserError(f"{scene.name} knows the distance of no opaque pixel; leave --depth.weight out")
    return pixel_index[known].astype(np.int32), (distance[known] * scene.scale).astype(np.float32)


def _of_depth_images(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """All pixels, and their distances in world units."""
    distance = np.concatenate([np.ravel(depth) for depth in scene.splits["train"].depth])
    return np.arange(len(distance)), distance


def _of_points(scene: Scene) -> tuple[np.ndarray, np.ndarray] | None:
    """The pixels in which points were seen, and their distances in world units; None without points."""
    split = scene.splits["train"]
    if scene.points is None or split.sightings is None:
        return None
    pixels, distances = [], []
    for n, seen in enumerate(split.sightings):
        (x, y), (width, height) = np.floor(seen.pixel).astype(np.int64).T, split.images.size[n]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        away = scene.points.position[seen.point].astype(np.float64) - split.cameras.position[n]
        pixels.append((split.images.offset[n] + y * width + x)[inside])
        distances.append(np.linalg.norm(away, axis=1)[inside])
    return np.concatenate(pixels), np.concatenate(distances)


class KnownDistances:
    """The pixels of the photos whose distance is known, as a term of the loss: rays of their own."""

    def __init__(self, scene: Scene, source: PhotoRays, model: Model, config: DepthConfig):
        """Raises UserError where there is none."""
        self.images, self.source, self.model, self.config = source.photos.images, source, model, config
        device = runtime.current().device
        self.pixel_index, self.distance = (torch.from_numpy(values).to(device) for values in known_pixels(scene))

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        """The transport loss of as many rays for those of `batch` as the settings say."""
        count, own = max(1, round(self.config.rays * len(batch))), self.seeds(standing.seeds)
        image_index, place, distance = self.draw(count, own.rays)
        rays = self.source.through(image_index, place, standing)
        seen = self.model.render(rays, replace(standing, seeds=own))
        return {"depth": self.config.weight * transport_loss(seen, distance)}

    @staticmethod
    def seeds(seeds: Seeds) -> Seeds:
        """Of its own random numbers in a step."""
        return seeds._replace(rays=seeds.rays ^ DEPTH_RAYS, jitter=seeds.jitter ^ DEPTH_JITTER)

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """image_index [count] int32, pixel centres [count, 2] and distances [count], drawn with replacement."""
        uniform = torch.empty(count, dtype=torch.float32, device=self.distance.device)
        uniform_forward(seed, 0, uniform)
        chosen = (uniform.double() * len(self.distance)).long().clamp_max(len(self.distance) - 1)
        pixel_index = self.pixel_index[chosen]
        first_pixels = self.images.image_table[:, 0].contiguous()
        image_index = torch.searchsorted(first_pixels, pixel_index, right=True, out_int32=True) - 1
        return image_index, self.images.pixel_centres(image_index, pixel_index), self.distance[chosen]


def transport_loss(pixels: Pixels, distance: Tensor) -> Tensor:
    """The mean over the rays of the loss above; `distance` [R] in model units.

    Differentiable with respect to the weights and opacities.
    """
    samples = pixels.samples
    of_ray = distance.index_select(0, samples.ray_index)
    miss = ((samples.t - of_ray).abs() - 0.5 * samples.dt).clamp_min(0) / of_ray
    carried = torch.zeros_like(distance).index_add(0, samples.ray_index, pixels.weights * miss)
    return (carried + 1 - pixels.opacity).mean()
