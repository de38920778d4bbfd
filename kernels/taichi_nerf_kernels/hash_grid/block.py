"""One level at points side by side, on a CPU: in local vectors, value `row` of point `lane` at row * lanes + lane.

Loops over lanes become vector code, whose rows are the axes or the corners of a cell. The entries of the table are
scattered, and are read a point and a corner at a time.
"""

from ..engine import ti
from ..integers import wrapping_add_signed, wrapping_multiply_signed
from .point import PRIME_Y, PRIME_Z, dense_entry, level_weight, locate

LANES = 32  # points of a block


@ti.func
def locate_lane(x, y, z, scale, resolution: int, lane: int, lanes: ti.template(), index: ti.template(),
                weight: ti.template()):
    """Cell and weights of the point of one lane: the cell into rows 0 .. 2 of `index`, w_c into row c of `weight`."""
    cell_x, fx = locate(x, scale, resolution)
    cell_y, fy = locate(y, scale, resolution)
    cell_z, fz = locate(z, scale, resolution)
    index[lane] = cell_x
    index[lanes + lane] = cell_y
    index[2 * lanes + lane] = cell_z
    for corner in ti.static(range(4)):
        cy, cz = ti.static(corner & 1, corner >> 1)
        w = (fy if ti.static(cy) else 1 - fy) * (fz if ti.static(cz) else 1 - fz)
        weight[2 * corner * lanes + lane] = w - w * fx
        weight[(2 * corner + 1) * lanes + lane] = w * fx


@ti.func
def blend_lane(table: ti.template(), index: ti.template(), weight: ti.template(), lane: int, lanes: ti.template(),
               features: ti.template(), by_entry: ti.template()):
    """sum_c w_c table[index_c] at the point of one lane, a vector of F.

    `by_entry`: table is [E] of F-vectors, a corner of which is then one vector instruction, instead of [E * F].
    """
    value = ti.Vector.zero(float, features)
    for corner in ti.static(range(8)):
        first = index[corner * lanes + lane]
        w = weight[corner * lanes + lane]
        if ti.static(by_entry):
            value += w * table[first]
        else:
            for k in ti.static(range(features)):
                value[k] += w * table[first + k]
    return value


@ti.func
def load_block(x: ti.template(), count: int, block: int, coordinate: ti.template()):
    """The coordinates of LANES of `count` points, axis by axis. The last block repeats the last point."""
    start, last = block * LANES, count - 1
    if start + LANES - 1 <= last:  # without a minimum in the index the loads are vector code as well
        for lane in range(LANES):
            for axis in ti.static(range(3)):
                coordinate[axis * LANES + lane] = x[start + lane, axis]
    else:
        for lane in range(LANES):
            for axis in ti.static(range(3)):
                coordinate[axis * LANES + lane] = x[ti.min(start + lane, last), axis]


@ti.func
def weigh_block(widths: ti.template(), count: int, block: int, scale, seen: ti.template()):
    """What LANES of `count` points see of a level, `level_weight`. The last block repeats the last point."""
    start, last = block * LANES, count - 1
    if start + LANES - 1 <= last:
        for lane in range(LANES):
            seen[lane] = level_weight(widths[start + lane], scale)
    else:
        for lane in range(LANES):
            seen[lane] = level_weight(widths[ti.min(start + lane, last)], scale)


@ti.func
def hash_block(first: int, size: int, stride: ti.template(), index: ti.template()):
    """From the cells in `index` to its corners in a hashed level: products of a cell serve all its corners."""
    for lane in range(LANES):
        cell_x = index[lane]
        low_y = wrapping_multiply_signed(index[LANES + lane], PRIME_Y)
        low_z = wrapping_multiply_signed(index[2 * LANES + lane], PRIME_Z)
        for corner in ti.static(range(8)):
            cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
            y, z = wrapping_add_signed(low_y, cy * PRIME_Y), wrapping_add_signed(low_z, cz * PRIME_Z)
            hashed = (cell_x + cx) ^ y ^ z
            index[corner * LANES + lane] = (first + (hashed & (size - 1))) * stride


@ti.func
def number_block(first: int, size: int, resolution: int, stride: ti.template(), index: ti.template()):
    """From the cells in `index` to its corners in a dense level."""
    for lane in range(LANES):
        cell_x, cell_y, cell_z = index[lane], index[LANES + lane], index[2 * LANES + lane]
        for corner in ti.static(range(8)):
            cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
            entry = dense_entry(cell_x + cx, cell_y + cy, cell_z + cz, resolution, size)
            index[corner * LANES + lane] = (first + entry) * stride


@ti.func
def corner_block(levels: ti.template(), level: int, stride: ti.template(), index: ti.template()):
    """From the cells in `index` to the places of their corners in the table, `stride` times the entry."""
    first, size, resolution = levels[level, 0], levels[level, 1], levels[level, 2]
    if levels[level, 3] == 1:
        hash_block(first, size, stride, index)
    else:
        number_block(first, size, resolution, stride, index)


@ti.func
def locate_block(coordinate: ti.template(), scale, resolution: int, index: ti.template(), fraction: ti.template()):
    """Cells and fractions of the points of a block, axis by axis, from their coordinates."""
    for lane in range(LANES):
        for axis in ti.static(range(3)):
            cell, part = locate(coordinate[axis * LANES + lane], scale, resolution)
            index[axis * LANES + lane] = cell
            fraction[axis * LANES + lane] = part


@ti.func
def block_entries(x: ti.template(), count: int, levels: ti.template(), scales: ti.template(), level: int, block: int,
                  stride: ti.template(), index: ti.template(), weight: ti.template()):
    """Places in the table, `stride` times the entry, and trilinear weights of the 8 corners of LANES of `count` points.
    """
    scale, resolution = scales[level], levels[level, 2]
    # The coordinates wait where the weights go: a lane reads its own before it writes.
    load_block(x, count, block, weight)
    for lane in range(LANES):
        locate_lane(weight[lane], weight[LANES + lane], weight[2 * LANES + lane], scale, resolution, lane, LANES, index,
                    weight)
    corner_block(levels, level, stride, index)
