"""Pixels as cones: the Gaussian that stands for a conical frustum, or for a piece of a cylinder.

    R rays o + t d, S intervals [t_0, t_1] each, between S + 1 fenceposts; d of any length
    radius     of the cone at t = 1, perpendicular to d; of a cylinder, everywhere
    m, h       middle (t_0 + t_1) / 2 and half length (t_1 - t_0) / 2 of the interval;  a = h^2 / (3 m^2 + h^2)

    frustum    t_mean          = m (1 + 2 a)
               t_variance      = h^2 / 3 - (4 / 15) a^2 (12 m^2 - h^2)
               radial_variance = radius^2 (m^2 / 4 + 5 h^2 / 12 - (4 / 15) h^2 a)
    cylinder   t_mean = m,  t_variance = h^2 / 3,  radial_variance = radius^2 / 4

    mean       = o + t_mean d
    covariance = t_variance d d^T + radial_variance (I - d d^T / |d|^2), of which the diagonal is `variance`

These are the moments of the uniform distribution over the solid, written such that short intervals far away lose no
digits and large distances do not overflow (0 <= a <= 1 if t_0 >= 0). The radius of a pixel's cone is that of the
disc with the variance of the pixel: 2 / sqrt(12) of its width, at unit distance.

One task per ray. Barron et al. 2021 (Mip-NeRF), eq. 7 and 8, supplement A.
"""

from .bounds import entry_in
from .camera import camera_direction
from .engine import stride_for, ti
from .launch import kernel

__all__ = [
    "CONE",
    "CYLINDER",
    "cone_radius_forward",
    "frustum_moments",
    "frustum_moments_backward",
    "gaussians_backward",
    "gaussians_forward",
    "moments_backward",
    "moments_forward",
    "pixel_radius",
]

CONE = 0
CYLINDER = 1
DISC = 2 / 12**0.5  # radius of the disc whose variance is that of a square of side 1
TINY = 1e-30


@ti.func
def frustum_moments(t_0, t_1, radius, shape: ti.template()):
    """(t_mean, t_variance, radial_variance) of one interval."""
    m, h = 0.5 * (t_0 + t_1), 0.5 * (t_1 - t_0)
    result = ti.Vector([m, h * h / 3.0, 0.25 * radius * radius])
    if ti.static(shape == CONE):
        a = h * h / ti.max(3.0 * m * m + h * h, TINY)
        result = ti.Vector([
            m * (1.0 + 2.0 * a),
            h * h / 3.0 - (4.0 / 15.0) * a * a * (12.0 * m * m - h * h),
            radius * radius * (m * m / 4.0 + 5.0 / 12.0 * h * h - (4.0 / 15.0) * h * h * a),
        ])
    return result


@ti.func
def frustum_moments_backward(t_0, t_1, radius, gradient, shape: ti.template()):
    """Gradient of (t_0, t_1, radius) from that of `frustum_moments`."""
    m, h = 0.5 * (t_0 + t_1), 0.5 * (t_1 - t_0)
    at_m, at_h = gradient[0], 2.0 / 3.0 * h * gradient[1]
    at_radius = 0.5 * radius * gradient[2]
    if ti.static(shape == CONE):
        q = ti.max(3.0 * m * m + h * h, TINY)
        a = h * h / q
        a_m, a_h = -6.0 * m * a / q, 2.0 * h * (1.0 - a) / q  # derivatives
        disc = m * m / 4.0 + 5.0 / 12.0 * h * h - (4.0 / 15.0) * h * h * a
        spread = 12.0 * m * m - h * h
        square = radius * radius
        at_m = (gradient[0] * (1.0 + 2.0 * a + 2.0 * m * a_m)
                - gradient[1] * (8.0 / 15.0) * a * (a_m * spread + 12.0 * a * m)
                + gradient[2] * square * (0.5 * m - (4.0 / 15.0) * h * h * a_m))
        at_h = (gradient[0] * 2.0 * m * a_h
                + gradient[1] * (2.0 / 3.0 * h - (8.0 / 15.0) * a * (a_h * spread - a * h))
                + gradient[2] * square * (5.0 / 6.0 * h - (4.0 / 15.0) * (2.0 * h * a + h * h * a_h)))
        at_radius = 2.0 * radius * disc * gradient[2]
    return ti.Vector([0.5 * (at_m - at_h), 0.5 * (at_m + at_h), at_radius])


@kernel
def moments_forward(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1] ascending
    radius: ti.types.ndarray(ndim=1),  # [R]
    t_mean: ti.types.ndarray(ndim=2),  # out [R, S]
    t_variance: ti.types.ndarray(ndim=2),  # out [R, S]
    radial_variance: ti.types.ndarray(ndim=2),  # out [R, S]
    shape: ti.template(),
):
    """Moments of every interval along and across its ray."""
    for ray, i in ti.ndrange(t_mean.shape[0], t_mean.shape[1]):
        moments = frustum_moments(fenceposts[ray, i], fenceposts[ray, i + 1], radius[ray], shape)
        t_mean[ray, i] = moments[0]
        t_variance[ray, i] = moments[1]
        radial_variance[ray, i] = moments[2]


@kernel
def moments_backward(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    radius: ti.types.ndarray(ndim=1),  # [R]
    t_mean_gradient: ti.types.ndarray(ndim=2),  # [R, S]
    t_variance_gradient: ti.types.ndarray(ndim=2),  # [R, S]
    radial_variance_gradient: ti.types.ndarray(ndim=2),  # [R, S]
    fenceposts_gradient: ti.types.ndarray(ndim=2),  # out [R, S + 1]
    radius_gradient: ti.types.ndarray(ndim=1),  # out [R]
    shape: ti.template(),
):
    """Gradient with respect to fenceposts and radius."""
    stride = ti.static(stride_for(16))
    for slot in range(radius.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        at_post, at_radius = 0.0, 0.0  # of the fencepost between the last interval and this one
        for i in range(t_mean_gradient.shape[1]):
            given = ti.Vector([t_mean_gradient[ray, i], t_variance_gradient[ray, i], radial_variance_gradient[ray, i]])
            gradient = frustum_moments_backward(fenceposts[ray, i], fenceposts[ray, i + 1], radius[ray], given, shape)
            fenceposts_gradient[ray, i] = at_post + gradient[0]
            at_post = gradient[1]
            at_radius += gradient[2]
        fenceposts_gradient[ray, t_mean_gradient.shape[1]] = at_post
        radius_gradient[ray] = at_radius


@kernel
def gaussians_forward(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1] ascending
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    radius: ti.types.ndarray(ndim=1),  # [R]
    mean: ti.types.ndarray(ndim=3),  # out [R, S, 3]
    variance: ti.types.ndarray(ndim=3),  # out [R, S, 3]
    shape: ti.template(),
):
    """Mean and diagonal of the covariance of every interval."""
    for ray, i in ti.ndrange(mean.shape[0], mean.shape[1]):
        moments = frustum_moments(fenceposts[ray, i], fenceposts[ray, i + 1], radius[ray], shape)
        d = ti.Vector([directions[ray, 0], directions[ray, 1], directions[ray, 2]])
        for axis in ti.static(range(3)):
            square = d[axis] * d[axis]
            mean[ray, i, axis] = origins[ray, axis] + moments[0] * d[axis]
            variance[ray, i, axis] = moments[1] * square + moments[2] * (1.0 - square / d.norm_sqr())


@kernel
def gaussians_backward(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    radius: ti.types.ndarray(ndim=1),  # [R]
    mean_gradient: ti.types.ndarray(ndim=3),  # [R, S, 3]
    variance_gradient: ti.types.ndarray(ndim=3),  # [R, S, 3]
    fenceposts_gradient: ti.types.ndarray(ndim=2),  # out [R, S + 1]
    origins_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    directions_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    radius_gradient: ti.types.ndarray(ndim=1),  # out [R]
    shape: ti.template(),
):
    """Gradient with respect to fenceposts, rays and radius."""
    stride = ti.static(stride_for(16))
    for slot in range(radius.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        d = ti.Vector([directions[ray, 0], directions[ray, 1], directions[ray, 2]])
        square = d.norm_sqr()
        at_origin, at_direction = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        at_post, at_radius = 0.0, 0.0
        for i in range(mean_gradient.shape[1]):
            t_0, t_1 = fenceposts[ray, i], fenceposts[ray, i + 1]
            moments = frustum_moments(t_0, t_1, radius[ray], shape)
            g_mean = ti.Vector([mean_gradient[ray, i, 0], mean_gradient[ray, i, 1], mean_gradient[ray, i, 2]])
            g_variance = ti.Vector(
                [variance_gradient[ray, i, 0], variance_gradient[ray, i, 1], variance_gradient[ray, i, 2]]
            )
            along = g_variance.dot(d * d)
            at_origin += g_mean
            at_direction += (moments[0] * g_mean + 2.0 * (moments[1] - moments[2] / square) * g_variance * d
                             + 2.0 * moments[2] * along / (square * square) * d)
            given = ti.Vector([g_mean.dot(d), along, g_variance.sum() - along / square])
            gradient = frustum_moments_backward(t_0, t_1, radius[ray], given, shape)
            fenceposts_gradient[ray, i] = at_post + gradient[0]
            at_post = gradient[1]
            at_radius += gradient[2]
        fenceposts_gradient[ray, mean_gradient.shape[1]] = at_post
        radius_gradient[ray] = at_radius
        for axis in ti.static(range(3)):
            origins_gradient[ray, axis] = at_origin[axis]
            directions_gradient[ray, axis] = at_direction[axis]


@ti.func
def pixel_radius(pixel, focal, principal, distortion, lens):
    """Radius of a pixel's cone at distance 1: from the steps to the next pixel to the right and below."""
    here, _ = camera_direction(pixel, focal, principal, distortion, lens)
    right, _ = camera_direction(pixel + ti.Vector([1.0, 0.0]), focal, principal, distortion, lens)
    below, _ = camera_direction(pixel + ti.Vector([0.0, 1.0]), focal, principal, distortion, lens)
    width = 0.5 * ((right - here).norm() + (below - here).norm())
    return DISC * width / here.norm()


@kernel
def cone_radius_forward(
    image_index: ti.types.ndarray(ndim=1),  # [R] i32
    pixel: ti.types.ndarray(ndim=2),  # [R, 2]
    focal: ti.types.ndarray(ndim=2),  # [N, 2]
    principal: ti.types.ndarray(ndim=2),  # [N, 2]
    distortion: ti.types.ndarray(ndim=2),  # [N, 6]
    lens: ti.types.ndarray(ndim=1),  # [N] i32
    radius: ti.types.ndarray(ndim=1),  # out [R]
):
    """`pixel_radius` of every pixel."""
    for ray in range(radius.shape[0]):
        n = entry_in(image_index[ray], focal.shape[0])
        f = ti.Vector([focal[n, 0], focal[n, 1]])
        p = ti.Vector([principal[n, 0], principal[n, 1]])
        k = ti.Vector([distortion[n, i] for i in range(6)])
        at = ti.Vector([pixel[ray, 0], pixel[ray, 1]])
        radius[ray] = pixel_radius(at, f, p, k, lens[n])
