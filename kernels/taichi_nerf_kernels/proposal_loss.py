"""The proposal loss: what the weights of a ray exceed the bound that a coarser histogram of the same ray sets.

    target    fenceposts t_0 .. t_S and weights w_i of S intervals: of the final level, constants here
    proposal  fenceposts p_0 .. p_M and weights q_j of M intervals

    bound_i = sum of q_j over the intervals j that overlap interval i (in more than a point)
    loss    = sum over i of max(0, w_i - bound_i)^2 / (w_i + EPSILON)

A proposal network learns from it to have mass wherever the final level has, and is not told how much is too much.
Both lists ascend, so two pointers sweep over them: neighbouring intervals share at most one overlapped proposal, and
the time is linear in S + M. The bound is summed anew for each interval rather than as a difference of running sums,
and is exact where one interval is overlapped.

    dL/dq_j = -2 sum of max(0, w_i - bound_i) / (w_i + EPSILON) over the intervals i that j overlaps

One task per ray. Barron et al. 2022 (mip-NeRF 360), eq. 13 and section 3.
"""

from .engine import stride_for, ti
from .launch import kernel

EPSILON = 1.1920929e-7  # of float32, as in the paper's code


@ti.func
def first_overlap(fenceposts: ti.template(), ray, j, start):
    """The first interval, from `j` on, that ends behind `start`."""
    while j < fenceposts.shape[1] - 1 and fenceposts[ray, j + 1] <= start:
        j += 1
    return j


@ti.func
def proposal_bound(fenceposts: ti.template(), weights: ti.template(), ray, j, end):
    """Sum of the weights from interval `j` to the last that begins before `end`, and the interval behind that."""
    bound = 0.0
    while j < weights.shape[1] and fenceposts[ray, j] < end:
        bound += weights[ray, j]
        j += 1
    return bound, j


@kernel
def proposal_loss_forward(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1] ascending
    weights: ti.types.ndarray(ndim=2),  # [R, S] at least 0
    proposal_fenceposts: ti.types.ndarray(ndim=2),  # [R, M + 1] ascending
    proposal_weights: ti.types.ndarray(ndim=2),  # [R, M] at least 0
    loss: ti.types.ndarray(ndim=1),  # out [R]
):
    """Loss of every ray."""
    stride = ti.static(stride_for(32))
    for slot in range(loss.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        total = 0.0
        j = 0
        for i in range(weights.shape[1]):
            j = first_overlap(proposal_fenceposts, ray, j, fenceposts[ray, i])
            bound, _ = proposal_bound(proposal_fenceposts, proposal_weights, ray, j, fenceposts[ray, i + 1])
            excess = ti.max(0.0, weights[ray, i] - bound)
            total += excess * excess / (weights[ray, i] + EPSILON)
        loss[ray] = total


@kernel
def proposal_loss_backward(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    weights: ti.types.ndarray(ndim=2),  # [R, S]
    proposal_fenceposts: ti.types.ndarray(ndim=2),  # [R, M + 1]
    proposal_weights: ti.types.ndarray(ndim=2),  # [R, M]
    loss_gradient: ti.types.ndarray(ndim=1),  # [R]
    proposal_weights_gradient: ti.types.ndarray(ndim=2),  # out [R, M]
):
    """Gradient with respect to the weights of the proposal, by the same sweep."""
    stride = ti.static(stride_for(32))
    for slot in range(loss_gradient.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        for k in range(proposal_weights.shape[1]):
            proposal_weights_gradient[ray, k] = 0.0
        j = 0
        for i in range(weights.shape[1]):
            j = first_overlap(proposal_fenceposts, ray, j, fenceposts[ray, i])
            bound, behind = proposal_bound(proposal_fenceposts, proposal_weights, ray, j, fenceposts[ray, i + 1])
            excess = ti.max(0.0, weights[ray, i] - bound)
            if excess > 0.0:
                gradient = -2.0 * loss_gradient[ray] * excess / (weights[ray, i] + EPSILON)
                for k in range(j, behind):
                    proposal_weights_gradient[ray, k] = proposal_weights_gradient[ray, k] + gradient
