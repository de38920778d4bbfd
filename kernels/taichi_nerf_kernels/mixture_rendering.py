"""Mixture rendering: pixels of what stands and of what comes and goes in one space, and their gradient.

    R rays, S intervals between S + 1 fenceposts, dt_i = t_{i+1} - t_i; at each a static and a transient field

    a_i = density_i dt_i,  b_i = transient_density_i dt_i    optical depths
    T_i = exp(-sum of (a_j + b_j) over j < i)                transmittance in front of interval i, of both
    w_i = T_i (1 - exp(-a_i)),  v_i = T_i (1 - exp(-b_i))    weights
    colour      = sum w_i c_i + v_i transient_c_i
    opacity     = 1 - T_S, which is less than the sum of all weights: in an interval each field hides the other, but is
                  not hidden by it
    uncertainty = sum v_i beta_i

The last interval is, for the static field, BOUNDED by its fencepost, INFINITE or OPAQUE as in `volume_rendering`; the
transient one ends at its fencepost in any case, since a density above zero, however small, would fill an infinite one.

The backward pass walks from the end with the transmittances that the forward pass has kept: dw_i/da_i = T_i exp(-a_i),
dT_k/da_i = -T_k for k > i, and the like for b.

One task per ray. Martin-Brualla et al. 2021 (NeRF in the Wild), eq. 6 to 12.
"""

from .engine import stride_for, ti
from .launch import kernel
from .volume_rendering import NEVER, dense_optical_depth, transmittance


@kernel
def composite_mixture_forward(
    density: ti.types.ndarray(ndim=2),  # [R, S] per unit of length, >= 0
    colour: ti.types.ndarray(ndim=3),  # [R, S, 3]
    transient_density: ti.types.ndarray(ndim=2),  # [R, S]
    transient_colour: ti.types.ndarray(ndim=3),  # [R, S, 3]
    beta: ti.types.ndarray(ndim=2),  # [R, S] uncertainty of the transient field
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1] ascending
    ray_colour: ti.types.ndarray(ndim=2),  # out [R, 3]
    opacity: ti.types.ndarray(ndim=1),  # out [R]
    uncertainty: ti.types.ndarray(ndim=1),  # out [R]
    through: ti.types.ndarray(ndim=2),  # out [R, S] T_i
    last: ti.template(),
):
    """Composite both fields along every ray from front to back, over black."""
    stride = ti.static(stride_for(64))
    for slot in range(density.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        passed = 0.0
        red, green, blue, unsure = 0.0, 0.0, 0.0, 0.0
        for i in range(density.shape[1]):
            dt = fenceposts[ray, i + 1] - fenceposts[ray, i]
            a, _, _ = dense_optical_depth(density[ray, i], dt, i == density.shape[1] - 1, last)
            b = transient_density[ray, i] * dt
            before = transmittance(passed)
            w, v = before * (1.0 - transmittance(a)), before * (1.0 - transmittance(b))
            red += w * colour[ray, i, 0] + v * transient_colour[ray, i, 0]
            green += w * colour[ray, i, 1] + v * transient_colour[ray, i, 1]
            blue += w * colour[ray, i, 2] + v * transient_colour[ray, i, 2]
            unsure += v * beta[ray, i]
            through[ray, i] = before
            passed = ti.min(NEVER, passed + a + b)
        ray_colour[ray, 0] = red
        ray_colour[ray, 1] = green
        ray_colour[ray, 2] = blue
        opacity[ray] = 1.0 - transmittance(passed)
        uncertainty[ray] = unsure


@kernel
def composite_mixture_backward(
    density: ti.types.ndarray(ndim=2),  # [R, S]
    colour: ti.types.ndarray(ndim=3),  # [R, S, 3]
    transient_density: ti.types.ndarray(ndim=2),  # [R, S]
    transient_colour: ti.types.ndarray(ndim=3),  # [R, S, 3]
    beta: ti.types.ndarray(ndim=2),  # [R, S]
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    opacity: ti.types.ndarray(ndim=1),  # [R] of the forward pass, as through
    through: ti.types.ndarray(ndim=2),  # [R, S]
    ray_colour_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    opacity_gradient: ti.types.ndarray(ndim=1),  # [R]
    uncertainty_gradient: ti.types.ndarray(ndim=1),  # [R]
    density_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    colour_gradient: ti.types.ndarray(ndim=3),  # out [R, S, 3]
    transient_density_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    transient_colour_gradient: ti.types.ndarray(ndim=3),  # out [R, S, 3]
    beta_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    fenceposts_gradient: ti.types.ndarray(ndim=2),  # out [R, S + 1]
    last: ti.template(),
):
    """Gradient with respect to both fields and the fenceposts, from back to front."""
    stride = ti.static(stride_for(64))
    for slot in range(density.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        intervals = density.shape[1]
        end = opacity_gradient[ray] * (1.0 - opacity[ray])
        behind = 0.0  # sum over k > i of the weights times dL/d weight
        at_post = 0.0  # of the fencepost behind interval i, from the interval that it opens
        for step in range(intervals):
            i = intervals - 1 - step
            dt = fenceposts[ray, i + 1] - fenceposts[ray, i]
            a, at_density, at_length = dense_optical_depth(density[ray, i], dt, step == 0, last)
            left, transient_left = transmittance(a), transmittance(transient_density[ray, i] * dt)
            before = through[ray, i]
            w, v = before * (1.0 - left), before * (1.0 - transient_left)
            # dL/dw and dL/dv
            at_w, at_v = 0.0, uncertainty_gradient[ray] * beta[ray, i]
            for channel in ti.static(range(3)):
                shown = ray_colour_gradient[ray, channel]
                at_w += shown * colour[ray, i, channel]
                at_v += shown * transient_colour[ray, i, channel]
                colour_gradient[ray, i, channel] = w * shown
                transient_colour_gradient[ray, i, channel] = v * shown
            beta_gradient[ray, i] = v * uncertainty_gradient[ray]
            # dL/da and dL/db: more of a shines more, and dims all that lies behind
            at_a = before * left * at_w - behind + end
            at_b = before * transient_left * at_v - behind + end
            density_gradient[ray, i] = at_density * at_a
            transient_density_gradient[ray, i] = dt * at_b
            of_length = at_length * at_a + transient_density[ray, i] * at_b
            fenceposts_gradient[ray, i + 1] = at_post + of_length
            at_post = -of_length
            behind += w * at_w + v * at_v
        fenceposts_gradient[ray, 0] = at_post
