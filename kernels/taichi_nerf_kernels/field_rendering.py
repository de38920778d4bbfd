"""Rays through a trained field to pixels in few launches: march, encode, both networks, composite. No gradients.

    ray          o, d; its samples are those of `ray_marching` without jitter, from the front
    x            position of a sample, in [-side / 2, side / 2]^3; x / side + 1/2 goes into the hash grid
    g            W_density(features of x) [G]; density = exp(min(g_0, 80)) per model unit
    colour       sigmoid(W_colour(g, spherical harmonics of d)), sRGB
    T, w         transmittance in front of a sample, and its weight, as in `volume_rendering`

A ray ends in front of the first sample with T < early_stop, and nothing behind is evaluated. Colour is sum w c over
black, opacity sum w, depth sum w t.

On a CPU a task has CHUNK rays, LANES of them under way, each in a slot. Again and again every slot goes to its next
sample, and these samples are encoded and evaluated together. A ray that has ended leaves its slot to the next one, so
that all lanes are at work although rays have from none to hundreds of samples. On a GPU a thread has a ray, for a
number of samples that doubles from pass to pass; the rays that are then still under way are packed together, so that
threads side by side have work (Mueller et al. 2022, Instant Neural Graphics Primitives, appendix E.2).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from .camera import rays_forward
from .engine import configuration, dealt, dealt_places, on_cpu, stride_for, ti
from .hash_grid import dense_entry, encode_level, hashed_entry, locate
from .launch import kernel
from .mlp import LANES, layer_lanes, mlp_weights, network_sample
from .ray_marching import lattice_stretch, next_run, reciprocal, step_size, summarise_blocks, time_of_step
from .spherical_harmonics import spherical_harmonics_basis
from .volume_rendering import optical_depth_limit, transmittance

CHUNK = 1024  # rays of a CPU task
PIECE = 2**19  # rays of a launch
FIRST_PASS = 16  # samples of a ray in the first pass on a GPU
TILE = 8  # pixels along a tile of a picture
UNBOUNDED = 1e10
LARGEST_EXPONENT = 80.0  # of a density: it makes any distance opaque

# Rows of the state of the rays under way, [row, LANES]: of numbers, then of integers.
ORIGIN, DIRECTION, INVERSE, LATTICE, LEAVE, PASSED, THROUGH, SHOWN, T, DT, POINT, VIEW = (
    0, 3, 6, 9, 10, 11, 12, 13, 17, 18, 19, 22)  # fmt: skip
RAY, AT, BEHIND, END, TAKEN, INTEGERS = range(6)


@dataclass(frozen=True, kw_only=True)
class FieldSettings:
    """What a field's arrays mean, and how its rays are marched."""

    features: int
    """Features of an entry of the hash grid, F."""
    density_sizes: tuple[int, ...]
    """Layers of the density network: L * F, widths, G."""
    colour_sizes: tuple[int, ...]
    """Layers of the colour network: G + degree^2, widths, 3."""
    degree: int
    """Of the spherical harmonics."""
    side: float
    """Side of the field's box, in model units."""
    resolution: int
    """Cells of the occupancy grid along an axis."""
    cascades: int
    """Nested cubes of it."""
    step: float
    """Length of the shortest step."""
    cone: float = 0.0
    """Growth of a step with distance."""
    near: float = 0.0
    """Nothing nearer is sampled."""
    far: float = UNBOUNDED
    """Nothing farther is sampled."""
    max_samples: int = 1024
    """Samples of a ray at the most."""
    early_stop: float = 1e-4
    """Transmittance behind which a ray ends."""

    def __post_init__(self):
        if self.density_sizes[-1] + self.degree**2 != self.colour_sizes[0] or self.colour_sizes[-1] != 3:
            raise ValueError(f"the colour network must go from {self.density_sizes[-1]} + {self.degree}^2 inputs to "
                             f"3 outputs, got {self.colour_sizes}")


@kernel
def summarise_bits(bits: ti.types.ndarray(ndim=1), blocks: ti.types.ndarray(ndim=1), resolution: int):
    """`blocks` [C * G^3 / 2048 + 6] int32 of `bits` [C * G^3 / 32], as `ray_marching.march_count` makes them."""
    summarise_blocks(bits, blocks, resolution)


@ti.func
def vector3(array: ti.template(), row: int):
    """Row of an ndarray [N, 3]."""
    return ti.Vector([array[row, 0], array[row, 1], array[row, 2]])


@ti.func
def slot_vector(state: ti.template(), row: ti.template(), slot: int):
    """Three rows of the state of a slot."""
    return ti.Vector([state[(row + axis) * LANES + slot] for axis in range(3)])


@ti.func
def sigmoid(x):
    """1 / (1 + e^-x), finite for every x: e^-x is at most e^80."""
    return 1.0 / (1.0 + ti.exp(ti.min(-x, LARGEST_EXPONENT)))


@ti.func
def take_ray(slot: int, ray: int, origins: ti.template(), directions: ti.template(), blocks: ti.template(),
             resolution: int, cascades: int, pace, near: float, far: float, state: ti.template(),
             whole: ti.template(), degree: ti.template()):
    """Put a ray at its beginning into a slot."""
    o, d = vector3(origins, ray), vector3(directions, ray)
    inverse = ti.Vector([reciprocal(d[0]), reciprocal(d[1]), reciprocal(d[2])])
    u0, leave, first, end = lattice_stretch(ray, -1, o, inverse, blocks, resolution, cascades, pace, near, far)
    for axis in ti.static(range(3)):
        state[(ORIGIN + axis) * LANES + slot] = o[axis]
        state[(DIRECTION + axis) * LANES + slot] = d[axis]
        state[(INVERSE + axis) * LANES + slot] = inverse[axis]
    state[LATTICE * LANES + slot] = u0
    state[LEAVE * LANES + slot] = leave
    state[PASSED * LANES + slot] = 0.0
    state[THROUGH * LANES + slot] = 1.0
    for k in ti.static(range(4)):
        state[(SHOWN + k) * LANES + slot] = 0.0
    view = spherical_harmonics_basis(d, degree)
    for k in ti.static(range(degree * degree)):
        state[(VIEW + k) * LANES + slot] = view[k]
    whole[RAY * LANES + slot] = ray
    whole[AT * LANES + slot] = first
    whole[BEHIND * LANES + slot] = first
    whole[END * LANES + slot] = end
    whole[TAKEN * LANES + slot] = 0


@ti.func
def put_down_ray(slot: int, state: ti.template(), whole: ti.template(), colour: ti.template(), opacity: ti.template(),
                 depth: ti.template(), samples: ti.template()):
    """Write what the ray in a slot has seen."""
    ray = whole[RAY * LANES + slot]
    for channel in ti.static(range(3)):
        colour[ray, channel] = state[(SHOWN + channel) * LANES + slot]
    opacity[ray] = 1.0 - state[THROUGH * LANES + slot]
    depth[ray] = state[(SHOWN + 3) * LANES + slot]
    samples[ray] = whole[TAKEN * LANES + slot]


@ti.func
def go_to_sample(slot: int, pace, state: ti.template(), whole: ti.template()):
    """The slot's sample is the one at its lattice index; the index goes on."""
    at = whole[AT * LANES + slot]
    low = time_of_step(state[LATTICE * LANES + slot] + ti.cast(at, float), pace)
    size = step_size(low, pace)
    state[T * LANES + slot] = low + 0.5 * size
    state[DT * LANES + slot] = size
    whole[AT * LANES + slot] = at + 1
    whole[TAKEN * LANES + slot] += 1


@ti.func
def encode_lanes(state: ti.template(), table: ti.template(), levels: ti.template(), scales: ti.template(),
                 level: int, index: ti.template(), weight: ti.template(), x: ti.template(),
                 features: ti.template(), by_entry: ti.template()):
    """Features of one level at the points of all slots: x[(l * F + k) * LANES + slot]."""
    scale = scales[level]
    start, size, resolution = levels[level, 0], levels[level, 1], levels[level, 2]
    for lane in range(LANES):
        cell_x, fx = locate(state[POINT * LANES + lane], scale, resolution)
        cell_y, fy = locate(state[(POINT + 1) * LANES + lane], scale, resolution)
        cell_z, fz = locate(state[(POINT + 2) * LANES + lane], scale, resolution)
        index[lane] = cell_x
        index[LANES + lane] = cell_y
        index[2 * LANES + lane] = cell_z
        for corner in ti.static(range(4)):
            cy, cz = ti.static(corner & 1, corner >> 1)
            w = (fy if ti.static(cy) else 1 - fy) * (fz if ti.static(cz) else 1 - fz)
            weight[2 * corner * LANES + lane] = w - w * fx
            weight[(2 * corner + 1) * LANES + lane] = w * fx
    hashed = levels[level, 3]
    for lane in range(LANES):
        cell_x, cell_y, cell_z = index[lane], index[LANES + lane], index[2 * LANES + lane]
        for corner in ti.static(range(8)):
            cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
            entry = ti.select(hashed == 1, hashed_entry(cell_x + cx, cell_y + cy, cell_z + cz, size),
                              dense_entry(cell_x + cx, cell_y + cy, cell_z + cz, resolution, size))
            index[corner * LANES + lane] = start + entry
    for lane in range(LANES):
        y = ti.Vector.zero(float, features)
        for corner in ti.static(range(8)):
            entry, w = index[corner * LANES + lane], weight[corner * LANES + lane]
            if ti.static(by_entry):
                y += w * table[entry]
            else:
                for k in ti.static(range(features)):
                    y[k] += w * table[entry * features + k]
        for k in ti.static(range(features)):
            x[(level * features + k) * LANES + lane] = y[k]


def _hidden(density_sizes: tuple, colour_sizes: tuple, parity: int) -> int:
    """Units of the widest hidden layer of even or odd number, of both networks; 1 if there is none."""
    return max(*density_sizes[1 + parity:-1:2], *colour_sizes[1 + parity:-1:2], 1, 1)


@ti.func
def network_slots(x: ti.template(), weights: ti.template(), y: ti.template(), even: ti.template(), odd: ti.template(),
                  sizes: ti.template()):
    """A network on all slots. The hidden layers lie in `even` and `odd` by turns: made anew in each wave, these vectors
    would take half a minute to compile."""
    for layer in ti.static(range(len(sizes) - 1)):
        inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
        last = ti.static(layer == len(sizes) - 2)
        first = ti.static(mlp_weights(sizes[: layer + 1]))
        if ti.static(layer == 0 and last):
            layer_lanes(x, weights, y, first, inputs, 1, inputs, outputs, False)
        elif ti.static(layer == 0):
            layer_lanes(x, weights, even, first, inputs, 1, inputs, outputs, True)
        elif ti.static(layer % 2 == 1 and last):
            layer_lanes(even, weights, y, first, inputs, 1, inputs, outputs, False)
        elif ti.static(layer % 2 == 1):
            layer_lanes(even, weights, odd, first, inputs, 1, inputs, outputs, True)
        elif ti.static(last):
            layer_lanes(odd, weights, y, first, inputs, 1, inputs, outputs, False)
        else:
            layer_lanes(odd, weights, even, first, inputs, 1, inputs, outputs, True)


@ti.func
def composite_slot(slot: int, log_density: float, raw: ti.template(), limit: float, max_samples: int,
                   state: ti.template(), whole: ti.template()):
    """Add the sample of a slot to its ray, and end the ray where it has become opaque."""
    before = state[THROUGH * LANES + slot]
    passed = (state[PASSED * LANES + slot]
              + ti.exp(ti.min(log_density, LARGEST_EXPONENT)) * state[DT * LANES + slot])
    after = transmittance(passed)
    weight = before - after
    state[PASSED * LANES + slot] = passed
    state[THROUGH * LANES + slot] = after
    for channel in ti.static(range(3)):
        state[(SHOWN + channel) * LANES + slot] += weight * sigmoid(raw[channel * LANES + slot])
    state[(SHOWN + 3) * LANES + slot] += weight * state[T * LANES + slot]
    if passed > limit or whole[TAKEN * LANES + slot] >= max_samples:
        whole[BEHIND * LANES + slot] = 0
        whole[END * LANES + slot] = 0


@cache
def _cpu_kernel(features: int, density_sizes: tuple, colour_sizes: tuple, degree: int, entry):
    """The kernel for a CPU. `entry`: the vector type of the table's elements, or None for a flat table of numbers."""
    outputs, geometry, inputs = density_sizes[0], density_sizes[-1], colour_sizes[0]
    by_entry = entry is not None
    rows = VIEW + degree * degree
    table_type = ti.types.ndarray(dtype=entry, ndim=1) if by_entry else ti.types.ndarray(ndim=1)

    @kernel
    def render(origins: ti.types.ndarray(ndim=2), directions: ti.types.ndarray(ndim=2), bits: ti.types.ndarray(ndim=1),
               blocks: ti.types.ndarray(ndim=1), resolution: int, cascades: int, cone: float, growth: float,
               step: float, near: float, far: float, max_samples: int, early_stop: float, side: float,
               table: table_type, levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
               density_weights: ti.types.ndarray(ndim=1), colour_weights: ti.types.ndarray(ndim=1),
               colour: ti.types.ndarray(ndim=2), opacity: ti.types.ndarray(ndim=1), depth: ti.types.ndarray(ndim=1),
               samples: ti.types.ndarray(ndim=1)):
        stride = ti.static(stride_for(1))
        for task_slot in range(dealt_places((origins.shape[0] + CHUNK - 1) // CHUNK) * stride):
            if task_slot % stride != 0:
                continue
            pace = ti.Vector([cone, growth, step, UNBOUNDED])
            limit = optical_depth_limit(early_stop)
            state = ti.Vector.zero(float, rows * LANES)
            whole = ti.Vector.zero(ti.i32, INTEGERS * LANES)
            index = ti.Vector.zero(ti.i32, 8 * LANES)
            weight = ti.Vector.zero(float, 8 * LANES)
            x = ti.Vector.zero(float, outputs * LANES)
            point = ti.Vector.zero(float, inputs * LANES)
            raw = ti.Vector.zero(float, 3 * LANES)
            even = ti.Vector.zero(float, ti.static(_hidden(density_sizes, colour_sizes, 0)) * LANES)
            odd = ti.Vector.zero(float, ti.static(_hidden(density_sizes, colour_sizes, 1)) * LANES)
            fresh = dealt(task_slot // stride, (origins.shape[0] + CHUNK - 1) // CHUNK) * CHUNK
            last = ti.min(fresh + CHUNK, origins.shape[0])
            live = ti.min(LANES, last - fresh)
            for slot in range(LANES):
                whole[RAY * LANES + slot] = -1
            while live > 0:
                slot = 0
                while slot < live:
                    at, end = whole[AT * LANES + slot], whole[END * LANES + slot]
                    if at < whole[BEHIND * LANES + slot]:
                        go_to_sample(slot, pace, state, whole)
                        slot += 1
                    elif at < end:
                        i, j = next_run(at, end, state[LATTICE * LANES + slot], state[LEAVE * LANES + slot],
                                        slot_vector(state, ORIGIN, slot), slot_vector(state, DIRECTION, slot),
                                        slot_vector(state, INVERSE, slot), bits, blocks, resolution, cascades, pace)
                        whole[AT * LANES + slot] = ti.select(i < 0, end, i)
                        whole[BEHIND * LANES + slot] = ti.select(i < 0, end, j)
                    else:
                        if whole[RAY * LANES + slot] >= 0:
                            put_down_ray(slot, state, whole, colour, opacity, depth, samples)
                        if fresh < last:
                            take_ray(slot, fresh, origins, directions, blocks, resolution, cascades, pace, near, far,
                                     state, whole, degree)
                            fresh += 1
                        else:  # the last slot moves here
                            live -= 1
                            for row in range(rows):
                                state[row * LANES + slot] = state[row * LANES + live]
                            for row in range(INTEGERS):
                                whole[row * LANES + slot] = whole[row * LANES + live]
                for axis in ti.static(range(3)):
                    for lane in range(LANES):
                        state[(POINT + axis) * LANES + lane] = (
                            (state[(ORIGIN + axis) * LANES + lane]
                             + state[T * LANES + lane] * state[(DIRECTION + axis) * LANES + lane]) / side + 0.5)
                for level in range(scales.shape[0]):
                    encode_lanes(state, table, levels, scales, level, index, weight, x, features, by_entry)
                network_slots(x, density_weights, point, even, odd, density_sizes)
                for k in range(degree * degree):
                    for lane in range(LANES):
                        point[(geometry + k) * LANES + lane] = state[(VIEW + k) * LANES + lane]
                network_slots(point, colour_weights, raw, even, odd, colour_sizes)
                for lane in range(live):
                    composite_slot(lane, point[lane], raw, limit, max_samples, state, whole)

    return render


@cache
def _gpu_kernel(features: int, density_sizes: tuple, colour_sizes: tuple, degree: int):
    """The kernel for a GPU, on a flat table of numbers."""
    outputs, geometry, inputs = density_sizes[0], density_sizes[-1], colour_sizes[0]
    levels_count = outputs // features

    @kernel
    def render(origins: ti.types.ndarray(ndim=2), directions: ti.types.ndarray(ndim=2), bits: ti.types.ndarray(ndim=1),
               blocks: ti.types.ndarray(ndim=1), resolution: int, cascades: int, cone: float, growth: float,
               step: float, near: float, far: float, max_samples: int, early_stop: float, side: float,
               table: ti.types.ndarray(ndim=1), levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
               density_weights: ti.types.ndarray(ndim=1), colour_weights: ti.types.ndarray(ndim=1),
               colour: ti.types.ndarray(ndim=2), opacity: ti.types.ndarray(ndim=1), depth: ti.types.ndarray(ndim=1),
               samples: ti.types.ndarray(ndim=1), turn: int, most: int, under_way: ti.types.ndarray(ndim=1),
               live_rays: ti.types.ndarray(ndim=2), reached: ti.types.ndarray(ndim=1),
               thickness: ti.types.ndarray(ndim=1)):
        for k in range(under_way.shape[0]):
            if turn == 0:
                under_way[k] = ti.select(k == 0, origins.shape[0], 0)
        ti.loop_config(block_dim=64)
        for place in range(under_way[turn]):
            ray = place
            if turn > 0:
                ray = live_rays[turn % 2, place]
            pace = ti.Vector([cone, growth, step, UNBOUNDED])
            limit = optical_depth_limit(early_stop)
            o, d = vector3(origins, ray), vector3(directions, ray)
            inverse = ti.Vector([reciprocal(d[0]), reciprocal(d[1]), reciprocal(d[2])])
            u0, leave, at, end = lattice_stretch(ray, -1, o, inverse, blocks, resolution, cascades, pace, near, far)
            view = spherical_harmonics_basis(d, degree)
            taken, passed, distance = 0, 0.0, 0.0
            shown = ti.Vector([0.0, 0.0, 0.0])
            if turn > 0:
                at, taken, passed, distance = reached[ray], samples[ray], thickness[ray], depth[ray]
                shown = vector3(colour, ray)
            behind, through, last = at, transmittance(passed), taken + most
            while at < end and taken < last:
                if at >= behind:
                    i, j = next_run(at, end, u0, leave, o, d, inverse, bits, blocks, resolution, cascades, pace)
                    at = ti.select(i < 0, end, i)
                    behind = ti.select(i < 0, end, j)
                if at < end:
                    low = time_of_step(u0 + ti.cast(at, float), pace)
                    size = step_size(low, pace)
                    t = low + 0.5 * size
                    x = ti.Vector.zero(float, outputs)
                    for level in range(scales.shape[0]):
                        y = encode_level((o + t * d) / side + 0.5, table, levels, scales, level, features)
                        for l in ti.static(range(levels_count)):  # registers have no index
                            if level == l:
                                for k in ti.static(range(features)):
                                    x[ti.static(l * features + k)] = y[k]
                    g = network_sample(x, density_weights, 0, density_sizes)
                    seen = ti.Vector.zero(float, inputs)
                    for k in ti.static(range(geometry)):
                        seen[k] = g[k]
                    for k in ti.static(range(degree * degree)):
                        seen[ti.static(geometry + k)] = view[k]
                    raw = network_sample(seen, colour_weights, 0, colour_sizes)
                    passed += ti.exp(ti.min(g[0], LARGEST_EXPONENT)) * size
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
            for channel in ti.static(range(3)):
                colour[ray, channel] = shown[channel]
            opacity[ray] = 1.0 - through
            depth[ray] = distance
            samples[ray] = taken
            if at < end:
                reached[ray], thickness[ray] = at, passed
                live_rays[(turn + 1) % 2, ti.atomic_add(under_way[turn + 1], 1)] = ray

    return render


def render_rays(settings: FieldSettings, origins, directions, bits, blocks, table, levels, scales, density_weights,
                colour_weights, scratch, colour, opacity, depth, samples) -> None:
    """Pixels of R rays: writes colour [R, 3], opacity [R], depth [R] (sum w t) and samples [R] (int32, evaluated).

    Args:
        origins, directions: [R, 3], model space, unit directions.
        bits: [C * G^3 / 32] int32. blocks: [C * G^3 / 2048 + 6] int32, from `summarise_bits`.
        table: [E * F], or on a CPU, faster, [E] of F-vectors: a `ti.Vector.ndarray`, or an array or tensor [E, F].
        levels, scales: of the `HashGridLayout`.
        density_weights, colour_weights: flat, layer after layer, [out, in] row by row.
        scratch: of `render_scratch`, for at least R rays.
    """
    if origins.shape[0] == 0:
        return
    sizes = (settings.features, settings.density_sizes, settings.colour_sizes, settings.degree)
    arguments = (origins, directions, bits, blocks, settings.resolution, settings.cascades, settings.cone,
                 math.log1p(settings.cone), settings.step, settings.near, settings.far, settings.max_samples,
                 settings.early_stop, settings.side, table, levels, scales, density_weights, colour_weights)
    outputs = (colour, opacity, depth, samples)
    if on_cpu():
        _cpu_kernel(*sizes, _entry_type(table, settings.features))(*arguments, *outputs)
        return
    held = outputs
    if configuration().arch == ti.vulkan:  # an array of the host would come back whole after each pass, for the worse
        held = [array if isinstance(array, ti.Ndarray) else ti.ndarray(ti.i32 if array is samples else float,
                                                                       tuple(array.shape)) for array in outputs]
    for turn in range(_passes(settings.max_samples)):
        _gpu_kernel(*sizes)(*arguments, *held, turn, FIRST_PASS << turn, *scratch)
    for array, device_array in zip(outputs, held):
        if array is not device_array:
            np.asarray(array)[...] = device_array.to_numpy()


def render_scratch(rays: int, max_samples: int) -> tuple:
    """What `render_rays` needs on a GPU for `rays` rays: how many are under way in each pass, which, and how far."""
    integers = [ti.ndarray(ti.i32, shape) for shape in (_passes(max_samples) + 1, (2, rays), rays)]
    return (*integers, ti.ndarray(float, rays))


def _passes(max_samples: int) -> int:
    """Passes of FIRST_PASS samples, then twice as many, .., that a ray of `max_samples` needs."""
    return max(1, math.ceil(math.log2(max_samples / FIRST_PASS + 1)))


def _entry_type(table, features: int):
    """The vector type of the table's elements, or None for a flat table of numbers."""
    if isinstance(table, ti.lang.matrix.VectorNdarray):
        return ti.types.vector(features, table.dtype)
    if isinstance(table, ti.Ndarray) or len(table.shape) == 1:
        return None
    return ti.types.vector(features, ti.f64 if str(table.dtype).endswith("float64") else ti.f32)


class TaichiField:
    """A trained field and its occupancy grid, ready to be rendered, without PyTorch.

    >>> field = TaichiField.from_arrays(settings, layout, bits, table, density_weights, colour_weights)
    >>> colour, opacity, depth = field.render(camera_to_world, focal, principal, (400, 400))

    Valid until `ti.init` is called again.
    """

    def __init__(self, settings: FieldSettings, *, bits, blocks, table, levels, scales, density_weights,
                 colour_weights):
        """Arrays as of `render_rays`, used in place; `blocks` is written now, and `bits` must not change later."""
        self.settings = settings
        self.arrays = (bits, blocks, table, levels, scales, density_weights, colour_weights)
        self._room, self._scratch = 0, ()
        summarise_bits(bits, blocks, settings.resolution)

    @classmethod
    def from_arrays(cls, settings: FieldSettings, layout, *, bits, table, density_weights, colour_weights):
        """Upload numpy arrays once: bits [C * G^3 / 32], table [E, F], and the layers of each network, [out, in]."""
        features = layout.features
        if on_cpu() and features > 1:
            entries = ti.Vector.ndarray(features, float, layout.entries)
            entries.from_numpy(np.asarray(table, _float()).reshape(-1, features))
        else:
            entries = _uploaded(np.reshape(table, -1), float)
        flat = [np.concatenate([np.reshape(w, -1) for w in layers]) for layers in (density_weights, colour_weights)]
        blocks = ti.ndarray(ti.i32, len(bits) // 64 + 6)
        return cls(settings, bits=_uploaded(bits, ti.i32), table=entries, levels=_uploaded(layout.levels, ti.i32),
                   scales=_uploaded(layout.scales, float), density_weights=_uploaded(flat[0], float),
                   colour_weights=_uploaded(flat[1], float), blocks=blocks)

    def render_rays(self, origins, directions, colour, opacity, depth, samples) -> None:
        """Pixels of R rays, as `render_rays`."""
        if not on_cpu() and self._room < origins.shape[0]:
            self._room = origins.shape[0]
            self._scratch = render_scratch(self._room, self.settings.max_samples)
        render_rays(self.settings, origins, directions, *self.arrays, self._scratch, colour, opacity, depth, samples)

    def render(self, camera_to_world, focal, principal, size: tuple[int, int], distortion=(0,) * 6, lens: int = 0):
        """What one camera sees, as numpy arrays: colour [H, W, 3] over black, opacity and depth (sum w t) [H, W].

        camera_to_world [3, 4] in model space, OpenGL axes; focal and principal (u, v), in pixels; size (width,
        height); distortion and lens as in `camera`.
        """
        width, height = size
        order = tile_order(width, height)
        pixel = np.stack([order % width, order // width], axis=1) + 0.5
        camera = [np.asarray(camera_to_world)[None, :3], [focal], [principal], [distortion]]
        image = np.empty((width * height, 5), _float())
        for first in range(0, len(order), PIECE):
            piece = pixel[first:first + PIECE]
            rays = len(piece)
            origins, directions, colour = (ti.ndarray(float, (rays, 3)) for _ in range(3))
            opacity, depth, samples = ti.ndarray(float, rays), ti.ndarray(float, rays), ti.ndarray(ti.i32, rays)
            rays_forward(np.zeros(rays, np.int32), piece.astype(_float()), *(np.array(c, _float()) for c in camera),
                         np.array([lens], np.int32), origins, directions)
            self.render_rays(origins, directions, colour, opacity, depth, samples)
            where = order[first:first + PIECE]
            image[where, :3], image[where, 3], image[where, 4] = (a.to_numpy() for a in (colour, opacity, depth))
        image = image.reshape(height, width, 5)
        return image[..., :3], image[..., 3], image[..., 4]


def tile_order(width: int, height: int) -> np.ndarray:
    """[H * W] the pixels, y * width + x, tile by tile: neighbours in the picture share cells of the grid."""
    y, x = (axis.reshape(-1) for axis in np.indices((height, width)))
    return np.lexsort((x % TILE, y % TILE, x // TILE, y // TILE))


def _float():
    """numpy's name of the precision that Taichi computes with."""
    return np.float64 if ti.lang.impl.current_cfg().default_fp == ti.f64 else np.float32


def _uploaded(values, dtype):
    values = np.ascontiguousarray(values, np.int32 if dtype == ti.i32 else _float())
    array = ti.ndarray(dtype, values.shape)
    array.from_numpy(values)
    return array
