"""Volume rendering: colour, opacity, depth and weights of every ray, and their gradient.

    S samples, R rays; the samples of ray r are start_r .. start_r + count_r, in order of t, and every sample
    belongs to exactly one ray.

    tau_i = density_i dt_i                   optical depth of interval i (no unit)
    T_i   = exp(-sum of tau_j over j < i)    transmittance in front of interval i
    w_i   = T_i - T_{i+1}                    weight of sample i, which is T_i (1 - exp(-tau_i))
    colour = sum w_i c_i,   opacity = sum w_i = 1 - T_end,   depth = sum w_i t_i

With early_stop > 0 a ray ends in front of the first sample with T_i < early_stop; what lies behind has weight
and gradient 0. The backward pass walks the same samples from the end: T_i = T_{i+1} + w_i adds small numbers
before large ones, so it needs no exponential and loses no digits.

The dense kernels (`composite_dense`, `weights_dense`) serve rays that all have S intervals between S + 1 fenceposts:
dt_i = t_{i+1} - t_i, and the depth is of their middles. The last interval ends at its fencepost, or is INFINITE (dt of
1e10, while its middle stays), or OPAQUE (tau without bound, so that the opacity is 1 whatever the density is).

One task per ray. Kajiya and Von Herzen 1984; Mildenhall et al. 2020, eq. 3; Barron et al. 2022 (mip-NeRF 360).
"""

from .bounds import samples_of_ray
from .engine import stride_for, ti
from .launch import kernel

BOUNDED, INFINITE, OPAQUE = 0, 1, 2  # the last of dense intervals
INFINITE_LENGTH = 1e10
NEVER = 3e38  # an optical depth no ray reaches, below the largest float32


@ti.func
def optical_depth_limit(early_stop):
    """Optical depth beyond which the transmittance is below `early_stop`; 0 means no limit."""
    limit = NEVER * 1.0
    if early_stop > 0.0:
        limit = -ti.log(early_stop)
    return limit


@ti.func
def transmittance(optical_depth):
    """Fraction of the light that passes `optical_depth`."""
    return ti.exp(-optical_depth)


@ti.func
def dense_optical_depth(density, length, is_last, last: ti.template()):
    """tau of an interval, and its derivatives with respect to density and length."""
    tau, at_density, at_length = density * length, length, density
    if ti.static(last != BOUNDED):
        if is_last:
            at_length = 0.0 * density
            if ti.static(last == INFINITE):
                tau, at_density = density * INFINITE_LENGTH, INFINITE_LENGTH + 0.0 * length
            else:
                tau, at_density = NEVER + 0.0 * density, 0.0 * length
    return tau, at_density, at_length


@ti.func
def weight_gradient(
    i,
    ray,
    colour: ti.template(),
    t: ti.template(),
    ray_colour_gradient: ti.template(),
    depth_gradient: ti.template(),
    weights_gradient: ti.template(),
):
    """dL/dw_i by way of colour, depth and weights."""
    value = depth_gradient[ray] * t[i] + weights_gradient[i]
    for channel in ti.static(range(3)):
        value += ray_colour_gradient[ray, channel] * colour[i, channel]
    return value


@ti.func
def optical_depth_gradient(value, after, behind, opacity_gradient, end):
    """dL/dtau_i of one interval: more optical depth at i lets i shine more and dims all that lies behind.

    `value` is dL/dw_i, `behind` the sum of w_k dL/dw_k over the samples k > i, `after` the transmittance
    T_{i+1}, `end` that of the whole ray: dw_i/dtau_i = T_{i+1}, dw_k/dtau_i = -w_k, d opacity/dtau_i = T_end.
    """
    return value * after - behind + opacity_gradient * end


@kernel
def composite_forward(
    density: ti.types.ndarray(ndim=1),  # [S] per unit of length, >= 0
    colour: ti.types.ndarray(ndim=2),  # [S, 3]
    t: ti.types.ndarray(ndim=1),  # [S] distance of the sample
    dt: ti.types.ndarray(ndim=1),  # [S] length of its interval
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    early_stop: float,
    ray_colour: ti.types.ndarray(ndim=2),  # out [R, 3]
    opacity: ti.types.ndarray(ndim=1),  # out [R]
    depth: ti.types.ndarray(ndim=1),  # out [R] sum of w t; divide by the opacity for a mean distance
    weights: ti.types.ndarray(ndim=1),  # out [S]
    kept_count: ti.types.ndarray(ndim=1),  # out [R] int32, samples in front of the early stop
):
    """Composite every ray from front to back, over black."""
    stride = ti.static(stride_for(64))
    for slot in range(ray_start.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, end = samples_of_ray(ray_start, ray_count, ray, density.shape[0])
        limit = optical_depth_limit(early_stop)
        passed = 0.0  # optical depth
        through = 1.0  # transmittance
        red, green, blue, distance = 0.0, 0.0, 0.0, 0.0
        # What is in front of the early stop.
        i = begin
        while i < end and passed <= limit:
            passed += density[i] * dt[i]
            after = transmittance(passed)
            weight = through - after
            through = after
            red += weight * colour[i, 0]
            green += weight * colour[i, 1]
            blue += weight * colour[i, 2]
            distance += weight * t[i]
            weights[i] = weight
            i += 1
        # What is behind.
        kept_count[ray] = i - begin
        for k in range(i, end):
            weights[k] = 0.0
        ray_colour[ray, 0] = red
        ray_colour[ray, 1] = green
        ray_colour[ray, 2] = blue
        opacity[ray] = 1.0 - through
        depth[ray] = distance


@kernel
def composite_backward(
    colour: ti.types.ndarray(ndim=2),  # [S, 3]
    t: ti.types.ndarray(ndim=1),  # [S]
    dt: ti.types.ndarray(ndim=1),  # [S]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    opacity: ti.types.ndarray(ndim=1),  # [R] of the forward pass, as weights and kept_count
    weights: ti.types.ndarray(ndim=1),  # [S]
    kept_count: ti.types.ndarray(ndim=1),  # [R] int32
    ray_colour_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    opacity_gradient: ti.types.ndarray(ndim=1),  # [R]
    depth_gradient: ti.types.ndarray(ndim=1),  # [R]
    weights_gradient: ti.types.ndarray(ndim=1),  # [S]
    density_gradient: ti.types.ndarray(ndim=1),  # out [S]
    colour_gradient: ti.types.ndarray(ndim=2),  # out [S, 3]
):
    """Gradient with respect to density and colour, from back to front."""
    stride = ti.static(stride_for(64))
    for slot in range(ray_start.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, behind_last = samples_of_ray(ray_start, ray_count, ray, colour.shape[0])
        kept = ti.max(0, ti.min(kept_count[ray], behind_last - begin))
        end = 1.0 - opacity[ray]  # transmittance behind the last sample
        through = end
        behind = 0.0
        for k in range(begin + kept, behind_last):
            density_gradient[k] = 0.0
            for channel in ti.static(range(3)):
                colour_gradient[k, channel] = 0.0
        for step in range(kept):
            i = begin + kept - 1 - step
            weight = weights[i]
            value = weight_gradient(i, ray, colour, t, ray_colour_gradient, depth_gradient, weights_gradient)
            tau_gradient = optical_depth_gradient(value, through, behind, opacity_gradient[ray], end)
            density_gradient[i] = dt[i] * tau_gradient
            for channel in ti.static(range(3)):
                colour_gradient[i, channel] = weight * ray_colour_gradient[ray, channel]
            behind += weight * value
            through += weight


@kernel
def composite_backward_intervals(
    density: ti.types.ndarray(ndim=1),  # [S]
    colour: ti.types.ndarray(ndim=2),  # [S, 3]
    t: ti.types.ndarray(ndim=1),  # [S]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    opacity: ti.types.ndarray(ndim=1),  # [R] of the forward pass, as weights and kept_count
    weights: ti.types.ndarray(ndim=1),  # [S]
    kept_count: ti.types.ndarray(ndim=1),  # [R] int32
    ray_colour_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    opacity_gradient: ti.types.ndarray(ndim=1),  # [R]
    depth_gradient: ti.types.ndarray(ndim=1),  # [R]
    weights_gradient: ti.types.ndarray(ndim=1),  # [S]
    t_gradient: ti.types.ndarray(ndim=1),  # out [S]
    dt_gradient: ti.types.ndarray(ndim=1),  # out [S]
):
    """Gradient with respect to t and dt: a launch of its own, because training a field does not need it."""
    for ray in range(ray_start.shape[0]):
        begin, behind_last = samples_of_ray(ray_start, ray_count, ray, density.shape[0])
        kept = ti.max(0, ti.min(kept_count[ray], behind_last - begin))
        end = 1.0 - opacity[ray]
        through = end
        behind = 0.0
        for k in range(begin + kept, behind_last):
            t_gradient[k] = 0.0
            dt_gradient[k] = 0.0
        for step in range(kept):
            i = begin + kept - 1 - step
            weight = weights[i]
            value = weight_gradient(i, ray, colour, t, ray_colour_gradient, depth_gradient, weights_gradient)
            tau_gradient = optical_depth_gradient(value, through, behind, opacity_gradient[ray], end)
            t_gradient[i] = depth_gradient[ray] * weight
            dt_gradient[i] = density[i] * tau_gradient
            behind += weight * value
            through += weight


@kernel
def count_visible(
    density: ti.types.ndarray(ndim=1),  # [S]
    dt: ti.types.ndarray(ndim=1),  # [S]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    early_stop: float,
    passed: ti.types.ndarray(ndim=1),  # in and out [R] optical depth in front of the samples, then behind the last kept
    kept_count: ti.types.ndarray(ndim=1),  # out [R] int32
):
    """Samples of each ray in front of the early stop: the very ones `composite_forward` gives a weight, where they come
    first. The samples that follow may be given later, with what has `passed`."""
    stride = ti.static(stride_for(64))
    for slot in range(ray_start.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, end = samples_of_ray(ray_start, ray_count, ray, density.shape[0])
        limit = optical_depth_limit(early_stop)
        depth = passed[ray]
        i = begin
        while i < end and depth <= limit:
            depth += density[i] * dt[i]
            i += 1
        passed[ray] = depth
        kept_count[ray] = i - begin


@kernel
def list_kept(
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    kept_count: ti.types.ndarray(ndim=1),  # [R] int32
    new_start: ti.types.ndarray(ndim=1),  # [R] int32, exclusive scan of kept_count
    sample_index: ti.types.ndarray(ndim=1),  # out [K] int32, K = sum of kept_count
):
    """Indices of the first `kept_count` samples of every ray, ray after ray."""
    stride = ti.static(stride_for(64))
    for slot in range(ray_start.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, end = samples_of_ray(new_start, kept_count, ray, sample_index.shape[0])
        for place in range(begin, end):
            sample_index[place] = ray_start[ray] + (place - begin)


@kernel
def composite_dense_forward(
    density: ti.types.ndarray(ndim=2),  # [R, S] per unit of length, >= 0
    colour: ti.types.ndarray(ndim=3),  # [R, S, 3]
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1] ascending
    ray_colour: ti.types.ndarray(ndim=2),  # out [R, 3]
    opacity: ti.types.ndarray(ndim=1),  # out [R]
    depth: ti.types.ndarray(ndim=1),  # out [R] sum of w times the middle of the interval
    weights: ti.types.ndarray(ndim=2),  # out [R, S]
    last: ti.template(),
):
    """Composite all intervals of every ray from front to back, over black."""
    stride = ti.static(stride_for(64))
    for slot in range(density.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        passed = 0.0
        through = 1.0
        red, green, blue, distance = 0.0, 0.0, 0.0, 0.0
        for i in range(density.shape[1]):
            t_0, t_1 = fenceposts[ray, i], fenceposts[ray, i + 1]
            tau, _, _ = dense_optical_depth(density[ray, i], t_1 - t_0, i == density.shape[1] - 1, last)
            passed = ti.min(NEVER, passed + tau)
            after = transmittance(passed)
            weight = through - after
            through = after
            red += weight * colour[ray, i, 0]
            green += weight * colour[ray, i, 1]
            blue += weight * colour[ray, i, 2]
            distance += weight * 0.5 * (t_0 + t_1)
            weights[ray, i] = weight
        ray_colour[ray, 0] = red
        ray_colour[ray, 1] = green
        ray_colour[ray, 2] = blue
        opacity[ray] = 1.0 - through
        depth[ray] = distance


@kernel
def composite_dense_backward(
    density: ti.types.ndarray(ndim=2),  # [R, S]
    colour: ti.types.ndarray(ndim=3),  # [R, S, 3]
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    opacity: ti.types.ndarray(ndim=1),  # [R] of the forward pass, as weights
    weights: ti.types.ndarray(ndim=2),  # [R, S]
    ray_colour_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    opacity_gradient: ti.types.ndarray(ndim=1),  # [R]
    depth_gradient: ti.types.ndarray(ndim=1),  # [R]
    weights_gradient: ti.types.ndarray(ndim=2),  # [R, S]
    density_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    colour_gradient: ti.types.ndarray(ndim=3),  # out [R, S, 3]
    fenceposts_gradient: ti.types.ndarray(ndim=2),  # out [R, S + 1]
    last: ti.template(),
):
    """Gradient with respect to density, colour and fenceposts, from back to front."""
    stride = ti.static(stride_for(64))
    for slot in range(density.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        intervals = density.shape[1]
        end = 1.0 - opacity[ray]
        through = end
        behind = 0.0
        at_post = 0.0  # of the fencepost behind interval i, from the interval that it opens
        for step in range(intervals):
            i = intervals - 1 - step
            t_0, t_1 = fenceposts[ray, i], fenceposts[ray, i + 1]
            _, at_density, at_length = dense_optical_depth(density[ray, i], t_1 - t_0, step == 0, last)
            weight = weights[ray, i]
            value = depth_gradient[ray] * 0.5 * (t_0 + t_1) + weights_gradient[ray, i]
            for channel in ti.static(range(3)):
                value += ray_colour_gradient[ray, channel] * colour[ray, i, channel]
                colour_gradient[ray, i, channel] = weight * ray_colour_gradient[ray, channel]
            tau_gradient = optical_depth_gradient(value, through, behind, opacity_gradient[ray], end)
            density_gradient[ray, i] = at_density * tau_gradient
            middle = 0.5 * depth_gradient[ray] * weight
            fenceposts_gradient[ray, i + 1] = at_post + middle + at_length * tau_gradient
            at_post = middle - at_length * tau_gradient
            behind += weight * value
            through += weight
        fenceposts_gradient[ray, 0] = at_post


@kernel
def weights_dense_forward(
    density: ti.types.ndarray(ndim=2),  # [R, S]
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    weights: ti.types.ndarray(ndim=2),  # out [R, S]
    last: ti.template(),
):
    """The weights alone: all that a proposal network is asked for."""
    stride = ti.static(stride_for(64))
    for slot in range(density.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        passed = 0.0
        through = 1.0
        for i in range(density.shape[1]):
            length = fenceposts[ray, i + 1] - fenceposts[ray, i]
            tau, _, _ = dense_optical_depth(density[ray, i], length, i == density.shape[1] - 1, last)
            passed = ti.min(NEVER, passed + tau)
            after = transmittance(passed)
            weights[ray, i] = through - after
            through = after


@kernel
def weights_dense_backward(
    density: ti.types.ndarray(ndim=2),  # [R, S]
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    weights: ti.types.ndarray(ndim=2),  # [R, S] of the forward pass
    weights_gradient: ti.types.ndarray(ndim=2),  # [R, S]
    density_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    fenceposts_gradient: ti.types.ndarray(ndim=2),  # out [R, S + 1]
    last: ti.template(),
):
    """Gradient with respect to density and fenceposts: two sweeps, the first for the transmittance at the end."""
    stride = ti.static(stride_for(64))
    for slot in range(density.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        intervals = density.shape[1]
        passed = 0.0
        for i in range(intervals):
            length = fenceposts[ray, i + 1] - fenceposts[ray, i]
            tau, _, _ = dense_optical_depth(density[ray, i], length, i == intervals - 1, last)
            passed = ti.min(NEVER, passed + tau)
        through = transmittance(passed)
        behind = 0.0
        at_post = 0.0
        for step in range(intervals):
            i = intervals - 1 - step
            length = fenceposts[ray, i + 1] - fenceposts[ray, i]
            _, at_density, at_length = dense_optical_depth(density[ray, i], length, step == 0, last)
            value = weights_gradient[ray, i]
            tau_gradient = optical_depth_gradient(value, through, behind, 0.0, 0.0)
            density_gradient[ray, i] = at_density * tau_gradient
            fenceposts_gradient[ray, i + 1] = at_post + at_length * tau_gradient
            at_post = -at_length * tau_gradient
            behind += weights[ray, i] * value
            through += weights[ray, i]
        fenceposts_gradient[ray, 0] = at_post
