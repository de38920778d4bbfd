"""Rigid motions from twists, and where they take points, as PyTorch operations. N twists."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import se3 as kernels

from ._check import check_result, check_tensor

__all__ = ["displacement", "displacement_slopes", "exponential_map"]


def exponential_map(twists: Tensor) -> Tensor:
    """The rigid motion `x -> R x + p` of each twist (w, v): the exponential of [[w^, v], [0, 0]].

    R is the rotation about w by the angle |w|; p is where the origin comes to, v itself where w is 0.

    Args:
        twists: [N, 6], rotation w (axis times angle in radians), then velocity v of the origin.

    Returns:
        [N, 3, 4], R | p. Differentiable once with respect to the twists, also at 0, where the gradient is that of
        `[I + w^ | v]`. Large angles are those modulo 2 pi.

    Raises:
        TypeError, ValueError: twists of another type, shape or dtype.

    Source: Murray, Li and Sastry 1994, section 2.3.
    """
    return _ExponentialMap.apply(twists)


def displacement(twists: Tensor, points: Tensor) -> Tensor:
    """`R x + p - x`: by how much the rigid motion of each point's own twist moves it, as exact as the twist is small.

    Args:
        twists: [N, 6], as of `exponential_map`.
        points: [N, 3].

    Returns:
        [N, 3]. Differentiable once with respect to both, also at a twist of 0, where it is v.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
    """
    return _Displacement.apply(twists, points)


def displacement_slopes(twists: Tensor, tangents: Tensor, points: Tensor) -> Tensor:
    """How the `displacement` changes from point to point, where the twist does: with the identity it is the Jacobian of
    a warp (Park et al. 2021, Nerfies, section 3.3).

    Args:
        twists: [N, 6], as of `exponential_map`.
        tangents: [N, 3, 6]: the derivative of the twist along x, y and z.
        points: [N, 3].

    Returns:
        [N, 3, 3], whose column j is the derivative of the displacement along axis j. Differentiable once with respect
        to all three, also at twists of 0.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
    """
    return _DisplacementSlopes.apply(twists, tangents, points)


class _ExponentialMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, twists):
        twists = check_tensor("twists", twists, (None, 6))
        check_result(len(twists), 3, 4)
        transforms = twists.new_empty(len(twists), 3, 4)
        kernels.se3_forward(twists, transforms)
        ctx.save_for_backward(twists)
        return transforms

    @staticmethod
    @once_differentiable
    def backward(ctx, transforms_gradient):
        (twists,) = ctx.saved_tensors
        twists_gradient = torch.empty_like(twists)
        kernels.se3_backward(twists, transforms_gradient.contiguous(), twists_gradient)
        return twists_gradient


class _Displacement(torch.autograd.Function):
    @staticmethod
    def forward(ctx, twists, points):
        twists = check_tensor("twists", twists, (None, 6))
        points = check_tensor("points", points, (len(twists), 3), like=twists)
        moved = torch.empty_like(points)
        kernels.displacement_forward(twists, points, moved)
        ctx.save_for_backward(twists, points)
        return moved

    @staticmethod
    @once_differentiable
    def backward(ctx, moved_gradient):
        gradients = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
        kernels.displacement_backward(*ctx.saved_tensors, moved_gradient.contiguous(), *gradients)
        return tuple(gradients)


class _DisplacementSlopes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, twists, tangents, points):
        twists = check_tensor("twists", twists, (None, 6))
        tangents = check_tensor("tangents", tangents, (len(twists), 3, 6), like=twists)
        points = check_tensor("points", points, (len(twists), 3), like=twists)
        slopes = twists.new_empty(len(twists), 3, 3)
        kernels.slopes_forward(twists, tangents, points, slopes)
        ctx.save_for_backward(twists, tangents, points)
        return slopes

    @staticmethod
    @once_differentiable
    def backward(ctx, slopes_gradient):
        gradients = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
        kernels.slopes_backward(*ctx.saved_tensors, slopes_gradient.contiguous(), *gradients)
        return tuple(gradients)
