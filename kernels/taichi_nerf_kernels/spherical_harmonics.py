"""Real spherical harmonics of unit directions: the basis in which colour changes with the viewing direction.

Degree D gives the D^2 functions Y_l^m of the bands l = 0 .. D - 1, m = -l .. l, in the order l^2 + l + m. For
a unit direction d = (x, y, z), with m > 0,

    Y_l^0  =          K_l^0 P_l^0(z)
    Y_l^m  = (-1)^m sqrt(2) K_l^m P_l^m(z) C_m        C_m = Re (x + iy)^m
    Y_l^-m = (-1)^m sqrt(2) K_l^m P_l^m(z) S_m        S_m = Im (x + iy)^m
    K_l^m  = sqrt((2l + 1) (l - m)! / (4 pi (l + m)!))

where P_l^m is the m-th derivative of the Legendre polynomial P_l. Band 1 is sqrt(3 / 4 pi) (-y, z, -x), as in
tiny-cuda-nn and PlenOctrees. All three factors are polynomials with simple derivatives:

    dP_l^m / dz = P_l^{m+1}
    dC_m / d(x, y) = m (C_{m-1}, -S_{m-1}),   dS_m / d(x, y) = m (S_{m-1}, C_{m-1})

The gradient is that of these polynomials in space; on the sphere its radial part has no meaning.
Sloan 2008, "Stupid spherical harmonics tricks".
"""

import math

from .engine import ti
from .launch import kernel

MAX_DEGREE = 5


def normalisation(l: int, m: int) -> float:
    """Factor of P_l^m C_m in Y_l^m."""
    k = math.sqrt((2 * l + 1) * math.factorial(l - m) / (4 * math.pi * math.factorial(l + m)))
    return k if m == 0 else (-1) ** m * math.sqrt(2) * k


def triangle(l: int, m: int) -> int:
    """Place of (l, m), 0 <= m <= l, in a table of rows 1, 2, 3, .. long."""
    return l * (l + 1) // 2 + m


def double_factorial(n: int) -> float:
    """n (n - 2) (n - 4) .. 1 for odd n."""
    return float(math.prod(range(n, 0, -2)))


@ti.func
def legendre_derivatives(z, degree: ti.template()):
    """P_l^m(z) for 0 <= m <= l < degree, at `triangle(l, m)`.

    P_m^m = (2m - 1)!!,   P_l^m = ((2l - 1) z P_{l-1}^m - (l + m - 1) P_{l-2}^m) / (l - m)
    """
    p = ti.Vector([0.0 for _ in range(degree * (degree + 1) // 2)])
    for m in ti.static(range(degree)):
        start = ti.static(double_factorial(2 * m - 1))
        p[ti.static(triangle(m, m))] = start
        for l in ti.static(range(m + 1, degree)):
            value = (2 * l - 1) * z * p[ti.static(triangle(l - 1, m))]
            if ti.static(l - 2 >= m):
                value -= (l + m - 1) * p[ti.static(triangle(l - 2, m))]
            p[ti.static(triangle(l, m))] = value / (l - m)
    return p


@ti.func
def azimuth_polynomials(x, y, degree: ti.template()):
    """(C_m, S_m) for 0 <= m < degree: (x + iy)^m, power after power."""
    c = ti.Vector([1.0 for _ in range(degree)])
    s = ti.Vector([0.0 for _ in range(degree)])
    for m in ti.static(range(1, degree)):
        c[m] = x * c[m - 1] - y * s[m - 1]
        s[m] = x * s[m - 1] + y * c[m - 1]
    return c, s


@ti.func
def spherical_harmonics_basis(direction, degree: ti.template()):
    """Y [degree^2] of the unit vector `direction`."""
    p = legendre_derivatives(direction.z, degree)
    c, s = azimuth_polynomials(direction.x, direction.y, degree)
    basis = ti.Vector([0.0 for _ in range(degree * degree)])
    for l in ti.static(range(degree)):
        for m in ti.static(range(l + 1)):
            factor = ti.static(normalisation(l, m)) * p[ti.static(triangle(l, m))]
            basis[ti.static(l * l + l + m)] = factor * c[m]
            if ti.static(m > 0):
                basis[ti.static(l * l + l - m)] = factor * s[m]
    return basis


@ti.func
def spherical_harmonics_gradient(direction, basis_gradient, degree: ti.template()):
    """dL/d direction, given dL/dY [degree^2]."""
    p = legendre_derivatives(direction.z, degree)
    c, s = azimuth_polynomials(direction.x, direction.y, degree)
    gradient = ti.Vector([0.0, 0.0, 0.0])
    for l in ti.static(range(degree)):
        for m in ti.static(range(l + 1)):
            at_c = ti.static(normalisation(l, m)) * basis_gradient[ti.static(l * l + l + m)]
            at_s = 0.0
            if ti.static(m > 0):
                at_s = ti.static(normalisation(l, m)) * basis_gradient[ti.static(l * l + l - m)]
                slope = m * p[ti.static(triangle(l, m))]
                gradient.x += slope * (at_c * c[m - 1] + at_s * s[m - 1])
                gradient.y += slope * (at_s * c[m - 1] - at_c * s[m - 1])
            if ti.static(m < l):
                gradient.z += p[ti.static(triangle(l, m + 1))] * (at_c * c[m] + at_s * s[m])
    return gradient


@kernel
def spherical_harmonics_forward(
    directions: ti.types.ndarray(ndim=2),  # [N, 3] unit vectors
    basis: ti.types.ndarray(ndim=2),  # out [N, degree^2]
    degree: ti.template(),
):
    """Basis of every direction."""
    for n in range(directions.shape[0]):
        values = spherical_harmonics_basis(
            ti.Vector([directions[n, 0], directions[n, 1], directions[n, 2]]), degree
        )
        for k in ti.static(range(degree * degree)):
            basis[n, k] = values[k]


@kernel
def spherical_harmonics_backward(
    directions: ti.types.ndarray(ndim=2),  # [N, 3]
    basis_gradient: ti.types.ndarray(ndim=2),  # [N, degree^2]
    directions_gradient: ti.types.ndarray(ndim=2),  # out [N, 3]
    degree: ti.template(),
):
    """Gradient with respect to the directions, of the polynomials as they stand."""
    for n in range(directions.shape[0]):
        gradient = spherical_harmonics_gradient(
            ti.Vector([directions[n, 0], directions[n, 1], directions[n, 2]]),
            ti.Vector([basis_gradient[n, k] for k in range(degree * degree)]),
            degree,
        )
        for axis in ti.static(range(3)):
            directions_gradient[n, axis] = gradient[axis]
