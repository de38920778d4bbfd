"""Cones through pixels as PyTorch operations. R rays, S intervals between S + 1 fenceposts, N cameras."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import conical_frustum as kernels

from ._check import check_index, check_result, check_tensor

__all__ = ["cone_radii", "frustum_gaussians", "frustum_moments"]

SHAPES = {"cone": kernels.CONE, "cylinder": kernels.CYLINDER}


def frustum_moments(fenceposts: Tensor, radius: Tensor, shape: str = "cone") -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance along, and variance across the ray of each conical frustum (Barron et al. 2021, eq. 7).

    Args:
        fenceposts: [R, S + 1] distances in units of the ray's direction, ascending, at least 0.
        radius: [R] of the cone at distance 1 (`cone_radii`); of the cylinder everywhere.
        shape: "cone", or "cylinder" for rays in normalised device coordinates.

    Returns:
        t_mean, t_variance, radial_variance, each [R, S]. Differentiable with respect to fenceposts and radius.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; an unknown shape.
    """
    return _Moments.apply(fenceposts, radius, _checked_shape(shape))


def frustum_gaussians(fenceposts: Tensor, origins: Tensor, directions: Tensor, radius: Tensor,
                      shape: str = "cone") -> tuple[Tensor, Tensor]:
    """Mean and diagonal of the covariance of the Gaussian of each conical frustum (Barron et al. 2021, eq. 8).

    Args:
        fenceposts, radius, shape: as of `frustum_moments`.
        origins: [R, 3].
        directions: [R, 3], of any length but zero.

    Returns:
        mean and variance, each [R, S, 3]. Differentiable with respect to fenceposts, origins, directions and radius.

    Raises:
        TypeError, ValueError: as `frustum_moments`.
    """
    return _Gaussians.apply(fenceposts, origins, directions, radius, _checked_shape(shape))


def cone_radii(image_index: Tensor, pixel: Tensor, focal: Tensor, principal: Tensor, distortion: Tensor,
               lens: Tensor) -> Tensor:
    """Radius [R] at distance 1 of each pixel's cone: `2 / sqrt(12)` of the pixel's width (Barron et al. 2021).

    The width is the mean of the steps to the next pixel to the right and to the next one below. For a perspective
    camera it is measured in the picture's plane and divided by the length of the ray to that plane, which is the
    paper's radius in units of a unit direction; for a fisheye, on the unit sphere. Arguments as of
    `ops.camera.rays_from_pixels`. Not differentiable.

    Raises:
        as there.
    """
    pixel = check_tensor("pixel", pixel, (None, 2))
    focal = check_tensor("focal", focal, (None, 2), like=pixel)
    principal = check_tensor("principal", principal, focal.shape, like=pixel)
    distortion = check_tensor("distortion", distortion, (len(focal), 6), like=pixel)
    lens = check_tensor("lens", lens, (len(focal),), dtype=torch.int32, like=pixel)
    image_index = check_index("image_index", image_index, (len(pixel),), len(lens), like=pixel)
    radius = pixel.new_empty(len(pixel))
    if len(pixel):
        kernels.cone_radius_forward(image_index, pixel, focal, principal, distortion, lens, radius)
    return radius


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fenceposts, radius, shape):
        fenceposts, radius = _checked_intervals(fenceposts, radius)
        moments = [fenceposts.new_empty(len(radius), fenceposts.shape[1] - 1) for _ in range(3)]
        kernels.moments_forward(fenceposts, radius, *moments, shape)
        ctx.save_for_backward(fenceposts, radius)
        ctx.shape = shape
        return tuple(moments)

    @staticmethod
    @once_differentiable
    def backward(ctx, *moment_gradients):
        fenceposts, radius = ctx.saved_tensors
        gradients = torch.empty_like(fenceposts), torch.empty_like(radius)
        kernels.moments_backward(fenceposts, radius, *(g.contiguous() for g in moment_gradients), *gradients, ctx.shape)
        return (
            *gradients,
            None,  # shape
        )


class _Gaussians(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fenceposts, origins, directions, radius, shape):
        fenceposts, radius = _checked_intervals(fenceposts, radius)
        origins = check_tensor("origins", origins, (len(radius), 3), like=fenceposts)
        directions = check_tensor("directions", directions, (len(radius), 3), like=fenceposts)
        check_result(len(radius), fenceposts.shape[1], 3)
        mean, variance = (fenceposts.new_empty(len(radius), fenceposts.shape[1] - 1, 3) for _ in range(2))
        kernels.gaussians_forward(fenceposts, origins, directions, radius, mean, variance, shape)
        ctx.save_for_backward(fenceposts, directions, radius)
        ctx.shape = shape
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, mean_gradient, variance_gradient):
        fenceposts, directions, radius = ctx.saved_tensors
        gradients = [torch.empty_like(x) for x in (fenceposts, directions, directions, radius)]
        kernels.gaussians_backward(fenceposts, directions, radius, mean_gradient.contiguous(),
                                   variance_gradient.contiguous(), *gradients, ctx.shape)
        return (
            *gradients,
            None,  # shape
        )


def _checked_shape(shape: str) -> int:
    if shape not in SHAPES:
        raise ValueError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")
    return SHAPES[shape]


def _checked_intervals(fenceposts: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    fenceposts = check_tensor("fenceposts", fenceposts, (None, None))
    if fenceposts.shape[1] < 1:
        raise ValueError("fenceposts must have shape (*, S + 1), got no column")
    return fenceposts, check_tensor("radius", radius, (len(fenceposts),), like=fenceposts)
