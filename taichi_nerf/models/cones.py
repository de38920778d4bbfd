"""What a hash grid sees of the intervals that cones are cut into: points, points with widths, or six points each.

R rays with S intervals each, N = R S in the order of the rays. A width is the standard deviation of the isotropic
Gaussian around a point (see `fields.hash_field`).
"""

import torch
from torch import Tensor

from ..config import Widths
from ..fields.field import Samples
from ..ops.contraction import contract_points, contract_spheres
from ..ops.multisampling import multisample_cones
from ..samplers.seeds import seed_of
from ..types import Rays, Standing

__all__ = ["DISC", "contracted", "grid_samples", "radius_of"]

DISC = 0.5  # standard deviation along an axis of a disc with radius 1: the section of a cone
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
