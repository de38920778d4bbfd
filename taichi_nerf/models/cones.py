"""What a hash grid sees of the intervals that cones are cut into: points, points with widths, or six points each.

R rays with S intervals each, N = R S in the order of the rays. A width is the standard deviation of the isotropic
Gaussian around a point (see `fields.hash_field`).
"""

import numpy as np
import torch
from torch import Tensor

from ..config import Widths
from ..data.scene import Cameras
from ..fields.field import Samples
from ..ops.contraction import contract_points, contract_spheres
from ..ops.multisampling import multisample_cones
from ..samplers.seeds import seed_of
from ..types import Rays, Standing

__all__ = ["DISC", "contracted", "grid_samples", "radius_of", "seen_points", "sharpest_view", "times_as_wide",
           "usual_view"]

PIXEL = 2 / 12**0.5  # radius of the disc whose variance is that of a pixel
DISC = 0.5  # standard deviation along an axis of a disc with radius 1: the section of a cone
SHARPEST = 0.1  # of the photos: a single one that is sharper yet does not count
INSIDE = 0.5  # half the side of the base cube: who is nearer to the middle of space looks around
TURNS = 16  # purpose of the random turns of a ray's first level; those of the samplers are below


def grid_samples(widths: Widths, rays: Rays, t: Tensor, level: int, standing: Standing | None) -> Samples:
    """Of the intervals between t [R, S + 1] at a `level` of sampling: points [N, 3]; with widths [N]; or six points
    [N, 6, 3] with widths [N, 6]."""
    if widths == "six":
        return multisample_cones(t[:, :-1].reshape(-1), t[:, 1:].reshape(-1), rays.origins, rays.directions,
                                 radius_of(rays), seed=seed_of(standing, TURNS + level))
    middle = (t[:, 1:] + t[:, :-1]) / 2
    positions = (rays.origins[:, None] + middle[..., None] * rays.directions[:, None]).view(-1, 3)
    return positions if widths == "off" else (positions, (DISC * radius_of(rays)[:, None] * middle).view(-1))


def usual_view(cameras: Cameras) -> Tensor:
    """[2]: the radius of a pixel's cone at distance 1, and how far the middle of space is, of the median camera."""
    radius, distance = PIXEL / cameras.focal.mean(axis=1), np.linalg.norm(cameras.position, axis=1)
    return torch.tensor([np.median(radius), np.median(distance)])


def sharpest_view(cameras: Cameras) -> Tensor:
    """[2]: the radius of a pixel's cone at distance 1 in the sharpest photos, and from how far away the median camera
    looks at the middle of space; farther where long lenses are those of whoever stands far away, so that no photo sees
    so little of the middle."""
    radius, distance = PIXEL / cameras.focal.mean(axis=1), _distance(cameras)
    sharpest, least = (np.quantile(values, SHARPEST, method="lower") for values in (radius, radius * distance))
    return torch.tensor([sharpest, max(np.median(distance), least / sharpest)])


def times_as_wide(cameras: Cameras, index: int, sharpest: Tensor) -> float:
    """How many times as wide the middle of space is to a pixel of camera `index` as to one of the `sharpest_view` [2];
    0 where that is not known."""
    seen, usual = PIXEL / cameras.focal[index].mean() * _distance(cameras)[index], float(sharpest.prod())
    return float(seen) / usual if usual > 0 else 0.0


def _distance(cameras: Cameras) -> np.ndarray:
    """[N]: from the middle of space, of those outside of the base cube."""
    return np.linalg.norm(cameras.position.astype(float), axis=1).clip(INSIDE)


def seen_points(positions: Tensor, radius: Tensor, distance: Tensor) -> Samples:
    """Positions [N, 3] of no ray, and what a cone of `radius` sees there [N] from so far away."""
    return positions, DISC * radius * positions.norm(dim=1).clamp_min(distance)


def contracted(samples: Samples) -> Samples:
    """The same in contracted space."""
    if isinstance(samples, Tensor):
        return contract_points(samples)
    positions, widths = samples
    flat = contract_spheres(positions.view(-1, 3), widths.view(-1))
    return flat[0].view_as(positions), flat[1].view_as(widths)


def radius_of(rays: Rays) -> Tensor:
    """[R] at distance 1 of what a ray sees: of several rays of a pixel, each its part of the area."""
    if rays.radius is None:
        return torch.zeros_like(rays.origins[:, 0])
    return rays.radius / rays.per_pixel**0.5
