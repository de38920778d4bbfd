"""From the coefficients of a colour's harmonics to what is squashed to the colour, and back.

    raw_c = sum_j k_cj Y_j(d)          for the direction d of a sample's ray, as in `harmonic_colours`

    coefficients [3 B, K], raw [3, K]   a column for each visible sample; they may hold bfloat16
"""

from ..bfloat16 import load, store
from ..engine import live, ti
from ..harmonic_colours import direction_of, harmonic_sum
from ..launch import kernel
from ..spherical_harmonics import spherical_harmonics_basis


@kernel
def sum_harmonics(
    coefficients: ti.types.ndarray(ndim=2),  # [3 B, K]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    sample_ray: ti.types.ndarray(ndim=1),  # [K] int32
    raw: ti.types.ndarray(ndim=2),  # out [3, K]
    samples: ti.types.ndarray(ndim=1),  # [1] int32: samples in use
    bands: ti.template(),
):
    for i in range(live(sample_ray.shape[0], samples, True)):
        basis = spherical_harmonics_basis(direction_of(directions, sample_ray[i]), bands)
        for channel in ti.static(range(3)):
            store(raw, channel, i, harmonic_sum(coefficients, i, channel, basis, bands * bands))


@kernel
def harmonics_gradient(
    raw_gradient: ti.types.ndarray(ndim=2),  # [3, K]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    sample_ray: ti.types.ndarray(ndim=1),  # [K] int32
    coefficients_gradient: ti.types.ndarray(ndim=2),  # out [3 B, K]
    samples: ti.types.ndarray(ndim=1),  # [1] int32
    bands: ti.template(),
):
    for i in range(live(sample_ray.shape[0], samples, True)):
        basis = spherical_harmonics_basis(direction_of(directions, sample_ray[i]), bands)
        for channel in ti.static(range(3)):
            slope = load(raw_gradient, channel, i)
            for j in ti.static(range(bands * bands)):
                store(coefficients_gradient, channel * bands * bands + j, i, slope * basis[j])
