"""The distortion loss, of packed samples and of dense intervals, as PyTorch operations.

R rays; packed, S samples of all rays together; dense, S intervals of each ray.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import distortion as kernels

from ._check import check_rays, check_tensor


def distortion_loss(weights: Tensor, midpoints: Tensor, lengths: Tensor, ray_start: Tensor,
                    ray_count: Tensor) -> Tensor:
    """Spread of the weights along each ray (Barron et al. 2022, mip-NeRF 360, eq. 15).

    `sum over i, j of w_i w_j |m_i - m_j| + 1/3 sum over i of w_i^2 l_i`, in time linear in the samples.

    Args:
        weights: [S] of the samples.
        midpoints: [S] of their intervals, ascending along each ray; mip-NeRF 360 takes normalised distances.
        lengths: [S] of their intervals.
        ray_start: [R] int32, index of each ray's first sample.
        ray_count: [R] int32, number of its samples; each sample belongs to exactly one ray.

    Returns:
        loss [R], 0 for a ray without samples. Differentiable with respect to weights, midpoints and lengths;
        with respect to two midpoints that are equal, only as they keep their order.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; samples that there are not (looked
        at on a CPU only; on a GPU they are left out).
    """
    return _Distortion.apply(weights, midpoints, lengths, ray_start, ray_count)


def interval_distortion_loss(weights: Tensor, fenceposts: Tensor) -> Tensor:
    """`distortion_loss` of rays that all have S intervals, between fenceposts.

    Args:
        weights: [R, S].
        fenceposts: [R, S + 1], ascending; mip-NeRF 360 takes normalised distances s.

    Returns:
        loss [R], differentiable with respect to weights and fenceposts.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
    """
    return _IntervalDistortion.apply(weights, fenceposts)


class _Distortion(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, midpoints, lengths, ray_start, ray_count):
        weights = check_tensor("weights", weights, (None,))
        midpoints = check_tensor("midpoints", midpoints, weights.shape, like=weights)
        lengths = check_tensor("lengths", lengths, weights.shape, like=weights)
        ray_start, ray_count = check_rays(ray_start, ray_count, len(weights), like=weights)
        loss = weights.new_empty(len(ray_start))
        kernels.distortion_forward(weights, midpoints, lengths, ray_start, ray_count, loss)
        ctx.save_for_backward(weights, midpoints, lengths, ray_start, ray_count)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_gradient):
        weights, *_ = ctx.saved_tensors
        gradients = [torch.empty_like(weights) for _ in range(3)]
        kernels.distortion_backward(*ctx.saved_tensors, loss_gradient.contiguous(), *gradients)
        return (
            *gradients,
            None,  # ray_start
            None,  # ray_count
        )


class _IntervalDistortion(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, fenceposts):
        weights = check_tensor("weights", weights, (None, None))
        fenceposts = check_tensor("fenceposts", fenceposts, (len(weights), weights.shape[1] + 1), like=weights)
        loss = weights.new_empty(len(weights))
        kernels.distortion_dense_forward(weights, fenceposts, loss)
        ctx.save_for_backward(weights, fenceposts)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_gradient):
        gradients = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
        kernels.distortion_dense_backward(*ctx.saved_tensors, loss_gradient.contiguous(), *gradients)
        return tuple(gradients)
