"""The schedule for a CPU: a task has one level, so that no other adds to its part of the table: no atomics."""

from functools import cache

from ..bfloat16 import load, store
from ..engine import live, stride_for, threads, ti
from ..launch import kernel
from .block import LANES, blend_lane, block_entries, weigh_block

CHUNK = 8192  # points of a task of the forward pass: one level's part of the table stays in cache


@ti.func
def level_in_turn(place: int, levels: int):
    """The level at `place` of a loop over all. The finer a level the more time it takes: where the threads, whose parts
    of the loop are equal, have as many levels each, these are dealt to them like cards, to and fro."""
    players = ti.static(threads())
    below_finest = place
    if levels % players == 0:
        rounds = levels // players
        player, round = place // rounds, place % rounds
        below_finest = round * players + (player if round % 2 == 0 else players - 1 - player)
    return levels - 1 - below_finest


@ti.func
def encode_chunk(x: ti.template(), widths: ti.template(), count: int, table: ti.template(), levels: ti.template(),
                 scales: ti.template(), y: ti.template(), task: int, features: ti.template(), by_entry: ti.template(),
                 wide: ti.template()):
    """Features of one level at CHUNK of `count` points; tasks count the chunks, then the levels in turn. The points
    have widths if they are `wide`."""
    chunks = (count + CHUNK - 1) // CHUNK
    level, chunk = level_in_turn(task // chunks, scales.shape[0]), task % chunks
    stride = ti.static(1 if by_entry else features)
    index = ti.Vector.zero(ti.i32, 8 * LANES)
    weight = ti.Vector.zero(float, 8 * LANES)
    sums = ti.Vector.zero(float, features * LANES)
    seen = ti.Vector.zero(float, ti.static(LANES if wide else 1))
    last = ti.min((chunk + 1) * CHUNK, count)
    for block in range(chunk * (CHUNK // LANES), (last + LANES - 1) // LANES):
        block_entries(x, count, levels, scales, level, block, stride, index, weight)
        for lane in range(LANES):
            value = blend_lane(table, index, weight, lane, LANES, features, by_entry)
            for k in ti.static(range(features)):
                sums[lane * features + k] = value[k]
        if ti.static(wide):
            weigh_block(widths, count, block, scales[level], seen)
            for lane in range(LANES):
                for k in ti.static(range(features)):
                    sums[lane * features + k] *= seen[lane]
        for k in ti.static(range(features)):
            for lane in range(ti.min(LANES, count - block * LANES)):
                store(y, level * features + k, block * LANES + lane, sums[lane * features + k])


@ti.func
def splat_level_serially(x: ti.template(), widths: ti.template(), count: int, y_gradient: ti.template(),
                         levels: ti.template(), scales: ti.template(), table_gradient: ti.template(), level: int,
                         features: ti.template(), by_entry: ti.template(), wide: ti.template()):
    """Adds the gradient of one level at `count` points, one after the other: no other task may write to that level.

    `by_entry`: table_gradient is [E] of F-vectors, whose sum is then one vector instruction, instead of [E * F].
    """
    stride = ti.static(1 if by_entry else features)
    index = ti.Vector.zero(ti.i32, 8 * LANES)
    weight = ti.Vector.zero(float, 8 * LANES)
    gradient = ti.Vector.zero(float, features * LANES)
    seen = ti.Vector.zero(float, ti.static(LANES if wide else 1))
    for block in range((count + LANES - 1) // LANES):
        block_entries(x, count, levels, scales, level, block, stride, index, weight)
        lanes = ti.min(LANES, count - block * LANES)
        for lane in range(lanes):
            for k in ti.static(range(features)):
                gradient[lane * features + k] = load(y_gradient, level * features + k, block * LANES + lane)
        if ti.static(wide):
            weigh_block(widths, count, block, scales[level], seen)
            for lane in range(LANES):
                for k in ti.static(range(features)):
                    gradient[lane * features + k] *= seen[lane]
        for lane in range(lanes):
            g = ti.Vector.zero(float, features)
            for k in ti.static(range(features)):
                g[k] = gradient[lane * features + k]
            for corner in ti.static(range(8)):
                first = index[corner * LANES + lane]
                w = weight[corner * LANES + lane]
                if ti.static(by_entry):
                    table_gradient[first] = table_gradient[first] + w * g
                else:
                    for k in ti.static(range(features)):
                        table_gradient[first + k] = table_gradient[first + k] + w * g[k]


@cache
def entry_type(features: int, double: bool):
    """The vectors of which a table may consist instead of numbers: only their constant offsets let LLVM use vector
    instructions. One object for each, as types are compared by identity."""
    return ti.types.vector(features, ti.f64 if double else ti.f32)


def table_type(entry):
    """A table as an argument of a kernel: [E] of type `entry`, or, if that is None, [E * F] of numbers."""
    return ti.types.ndarray(ndim=1) if entry is None else ti.types.ndarray(dtype=entry, ndim=1)


@cache
def encode_kernel(features: int, entry):
    """The kernel of the forward pass on a table of type `entry`."""
    by_entry = entry is not None
    argument = table_type(entry)

    @kernel
    def encode_levels(x: ti.types.ndarray(ndim=2), table: argument, levels: ti.types.ndarray(ndim=2),
                      scales: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2), widths: ti.types.ndarray(),
                      wide: ti.template(), count: ti.types.ndarray(), counted: ti.template()):
        stride = ti.static(stride_for(1))
        for slot in range((scales.shape[0] * ((live(x.shape[0], count, counted) + CHUNK - 1) // CHUNK)) * stride):
            if slot % stride != 0:
                continue
            points = live(x.shape[0], count, counted)
            encode_chunk(x, widths, points, table, levels, scales, y, slot // stride, features, by_entry, wide)

    return encode_levels


@cache
def splat_kernel(features: int, entry):
    """The kernel of the gradient to a table of type `entry`."""
    by_entry = entry is not None
    argument = table_type(entry)

    @kernel
    def splat_levels(x: ti.types.ndarray(ndim=2), y_gradient: ti.types.ndarray(ndim=2),
                     levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1), table_gradient: argument,
                     widths: ti.types.ndarray(), wide: ti.template(), count: ti.types.ndarray(),
                     counted: ti.template()):
        stride = ti.static(stride_for(1))
        for slot in range(scales.shape[0] * stride):
            if slot % stride != 0:
                continue
            level = level_in_turn(slot // stride, scales.shape[0])
            points = live(x.shape[0], count, counted)
            splat_level_serially(x, widths, points, y_gradient, levels, scales, table_gradient, level, features,
                                 by_entry, wide)

    return splat_levels
