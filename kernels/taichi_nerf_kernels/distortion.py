"""The distortion loss of packed samples: how far the weights of a ray are spread out.

    w_i weight, m_i midpoint and l_i length of interval i, m ascending; per ray

    loss = sum over i, j of w_i w_j |m_i - m_j|  +  1/3 sum over i of w_i^2 l_i

The time is linear in the samples: the sum over those in front, D_i = sum over j < i of w_j (m_i - m_j),
follows from the last one by D_{i+1} = D_i + W_{i+1} (m_{i+1} - m_i), where W is the running sum of weights.
Only differences of midpoints enter, so that far samples lose no digits.

One task per ray. Barron et al. 2022 (mip-NeRF 360), eq. 15.
"""

from .engine import ti


@ti.kernel
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
        begin = ray_start[ray]
        end = begin + ray_count[ray]
        in_front = 0.0  # W
        distance = 0.0  # D
        total = 0.0
        for i in range(begin, end):
            if i > begin:
                distance += in_front * (midpoints[i] - midpoints[i - 1])
            total += weights[i] * (2.0 * distance + weights[i] * lengths[i] / 3.0)
            in_front += weights[i]
        loss[ray] = total


@ti.kernel
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
        begin = ray_start[ray]
        end = begin + ray_count[ray]
        scale = loss_gradient[ray]
        in_front = 0.0
        distance = 0.0
        for i in range(begin, end):
            if i > begin:
                distance += in_front * (midpoints[i] - midpoints[i - 1])
            weights_gradient[i] = scale * (2.0 * distance + 2.0 / 3.0 * weights[i] * lengths[i])
            midpoints_gradient[i] = scale * 2.0 * weights[i] * in_front
            lengths_gradient[i] = scale * weights[i] * weights[i] / 3.0
            in_front += weights[i]
        behind = 0.0
        distance = 0.0
        for step in range(ray_count[ray]):
            i = end - 1 - step
            if step > 0:
                distance += behind * (midpoints[i + 1] - midpoints[i])
            weights_gradient[i] += scale * 2.0 * distance
            midpoints_gradient[i] -= scale * 2.0 * weights[i] * behind
            behind += weights[i]
