"""Samples of a step: where they lie, which are visible, and the rows of the matrices that networks read.

    R rays, S marched samples, K visible ones: what arrays have room for; how many are in use only the device knows
    geometry [G, S]   outputs of the density network: log density, then what the colour network is told of the point

Matrices with a column for each sample, [.., S] and [.., K], may hold bfloat16 (see `bfloat16`).
"""

from ..bfloat16 import load, store
from ..engine import live, on_cpu, stride_for, ti
from ..launch import kernel
from ..spherical_harmonics import spherical_harmonics_basis
from ..volume_rendering import optical_depth_limit
from .activations import density_of


@kernel
def unit_positions(
    positions: ti.types.ndarray(ndim=2),  # [S, 3] in model units
    side: float,
    unit: ti.types.ndarray(ndim=2),  # out [S, 3]: in the unit cube
    samples: ti.types.ndarray(ndim=1),  # [1] int32: samples in use
):
    """The positions as the hash grid wants them."""
    ti.loop_config(serialize=ti.static(on_cpu()))  # see `stride_for`
    for i in range(live(positions.shape[0], samples, True)):
        for axis in ti.static(range(3)):
            unit[i, axis] = positions[i, axis] / side + 0.5


@kernel
def count_visible_rays(
    geometry: ti.types.ndarray(ndim=2),  # [G, S]
    dt: ti.types.ndarray(ndim=1),  # [S]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    early_stop: float,
    kept_count: ti.types.ndarray(ndim=1),  # out [R] int32
    rays: ti.types.ndarray(ndim=1),  # [1] int32: rays in use
):
    """Samples of each ray in front of where its transmittance falls below `early_stop`."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for ray in range(kept_count.shape[0]):
        kept_count[ray] = 0
    stride = ti.static(stride_for(64))
    for slot in range(live(ray_start.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin = ray_start[ray]
        end = begin + ray_count[ray]
        limit = optical_depth_limit(early_stop)
        passed = 0.0
        i = begin
        while i < end and passed <= limit:
            passed += density_of(load(geometry, 0, i)) * dt[i]
            i += 1
        kept_count[ray] = i - begin


@kernel
def gather_visible(
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32, of the marched samples
    new_start: ti.types.ndarray(ndim=1),  # [R] int32, of the visible ones
    kept_count: ti.types.ndarray(ndim=1),  # [R] int32
    unit: ti.types.ndarray(ndim=2),  # [S, 3]
    dt: ti.types.ndarray(ndim=1),  # [S]
    features: ti.types.ndarray(ndim=2),  # [E, S]
    visible_unit: ti.types.ndarray(ndim=2),  # out [K, 3]
    visible_dt: ti.types.ndarray(ndim=1),  # out [K]
    visible_ray: ti.types.ndarray(ndim=1),  # out [K] int32
    visible_features: ti.types.ndarray(ndim=2),  # out [E, K]
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    samples: ti.types.ndarray(ndim=1),  # [1] int32: K in use
):
    """The visible samples, packed: on a CPU ray by ray, on a GPU sample by sample, so that neighbouring threads touch
    neighbouring memory."""
    stride = ti.static(stride_for(64))
    for slot in range(live(ray_start.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        start, new, kept = ray_start[ray], new_start[ray], kept_count[ray]
        for k in range(kept):
            visible_ray[new + k] = ray
        if ti.static(on_cpu()):
            for k in range(kept):
                for axis in ti.static(range(3)):
                    visible_unit[new + k, axis] = unit[start + k, axis]
                visible_dt[new + k] = dt[start + k]
            for e in range(features.shape[0]):
                for k in range(kept):
                    visible_features[e, new + k] = features[e, start + k]
    if ti.static(not on_cpu()):
        for i in range(live(visible_ray.shape[0], samples, True)):
            ray = visible_ray[i]
            source = ray_start[ray] + i - new_start[ray]
            for axis in ti.static(range(3)):
                visible_unit[i, axis] = unit[source, axis]
            visible_dt[i] = dt[source]
            for e in range(features.shape[0]):
                visible_features[e, i] = features[e, source]


@kernel
def view_rows(
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    sample_ray: ti.types.ndarray(ndim=1),  # [K] int32
    first: int,
    inputs: ti.types.ndarray(ndim=2),  # out [first + degree^2, K]: its last rows
    samples: ti.types.ndarray(ndim=1),  # [1] int32
    degree: ti.template(),
):
    """The viewing direction of each sample, as the colour network wants it behind the `first` rows of geometry."""
    for i in range(live(sample_ray.shape[0], samples, True)):
        ray = sample_ray[i]
        basis = spherical_harmonics_basis(
            ti.Vector([directions[ray, 0], directions[ray, 1], directions[ray, 2]]), degree
        )
        for k in ti.static(range(degree * degree)):
            store(inputs, first + k, i, basis[k])


@kernel
def add_to_row(
    row: ti.types.ndarray(ndim=1),  # [K]
    matrix: ti.types.ndarray(ndim=2),  # in, out [.., K]: its first row
    samples: ti.types.ndarray(ndim=1),  # [1] int32
):
    """matrix[0] += row"""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for i in range(live(row.shape[0], samples, True)):
        store(matrix, 0, i, load(matrix, 0, i) + row[i])


@kernel
def columns_in_use(
    matrix: ti.types.ndarray(ndim=2),  # [.., N]
    scale: float,
    samples: ti.types.ndarray(ndim=1),  # [1] int32
    target: ti.types.ndarray(ndim=2),  # out [rows, N], of any precision
):
    """The first rows, times `scale`; columns that are not in use become zero, whatever stands in them."""
    for row, i in ti.ndrange(target.shape[0], target.shape[1]):
        value = 0.0
        if i < samples[0]:
            value = matrix[row, i] * scale
        target[row, i] = value


@kernel
def density_row(
    geometry: ti.types.ndarray(ndim=2),  # [G, S]
    density: ti.types.ndarray(ndim=1),  # out [M], M <= S
):
    """The density of the first M points."""
    for i in range(density.shape[0]):
        density[i] = density_of(load(geometry, 0, i))


@kernel
def consecutive(
    first: int,
    numbers: ti.types.ndarray(ndim=1),  # out [M] int32
):
    """first, first + 1, .."""
    for i in range(numbers.shape[0]):
        numbers[i] = first + i
