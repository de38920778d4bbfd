"""The schedule for a GPU: a thread has a level and a point, or a few points one after the other.

The gradient to widths is one sum over the levels for each point: it has this schedule on a CPU, too.
"""

from ..bfloat16 import load, store
from ..engine import live, ti
from ..launch import kernel
from .point import (
    add_to_corners,
    encode_level,
    level_position_gradient,
    level_weight,
    level_width_gradient,
    locate,
    splat_cell,
)

RUN = 8  # consecutive points of a thread of the backward pass


@ti.func
def load_gradient(y_gradient: ti.template(), widths: ti.template(), scales: ti.template(), level: int, i: int,
                  features: ti.template(), wide: ti.template()):
    """The gradient to what stands in a level of the table, at point i: it has a width if the points are `wide`."""
    gradient = ti.Vector.zero(float, features)
    for k in ti.static(range(features)):
        gradient[k] = load(y_gradient, level * features + k, i)
    if ti.static(wide):
        gradient *= level_weight(widths[i], scales[level])
    return gradient


@ti.func
def splat_run(x: ti.template(), widths: ti.template(), y_gradient: ti.template(), begin: int, end: int,
              table_gradient: ti.template(), levels: ti.template(), scales: ti.template(), level: int,
              features: ti.template(), wide: ti.template()):
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
        gradient = load_gradient(y_gradient, widths, scales, level, i, features, wide)
        add_to_corners(fraction, gradient, sums, features)
    splat_cell(cell, sums, table_gradient, levels, level, features)


@kernel
def encode_samples(x: ti.types.ndarray(ndim=2), table: ti.types.ndarray(ndim=1), levels: ti.types.ndarray(ndim=2),
                   scales: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2), features: ti.template(),
                   widths: ti.types.ndarray(), wide: ti.template(), count: ti.types.ndarray(), counted: ti.template()):
    """y of every point."""
    ti.loop_config(block_dim=128)
    for level, i in ti.ndrange(scales.shape[0], live(x.shape[0], count, counted)):
        value = encode_level(ti.Vector([x[i, 0], x[i, 1], x[i, 2]]), table, levels, scales, level, features)
        if ti.static(wide):
            value *= level_weight(widths[i], scales[level])
        for k in ti.static(range(features)):
            store(y, level * features + k, i, value[k])


@kernel
def splat_samples(x: ti.types.ndarray(ndim=2), y_gradient: ti.types.ndarray(ndim=2),
                  levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
                  table_gradient: ti.types.ndarray(ndim=1), features: ti.template(), widths: ti.types.ndarray(),
                  wide: ti.template(), count: ti.types.ndarray(), counted: ti.template()):
    """Adds the gradient to the table, atomically."""
    ti.loop_config(block_dim=128)
    for level, task in ti.ndrange(scales.shape[0], (live(x.shape[0], count, counted) + RUN - 1) // RUN):
        end = ti.min((task + 1) * RUN, live(x.shape[0], count, counted))
        splat_run(x, widths, y_gradient, task * RUN, end, table_gradient, levels, scales, level, features, wide)


@kernel
def differentiate_positions(x: ti.types.ndarray(ndim=2), table: ti.types.ndarray(ndim=1),
                            y_gradient: ti.types.ndarray(ndim=2), levels: ti.types.ndarray(ndim=2),
                            scales: ti.types.ndarray(ndim=1), x_gradient: ti.types.ndarray(ndim=2),
                            features: ti.template(), widths: ti.types.ndarray(), wide: ti.template()):
    """Writes the gradient to the positions."""
    for i in range(x.shape[0]):
        position = ti.Vector([x[i, 0], x[i, 1], x[i, 2]])
        total = ti.Vector.zero(float, 3)
        for level in range(scales.shape[0]):
            gradient = load_gradient(y_gradient, widths, scales, level, i, features, wide)
            total += level_position_gradient(position, gradient, table, levels, scales, level, features)
        for axis in ti.static(range(3)):
            x_gradient[i, axis] = total[axis]


@kernel
def differentiate_widths(x: ti.types.ndarray(ndim=2), widths: ti.types.ndarray(ndim=1),
                         table: ti.types.ndarray(ndim=1), y_gradient: ti.types.ndarray(ndim=2),
                         levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
                         widths_gradient: ti.types.ndarray(ndim=1), features: ti.template()):
    """Writes the gradient to the widths."""
    for i in range(x.shape[0]):
        position = ti.Vector([x[i, 0], x[i, 1], x[i, 2]])
        total = 0.0
        for level in range(scales.shape[0]):
            gradient = ti.Vector.zero(float, features)
            for k in ti.static(range(features)):
                gradient[k] = load(y_gradient, level * features + k, i)
            total += level_width_gradient(position, widths[i], gradient, table, levels, scales, level, features)
        widths_gradient[i] = total
