"""Contraction of unbounded space as PyTorch operations. N points; R rays, S intervals, D directions of a basis."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import contraction as kernels
from taichi_nerf_kernels.contraction import off_axis_basis

from ._check import check_tensor

__all__ = ["contract_points", "contract_spheres", "off_axis_basis", "project_gaussians"]


def contract_points(points: Tensor) -> Tensor:
    """`x` inside the unit ball, `(2 - 1 / |x|) x / |x|` outside of it (Barron et al. 2022, mip-NeRF 360, eq. 10).

    Args:
        points: [N, 3].

    Returns:
        [N, 3] of length below 2. Differentiable, on the unit sphere too.

    Raises:
        TypeError, ValueError: points of another type, shape or dtype.
    """
    return _Contract.apply(points)


def contract_spheres(points: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """`contract_points`, and the widths that isotropic Gaussians there then have (Barron et al. 2023, Zip-NeRF).

    A width is multiplied by `|det J|^(1/3) = ((2 r - 1)^2)^(1/3) / r^2` outside of the unit ball, r = |x|, which keeps
    the Gaussian's volume: the contraction draws it together more along the radius than across.

    Args:
        points: [N, 3].
        widths: [N] standard deviations, in units of the points.

    Returns:
        points [N, 3] and widths [N]. Differentiable with respect to both; the widths, of points on the unit sphere, as
        from inside.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
    """
    return _ContractSpheres.apply(points, widths)


def project_gaussians(origins: Tensor, directions: Tensor, t_mean: Tensor, t_variance: Tensor, radial_variance: Tensor,
                      basis: Tensor, contract: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and variance along a basis of the Gaussians of conical frustums, after their contraction.

    A Gaussian has the mean `x = o + t_mean d` and the covariance
    `Sigma = t_variance d d^T + radial_variance (I - d d^T / |d|^2)`; contracted it has `f(x)` and `J Sigma J^T`, with
    the full covariance (Barron et al. 2022, section 3). `ops.positional_encoding.encode_gaussian` takes the result.

    Args:
        origins: [R, 3]. The unit ball is that around 0.
        directions: [R, 3], of any length but zero.
        t_mean, t_variance, radial_variance: [R, S], as of `ops.conical_frustum.frustum_moments`.
        basis: [D, 3], of any length; `off_axis_basis()` gives the 21 directions of mip-NeRF 360. Not differentiable.
        contract: False to project the Gaussians as they are.

    Returns:
        mean and variance, each [R, S, D]. Differentiable with respect to origins, directions and the three moments;
        the variance, of a Gaussian whose mean lies on the unit sphere, as from inside.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; a result too large to be indexed.
    """
    return _Project.apply(origins, directions, t_mean, t_variance, radial_variance, basis, bool(contract))


class _Contract(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points):
        points = check_tensor("points", points, (None, 3))
        contracted = torch.empty_like(points)
        kernels.contract_forward(points, contracted)
        ctx.save_for_backward(points)
        return contracted

    @staticmethod
    @once_differentiable
    def backward(ctx, contracted_gradient):
        (points,) = ctx.saved_tensors
        points_gradient = torch.empty_like(points)
        kernels.contract_backward(points, contracted_gradient.contiguous(), points_gradient)
        return points_gradient


class _ContractSpheres(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, widths):
        points = check_tensor("points", points, (None, 3))
        widths = check_tensor("widths", widths, (len(points),), like=points)
        contracted, contracted_widths = torch.empty_like(points), torch.empty_like(widths)
        kernels.contract_spheres_forward(points, widths, contracted, contracted_widths)
        ctx.save_for_backward(points, widths)
        return contracted, contracted_widths

    @staticmethod
    @once_differentiable
    def backward(ctx, contracted_gradient, contracted_widths_gradient):
        gradients = tuple(torch.empty_like(x) for x in ctx.saved_tensors)
        kernels.contract_spheres_backward(*ctx.saved_tensors, contracted_gradient.contiguous(),
                                          contracted_widths_gradient.contiguous(), *gradients)
        return gradients


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, origins, directions, t_mean, t_variance, radial_variance, basis, contract):
        origins = check_tensor("origins", origins, (None, 3))
        directions = check_tensor("directions", directions, origins.shape, like=origins)
        t_mean = check_tensor("t_mean", t_mean, (len(origins), None), like=origins)
        t_variance = check_tensor("t_variance", t_variance, t_mean.shape, like=origins)
        radial_variance = check_tensor("radial_variance", radial_variance, t_mean.shape, like=origins)
        basis = check_tensor("basis", basis, (None, 3), like=origins)
        if t_mean.numel() * max(len(basis), 8) >= 2**31:
            raise ValueError(f"{t_mean.numel()} Gaussians x {len(basis)} directions are too many: take fewer at a time")
        mean, variance = (t_mean.new_empty(*t_mean.shape, len(basis)) for _ in range(2))
        given = origins, directions, t_mean, t_variance, radial_variance, basis
        kernels.project_forward(*given, mean, variance, contract)
        ctx.save_for_backward(*given)
        ctx.contract = contract
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, mean_gradient, variance_gradient):
        gradients = [torch.empty_like(x) for x in ctx.saved_tensors[:5]]
        kernels.project_backward(*ctx.saved_tensors, mean_gradient.contiguous(), variance_gradient.contiguous(),
                                 *gradients, ctx.contract)
        return (
            *gradients,
            None,  # basis
            None,  # contract
        )
