"""Multiresolution hash encoding (Mueller et al. 2022, Instant Neural Graphics Primitives, section 3).

Notation
    x  [N, 3]     positions in the unit cube; outside of it they are clamped, and the gradient to them is zero
    l             level, 0 <= l < L; its grid has `resolution` vertices along an axis and spacing 1 / scale
    p = x * scale_l + 1/2, cell = floor(p), f = p - cell: the fraction within the cell
    w_c           trilinear weight of corner c of the cell: the product over the axes of f or 1 - f
    table [E * F] the features of all levels, flat: feature k of entry e at e * F + k
    y [L * F, N]  y[l * F + k, i] = sum_c w_c table[entry_l(cell_i + c) * F + k]   (feature-major)
    levels [L, 4] int32: first entry, number of entries, resolution, 1 if hashed else 0
    scales [L]

A level whose grid fits into the table is stored densely, x fastest; a larger one is hashed: the exclusive or of the
corner's coordinates times (1, 2654435761, 805459861), modulo the size, a power of two.

The gradient to the table adds to what it is given. On a CPU one task owns a level, so that it needs no atomics and is
the same in every run; on a GPU it adds atomically, in an order that differs from run to run. Positions are
differentiable except at the faces of cells; interpolation is linear, so that the second derivative is not provided.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from .bfloat16 import load, store
from .engine import live, on_cpu, stride_for, threads, ti
from .integers import wrapping_add_signed, wrapping_multiply_signed
from .launch import kernel

PRIME_Y = 2654435761 - 2**32  # as int32: products wrap alike
PRIME_Z = 805459861
LANES = 32  # points whose indices a CPU task computes together: LLVM turns these loops into vector code
CHUNK = 8192  # points of a CPU task of the forward pass: one level's part of the table stays in cache
RUN = 8  # consecutive points of a GPU thread of the backward pass


@dataclass(frozen=True, kw_only=True)
class HashGridLayout:
    """Where each level lies in the table, and how fine it is."""

    features: int
    """Features of an entry, F."""
    levels: np.ndarray
    """[L, 4] int32: first entry, number of entries, resolution, hashed."""
    scales: np.ndarray
    """[L] float64: cells along the unit cube."""

    @property
    def entries(self) -> int:
        """Entries of all levels together, E."""
        return int(self.levels[-1, 0] + self.levels[-1, 1])

    @property
    def outputs(self) -> int:
        """Features of an encoded point, L * F."""
        return len(self.scales) * self.features


def hash_grid_layout(*, levels: int = 16, features: int = 2, log2_entries: int = 19, base_resolution: int = 16,
                     max_resolution: int = 2048) -> HashGridLayout:
    """The layout of a grid whose resolution grows geometrically from `base_resolution` to `max_resolution`.

    Resolutions follow tiny-cuda-nn: scale_l = base * b^l - 1, resolution_l = ceil(scale_l) + 1 vertices, entries_l =
    min(resolution_l^3 rounded up to 8, 2^log2_entries). Raises ValueError for a grid that cannot be indexed.
    """
    if levels < 1 or features < 1 or not 3 <= log2_entries <= 30:
        raise ValueError(f"a hash grid needs levels >= 1, features >= 1 and 3 <= log2_entries <= 30, "
                         f"got {levels}, {features}, {log2_entries}")
    if not 2 <= base_resolution <= max_resolution <= 2**20:
        raise ValueError(f"a hash grid needs 2 <= base_resolution <= max_resolution <= 2^20, "
                         f"got {base_resolution}, {max_resolution}")
    growth = math.exp(math.log(max_resolution / base_resolution) / max(levels - 1, 1))
    rows, scales, first = [], [], 0
    for level in range(levels):
        scale = base_resolution * growth**level - 1
        # a scale that is whole up to rounding must not gain a vertex
        resolution = math.ceil(round(scale, 6)) + 1
        hashed = resolution**3 > 2**log2_entries
        entries = 2**log2_entries if hashed else -(-(resolution**3) // 8) * 8
        rows.append((first, entries, resolution, int(hashed)))
        scales.append(scale)
        first += entries
    if first * features >= 2**31:
        raise ValueError(f"a hash grid must have fewer than 2^31 parameters, got {first * features}")
    return HashGridLayout(features=features, levels=np.array(rows, np.int32), scales=np.array(scales))


@ti.func
def locate(x, scale, resolution):
    """The cell of coordinate `x` along one axis, and the fraction within it."""
    p = ti.min(ti.max(x, 0.0), 1.0) * scale + 0.5
    cell = ti.min(ti.max(ti.cast(p, ti.i32), 0), resolution - 1)
    return cell, p - cell


@ti.func
def hashed_entry(x: int, y: int, z: int, size: int):
    """Entry of vertex (x, y, z) in a hashed level of `size` entries, a power of two."""
    return (x ^ wrapping_multiply_signed(y, PRIME_Y) ^ wrapping_multiply_signed(z, PRIME_Z)) & (size - 1)


@ti.func
def dense_entry(x: int, y: int, z: int, resolution: int, size: int):
    """Entry of vertex (x, y, z) in a dense level; the half-cell offset lets the last vertex wrap around."""
    entry = x + resolution * (y + resolution * z)
    return ti.select(entry >= size, entry - size, entry)


@ti.func
def vertex_entry(x: int, y: int, z: int, levels: ti.template(), level: int):
    """Entry of vertex (x, y, z) of `level` in the table of all levels."""
    size, resolution = levels[level, 1], levels[level, 2]
    entry = 0
    if levels[level, 3] == 1:
        entry = hashed_entry(x, y, z, size)
    else:
        entry = dense_entry(x, y, z, resolution, size)
    return levels[level, 0] + entry


@ti.func
def encode_level(x, table: ti.template(), levels: ti.template(), scales: ti.template(), level: int,
                 features: ti.template()):
    """The F features of one level at position `x` (a 3-vector): for use within other kernels."""
    cell_x, fx = locate(x[0], scales[level], levels[level, 2])
    cell_y, fy = locate(x[1], scales[level], levels[level, 2])
    cell_z, fz = locate(x[2], scales[level], levels[level, 2])
    y = ti.Vector.zero(float, features)
    for corner in ti.static(range(8)):
        cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
        w = (fx if ti.static(cx) else 1 - fx) * (fy if ti.static(cy) else 1 - fy) * (fz if ti.static(cz) else 1 - fz)
        entry = vertex_entry(cell_x + cx, cell_y + cy, cell_z + cz, levels, level)
        for k in ti.static(range(features)):
            y[k] += w * table[entry * features + k]
    return y


@ti.func
def splat_cell(cell, sums: ti.template(), table_gradient: ti.template(), levels: ti.template(), level: int,
               features: ti.template()):
    """Adds row c of `sums` [8, F] to corner c of a cell, atomically."""
    for corner in ti.static(range(8)):
        cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
        entry = vertex_entry(cell[0] + cx, cell[1] + cy, cell[2] + cz, levels, level)
        for k in ti.static(range(features)):
            ti.atomic_add(table_gradient[entry * features + k], sums[corner, k])


@ti.func
def add_to_corners(fraction, gradient, sums: ti.template(), features: ti.template()):
    """sums[c] += w_c * gradient"""
    for corner in ti.static(range(8)):
        w = 1.0
        for axis in ti.static(range(3)):
            w *= fraction[axis] if ti.static(corner >> axis & 1) else 1 - fraction[axis]
        for k in ti.static(range(features)):
            sums[corner, k] += w * gradient[k]


@ti.func
def splat_level(x, gradient, table_gradient: ti.template(), levels: ti.template(), scales: ti.template(), level: int,
                features: ti.template()):
    """The adjoint of `encode_level`: adds w_c * gradient to the eight corners, atomically."""
    cell, fraction = ti.Vector.zero(ti.i32, 3), ti.Vector.zero(float, 3)
    for axis in ti.static(range(3)):
        cell[axis], fraction[axis] = locate(x[axis], scales[level], levels[level, 2])
    sums = ti.Matrix.zero(float, 8, features)
    add_to_corners(fraction, gradient, sums, features)
    splat_cell(cell, sums, table_gradient, levels, level, features)


@ti.func
def splat_run(x: ti.template(), y_gradient: ti.template(), begin: int, end: int, table_gradient: ti.template(),
              levels: ti.template(), scales: ti.template(), level: int, features: ti.template()):
    """`splat_level` at points begin .. end - 1, of which those in one cell, as neighbours along a ray are on a coarse
    level, are summed up before they are added."""
    cell = ti.Vector([-1, -1, -1])
    sums = ti.Matrix.zero(float, 8, features)
    for i in range(begin, end):
        here, fraction = ti.Vector.zero(ti.i32, 3), ti.Vector.zero(float, 3)
        for axis in ti.static(range(3)):
            here[axis], fraction[axis] = locate(x[i, axis], scales[level], levels[level, 2])
        if i > begin and (here[0] != cell[0] or here[1] != cell[1] or here[2] != cell[2]):
            splat_cell(cell, sums, table_gradient, levels, level, features)
            for corner in ti.static(range(8)):
                for k in ti.static(range(features)):
                    sums[corner, k] = 0.0
        cell = here
        gradient = ti.Vector.zero(float, features)
        for k in ti.static(range(features)):
            gradient[k] = load(y_gradient, level * features + k, i)
        add_to_corners(fraction, gradient, sums, features)
    splat_cell(cell, sums, table_gradient, levels, level, features)


@ti.func
def level_position_gradient(x, gradient, table: ti.template(), levels: ti.template(), scales: ti.template(),
                            level: int, features: ti.template()):
    """d(gradient . y_l) / dx: per axis, scale times the weighted differences along the four edges of the cell."""
    scale = scales[level]
    cell_x, fx = locate(x[0], scale, levels[level, 2])
    cell_y, fy = locate(x[1], scale, levels[level, 2])
    cell_z, fz = locate(x[2], scale, levels[level, 2])
    d = ti.Vector.zero(float, 3)
    for corner in ti.static(range(8)):
        cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
        wx = fx if ti.static(cx) else 1 - fx
        wy = fy if ti.static(cy) else 1 - fy
        wz = fz if ti.static(cz) else 1 - fz
        entry = vertex_entry(cell_x + cx, cell_y + cy, cell_z + cz, levels, level)
        value = 0.0
        for k in ti.static(range(features)):
            value += gradient[k] * table[entry * features + k]
        d[0] += ti.static(2 * cx - 1) * wy * wz * value
        d[1] += ti.static(2 * cy - 1) * wx * wz * value
        d[2] += ti.static(2 * cz - 1) * wx * wy * value
    for axis in ti.static(range(3)):
        inside = ti.cast(x[axis] > 0.0 and x[axis] < 1.0, float)
        d[axis] *= scale * inside
    return d


@ti.func
def block_entries(x: ti.template(), count: int, levels: ti.template(), scales: ti.template(), level: int, block: int,
                  features: ti.template(), index: ti.template(), weight: ti.template()):
    """Indices into the flat table and trilinear weights of the 8 corners of LANES of `count` points, corner-major.

    The last block repeats the last point. Only this part is worth vectorising: reads of the table are scattered.
    """
    scale = scales[level]
    first, size, resolution = levels[level, 0], levels[level, 1], levels[level, 2]
    start, last = block * LANES, count - 1
    if start + LANES - 1 <= last:  # without a minimum in the index the loads are vector code as well
        for lane in range(LANES):
            for axis in ti.static(range(3)):
                weight[axis * LANES + lane] = x[start + lane, axis]
    else:
        for lane in range(LANES):
            for axis in ti.static(range(3)):
                weight[axis * LANES + lane] = x[ti.min(start + lane, last), axis]
    for lane in range(LANES):
        cell_x, fx = locate(weight[lane], scale, resolution)
        cell_y, fy = locate(weight[LANES + lane], scale, resolution)
        cell_z, fz = locate(weight[2 * LANES + lane], scale, resolution)
        index[lane] = cell_x
        index[LANES + lane] = cell_y
        index[2 * LANES + lane] = cell_z
        for corner in ti.static(range(4)):
            cy, cz = ti.static(corner & 1, corner >> 1)
            w = (fy if ti.static(cy) else 1 - fy) * (fz if ti.static(cz) else 1 - fz)
            weight[2 * corner * LANES + lane] = w - w * fx
            weight[(2 * corner + 1) * LANES + lane] = w * fx
    if levels[level, 3] == 1:
        for lane in range(LANES):
            cell_x = index[lane]
            low_y = wrapping_multiply_signed(index[LANES + lane], PRIME_Y)
            low_z = wrapping_multiply_signed(index[2 * LANES + lane], PRIME_Z)
            for corner in ti.static(range(8)):
                cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
                y, z = wrapping_add_signed(low_y, cy * PRIME_Y), wrapping_add_signed(low_z, cz * PRIME_Z)
                hashed = (cell_x + cx) ^ y ^ z
                index[corner * LANES + lane] = (first + (hashed & (size - 1))) * features
    else:
        for lane in range(LANES):
            cell_x, cell_y, cell_z = index[lane], index[LANES + lane], index[2 * LANES + lane]
            for corner in ti.static(range(8)):
                cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
                entry = dense_entry(cell_x + cx, cell_y + cy, cell_z + cz, resolution, size)
                index[corner * LANES + lane] = (first + entry) * features


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
def encode_chunk(x: ti.template(), count: int, table: ti.template(), levels: ti.template(), scales: ti.template(),
                 y: ti.template(), task: int, features: ti.template(), by_entry: ti.template()):
    """Features of one level at CHUNK of `count` points; tasks count the chunks, then the levels in turn.

    `by_entry`: table is [E] of F-vectors, a corner of which is then one vector instruction, instead of [E * F].
    """
    chunks = (count + CHUNK - 1) // CHUNK
    level, chunk = level_in_turn(task // chunks, scales.shape[0]), task % chunks
    stride = ti.static(1 if by_entry else features)
    index = ti.Vector.zero(ti.i32, 8 * LANES)
    weight = ti.Vector.zero(float, 8 * LANES)
    sums = ti.Vector.zero(float, features * LANES)
    last = ti.min((chunk + 1) * CHUNK, count)
    for block in range(chunk * (CHUNK // LANES), (last + LANES - 1) // LANES):
        block_entries(x, count, levels, scales, level, block, stride, index, weight)
        for lane in range(LANES):
            value = ti.Vector.zero(float, features)
            for corner in ti.static(range(8)):
                first = index[corner * LANES + lane]
                w = weight[corner * LANES + lane]
                if ti.static(by_entry):
                    value += w * table[first]
                else:
                    for k in ti.static(range(features)):
                        value[k] += w * table[first + k]
            for k in ti.static(range(features)):
                sums[lane * features + k] = value[k]
        for k in ti.static(range(features)):
            for lane in range(ti.min(LANES, count - block * LANES)):
                store(y, level * features + k, block * LANES + lane, sums[lane * features + k])


@kernel
def _forward_cpu(x: ti.types.ndarray(ndim=2), table: ti.types.ndarray(ndim=1), levels: ti.types.ndarray(ndim=2),
                 scales: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2), features: ti.template(),
                 count: ti.types.ndarray(), counted: ti.template()):
    stride = ti.static(stride_for(1))
    for slot in range((scales.shape[0] * ((live(x.shape[0], count, counted) + CHUNK - 1) // CHUNK)) * stride):
        if slot % stride != 0:
            continue
        points = live(x.shape[0], count, counted)
        encode_chunk(x, points, table, levels, scales, y, slot // stride, features, False)


@cache
def _forward_cpu_by_entry(features: int, double: bool):
    """The kernel for a table of F-vectors: only their constant offsets let LLVM use vector instructions."""
    entry = ti.types.vector(features, ti.f64 if double else ti.f32)

    @kernel
    def forward(x: ti.types.ndarray(ndim=2), table: ti.types.ndarray(dtype=entry, ndim=1),
                levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2),
                count: ti.types.ndarray(), counted: ti.template()):
        stride = ti.static(stride_for(1))
        for slot in range((scales.shape[0] * ((live(x.shape[0], count, counted) + CHUNK - 1) // CHUNK)) * stride):
            if slot % stride != 0:
                continue
            points = live(x.shape[0], count, counted)
            encode_chunk(x, points, table, levels, scales, y, slot // stride, features, True)

    return forward


@ti.func
def splat_level_serially(x: ti.template(), count: int, y_gradient: ti.template(), levels: ti.template(),
                         scales: ti.template(), table_gradient: ti.template(), level: int, features: ti.template(),
                         by_entry: ti.template()):
    """Adds the gradient of one level at `count` points, one after the other: no other task may write to that level.

    `by_entry`: table_gradient is [E] of F-vectors, whose sum is then one vector instruction, instead of [E * F].
    """
    stride = ti.static(1 if by_entry else features)
    index = ti.Vector.zero(ti.i32, 8 * LANES)
    weight = ti.Vector.zero(float, 8 * LANES)
    gradient = ti.Vector.zero(float, features * LANES)
    for block in range((count + LANES - 1) // LANES):
        block_entries(x, count, levels, scales, level, block, stride, index, weight)
        lanes = ti.min(LANES, count - block * LANES)
        for lane in range(lanes):
            for k in ti.static(range(features)):
                gradient[lane * features + k] = load(y_gradient, level * features + k, block * LANES + lane)
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


@kernel
def _backward_table_cpu(x: ti.types.ndarray(ndim=2), y_gradient: ti.types.ndarray(ndim=2),
                        levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
                        table_gradient: ti.types.ndarray(ndim=1), features: ti.template(), count: ti.types.ndarray(),
                        counted: ti.template()):
    stride = ti.static(stride_for(1))
    for slot in range(scales.shape[0] * stride):
        if slot % stride != 0:
            continue
        level = level_in_turn(slot // stride, scales.shape[0])
        points = live(x.shape[0], count, counted)
        splat_level_serially(x, points, y_gradient, levels, scales, table_gradient, level, features, False)


@cache
def _backward_table_cpu_by_entry(features: int, double: bool):
    """The kernel for a table gradient of F-vectors, as `_forward_cpu_by_entry`."""
    entry = ti.types.vector(features, ti.f64 if double else ti.f32)

    @kernel
    def backward(x: ti.types.ndarray(ndim=2), y_gradient: ti.types.ndarray(ndim=2), levels: ti.types.ndarray(ndim=2),
                 scales: ti.types.ndarray(ndim=1), table_gradient: ti.types.ndarray(dtype=entry, ndim=1),
                 count: ti.types.ndarray(), counted: ti.template()):
        stride = ti.static(stride_for(1))
        for slot in range(scales.shape[0] * stride):
            if slot % stride != 0:
                continue
            level = level_in_turn(slot // stride, scales.shape[0])
            points = live(x.shape[0], count, counted)
            splat_level_serially(x, points, y_gradient, levels, scales, table_gradient, level, features, True)

    return backward


@kernel
def _forward_gpu(x: ti.types.ndarray(ndim=2), table: ti.types.ndarray(ndim=1), levels: ti.types.ndarray(ndim=2),
                 scales: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2), features: ti.template(),
                 count: ti.types.ndarray(), counted: ti.template()):
    ti.loop_config(block_dim=128)
    for level, i in ti.ndrange(scales.shape[0], live(x.shape[0], count, counted)):
        value = encode_level(ti.Vector([x[i, 0], x[i, 1], x[i, 2]]), table, levels, scales, level, features)
        for k in ti.static(range(features)):
            store(y, level * features + k, i, value[k])


@kernel
def _backward_table_gpu(x: ti.types.ndarray(ndim=2), y_gradient: ti.types.ndarray(ndim=2),
                        levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
                        table_gradient: ti.types.ndarray(ndim=1), features: ti.template(), count: ti.types.ndarray(),
                        counted: ti.template()):
    ti.loop_config(block_dim=128)
    for level, task in ti.ndrange(scales.shape[0], (live(x.shape[0], count, counted) + RUN - 1) // RUN):
        end = ti.min((task + 1) * RUN, live(x.shape[0], count, counted))
        splat_run(x, y_gradient, task * RUN, end, table_gradient, levels, scales, level, features)


@kernel
def _backward_positions(x: ti.types.ndarray(ndim=2), table: ti.types.ndarray(ndim=1),
                        y_gradient: ti.types.ndarray(ndim=2), levels: ti.types.ndarray(ndim=2),
                        scales: ti.types.ndarray(ndim=1), x_gradient: ti.types.ndarray(ndim=2),
                        features: ti.template()):
    for i in range(x.shape[0]):
        position = ti.Vector([x[i, 0], x[i, 1], x[i, 2]])
        total = ti.Vector.zero(float, 3)
        for level in range(scales.shape[0]):
            gradient = ti.Vector.zero(float, features)
            for k in ti.static(range(features)):
                gradient[k] = load(y_gradient, level * features + k, i)
            total += level_position_gradient(position, gradient, table, levels, scales, level, features)
        for axis in ti.static(range(3)):
            x_gradient[i, axis] = total[axis]


def _viewed_by_entry(table, features: int) -> bool:
    """Whether a flat table can be given to a CPU kernel as F-vectors, and should: a `ti.ndarray` has no other view."""
    return features > 1 and not isinstance(table, ti.Ndarray)


def hash_grid_forward(x, table, levels, scales, y, features: int, count=None) -> None:
    """y [L * F, N] of positions x [N, 3]: every element of y is written. `table` is flat, [E * F].

    A y of int16, here and as a gradient, holds bfloat16 (see `bfloat16`).

    With a `count`, an int32 array on the device, count[0] of the N points are in use and the rest is left alone.
    """
    if x.shape[0] == 0:
        return
    in_use = levels if count is None else count, count is not None
    if not on_cpu():
        _forward_gpu(x, table, levels, scales, y, features, *in_use)
    elif _viewed_by_entry(table, features):
        kernel = _forward_cpu_by_entry(features, str(table.dtype).endswith("float64"))
        kernel(x, table.reshape(-1, features), levels, scales, y, *in_use)
    else:
        _forward_cpu(x, table, levels, scales, y, features, *in_use)


def hash_grid_backward_table(x, y_gradient, levels, scales, table_gradient, features: int, count=None) -> None:
    """Adds the gradient with respect to the table to `table_gradient` [E * F]; the caller zeroes it.

    `count` as of `hash_grid_forward`.
    """
    if x.shape[0] == 0:
        return
    in_use = levels if count is None else count, count is not None
    if not on_cpu():
        _backward_table_gpu(x, y_gradient, levels, scales, table_gradient, features, *in_use)
    elif _viewed_by_entry(table_gradient, features):
        kernel = _backward_table_cpu_by_entry(features, str(table_gradient.dtype).endswith("float64"))
        kernel(x, y_gradient, levels, scales, table_gradient.reshape(-1, features), *in_use)
    else:
        _backward_table_cpu(x, y_gradient, levels, scales, table_gradient, features, *in_use)


def hash_grid_backward_positions(x, table, y_gradient, levels, scales, x_gradient, features: int) -> None:
    """Writes the gradient with respect to the positions, x_gradient [N, 3]."""
    if x.shape[0] == 0:
        return
    _backward_positions(x, table, y_gradient, levels, scales, x_gradient, features)
