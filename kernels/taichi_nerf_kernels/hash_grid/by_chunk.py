"""The gradient to positions on a CPU: a task has a chunk of points, level after level.

The gradient is one sum over the levels for each point, so no two tasks may share points; a level's part of the table
stays in the cache while a chunk looks into it. Points go side by side, as in `block`.
"""

from functools import cache

from ..bfloat16 import load
from ..engine import stride_for, ti
from ..launch import kernel
from .block import LANES, corner_block, load_block, locate_block, weigh_block
from .by_level import table_type

CHUNK = 2048  # points of a task


@ti.func
def differentiate_lane(value: ti.template(), fraction: ti.template(), scale, lane: int, slope: ti.template()):
    """Adds to row a of `slope` how the blend of the corners' `value`, rows 0 .. 7, changes along axis a at one lane:
    `scale` times the weighted differences along the four edges of the cell."""
    for axis in ti.static(range(3)):
        one, other = ti.static((axis + 1) % 3, (axis + 2) % 3)
        u, v = fraction[one * LANES + lane], fraction[other * LANES + lane]
        total = 0.0
        for edge in ti.static(range(4)):
            at_one, at_other = ti.static(edge & 1, edge >> 1)
            low = ti.static((at_one << one) + (at_other << other))
            high = ti.static(low + (1 << axis))
            weight = (u if ti.static(at_one) else 1 - u) * (v if ti.static(at_other) else 1 - v)
            total += weight * (value[high * LANES + lane] - value[low * LANES + lane])
        slope[axis * LANES + lane] += scale * total


@cache
def differentiate_kernel(features: int, entry):
    """The kernel of the gradient to positions, through a table of type `entry`."""
    by_entry = entry is not None
    stride = 1 if by_entry else features
    argument = table_type(entry)

    @ti.func
    def differentiate_chunk(x: ti.template(), table: ti.template(), y_gradient: ti.template(), levels: ti.template(),
                            scales: ti.template(), x_gradient: ti.template(), widths: ti.template(),
                            wide: ti.template(), chunk: int):
        count = x.shape[0]
        coordinate = ti.Vector.zero(float, 3 * LANES)
        fraction = ti.Vector.zero(float, 3 * LANES)
        index = ti.Vector.zero(ti.i32, 8 * LANES)
        value = ti.Vector.zero(float, 8 * LANES)
        slope = ti.Vector.zero(float, 3 * LANES)
        seen = ti.Vector.zero(float, ti.static(LANES if wide else 1))
        first, last = chunk * (CHUNK // LANES), (ti.min((chunk + 1) * CHUNK, count) + LANES - 1) // LANES
        for level in range(scales.shape[0]):
            for block in range(first, last):
                lanes = ti.min(LANES, count - block * LANES)
                load_block(x, count, block, coordinate)
                locate_block(coordinate, scales[level], levels[level, 2], index, fraction)
                corner_block(levels, level, stride, index)
                if ti.static(wide):
                    weigh_block(widths, count, block, scales[level], seen)
                for lane in range(lanes):
                    gradient = ti.Vector.zero(float, features)
                    for k in ti.static(range(features)):
                        gradient[k] = load(y_gradient, level * features + k, block * LANES + lane)
                    if ti.static(wide):
                        gradient *= seen[lane]
                    for corner in ti.static(range(8)):
                        at = index[corner * LANES + lane]
                        total = 0.0
                        if ti.static(by_entry):
                            total = gradient.dot(table[at])
                        else:
                            for k in ti.static(range(features)):
                                total += gradient[k] * table[at + k]
                        value[corner * LANES + lane] = total
                for k in range(3 * LANES):
                    slope[k] = 0.0
                for lane in range(LANES):
                    differentiate_lane(value, fraction, scales[level], lane, slope)
                for lane in range(lanes):
                    for axis in ti.static(range(3)):
                        at = coordinate[axis * LANES + lane]
                        inside = ti.select(at > 0.0 and at < 1.0, slope[axis * LANES + lane], 0.0)
                        before = 0.0
                        if level > 0:
                            before = x_gradient[block * LANES + lane, axis]
                        x_gradient[block * LANES + lane, axis] = before + inside

    @kernel
    def differentiate_chunks(x: ti.types.ndarray(ndim=2), table: argument, y_gradient: ti.types.ndarray(ndim=2),
                             levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
                             x_gradient: ti.types.ndarray(ndim=2), widths: ti.types.ndarray(), wide: ti.template()):
        """Writes the gradient to the positions."""
        skip = ti.static(stride_for(1))
        for slot in range(((x.shape[0] + CHUNK - 1) // CHUNK) * skip):
            if slot % skip != 0:
                continue
            differentiate_chunk(x, table, y_gradient, levels, scales, x_gradient, widths, wide, slot // skip)

    return differentiate_chunks
