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

That bound jumps where fenceposts pass each other. The blurred loss does not: the density of the target is averaged over
a box that reaches `reach` to either side, and the proposal shall have at least the mass that then falls on it:

    F(t)       cumulative distribution of the target: piecewise linear, 0 in front of t_0, sum of all w behind t_S
    blurred_j  = C(p_{j+1}) - C(p_j),   C(t) = mean of F over [t - reach, t + reach]
               = (integral of F over [p_j, p_{j+1}] + reach  -  that over [p_j, p_{j+1}] - reach) / (2 reach)
    loss       = sum over j of max(0, blurred_j - q_j)^2 / (q_j + BLURRED_EPSILON)
    dL/dq_j    = -(2 + x_j) x_j,   x_j = max(0, blurred_j - q_j) / (q_j + BLURRED_EPSILON)

C is the piecewise quadratic integral of the blurred density. Two sweeps, one ahead of the other by twice the reach,
give both integrals in linear time; that of F needs no density, and intervals may have no length.

One task per ray. Barron et al. 2022 (mip-NeRF 360), eq. 13 and section 3; 2023 (Zip-NeRF), section 3.3 and its code.
"""

from .engine import stride_for, ti
from .launch import kernel

EPSILON = 1.1920929e-7  # of float32, as in the paper's code
TINY = 1e-30
BLURRED_EPSILON = 1e-5  # larger: it stands beside weights that a proposal makes, and their gradient has its square


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


@ti.func
def cumulative_at(fenceposts: ti.template(), weights: ti.template(), ray, i, before, t):
    """F(t) in interval `i`, in front of which there is the mass `before`; behind the last interval all of it."""
    value = before
    if i < weights.shape[1]:
        start, end = fenceposts[ray, i], fenceposts[ray, i + 1]
        if t > start:
            value += weights[ray, i] * ti.min(1.0, (t - start) / ti.max(end - start, TINY))
    return value


@ti.func
def integrated_cumulative(fenceposts: ti.template(), weights: ti.template(), ray, i, before, start, end):
    """Integral of F from `start`, which interval `i` holds, to `end`; and the interval that holds `end`, with the mass
    before it."""
    total = 0.0
    at = ti.max(start, fenceposts[ray, 0])  # in front of it F is 0
    while i < weights.shape[1] and fenceposts[ray, i + 1] <= end:
        here, after = cumulative_at(fenceposts, weights, ray, i, before, at), before + weights[ray, i]
        total += 0.5 * (here + after) * ti.max(0.0, fenceposts[ray, i + 1] - at)
        at = ti.max(at, fenceposts[ray, i + 1])
        before = after
        i += 1
    if end > at:
        here = cumulative_at(fenceposts, weights, ray, i, before, at)
        after = cumulative_at(fenceposts, weights, ray, i, before, end)
        total += 0.5 * (here + after) * (end - at)
    return total, i, before


@ti.func
def reached(fenceposts: ti.template(), weights: ti.template(), ray, t):
    """The interval that holds `t`, and the mass before it."""
    i, before = 0, 0.0
    while i < weights.shape[1] and fenceposts[ray, i + 1] <= t:
        before += weights[ray, i]
        i += 1
    return i, before


@kernel
def blurred_loss_forward(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1] ascending
    weights: ti.types.ndarray(ndim=2),  # [R, S] at least 0
    proposal_fenceposts: ti.types.ndarray(ndim=2),  # [R, M + 1] ascending
    proposal_weights: ti.types.ndarray(ndim=2),  # [R, M] at least 0
    reach: float,  # above 0
    loss: ti.types.ndarray(ndim=1),  # out [R]
    slope: ti.types.ndarray(ndim=2),  # out [R, M] derivative by the proposal's weights
):
    """Blurred loss of every ray, and its derivative."""
    stride = ti.static(stride_for(32))
    for slot in range(loss.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        total = 0.0
        first = proposal_fenceposts[ray, 0]
        i, before = reached(fenceposts, weights, ray, first - reach)
        i_ahead, before_ahead = reached(fenceposts, weights, ray, first + reach)
        for j in range(proposal_weights.shape[1]):
            start, end = proposal_fenceposts[ray, j], proposal_fenceposts[ray, j + 1]
            behind, ahead = 0.0, 0.0
            behind, i, before = integrated_cumulative(
                fenceposts, weights, ray, i, before, start - reach, end - reach)
            ahead, i_ahead, before_ahead = integrated_cumulative(
                fenceposts, weights, ray, i_ahead, before_ahead, start + reach, end + reach)
            weight = proposal_weights[ray, j]
            excess = ti.max(0.0, (ahead - behind) / (2.0 * reach) - weight)
            relative = excess / (weight + BLURRED_EPSILON)
            total += excess * relative
            slope[ray, j] = -(2.0 + relative) * relative
        loss[ray] = total
