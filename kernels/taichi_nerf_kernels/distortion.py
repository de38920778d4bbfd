"""The distortion loss: how far the weights of a ray are spread out.

    w_i weight, m_i midpoint and l_i length of interval i, m ascending; per ray

    loss = sum over i, j of w_i w_j |m_i - m_j|  +  1/3 sum over i of w_i^2 l_i

The time is linear in the samples: the sum over those in front, D_i = sum over j < i of w_j (m_i - m_j),
follows from the last one by D_{i+1} = D_i + W_{i+1} (m_{i+1} - m_i), where W is the running sum of weights.
Only differences of midpoints enter, so that far samples lose no digits.

`distortion_*` take packed samples; `distortion_dense_*` S intervals between S + 1 fenceposts s on each ray, where
m_i = (s_i + s_{i+1}) / 2 and l_i = s_{i+1} - s_i.

One task per ray. Barron et al. 2022 (mip-NeRF 360), eq. 15.
"""

from .bounds import samples_of_ray
from .engine import stride_for, ti
from .launch import kernel


@ti.func
def interval_loss(weight, distance, length):
    """What interval i adds, given D_i."""
    return weight * (2.0 * distance + weight * length / 3.0)


@ti.func
def interval_loss_gradient(weight, in_front, distance, length):
    """Its share of dL/dw_i, dL/dm_i and dL/dl_i: the pairs with the intervals in front, and with itself."""
    return 2.0 * distance + 2.0 / 3.0 * weight * length, 2.0 * weight * in_front, weight * weight / 3.0


@kernel
def distortion_forward(
    weights: ti.types.ndarray(ndim=1),  # [S]
    midpoints: ti.types.ndarray(ndim=1),  # [S]
    lengths: ti.types.ndarray(ndim=1),  # [S]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    loss: ti.types.ndarray(ndim=1),  # out [R]
):
    """Loss of every ray; 0 without samples."""
    for ray in range(ray_start.shape[0]):
        begin, end = samples_of_ray(ray_start, ray_count, ray, weights.shape[0])
        in_front = 0.0  # W
        distance = 0.0  # D
        total = 0.0
        for i in range(begin, end):
            if i > begin:
                distance += in_front * (midpoints[i] - midpoints[i - 1])
            total += interval_loss(weights[i], distance, lengths[i])
            in_front += weights[i]
        loss[ray] = total


@kernel
def distortion_backward(
    weights: ti.types.ndarray(ndim=1),  # [S]
    midpoints: ti.types.ndarray(ndim=1),  # [S]
    lengths: ti.types.ndarray(ndim=1),  # [S]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    loss_gradient: ti.types.ndarray(ndim=1),  # [R]
    weights_gradient: ti.types.ndarray(ndim=1),  # out [S]
    midpoints_gradient: ti.types.ndarray(ndim=1),  # out [S]
    lengths_gradient: ti.types.ndarray(ndim=1),  # out [S]
):
    """The same sweep twice: the samples in front from the front, those behind from behind."""
    for ray in range(ray_start.shape[0]):
        begin, end = samples_of_ray(ray_start, ray_count, ray, weights.shape[0])
        scale = loss_gradient[ray]
        in_front = 0.0
        distance = 0.0
        for i in range(begin, end):
            if i > begin:
                distance += in_front * (midpoints[i] - midpoints[i - 1])
            at_weight, at_midpoint, at_length = interval_loss_gradient(weights[i], in_front, distance, lengths[i])
            weights_gradient[i] = scale * at_weight
            midpoints_gradient[i] = scale * at_midpoint
            lengths_gradient[i] = scale * at_length
            in_front += weights[i]
        behind = 0.0
        distance = 0.0
        for step in range(end - begin):
            i = end - 1 - step
            if step > 0:
                distance += behind * (midpoints[i + 1] - midpoints[i])
            weights_gradient[i] += scale * 2.0 * distance
            midpoints_gradient[i] -= scale * 2.0 * weights[i] * behind
            behind += weights[i]


@kernel
def distortion_dense_forward(
    weights: ti.types.ndarray(ndim=2),  # [R, S]
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1] ascending
    loss: ti.types.ndarray(ndim=1),  # out [R]
):
    """Loss of every ray."""
    stride = ti.static(stride_for(64))
    for slot in range(loss.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        in_front, distance, total = 0.0, 0.0, 0.0
        for i in range(weights.shape[1]):
            if i > 0:
                distance += in_front * 0.5 * (fenceposts[ray, i + 1] - fenceposts[ray, i - 1])
            total += interval_loss(weights[ray, i], distance, fenceposts[ray, i + 1] - fenceposts[ray, i])
            in_front += weights[ray, i]
        loss[ray] = total


@kernel
def distortion_dense_backward(
    weights: ti.types.ndarray(ndim=2),  # [R, S]
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    loss_gradient: ti.types.ndarray(ndim=1),  # [R]
    weights_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    fenceposts_gradient: ti.types.ndarray(ndim=2),  # out [R, S + 1]
):
    """Both sweeps of `distortion_backward`, each handing the gradients of m_i and l_i to the two fenceposts of i."""
    stride = ti.static(stride_for(64))
    for slot in range(loss_gradient.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        intervals = weights.shape[1]
        scale = loss_gradient[ray]
        in_front, distance = 0.0, 0.0
        at_post = 0.0  # of the fencepost in front of interval i, from the interval that it closes
        for i in range(intervals):
            weight, length = weights[ray, i], fenceposts[ray, i + 1] - fenceposts[ray, i]
            if i > 0:
                distance += in_front * 0.5 * (fenceposts[ray, i + 1] - fenceposts[ray, i - 1])
            at_weight, at_midpoint, at_length = interval_loss_gradient(weight, in_front, distance, length)
            weights_gradient[ray, i] = scale * at_weight
            fenceposts_gradient[ray, i] = at_post + scale * (0.5 * at_midpoint - at_length)
            at_post = scale * (0.5 * at_midpoint + at_length)
            in_front += weight
        fenceposts_gradient[ray, intervals] = at_post
        behind, distance = 0.0, 0.0
        for step in range(intervals):
            i = intervals - 1 - step
            if step > 0:
                distance += behind * 0.5 * (fenceposts[ray, i + 2] - fenceposts[ray, i])
            weights_gradient[ray, i] += scale * 2.0 * distance
            moved = scale * weights[ray, i] * behind
            fenceposts_gradient[ray, i] -= moved
            fenceposts_gradient[ray, i + 1] -= moved
            behind += weights[ray, i]
