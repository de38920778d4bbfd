"""The schedule for a CPU: a task has CHUNK rays, of which LANES are under way and go through the field together."""

from functools import cache

from ..engine import dealt, dealt_places, stride_for, ti
from ..hash_grid import blend_lane, dense_entry, hashed_entry, level_weight, locate_lane, table_type
from ..launch import kernel
from ..mlp import LANES, layer_lanes, mlp_weights
from ..ray_marching import Marching
from ..volume_rendering import optical_depth_limit
from .settings import UNBOUNDED
from .slots import (
    AT,
    BEHIND,
    END,
    INTEGERS,
    POINT,
    RAY,
    VIEW,
    T,
    composite_slot,
    find_run,
    go_to_sample,
    move_ray,
    place_points,
    put_down_ray,
    sum_slots,
    take_ray,
)

CHUNK = 1024  # rays of a task


@ti.func
def encode_lanes(state: ti.template(), table: ti.template(), levels: ti.template(), scales: ti.template(),
                 level: int, index: ti.template(), weight: ti.template(), x: ti.template(),
                 features: ti.template(), by_entry: ti.template()):
    """Features of one level at the points of all slots: x[(l * F + k) * LANES + slot]."""
    scale = scales[level]
    start, size, resolution = levels[level, 0], levels[level, 1], levels[level, 2]
    hashed = levels[level, 3]
    # Cells and weights of their corners.
    for lane in range(LANES):
        locate_lane(state[POINT * LANES + lane], state[(POINT + 1) * LANES + lane], state[(POINT + 2) * LANES + lane],
                    scale, resolution, lane, LANES, index, weight)
    # Corners to places in the table.
    for lane in range(LANES):
        cell_x, cell_y, cell_z = index[lane], index[LANES + lane], index[2 * LANES + lane]
        for corner in ti.static(range(8)):
            cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
            entry = ti.select(hashed == 1, hashed_entry(cell_x + cx, cell_y + cy, cell_z + cz, size),
                              dense_entry(cell_x + cx, cell_y + cy, cell_z + cz, resolution, size))
            index[corner * LANES + lane] = (start + entry) * ti.static(1 if by_entry else features)
    # What stands there.
    for lane in range(LANES):
        y = blend_lane(table, index, weight, lane, LANES, features, by_entry)
        for k in ti.static(range(features)):
            x[(level * features + k) * LANES + lane] = y[k]


@ti.func
def spread_lanes(spread: ti.template(), side: float, state: ti.template(), whole: ti.template(), width: ti.template()):
    """Widths of the samples of all slots, in units of the hash grid's cube."""
    for lane in range(LANES):
        ray = ti.max(whole[RAY * LANES + lane], 0)  # a slot may have had none
        width[lane] = spread[ray] * state[T * LANES + lane] / side


@ti.func
def weigh_lanes(width: ti.template(), scale, level: int, x: ti.template(), features: ti.template()):
    """x, as `encode_lanes` wrote it, as samples of a width see it."""
    for lane in range(LANES):
        seen = level_weight(width[lane], scale)
        for k in ti.static(range(features)):
            x[(level * features + k) * LANES + lane] *= seen


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


@cache
def render_kernel(features: int, density_sizes: tuple, colour_sizes: tuple, degree: int, harmonic: bool, entry):
    """The kernel for a table of type `entry`, or, if that is None, of numbers."""
    outputs, geometry, inputs = density_sizes[0], density_sizes[-1], colour_sizes[0]
    constant = harmonic and inputs > geometry
    by_entry, argument = entry is not None, table_type(entry)
    rows = VIEW + degree * degree
    widest = [_hidden(density_sizes, colour_sizes, parity) for parity in (0, 1)]

    @kernel
    def render(origins: ti.types.ndarray(ndim=2), directions: ti.types.ndarray(ndim=2), bits: ti.types.ndarray(ndim=1),
               blocks: ti.types.ndarray(ndim=1), resolution: int, cascades: int, cone: float, growth: float,
               step: float, near: float, far: float, max_samples: int, early_stop: float, side: float,
               table: argument, levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
               density_weights: ti.types.ndarray(ndim=1), colour_weights: ti.types.ndarray(ndim=1),
               colour: ti.types.ndarray(ndim=2), opacity: ti.types.ndarray(ndim=1), depth: ti.types.ndarray(ndim=1),
               samples: ti.types.ndarray(ndim=1), spread: ti.types.ndarray(), wide: ti.template()):
        stride = ti.static(stride_for(1))
        for task_slot in range(dealt_places((origins.shape[0] + CHUNK - 1) // CHUNK) * stride):
            if task_slot % stride != 0:
                continue
            pace = ti.Vector([cone, growth, step, UNBOUNDED])
            march = ti.static(Marching(bits, blocks, resolution, cascades, pace, near, far))
            limit = optical_depth_limit(early_stop)
            # Rays fresh .. last - 1 have yet to start; the first `live` slots have one under way, or none at first.
            fresh = dealt(task_slot // stride, (origins.shape[0] + CHUNK - 1) // CHUNK) * CHUNK
            last = ti.min(fresh + CHUNK, origins.shape[0])
            live = ti.min(LANES, last - fresh)
            state = ti.Vector.zero(float, rows * LANES)
            whole = ti.Vector.zero(ti.i32, INTEGERS * LANES)
            for slot in range(LANES):
                whole[RAY * LANES + slot] = -1
            # What the networks are given, what they make of it, and what lies between.
            index = ti.Vector.zero(ti.i32, 8 * LANES)
            weight = ti.Vector.zero(float, 8 * LANES)
            width = ti.Vector.zero(float, ti.static(LANES if wide else 1))
            x = ti.Vector.zero(float, outputs * LANES)
            point = ti.Vector.zero(float, inputs * LANES)
            coefficients = ti.Vector.zero(float, ti.static(colour_sizes[-1] * LANES if harmonic else 1))
            raw = ti.Vector.zero(float, 3 * LANES)
            if ti.static(constant):
                for lane in range(LANES):
                    point[geometry * LANES + lane] = 1.0
            even = ti.Vector.zero(float, ti.static(widest[0]) * LANES)
            odd = ti.Vector.zero(float, ti.static(widest[1]) * LANES)
            while live > 0:
                # Every slot to its next sample; where its ray has ended, to the next ray.
                slot = 0
                while slot < live:
                    if whole[AT * LANES + slot] < whole[BEHIND * LANES + slot]:
                        go_to_sample(slot, pace, state, whole)
                        slot += 1
                    elif whole[AT * LANES + slot] < whole[END * LANES + slot]:
                        find_run(slot, march, state, whole)
                    else:
                        if whole[RAY * LANES + slot] >= 0:
                            put_down_ray(slot, state, whole, colour, opacity, depth, samples)
                        if fresh < last:
                            take_ray(slot, fresh, origins, directions, march, state, whole, degree)
                            fresh += 1
                        else:  # the last slot moves here
                            live -= 1
                            move_ray(live, slot, state, whole, rows)
                # The samples through the field: features, density and geometry, colour.
                place_points(side, state)
                if ti.static(wide):
                    spread_lanes(spread, side, state, whole, width)
                for level in range(scales.shape[0]):
                    encode_lanes(state, table, levels, scales, level, index, weight, x, features, by_entry)
                    if ti.static(wide):
                        weigh_lanes(width, scales[level], level, x, features)
                network_slots(x, density_weights, point, even, odd, density_sizes)
                if ti.static(harmonic):
                    network_slots(point, colour_weights, coefficients, even, odd, colour_sizes)
                    sum_slots(coefficients, state, degree * degree, raw)
                else:
                    for k in range(degree * degree):
                        for lane in range(LANES):
                            point[(geometry + k) * LANES + lane] = state[(VIEW + k) * LANES + lane]
                    network_slots(point, colour_weights, raw, even, odd, colour_sizes)
                # Each onto its ray.
                for lane in range(live):
                    composite_slot(lane, point[lane], raw, limit, max_samples, state, whole)

    return render
