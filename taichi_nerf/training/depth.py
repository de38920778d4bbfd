"""Supervision by known distances of some pixels: those that points of structure from motion were seen in, or those of
depth images.

The weights of a ray say where it ends. How far, on average, must they be carried to the known distance d, as a part of
the larger of the two distances?

    miss = sum_i w_i max(|t_i - d| - dt_i / 2, 0) / max(t_i, d)  +  1 - sum_i w_i

Before d that is the length of the way as a part of d, behind it the way in disparity, 1 - d / t: the opacity that is
lacking lies at infinity, and no ray misses by more than 1. Where t_i is near d, it is the transport distance
(Wasserstein's first) between the distribution of where the ray ends and its surface. Unlike the error of the mean
distance it is zero for nothing but a surface at d: fog before it cannot be made up for by matter behind. It is linear
in the weights, and needs no deviation, which the likelihood of DS-NeRF does (Deng et al. 2022).

    loss = weight (1 - (1 - final) min(progress / until, 1)) mean_r c_r miss_r

Points are not all right. One that is wrong by much pulls no harder than any other, as the loss is bounded. Those whose
distance is less sure count less, by c = 1 / (1 + (s / 3 m)^2) over its mean, where s is the deviation of the distance
as a part of it (`data.triangulation`) and m the median of these. And the weight falls: in the beginning distances say
where surfaces are, in the end the photos say it better. Where it has fallen to nothing no further rays are cast.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from .. import runtime
from ..config import DepthConfig
from ..data.scene import Scene
from ..data.triangulation import relative_deviations
from ..errors import UserError
from ..models.model import Model
from ..models.pixels import Pixels
from ..types import Batch, Seeds, Standing
from .batches import PhotoRays

__all__ = ["Known", "KnownDistances", "check_depth", "known_pixels", "settled_depth", "transport_loss"]

DEPTH_RAYS, DEPTH_JITTER = 0x2545F491, 0x1B873593  # purposes of random numbers, by what differs in their seeds
POINTS_WEIGHT, POINTS_FINAL = 0.1, 0.0  # of points, where nothing is said
UNSURE = 3.0  # medians of the deviation at which a distance counts half as much as one that is sure


class Known(NamedTuple):
    """M pixels of all training images together whose distance is known."""

    pixel_index: np.ndarray
    """[M] int32"""
    distance: np.ndarray
    """[M] float32, in model units."""
    confidence: np.ndarray
    """[M] float32: the weight of each in the loss, 1 in the mean."""


def settled_depth(config: DepthConfig, scene: Scene) -> DepthConfig:
    """`config` with what it leaves open: where nothing is said the points that training images saw count, if there are
    any, and less and less; with a weight that is given the depth images, or where there are none the points, and
    equally to the end."""
    if config.weight is not None:
        return replace(config, of=_wanted(config, scene), final=1.0 if config.final is None else config.final)
    found = _known(scene, "points")
    wanted = config.of is not None or (found is not None and len(found.distance) > 0)
    return replace(config, weight=POINTS_WEIGHT if wanted else 0.0, of="points",
                   final=POINTS_FINAL if config.final is None else config.final)


def check_depth(config: DepthConfig, scene: Scene) -> None:
    """Raises UserError where distances that `config` asks for cannot be known of `scene`; no pixel is looked at."""
    if config.weight or (config.weight is None and config.of is not None):
        _check_any(scene, _wanted(config, scene))


def _wanted(config: DepthConfig, scene: Scene) -> str:
    """Whose distances a weight that is given counts."""
    return config.of or ("images" if scene.splits["train"].depth else "points")


def known_pixels(scene: Scene, of: str) -> Known:
    """Those of the depth images of the training images (`of` "images"), or of the points that structure from motion saw
    in them ("points"). A pixel that is masked or partly transparent has no one distance.

    Raises UserError where there is none.
    """
    _check_any(scene, of)
    found = _known(scene, of)
    if not len(found.distance):
        raise UserError(f"{scene.name} knows the distance of no opaque pixel; leave its options (--depth) out")
    return found


def _check_any(scene: Scene, of: str) -> None:
    """Raises UserError where there is nothing that distances could be known of."""
    if not _has(scene, of):
        what = "depth images" if of == "images" else "points of structure from motion that its training images saw"
        if of == "images" and scene.splits["train"].scale is not None:
            what += ", which --scales leaves out"
        raise UserError(f"{scene.name} knows no distances: it has no {what}; leave its options (--depth) out")


def _has(scene: Scene, of: str) -> bool:
    """Whether there are depth images, or points that the training images saw."""
    split = scene.splits["train"]
    return bool(split.depth) if of == "images" else scene.points is not None and split.sightings is not None


def _known(scene: Scene, of: str) -> Known | None:
    """The same, in model units; None where the scene has nothing of the kind."""
    if not _has(scene, of):
        return None
    found, images = _of_depth_images(scene) if of == "images" else _of_points(scene), scene.splits["train"].images
    chosen = np.isfinite(found.distance) & (found.distance > 0) & (images.pixels[found.pixel_index, 3] == 255)
    if images.allowed is not None:
        chosen &= np.isin(found.pixel_index, images.allowed)
    confidence = found.confidence[chosen]
    mean = confidence.mean() if len(confidence) else 1.0
    return Known(found.pixel_index[chosen].astype(np.int32), (found.distance[chosen] * scene.scale).astype(np.float32),
                 (confidence / mean).astype(np.float32))


def _of_depth_images(scene: Scene) -> Known:
    """All pixels, and their distances in world units."""
    distance = np.concatenate([np.ravel(depth) for depth in scene.splits["train"].depth])
    return Known(np.arange(len(distance)), distance, np.ones(len(distance)))


def _of_points(scene: Scene) -> Known:
    """The pixels in which points were seen, and their distances in world units; of a photo in several sizes those of
    the largest, whose pixels are the smallest, as each track counts once."""
    split = scene.splits["train"]
    sightings = [split.sightings[n] for n in split.full_size]
    deviations = relative_deviations(split.cameras.subset(split.full_size), sightings, scene.points)
    typical = np.median(np.concatenate(deviations)) if any(map(len, deviations)) else 0.0
    found = []
    for n, seen, deviation in zip(split.full_size, sightings, deviations):
        (x, y), (width, height) = np.floor(seen.pixel).astype(np.int64).T, split.images.size[n]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        away = scene.points.position[seen.point].astype(np.float64) - split.cameras.position[n]
        values = (split.images.offset[n] + y * width + x, np.linalg.norm(away, axis=1), _confidence(deviation, typical))
        found.append([value[inside] for value in values])
    return Known(*map(np.concatenate, zip(*found)))


def _confidence(deviation: np.ndarray, typical: float) -> np.ndarray:
    """1 of what is sure, 1/2 of what deviates by `UNSURE` times the typical; all are equal where that is nothing."""
    return 1 / (1 + (deviation / (UNSURE * typical)) ** 2) if typical > 0 else np.ones_like(deviation)


class KnownDistances:
    """The pixels of the photos whose distance is known, as a term of the loss: rays of their own."""

    def __init__(self, scene: Scene, source: PhotoRays, model: Model, config: DepthConfig):
        """`config` is settled, and its weight above 0. Raises UserError where no distance is known."""
        self.images, self.source, self.model, self.config = source.photos.images, source, model, config
        device = runtime.current().device
        known = known_pixels(scene, config.of)
        self.pixel_index, self.distance, self.confidence = (torch.from_numpy(values).to(device) for values in known)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        """The loss above of as many rays for those of `batch` as the settings say; none where it has no weight left."""
        if (weight := self.weight(standing)) == 0:
            return {}
        count, own = max(1, round(self.config.rays * len(batch))), self.seeds(standing.seeds)
        image_index, place, distance, confidence = self.draw(count, own.rays)
        rays = self.source.through(image_index, place, standing)
        seen = self.model.render(rays, replace(standing, seeds=own))
        return {"depth": weight * (confidence * transport_loss(seen, distance)).mean()}

    def weight(self, standing: Standing) -> float:
        """Of the loss, at this point of the training."""
        fallen = min(standing.progress / self.config.until, 1.0)
        return self.config.weight * (1 - (1 - self.config.final) * fallen)

    @staticmethod
    def seeds(seeds: Seeds) -> Seeds:
        """Of its own random numbers in a step."""
        return seeds._replace(rays=seeds.rays ^ DEPTH_RAYS, jitter=seeds.jitter ^ DEPTH_JITTER)

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """image_index [count] int32, pixel centres [count, 2], distances and confidences [count], drawn with
        replacement."""
        uniform = torch.empty(count, dtype=torch.float32, device=self.distance.device)
        uniform_forward(seed, 0, uniform)
        chosen = (uniform.double() * len(self.distance)).long().clamp_max(len(self.distance) - 1)
        pixel_index = self.pixel_index[chosen]
        first_pixels = self.images.image_table[:, 0].contiguous()
        image_index = torch.searchsorted(first_pixels, pixel_index, right=True, out_int32=True) - 1
        place = self.images.pixel_centres(image_index, pixel_index)
        return image_index, place, self.distance[chosen], self.confidence[chosen]


def transport_loss(pixels: Pixels, distance: Tensor) -> Tensor:
    """[R]: what the rays miss, as above; `distance` [R] in model units.

    Differentiable with respect to the weights and opacities.
    """
    samples = pixels.samples
    of_ray = distance.index_select(0, samples.ray_index)
    miss = ((samples.t - of_ray).abs() - 0.5 * samples.dt).clamp_min(0) / torch.maximum(samples.t, of_ray)
    return pixels.carried(miss) + 1 - pixels.opacity
