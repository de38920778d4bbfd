"""Contraction of unbounded space into a ball of radius 2, of points and of Gaussians seen along a set of directions.

    r = |x|, u = x / r;  inside the unit ball f(x) = x, and outside

    f(x) = a x,  a = (2 - 1/r) / r                        so that |f(x)| = 2 - 1/r < 2
    J    = df/dx = a (I - u u^T) + (1 / r^2) u u^T        symmetric; a across and 1 / r^2 along the radius

A Gaussian with mean x and covariance Sigma becomes one with mean f(x) and covariance J Sigma J^T. Of it only the mean
and variance along D directions p_k are wanted (the basis of mip-NeRF 360 has 21). With the covariance of a cone about
the ray direction d, Sigma = t_variance d d^T + radial_variance (I - d d^T / |d|^2), and y = J p_k, they are

    mean_k     = f(x).p_k
    variance_k = t_variance (d.y)^2 + radial_variance |y - (d.y / |d|^2) d|^2

in which no 3 x 3 matrix appears and no large terms cancel. The backward pass needs the derivative of z.J p by x, for
fixed z and p, outside of the unit ball:

    [a' z.p + (b - a)' (u.z)(u.p)] u + (b - a) [(u.p)(z - (u.z) u) + (u.z)(p - (u.p) u)] / r,   b = 1 / r^2

An isotropic Gaussian of standard deviation sigma becomes one of the same volume, isotropic again:

    sigma' = e(r) sigma,  e = |det J|^(1/3) = ((2 r - 1)^2)^(1/3) / r^2,  e' = e (4 / (3 (2 r - 1)) - 2 / r)

On the unit sphere f has a derivative, J and e have none: the gradient is that from inside.

Barron et al. 2022 (mip-NeRF 360), eq. 10 and section 3; 2023 (Zip-NeRF), for isotropic Gaussians.
"""

import itertools

import numpy as np

from .engine import stride_for, ti
from .launch import kernel

__all__ = [
    "contract",
    "contract_backward",
    "contract_forward",
    "contract_spheres_backward",
    "contract_spheres_forward",
    "jacobian_product",
    "jacobian_product_gradient",
    "mean_stretch",
    "off_axis_basis",
    "project_backward",
    "project_forward",
]


def off_axis_basis(subdivisions: int = 2) -> np.ndarray:
    """[D, 3] unit vectors: one of each pair of opposite vertices of an icosahedron whose edges are subdivided.

    `subdivisions` 2 gives the 21 directions of mip-NeRF 360; 1 gives 6, 3 gives 46. The order is fixed.
    """
    if subdivisions < 1:
        raise ValueError(f"subdivisions must be at least 1, got {subdivisions}")
    golden = (1 + 5**0.5) / 2
    corners = np.array([np.roll([0.0, a, b * golden], s) for s in range(3) for a in (-1, 1) for b in (-1, 1)])
    faces = [  # three corners, each an edge's length (2) from the others
        f for f in itertools.combinations(range(12), 3)
        if all(abs(np.linalg.norm(corners[i] - corners[j]) - 2) < 1e-9 for i, j in itertools.combinations(f, 2))
    ]
    shares = [(i, j, subdivisions - i - j) for i in range(subdivisions + 1) for j in range(subdivisions + 1 - i)]
    points = np.concatenate([np.array(shares) @ corners[list(face)] for face in faces])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    basis: list[np.ndarray] = []
    for point in sorted(points.tolist(), key=lambda p: tuple(np.round(p, 9)), reverse=True):
        if all(abs(np.dot(point, other)) < 1 - 1e-9 for other in basis):
            basis.append(np.array(point))
    return np.array(basis)


@ti.func
def _factors(x):
    """u, r, a and b of a point; u is 0 inside the unit ball, where a = b = 1."""
    r = x.norm()
    u, a, b = 0.0 * x, 1.0, 1.0
    if r > 1.0:
        u = x / r
        a = (2.0 - 1.0 / r) / r
        b = 1.0 / (r * r)
    return u, r, a, b


@ti.func
def contract(x):
    """f(x)."""
    _, _, a, _ = _factors(x)
    return a * x


@ti.func
def _stretch(p, u, a, b):
    c = u.dot(p)
    return a * (p - c * u) + b * c * u


@ti.func
def jacobian_product(x, p):
    """J p, which is J^T p."""
    u, _, a, b = _factors(x)
    return _stretch(p, u, a, b)


@ti.func
def jacobian_product_gradient(x, z, p):
    """Gradient of z.J p with respect to x."""
    u, r, a, b = _factors(x)
    gradient = 0.0 * x
    if r > 1.0:
        uz, up = u.dot(z), u.dot(p)
        slope = 2.0 * b * (1.0 / r - 1.0)  # a'
        difference_slope = 2.0 * b * (1.0 - 2.0 / r)  # (b - a)'
        gradient = ((slope * z.dot(p) + difference_slope * uz * up) * u
                    + (b - a) / r * (up * (z - uz * u) + uz * (p - up * u)))
    return gradient


@ti.func
def mean_stretch(x):
    """e, the factor on lengths about x, in the geometric mean of the three directions; and its gradient by x."""
    u, r, _, b = _factors(x)
    e, slope = 1.0, 0.0
    if r > 1.0:
        e = (2.0 * r - 1.0) ** (2.0 / 3.0) * b
        slope = e * (4.0 / (3.0 * (2.0 * r - 1.0)) - 2.0 / r)
    return e, slope * u


@ti.func
def _factors_where(x, contracted: ti.template()):
    """u, a and b of a point, or, if it is not `contracted`, those inside the unit ball."""
    u, a, b = 0.0 * x, 1.0, 1.0
    if ti.static(contracted):
        u, _, a, b = _factors(x)
    return u, a, b


@ti.func
def _row(array: ti.template(), i):
    return ti.Vector([array[i, 0], array[i, 1], array[i, 2]])


@kernel
def contract_forward(
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    contracted: ti.types.ndarray(ndim=2),  # out [N, 3]
):
    """f of every point."""
    for n in range(points.shape[0]):
        y = contract(_row(points, n))
        for axis in ti.static(range(3)):
            contracted[n, axis] = y[axis]


@kernel
def contract_backward(
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    contracted_gradient: ti.types.ndarray(ndim=2),  # [N, 3]
    points_gradient: ti.types.ndarray(ndim=2),  # out [N, 3]
):
    """Gradient with respect to the points: J times that of f."""
    for n in range(points.shape[0]):
        gradient = jacobian_product(_row(points, n), _row(contracted_gradient, n))
        for axis in ti.static(range(3)):
            points_gradient[n, axis] = gradient[axis]


@kernel
def contract_spheres_forward(
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    widths: ti.types.ndarray(ndim=1),  # [N]
    contracted: ti.types.ndarray(ndim=2),  # out [N, 3]
    contracted_widths: ti.types.ndarray(ndim=1),  # out [N]
):
    """f of every point, and e times its width."""
    for n in range(points.shape[0]):
        x = _row(points, n)
        y = contract(x)
        e, _ = mean_stretch(x)
        for axis in ti.static(range(3)):
            contracted[n, axis] = y[axis]
        contracted_widths[n] = e * widths[n]


@kernel
def contract_spheres_backward(
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    widths: ti.types.ndarray(ndim=1),  # [N]
    contracted_gradient: ti.types.ndarray(ndim=2),  # [N, 3]
    contracted_widths_gradient: ti.types.ndarray(ndim=1),  # [N]
    points_gradient: ti.types.ndarray(ndim=2),  # out [N, 3]
    widths_gradient: ti.types.ndarray(ndim=1),  # out [N]
):
    """Gradient with respect to points and widths."""
    for n in range(points.shape[0]):
        x, g = _row(points, n), contracted_widths_gradient[n]
        e, slope = mean_stretch(x)
        gradient = jacobian_product(x, _row(contracted_gradient, n)) + g * widths[n] * slope
        for axis in ti.static(range(3)):
            points_gradient[n, axis] = gradient[axis]
        widths_gradient[n] = g * e


@kernel
def project_forward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    t_mean: ti.types.ndarray(ndim=2),  # [R, S]
    t_variance: ti.types.ndarray(ndim=2),  # [R, S]
    radial_variance: ti.types.ndarray(ndim=2),  # [R, S]
    basis: ti.types.ndarray(ndim=2),  # [D, 3]
    mean: ti.types.ndarray(ndim=3),  # out [R, S, D]
    variance: ti.types.ndarray(ndim=3),  # out [R, S, D]
    contracted: ti.template(),
):
    """Mean and variance of every Gaussian along the basis, after the contraction, or (not `contracted`) without it."""
    stride = ti.static(stride_for(64))
    for slot in range(t_mean.shape[0] * t_mean.shape[1] * stride):
        if slot % stride != 0:
            continue
        ray = (slot // stride) // t_mean.shape[1]
        i = (slot // stride) % t_mean.shape[1]
        d = _row(directions, ray)
        x = _row(origins, ray) + t_mean[ray, i] * d
        u, a, b = _factors_where(x, contracted)
        square = d.norm_sqr()
        for k in range(basis.shape[0]):
            p = _row(basis, k)
            y = _stretch(p, u, a, b)
            along = d.dot(y)
            mean[ray, i, k] = a * x.dot(p)
            variance[ray, i, k] = (t_variance[ray, i] * along * along
                                   + radial_variance[ray, i] * (y - along / square * d).norm_sqr())


@ti.func
def _gaussian_gradient(ray, i, x, d, along_variance, across_variance, basis: ti.template(),
                       mean_gradient: ti.template(), variance_gradient: ti.template(), contracted: ti.template()):
    """Gradient of one Gaussian's mean x, of d by way of the variances, and of the variances along and across d."""
    square = d.norm_sqr()
    u, a, b = _factors_where(x, contracted)
    at_x, at_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    at_along, at_across = 0.0, 0.0
    for k in range(basis.shape[0]):
        p = _row(basis, k)
        y = _stretch(p, u, a, b)
        along = d.dot(y)
        across = y - along / square * d
        g = variance_gradient[ray, i, k]
        at_along += g * along * along
        at_across += g * across.norm_sqr()
        at_x += mean_gradient[ray, i, k] * y
        at_d += 2.0 * g * along * (along_variance * y - across_variance / square * across)
        if ti.static(contracted):
            z = 2.0 * g * (along_variance * along * d + across_variance * across)
            at_x += jacobian_product_gradient(x, z, p)
    return at_x, at_d, at_along, at_across


@kernel
def project_backward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    t_mean: ti.types.ndarray(ndim=2),  # [R, S]
    t_variance: ti.types.ndarray(ndim=2),  # [R, S]
    radial_variance: ti.types.ndarray(ndim=2),  # [R, S]
    basis: ti.types.ndarray(ndim=2),  # [D, 3]
    mean_gradient: ti.types.ndarray(ndim=3),  # [R, S, D]
    variance_gradient: ti.types.ndarray(ndim=3),  # [R, S, D]
    origins_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    directions_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    t_mean_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    t_variance_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    radial_variance_gradient: ti.types.ndarray(ndim=2),  # out [R, S]
    contracted: ti.template(),
):
    """Gradient with respect to the rays and the moments; one task per ray."""
    stride = ti.static(stride_for(4))
    for slot in range(origins.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        o, d = _row(origins, ray), _row(directions, ray)
        at_origin, at_direction = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        for i in range(t_mean.shape[1]):
            x = o + t_mean[ray, i] * d
            at_x, at_d, at_along, at_across = _gaussian_gradient(
                ray, i, x, d, t_variance[ray, i], radial_variance[ray, i], basis, mean_gradient, variance_gradient,
                contracted)
            t_mean_gradient[ray, i] = at_x.dot(d)
            t_variance_gradient[ray, i] = at_along
            radial_variance_gradient[ray, i] = at_across
            at_origin += at_x
            at_direction += t_mean[ray, i] * at_x + at_d
        for axis in ti.static(range(3)):
            origins_gradient[ray, axis] = at_origin[axis]
            directions_gradient[ray, axis] = at_direction[axis]
