"""Networks for a block of LANES samples, on a CPU: in local vectors, value i of sample `lane` at i * LANES + lane.

LLVM makes vector code of the loops over lanes. For use within any kernel that runs on a CPU.
"""

from ..engine import ti

LANES = 16  # samples of a block
ROWS = 4  # units of a layer that are computed together: each load of an input serves all of them


@ti.func
def _unit_rows(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, unit: int,
               row_stride: ti.template(), column_stride: ti.template(), inputs: ti.template(), rows: ti.template(),
               relu: ti.template()):
    """Units unit .. unit + rows - 1 of a layer, for LANES samples."""
    totals = ti.Vector.zero(float, rows * LANES)
    for i in range(inputs):
        for r in ti.static(range(rows)):
            weight = weights[first + (unit + r) * row_stride + i * column_stride]
            for lane in range(LANES):
                totals[r * LANES + lane] += weight * x[i * LANES + lane]
    for r in ti.static(range(rows)):
        for lane in range(LANES):
            y[(unit + r) * LANES + lane] = ti.max(totals[r * LANES + lane], 0.0) if ti.static(relu) else (
                totals[r * LANES + lane])


@ti.func
def layer_lanes(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, row_stride: ti.template(),
                column_stride: ti.template(), inputs: ti.template(), outputs: ti.template(), relu: ti.template()):
    """y[o] = sum_i weights[first + o * row_stride + i * column_stride] x[i], then ReLU if `relu`, for LANES samples.

    `x` and `y` are local vectors of at least inputs * LANES and outputs * LANES. They must not be the same.
    """
    for tile in range(outputs // ROWS):
        _unit_rows(x, weights, y, first, tile * ROWS, row_stride, column_stride, inputs, ROWS, relu)
    if ti.static(outputs % ROWS > 0):
        _unit_rows(x, weights, y, first, outputs - outputs % ROWS, row_stride, column_stride, inputs, outputs % ROWS,
                   relu)


@ti.func
def network_lanes(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, sizes: ti.template()):
    """A whole network on LANES samples, for use within a kernel on a CPU.

    Args:
        x: local vector of sizes[0] * LANES: input i of sample `lane` at i * LANES + lane.
        weights: an ndarray; the weights of the network begin at `first`.
        y: local vector of sizes[-1] * LANES, which is written, in the same order.
        sizes: a tuple, known at compile time.
    """
    if ti.static(len(sizes) == 2):
        layer_lanes(x, weights, y, first, sizes[0], 1, sizes[0], sizes[1], False)
    else:
        a = ti.Vector.zero(float, sizes[1] * LANES)
        layer_lanes(x, weights, a, first, sizes[0], 1, sizes[0], sizes[1], True)
        network_lanes(a, weights, y, first + sizes[0] * sizes[1], sizes[1:])


@ti.func
def load_lanes(source: ti.template(), row: int, begin: int, lanes: int, rows: ti.template(), target: ti.template()):
    """Columns begin .. begin + lanes - 1 of an array into a local vector."""
    for i in range(rows):
        for lane in range(lanes):
            target[i * LANES + lane] = source[row + i, begin + lane]


@ti.func
def store_lanes(source: ti.template(), row: int, begin: int, lanes: int, rows: ti.template(), target: ti.template()):
    """The adjoint order: a local vector into columns begin .. begin + lanes - 1 of an array."""
    for i in range(rows):
        for lane in range(lanes):
            target[row + i, begin + lane] = source[i * LANES + lane]
