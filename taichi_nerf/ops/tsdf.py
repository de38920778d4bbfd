"""Truncated signed distances on a grid, of depth pictures (Curless and Levoy 1996)."""

import math

from torch import Tensor

from taichi_nerf_kernels import tsdf as kernels

from ._check import check_in_place, check_tensor

__all__ = ["BEYOND", "integrate_depth"]

BEYOND = kernels.BEYOND  # distance of a pixel that shows no surface


def integrate_depth(distance: Tensor, pixel_weight: Tensor, camera_to_world: Tensor, focal: Tensor, principal: Tensor,
                    corner: Tensor, total: Tensor, weight: Tensor, cell: float, truncation: float) -> None:
    """Add what V depth pictures know to a grid of N0 x N1 x N2 places, in place; total / weight is then the mean of
    `min((d - r) / truncation, 1)`, zero on the surface, positive in front of it.

    Not differentiable.

    Args:
        distance: [V, H, W] along the rays of the pixels; BEYOND where nothing is met.
        pixel_weight: [V, H, W] at least 0.
        camera_to_world: [V, 3, 4], OpenGL axes. focal, principal: [V, 2] pixels, of pinholes.
        corner: [3] the place with index 0, 0, 0.
        total, weight: [N0, N1, N2], changed in place; zeros at first.
        cell: between two places.
        truncation: of the distances, some cells.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; a cell or truncation that is not
            positive; a total or weight that is not contiguous.
    """
    for name, length in (("cell", cell), ("truncation", truncation)):
        if not 0 < length < math.inf:
            raise ValueError(f"{name} must be positive, got {length}")
    distance = check_tensor("distance", distance, (None, None, None))
    views = len(distance)
    pixel_weight = check_tensor("pixel_weight", pixel_weight, distance.shape, like=distance)
    camera_to_world = check_tensor("camera_to_world", camera_to_world, (views, 3, 4), like=distance)
    focal = check_tensor("focal", focal, (views, 2), like=distance)
    principal = check_tensor("principal", principal, (views, 2), like=distance)
    corner = check_tensor("corner", corner, (3,), like=distance)
    total = check_in_place("total", total, (None, None, None), like=distance)
    weight = check_in_place("weight", weight, total.shape, like=distance)
    if distance.numel() and total.numel():
        kernels.integrate_depth(distance, pixel_weight, camera_to_world, focal, principal, corner, total, weight, cell,
                                truncation)
