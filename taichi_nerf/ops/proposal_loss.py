"""The proposal loss of mip-NeRF 360 as a PyTorch operation. R rays, S intervals of the target, M of the proposal."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import proposal_loss as kernels

from ._check import check_tensor

__all__ = ["proposal_bound_loss"]


def proposal_bound_loss(fenceposts: Tensor, weights: Tensor, proposal_fenceposts: Tensor,
                        proposal_weights: Tensor) -> Tensor:
    """By how much weights exceed the bound of a proposal's histogram (Barron et al. 2022, mip-NeRF 360, eq. 13).

    `sum over i of max(0, w_i - bound_i)^2 / (w_i + eps)`, where `bound_i` is the sum of the proposal's weights over
    its intervals that overlap interval i; in time linear in S + M. 0 if the proposal bounds the target.

    Args:
        fenceposts: [R, S + 1] of the target, ascending.
        weights: [R, S], at least 0.
        proposal_fenceposts: [R, M + 1], ascending.
        proposal_weights: [R, M], at least 0.

    Returns:
        loss [R]. Differentiable with respect to proposal_weights alone: the target is a constant, and so is where the
        intervals of either lie.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
    """
    return _ProposalLoss.apply(fenceposts, weights, proposal_fenceposts, proposal_weights)


class _ProposalLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fenceposts, weights, proposal_fenceposts, proposal_weights):
        weights = check_tensor("weights", weights, (None, None))
        rays, intervals = weights.shape
        fenceposts = check_tensor("fenceposts", fenceposts, (rays, intervals + 1), like=weights)
        proposal_weights = check_tensor("proposal_weights", proposal_weights, (rays, None), like=weights)
        proposal_fenceposts = check_tensor("proposal_fenceposts", proposal_fenceposts,
                                           (rays, proposal_weights.shape[1] + 1), like=weights)
        loss = weights.new_empty(rays)
        kernels.proposal_loss_forward(fenceposts, weights, proposal_fenceposts, proposal_weights, loss)
        ctx.save_for_backward(fenceposts, weights, proposal_fenceposts, proposal_weights)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_gradient):
        gradient = torch.empty_like(ctx.saved_tensors[3])
        kernels.proposal_loss_backward(*ctx.saved_tensors, loss_gradient.contiguous(), gradient)
        return (
            None,  # fenceposts
            None,  # weights
            None,  # proposal_fenceposts
            gradient,
        )
