"""Six points for each conical frustum, which between them have its mean and extent, and the width of each.

    R rays o + t d, d of any length; N intervals [t_0, t_1] in order along their rays
    radius   of the cone at t = 1, perpendicular to d (`conical_frustum.cone_radius_forward`)
    m, h     middle (t_0 + t_1) / 2 and half length (t_1 - t_0) / 2 of the interval;  a = h^2 / (3 m^2 + h^2)

    t_j      = m (1 + 2 a) +- h sqrt((20 a^2 - 16 a + 5) / 7) (2 j / 5 - 1)     j = 0 .. 5
    r_j      = t_j radius / sqrt(2)
    angle_j  = turn + (pi / 3) (0, 2, 4, 3, 5, 1)_j
    x_j      = o + t_j d + r_j w(angle_j)
    width_j  = WIDTH r_j, the standard deviation of the Gaussian that a point stands for

Of six points the mean and the variance of t are those of the solid, and so is the sum of both variances across the ray;
over all turns the whole covariance is. The formula is the paper's, written such that short intervals far away lose no
digits and large distances do not overflow (0 <= a <= 1 if t_0 >= 0). Half of the intervals are reversed
(the lower sign), and each has a turn of its own, so that points of neighbours do not line up: at random, a hash of
(seed, n), in training; in pictures every second interval of a ray is reversed and turned by 30 degrees.

w(angle) is (cos, sin, 0) mirrored such that the z axis k falls on n = d / |d|: with q = n - k,

    w(angle) = e - 2 (q.e) / (q.q) q,   e = (cos angle, sin angle, 0)

which is perpendicular to n, and continuous but for n = k, where no pair of axes could be.

One task per ray. Barron et al. 2023 (Zip-NeRF), section 3.1 and appendix A.
"""

import math

from .bounds import samples_of_ray
from .engine import stride_for, ti
from .launch import kernel
from .random import uniform

__all__ = ["POINTS", "WIDTH", "multisampling_backward", "multisampling_forward"]

POINTS = 6  # of an interval
WIDTH = 0.5  # of the radius at which a point lies: of the paper, where it was found by trial
ANGLES = [math.pi / 3 * turn for turn in (0, 2, 4, 3, 5, 1)]
COSINES, SINES = [math.cos(angle) for angle in ANGLES], [math.sin(angle) for angle in ANGLES]
ROOT_HALF = 0.5**0.5
TINY = 1e-30


@ti.func
def distances(t_0, t_1):
    """Mean of t over the frustum, and how far t of the outermost points is from it."""
    m, h = 0.5 * (t_0 + t_1), 0.5 * (t_1 - t_0)
    a = h * h / ti.max(3.0 * m * m + h * h, TINY)
    return m * (1.0 + 2.0 * a), h * ti.sqrt((20.0 * a * a - 16.0 * a + 5.0) / 7.0)


@ti.func
def distances_backward(t_0, t_1, at_mean, at_spread):
    """Gradient of (t_0, t_1) from that of `distances`."""
    m, h = 0.5 * (t_0 + t_1), 0.5 * (t_1 - t_0)
    q = ti.max(3.0 * m * m + h * h, TINY)
    a = h * h / q
    root = ti.sqrt((20.0 * a * a - 16.0 * a + 5.0) / 7.0)
    at_a = 2.0 * m * at_mean + h * (20.0 * a - 8.0) / (7.0 * root) * at_spread
    at_m = (1.0 + 2.0 * a) * at_mean - 6.0 * m * a / q * at_a
    at_h = root * at_spread + 2.0 * h * (1.0 - a) / q * at_a
    return 0.5 * (at_m - at_h), 0.5 * (at_m + at_h)


@ti.func
def pattern(n, i, seed, random: ti.template()):
    """(sign, cosine and sine of the turn) of interval n, which is number i of its ray."""
    sign, turn = 1.0, 0.0
    if ti.static(random):
        draw = 2.0 * uniform(seed, n)  # which half of [0, 1), and where in it
        if draw >= 1.0:
            sign, draw = -1.0, draw - 1.0
        turn = 2.0 * math.pi * draw
    else:
        if i % 2 == 1:
            sign, turn = -1.0, math.pi / 6.0
    return sign, ti.cos(turn), ti.sin(turn)


@ti.func
def mirror(d):
    """q and 2 / q.q of the mirror that takes the z axis to d / |d|; 0 where it lies there already."""
    n = d / d.norm()
    square = n[0] * n[0] + n[1] * n[1]
    drop = n[2] - 1.0
    if n[2] > 0.0:
        drop = -square / (1.0 + n[2])  # the same, without the difference of two numbers that are nearly equal
    factor, length = 0.0, square + drop * drop
    if length > TINY:
        factor = 2.0 / length
    return ti.Vector([n[0], n[1], drop]), factor


@ti.func
def in_plane(cosine, sine, j: ti.template()):
    """e of point j, where `cosine` and `sine` are those of the interval's turn."""
    c, s = ti.static(COSINES[j]), ti.static(SINES[j])
    return ti.Vector([cosine * c - sine * s, sine * c + cosine * s, 0.0])


@ti.func
def place_of(sign, j: ti.template()):
    """Where point j lies between the outermost ones, in [-1, 1]."""
    return sign * ti.static(2.0 * j / (POINTS - 1) - 1.0)


@ti.func
def _row(array: ti.template(), i):
    return ti.Vector([array[i, 0], array[i, 1], array[i, 2]])


@kernel
def multisampling_forward(
    t_0: ti.types.ndarray(ndim=1),  # [N]
    t_1: ti.types.ndarray(ndim=1),  # [N]
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    radius: ti.types.ndarray(ndim=1),  # [R]
    ray_start: ti.types.ndarray(ndim=1),  # [R] i32
    ray_count: ti.types.ndarray(ndim=1),  # [R] i32
    seed: int,
    positions: ti.types.ndarray(ndim=3),  # out [N, 6, 3]
    widths: ti.types.ndarray(ndim=2),  # out [N, 6]
    random: ti.template(),
):
    """Points and widths of every interval."""
    stride = ti.static(stride_for(16))
    for slot in range(ray_start.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, end = samples_of_ray(ray_start, ray_count, ray, t_0.shape[0])
        o, d = _row(origins, ray), _row(directions, ray)
        q, factor = mirror(d)
        for n in range(begin, end):
            mean, spread = distances(t_0[n], t_1[n])
            sign, cosine, sine = pattern(n, n - begin, seed, random)
            for j in ti.static(range(POINTS)):
                t = mean + place_of(sign, j) * spread
                r = ROOT_HALF * radius[ray] * t
                e = in_plane(cosine, sine, j)
                x = o + t * d + r * (e - factor * q.dot(e) * q)
                for axis in ti.static(range(3)):
                    positions[n, j, axis] = x[axis]
                widths[n, j] = WIDTH * r


@kernel
def multisampling_backward(
    t_0: ti.types.ndarray(ndim=1),  # [N]
    t_1: ti.types.ndarray(ndim=1),  # [N]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    radius: ti.types.ndarray(ndim=1),  # [R]
    ray_start: ti.types.ndarray(ndim=1),  # [R] i32
    ray_count: ti.types.ndarray(ndim=1),  # [R] i32
    seed: int,
    positions_gradient: ti.types.ndarray(ndim=3),  # [N, 6, 3]
    widths_gradient: ti.types.ndarray(ndim=2),  # [N, 6]
    t_0_gradient: ti.types.ndarray(ndim=1),  # out [N]
    t_1_gradient: ti.types.ndarray(ndim=1),  # out [N]
    origins_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    directions_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    radius_gradient: ti.types.ndarray(ndim=1),  # out [R]
    random: ti.template(),
):
    """Gradient with respect to intervals, rays and radius."""
    stride = ti.static(stride_for(8))
    for slot in range(ray_start.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, end = samples_of_ray(ray_start, ray_count, ray, t_0.shape[0])
        d = _row(directions, ray)
        q, factor = mirror(d)
        at_origin, at_direction, at_q = 0.0 * d, 0.0 * d, 0.0 * d
        at_radius = 0.0
        for n in range(begin, end):
            mean, spread = distances(t_0[n], t_1[n])
            sign, cosine, sine = pattern(n, n - begin, seed, random)
            at_mean, at_spread = 0.0, 0.0
            for j in ti.static(range(POINTS)):
                t = mean + place_of(sign, j) * spread
                e = in_plane(cosine, sine, j)
                g = ti.Vector([positions_gradient[n, j, axis] for axis in ti.static(range(3))])
                qe, qg = q.dot(e), q.dot(g)
                at_r = ROOT_HALF * (g.dot(e) - factor * qe * qg + WIDTH * widths_gradient[n, j])  # per t and radius
                at_t = g.dot(d) + radius[ray] * at_r
                at_origin += g
                at_direction += t * g
                at_q += t * (factor * factor * qe * qg * q - factor * (qg * e + qe * g))
                at_radius += t * at_r
                at_mean += at_t
                at_spread += place_of(sign, j) * at_t
            t_0_gradient[n], t_1_gradient[n] = distances_backward(t_0[n], t_1[n], at_mean, at_spread)
        # q is that of d / |d|
        length = d.norm()
        at_n = ROOT_HALF * radius[ray] / length * at_q
        at_direction += at_n - at_n.dot(d) / (length * length) * d
        radius_gradient[ray] = at_radius
        for axis in ti.static(range(3)):
            origins_gradient[ray, axis] = at_origin[axis]
            directions_gradient[ray, axis] = at_direction[axis]
