"""Colours that change with the viewing direction in spherical harmonics (Yu et al. 2021, PlenOctrees, section 3.1).

    colour_c = sigmoid(sum_j k_cj Y_j(d))

of a unit direction d, with the B = bands^2 functions Y_j of the bands below `bands`, as `spherical_harmonics` has them,
and a coefficient of each for each of three channels c. N samples; matrices have a column for each: k_cj is in row
c B + j, channel-major as in svox.
"""

from .bfloat16 import load
from .engine import ti
from .launch import kernel
from .spherical_harmonics import spherical_harmonics_basis, spherical_harmonics_gradient

LARGEST_EXPONENT = 80.0  # of e^-x in a sigmoid, which stays finite


@ti.func
def sigmoid(x):
    """1 / (1 + e^-x), finite for every x: e^-x is at most e^80."""
    return 1.0 / (1.0 + ti.exp(ti.min(-x, LARGEST_EXPONENT)))


@ti.func
def harmonic_sum(coefficients: ti.template(), sample: int, channel: int, basis, functions: ti.template()):
    """sum_j k_cj Y_j of a sample; the coefficients may be bfloat16."""
    total = 0.0
    for j in ti.static(range(functions)):
        total += load(coefficients, channel * functions + j, sample) * basis[j]
    return total


@ti.func
def direction_of(directions: ti.template(), ray: int):
    """Row of an ndarray [.., 3]."""
    return ti.Vector([directions[ray, 0], directions[ray, 1], directions[ray, 2]])


@kernel
def harmonic_colours_forward(
    coefficients: ti.types.ndarray(ndim=2),  # [3 B, N]
    directions: ti.types.ndarray(ndim=2),  # [N, 3] unit vectors
    colours: ti.types.ndarray(ndim=2),  # out [N, 3]
    bands: ti.template(),
):
    """Colours of all samples."""
    for n in range(directions.shape[0]):
        basis = spherical_harmonics_basis(direction_of(directions, n), bands)
        for channel in ti.static(range(3)):
            colours[n, channel] = sigmoid(harmonic_sum(coefficients, n, channel, basis, bands * bands))


@kernel
def harmonic_colours_backward(
    coefficients: ti.types.ndarray(ndim=2),  # [3 B, N]
    directions: ti.types.ndarray(ndim=2),  # [N, 3]
    colours: ti.types.ndarray(ndim=2),  # [N, 3]
    colours_gradient: ti.types.ndarray(ndim=2),  # [N, 3]
    coefficients_gradient: ti.types.ndarray(ndim=2),  # out [3 B, N]
    directions_gradient: ti.types.ndarray(ndim=2),  # out [N, 3], if it is wanted
    bands: ti.template(),
    to_directions: ti.template(),
):
    """Gradients with respect to the coefficients and, if that is wanted, to the directions, of the polynomials as they
    stand."""
    for n in range(directions.shape[0]):
        direction = direction_of(directions, n)
        basis = spherical_harmonics_basis(direction, bands)
        basis_gradient = ti.Vector.zero(float, bands * bands)
        for channel in ti.static(range(3)):
            colour = colours[n, channel]
            raw_gradient = colours_gradient[n, channel] * colour * (1.0 - colour)
            for j in ti.static(range(bands * bands)):
                row = ti.static(channel * bands * bands + j)
                coefficients_gradient[row, n] = raw_gradient * basis[j]
                if ti.static(to_directions):
                    basis_gradient[j] += raw_gradient * coefficients[row, n]
        if ti.static(to_directions):
            gradient = spherical_harmonics_gradient(direction, basis_gradient, bands)
            for axis in ti.static(range(3)):
                directions_gradient[n, axis] = gradient[axis]
