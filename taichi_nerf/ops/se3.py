"""Rigid motions from twists as a PyTorch operation. N twists."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import se3 as kernels

from ._check import check_result, check_tensor

__all__ = ["exponential_map"]


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
