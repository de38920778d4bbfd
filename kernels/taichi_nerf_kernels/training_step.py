"""What stands between the stages of a training step of Instant-NGP, so that a step is launches alone, without autograd
and without the host: see `taichi_nerf.training.explicit_step` for their order.

    R rays, S marched samples, K visible ones: what arrays have room for; how many are in use only the device knows
    geometry [G, S]   outputs of the density network: log density, then what the colour network is told of the point
    raw [3, K]        outputs of the colour network: colour = sigmoid(raw)
    density           exp(log density); in its gradient the exponent is clamped to [-15, 15]

Matrices with a column for each sample, [.., S] and [.., K], may hold bfloat16 (see `bfloat16`).

Composed of the functions of other modules; the gradients are those of volume_rendering, of a Huber loss and of the two
activations.
"""

from .bfloat16 import load, store
from .engine import live, on_cpu, stride_for, ti
from .launch import kernel
from .random import uniform
from .spherical_harmonics import spherical_harmonics_basis
from .volume_rendering import optical_depth_gradient, optical_depth_limit, transmittance

LARGEST_LOG_DENSITY = 80.0  # beyond it the density, which makes any distance opaque, grows no more
STEEPEST_LOG_DENSITY = 15.0  # the exponent in the gradient of the density is clamped to +- this
RAYS, MARCHED, SAMPLES, SKIPPED = range(4)  # places in `totals`
LOSS, SQUARED_ERROR = range(2)  # places in `errors`
MARCHED_PER_RAY, SAMPLES_PER_RAY = range(2)  # places in `pace`


@ti.func
def density_of(log_density):
    """exp, finite for every argument."""
    return ti.exp(ti.min(log_density, LARGEST_LOG_DENSITY))


@ti.func
def density_slope(log_density):
    """What a gradient with respect to the density is multiplied with."""
    return ti.exp(ti.min(ti.max(log_density, -STEEPEST_LOG_DENSITY), STEEPEST_LOG_DENSITY))


@ti.func
def sigmoid(x):
    """1 / (1 + e^-x)"""
    return 1.0 / (1.0 + ti.exp(-x))


@ti.func
def huber_gradient(error, delta):
    """(h, dh/de) of h = e^2 / 2 where |e| < delta, else delta (|e| - delta / 2)."""
    slope = ti.min(ti.max(error, -delta), delta)
    return slope * (error - 0.5 * slope), slope


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


@ti.func
def composite_ray(begin, kept, geometry: ti.template(), raw: ti.template(), dt: ti.template(),
                  weights: ti.template()):
    """Colour over black and transmittance of a ray whose samples begin at `begin`; their weights are written."""
    passed, through = 0.0, 1.0
    colour = ti.Vector([0.0, 0.0, 0.0])
    for i in range(begin, begin + kept):
        passed += density_of(load(geometry, 0, i)) * dt[i]
        after = transmittance(passed)
        weights[i] = through - after
        for c in ti.static(range(3)):
            colour[c] += weights[i] * sigmoid(load(raw, c, i))
        through = after
    return ti.Vector([colour[0], colour[1], colour[2], through])


@kernel
def differentiate_rays(
    geometry: ti.types.ndarray(ndim=2),  # [G.., K]
    raw: ti.types.ndarray(ndim=2),  # [3, K]
    dt: ti.types.ndarray(ndim=1),  # [K]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    rgba: ti.types.ndarray(ndim=2),  # [R, 4] truth, straight alpha
    background: float,
    background_seed: int,  # of a random colour per pixel; below 0: `background`
    delta: float,
    weights: ti.types.ndarray(ndim=1),  # scratch [K]
    shown: ti.types.ndarray(ndim=2),  # scratch [R, 4], where a pixel has several rays
    raw_gradient: ti.types.ndarray(ndim=2),  # out [3, K]
    log_density_gradient: ti.types.ndarray(ndim=1),  # out [K]
    errors: ti.types.ndarray(ndim=1),  # [2] the loss and the squared error are added
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),  # rays of a pixel, which follow one another
):
    """Composite every ray, compare pixels with the truth by a Huber loss, mean over pixels and channels, and
    differentiate that with respect to raw colour and log density: from front to back, and back again.

    A pixel is the mean of its rays; of the last one there may be a part only, which then counts as that part.
    """
    stride = ti.static(stride_for(64))
    if ti.static(per_pixel > 1):
        for slot in range(live(rgba.shape[0], rays, True) * stride):
            if slot % stride != 0:
                continue
            ray = slot // stride
            seen = composite_ray(ray_start[ray], ray_count[ray], geometry, raw, dt, weights)
            for k in ti.static(range(4)):
                shown[ray, k] = seen[k]
    for slot in range(live(rgba.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, kept = ray_start[ray], ray_count[ray]
        seen, end = ti.Vector([0.0, 0.0, 0.0, 0.0]), 0.0
        if ti.static(per_pixel > 1):
            first = ray - ray % per_pixel
            last = ti.min(first + per_pixel, rays[0])
            for other in range(first, last):
                for k in ti.static(range(4)):
                    seen[k] += shown[other, k] / ti.cast(last - first, float)
            end = shown[ray, 3]
        else:
            seen = composite_ray(begin, kept, geometry, raw, dt, weights)
            end = seen[3]

        gradient = ti.Vector([0.0, 0.0, 0.0])
        opacity_gradient, loss, squared_error = 0.0, 0.0, 0.0
        scale = 1.0 / (3.0 * ti.cast(rays[0], float))
        for c in ti.static(range(3)):
            behind = background
            if background_seed >= 0:
                behind = uniform(background_seed, 3 * (ray // per_pixel) + c)
            error = seen[c] + seen[3] * behind - (rgba[ray, c] * rgba[ray, 3] + (1.0 - rgba[ray, 3]) * behind)
            value, slope = huber_gradient(error, delta)
            gradient[c] = scale * slope
            opacity_gradient -= gradient[c] * behind
            loss += scale * value
            squared_error += scale * error * error
        ti.atomic_add(errors[LOSS], loss)
        ti.atomic_add(errors[SQUARED_ERROR], squared_error)

        through, behind_sum = end, 0.0
        for step in range(kept):
            i = begin + kept - 1 - step
            weight, value = weights[i], 0.0
            for c in ti.static(range(3)):
                shade = sigmoid(load(raw, c, i))
                value += gradient[c] * shade
                store(raw_gradient, c, i, weight * gradient[c] * shade * (1.0 - shade))
            tau_gradient = optical_depth_gradient(value, through, behind_sum, opacity_gradient, end)
            log_density_gradient[i] = dt[i] * tau_gradient * density_slope(load(geometry, 0, i))
            behind_sum += weight * value
            through += weight


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
def next_batch(
    rays: ti.types.ndarray(ndim=1),  # in: rays of this step, out: of the next one; [1] int32
    marched: ti.types.ndarray(ndim=1),  # [1] int32
    samples: ti.types.ndarray(ndim=1),  # [1] int32
    pace: ti.types.ndarray(ndim=1),  # in, out [2]: marched samples per ray, visible ones; moving averages
    totals: ti.types.ndarray(ndim=1),  # in, out [4] int32: sums over steps of rays, marched, visible; steps without any
    smoothing: float,
    most_marched: int,
    most_samples: int,
    most_rays: int,
    per_pixel: int,
):
    """As many rays as give the number of samples to aim at, by how many samples a ray had lately; those of whole
    pixels."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for _ in range(1):
        totals[RAYS] += rays[0]
        totals[MARCHED] += marched[0]
        totals[SAMPLES] += samples[0]
        totals[SKIPPED] += ti.cast(samples[0] == 0, ti.i32)
        per_ray = 1.0 / ti.cast(ti.max(rays[0], 1), float)
        pace[MARCHED_PER_RAY] += (1.0 - smoothing) * (ti.cast(marched[0], float) * per_ray - pace[MARCHED_PER_RAY])
        pace[SAMPLES_PER_RAY] += (1.0 - smoothing) * (ti.cast(samples[0], float) * per_ray - pace[SAMPLES_PER_RAY])
        wanted = ti.min(
            ti.cast(most_marched, float) / ti.max(pace[MARCHED_PER_RAY], 1e-3),
            ti.cast(most_samples, float) / ti.max(pace[SAMPLES_PER_RAY], 1e-3),
        )
        found = ti.max(16, ti.min(ti.cast(ti.min(wanted, ti.cast(most_rays, float)), ti.i32), most_rays))
        rays[0] = found - found % per_pixel


@kernel
def move_average(
    parameter: ti.types.ndarray(ndim=1),
    share: float,
    average: ti.types.ndarray(ndim=1),  # in, out
):
    """average <- average + share (parameter - average)"""
    for i in range(parameter.shape[0]):
        average[i] += share * (parameter[i] - average[i])


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
