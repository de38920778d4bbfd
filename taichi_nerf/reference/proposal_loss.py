"""The proposal loss in plain PyTorch, pair by pair: what `taichi_nerf.ops.proposal_loss` must equal."""

import torch

EPSILON = torch.finfo(torch.float32).eps


def proposal_bound_loss(fenceposts, weights, proposal_fenceposts, proposal_weights):
    """Loss [R]; differentiable by the proposal's weights."""
    starts, ends = fenceposts[:, :-1, None], fenceposts[:, 1:, None]
    overlaps = (proposal_fenceposts[:, None, :-1] < ends) & (proposal_fenceposts[:, None, 1:] > starts)
    bound = (overlaps * proposal_weights[:, None]).sum(2)
    return ((weights - bound).clamp_min(0).square() / (weights + EPSILON)).sum(1)
