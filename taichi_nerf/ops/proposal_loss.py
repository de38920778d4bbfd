"""The proposal losses of mip-NeRF 360 and Zip-NeRF as PyTorch operations.

R rays, S intervals of the target, M of the proposal.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import proposal_loss as kernels

from ._check import check_tensor

__all__ = ["blurred_proposal_loss", "proposal_bound_loss"]


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


def blurred_proposal_loss(fenceposts: Tensor, weights: Tensor, proposal_fenceposts: Tensor, proposal_weights: Tensor,
                          reach: float) -> Tensor:
    """By how much the blurred target exceeds the weights of a proposal (Barron et al. 2023, Zip-NeRF, section 3.3).

    `sum over j of max(0, b_j - q_j)^2 / (q_j + eps)`, where `b_j` is the mass that falls into the proposal's interval j
    once the density of the target is averaged over `reach` to either side; in time linear in S + M. Unlike
    `proposal_bound_loss` it changes smoothly where intervals of either move along the ray.

    Args:
        fenceposts, weights, proposal_fenceposts, proposal_weights: as of `proposal_bound_loss`.
        reach: above 0, in units of the fenceposts; of their distances from 0 to 1 the paper takes 0.03, then 0.003.

    Returns:
        loss [R]. Differentiable with respect to proposal_weights alone.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; a reach that is not above 0.
    """
    if not 0 < reach < math.inf:
        raise ValueError(f"reach must be above 0, got {reach}")
    return _BlurredLoss.apply(fenceposts, weights, proposal_fenceposts, proposal_weights, float(reach))


class _ProposalLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *histograms):
        histograms = _checked_histograms(*histograms)
        loss = histograms[1].new_empty(len(histograms[1]))
        kernels.proposal_loss_forward(*histograms, loss)
        ctx.save_for_backward(*histograms)
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


class _BlurredLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fenceposts, weights, proposal_fenceposts, proposal_weights, reach):
        histograms = _checked_histograms(fenceposts, weights, proposal_fenceposts, proposal_weights)
        loss, slope = weights.new_empty(len(weights)), torch.empty_like(histograms[3])
        kernels.blurred_loss_forward(*histograms, reach, loss, slope)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_gradient):
        (slope,) = ctx.saved_tensors
        return (
            None,  # fenceposts
            None,  # weights
            None,  # proposal_fenceposts
            slope * loss_gradient[:, None],
            None,  # reach
        )


def _checked_histograms(fenceposts, weights, proposal_fenceposts, proposal_weights) -> tuple[Tensor, ...]:
    weights = check_tensor("weights", weights, (None, None))
    rays, intervals = weights.shape
    fenceposts = check_tensor("fenceposts", fenceposts, (rays, intervals + 1), like=weights)
    proposal_weights = check_tensor("proposal_weights", proposal_weights, (rays, None), like=weights)
    proposal_fenceposts = check_tensor("proposal_fenceposts", proposal_fenceposts,
                                       (rays, proposal_weights.shape[1] + 1), like=weights)
    return fenceposts, weights, proposal_fenceposts, proposal_weights
