"""The schedule for a GPU: a thread has a ray, for a number of samples that doubles from pass to pass.

Rays that are then still under way are packed together, so that threads side by side have work.
"""

from functools import cache

from ..engine import ti
from ..hash_grid import encode_level, level_weight
from ..launch import kernel
from ..mlp import network_sample
from ..ray_marching import Marching, lattice_interval, lattice_stretch, next_run, ray_of
from ..spherical_harmonics import spherical_harmonics_basis
from ..volume_rendering import optical_depth_limit, transmittance
from .networks import density_of, sigmoid
from .settings import UNBOUNDED

FIRST_PASS = 16  # samples of a ray in the first pass


@ti.func
def vector3(array: ti.template(), row: int):
    """Row of an ndarray [N, 3]."""
    return ti.Vector([array[row, 0], array[row, 1], array[row, 2]])


@ti.func
def encode_point(x, width, table: ti.template(), levels: ti.template(), scales: ti.template(),
                 features: ti.template(), levels_count: ti.template(), wide: ti.template()):
    """Features of all levels at position `x`, which has a `width` if it is `wide`."""
    encoded = ti.Vector.zero(float, levels_count * features)
    for level in range(scales.shape[0]):
        y = encode_level(x, table, levels, scales, level, features)
        if ti.static(wide):
            y *= level_weight(width, scales[level])
        for l in ti.static(range(levels_count)):  # registers have no index
            if level == l:
                for k in ti.static(range(features)):
                    encoded[ti.static(l * features + k)] = y[k]
    return encoded


@ti.func
def view_point(g, view, geometry: ti.template(), directions: ti.template()):
    """What the colour network is given: the point's geometry, and the direction that it is seen in."""
    seen = ti.Vector.zero(float, geometry + directions)
    for k in ti.static(range(geometry)):
        seen[k] = g[k]
    for k in ti.static(range(directions)):
        seen[ti.static(geometry + k)] = view[k]
    return seen


@ti.func
def told_point(g, geometry: ti.template(), inputs: ti.template()):
    """What a colour network that sees no direction is given: the point's geometry and, if it has one more input, 1."""
    told = ti.Vector.one(float, inputs)
    for k in ti.static(range(geometry)):
        told[k] = g[k]
    return told


@ti.func
def sum_point(coefficients, view, functions: ti.template()):
    """sum_j k_j Y_j for each channel, of coefficients k [3, B] and the basis Y."""
    raw = ti.Vector.zero(float, 3)
    for channel in ti.static(range(3)):
        for j in ti.static(range(functions)):
            raw[channel] += coefficients[ti.static(channel * functions + j)] * view[j]
    return raw


@cache
def render_kernel(features: int, density_sizes: tuple, colour_sizes: tuple, degree: int, harmonic: bool):
    """The kernel for a table of numbers."""
    outputs, geometry, inputs = density_sizes[0], density_sizes[-1], colour_sizes[0]

    @kernel
    def render(origins: ti.types.ndarray(ndim=2), directions: ti.types.ndarray(ndim=2), bits: ti.types.ndarray(ndim=1),
               blocks: ti.types.ndarray(ndim=1), resolution: int, cascades: int, cone: float, growth: float,
               step: float, near: float, far: float, max_samples: int, early_stop: float, side: float,
               table: ti.types.ndarray(ndim=1), levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
               density_weights: ti.types.ndarray(ndim=1), colour_weights: ti.types.ndarray(ndim=1),
               colour: ti.types.ndarray(ndim=2), opacity: ti.types.ndarray(ndim=1), depth: ti.types.ndarray(ndim=1),
               samples: ti.types.ndarray(ndim=1), spread: ti.types.ndarray(), wide: ti.template(), turn: int,
               most: int, under_way: ti.types.ndarray(ndim=1),
               live_rays: ti.types.ndarray(ndim=2), reached: ti.types.ndarray(ndim=1),
               thickness: ti.types.ndarray(ndim=1)):
        for k in range(under_way.shape[0]):
            if turn == 0:
                under_way[k] = ti.select(k == 0, origins.shape[0], 0)
        ti.loop_config(block_dim=64)
        for place in range(under_way[turn]):
            # The ray, from its beginning.
            ray = place
            if turn > 0:
                ray = live_rays[turn % 2, place]
            pace = ti.Vector([cone, growth, step, UNBOUNDED])
            march = ti.static(Marching(bits, blocks, resolution, cascades, pace, near, far))
            limit = optical_depth_limit(early_stop)
            o, d, inverse = ray_of(origins, directions, ray)
            u0, leave, at, end = lattice_stretch(ray, -1, o, inverse, march)
            view = spherical_harmonics_basis(d, degree)
            taken, passed, distance = 0, 0.0, 0.0
            shown = ti.Vector([0.0, 0.0, 0.0])
            # Or from where the passes before have left it.
            if turn > 0:
                at, taken, passed, distance = reached[ray], samples[ray], thickness[ray], depth[ray]
                shown = vector3(colour, ray)
            spread_here = 0.0
            if ti.static(wide):
                spread_here = spread[ray] / side
            behind, through, last = at, transmittance(passed), taken + most
            while at < end and taken < last:
                # To the next sample.
                if at >= behind:
                    i, j = next_run(at, end, u0, leave, o, d, inverse, march)
                    at = ti.select(i < 0, end, i)
                    behind = ti.select(i < 0, end, j)
                if at < end:
                    # Through the field.
                    t, dt = lattice_interval(at, u0, pace)
                    x = encode_point((o + t * d) / side + 0.5, spread_here * t, table, levels, scales, features,
                                     outputs // features, wide)
                    g = network_sample(x, density_weights, 0, density_sizes)
                    raw = ti.Vector.zero(float, 3)
                    if ti.static(harmonic):
                        coefficients = network_sample(told_point(g, geometry, inputs), colour_weights, 0, colour_sizes)
                        raw = sum_point(coefficients, view, degree * degree)
                    else:
                        raw = network_sample(view_point(g, view, geometry, degree * degree), colour_weights, 0,
                                             colour_sizes)
                    # Onto the ray, which ends where it has become opaque.
                    passed += density_of(g[0]) * dt
                    after = transmittance(passed)
                    weight = through - after
                    through = after
                    for channel in ti.static(range(3)):
                        shown[channel] += weight * sigmoid(raw[channel])
                    distance += weight * t
                    at += 1
                    taken += 1
                    if passed > limit or taken >= max_samples:
                        end = 0
            # What it has seen; and, if it is still under way, where the next pass finds it.
            for channel in ti.static(range(3)):
                colour[ray, channel] = shown[channel]
            opacity[ray] = 1.0 - through
            depth[ray] = distance
            samples[ray] = taken
            if at < end:
                reached[ray], thickness[ray] = at, passed
                live_rays[(turn + 1) % 2, ti.atomic_add(under_way[turn + 1], 1)] = ray

    return render
