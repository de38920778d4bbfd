"""The proposal loss in plain PyTorch, pair by pair: what `taichi_nerf.ops.proposal_loss` must equal."""

import torch

EPSILON = torch.finfo(torch.float32).eps
BLURRED_EPSILON = 1e-5


def proposal_bound_loss(fenceposts, weights, proposal_fenceposts, proposal_weights):
    """Loss [R]; differentiable by the proposal's weights."""
    starts, ends = fenceposts[:, :-1, None], fenceposts[:, 1:, None]
    overlaps = (proposal_fenceposts[:, None, :-1] < ends) & (proposal_fenceposts[:, None, 1:] > starts)
    bound = (overlaps * proposal_weights[:, None]).sum(2)
    return ((weights - bound).clamp_min(0).square() / (weights + EPSILON)).sum(1)


def blurred_proposal_loss(fenceposts, weights, proposal_fenceposts, proposal_weights, reach):
    """Loss [R]; differentiable by the proposal's weights. Intervals of the target must have a length."""
    mass = blurred_cumulative(fenceposts, weights, proposal_fenceposts, reach).diff(dim=1)
    excess = (mass - proposal_weights).clamp_min(0)
    return (excess.square() / (proposal_weights + BLURRED_EPSILON)).sum(1)


def blurred_cumulative(fenceposts, weights, places, reach):
    """Mass [R, K] of the blurred density in front of `places` [R, K].

    Each end of an interval is a step of the density; averaged over a box it is a ramp from `reach` in front of it to
    `reach` behind. The blurred density is linear between the ends of all ramps, its integral quadratic.
    """
    density = torch.nn.functional.pad(weights / fenceposts.diff(dim=1), (1, 1))
    steps = density.diff(dim=1)[:, None]  # [R, 1, S + 1] at the fenceposts
    along = (places[:, :, None] - fenceposts[:, None] + reach).clamp_min(0)  # [R, K, S + 1] from the ramp's begin
    on_ramp = along.clamp_max(2 * reach)
    integral = on_ramp.square() / (4 * reach) + (along - on_ramp)  # of a ramp of height 1
    return (steps * integral).sum(2)
