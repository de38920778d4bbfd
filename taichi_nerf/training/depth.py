"""Supervision by known distances of some pixels: those of depth images.

The weights of a ray say where it ends. The loss is how far, on average, they must be carried to the known distance d,
as a part of d, where the opacity that is lacking counts as missing by all of it:

    loss = sum_i w_i max(|t_i - d| - dt_i / 2, 0) / d  +  1 - sum_i w_i

It is the transport distance (Wasserstein's first) between the distribution of where the ray ends and its surface.
Unlike the error of the mean distance it is zero for nothing but a surface at d: fog before it cannot be made up for by
matter behind. It is linear in the weights, and needs no deviation, which the likelihood of DS-NeRF does (Deng et al.
2022).
"""

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from .. import runtime
from ..data.scene import Scene
from ..errors import UserError
from ..models.model import Pixels
from ..ops.camera import TrainingImages

__all__ = ["KnownDistances", "known_pixels", "transport_loss"]


def known_pixels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The pixels [M] of all training images together whose distance is known, and the distances [M] in model units.

    Raises UserError where there is none.
    """
    split = scene.splits["train"]
    if not split.depth:
        raise UserError(f"{scene.name} knows no distances: it has no depth images; leave --depth.weight out")
    distance = np.concatenate([np.ravel(depth) for depth in split.depth])
    known = np.flatnonzero(np.isfinite(distance) & (distance > 0))
    if len(known) == 0:
        raise UserError(f"the depth images of {scene.name} hold no distance above 0; leave --depth.weight out")
    return known.astype(np.int32), (distance[known] * scene.scale).astype(np.float32)


class KnownDistances:
    """The pixels of the training images whose distance is known."""

    def __init__(self, scene: Scene, images: TrainingImages):
        """Raises UserError where there is none."""
        self.images, device = images, runtime.current().device
        self.pixel_index, self.distance = (torch.from_numpy(values).to(device) for values in known_pixels(scene))

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
