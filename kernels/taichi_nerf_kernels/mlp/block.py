"""Networks for a block of LANES samples, on a CPU: in local vectors, value i of sample `lane` at i * LANES + lane.

LLVM makes vector code of the loops over lanes. For use within any kernel that runs on a CPU.
"""

from ..engine import ti

LANES = 16  # samples of a block
ROWS = 4  # units that are computed together where the gradient of weights is summed
UNITS, DEEP = 8, 4  # of a layer that are computed together, and of so many inputs at a time: both sums are in registers


@ti.func
def _add_products(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, unit: int, begin: int,
                  row_stride: ti.template(), column_stride: ti.template(), units: ti.template(),
                  inputs: ti.template()):
    """To units unit .. unit + units - 1 what inputs begin .. begin + inputs - 1 give, whose weights start at `first`.

    The one loop is that over lanes, with much in it: LLVM unrolls short ones before it looks for vectors, and then
    finds them along the inputs, where the weights are apart and the sums do not fit into the registers.
    """
    for lane in range(LANES):
        totals = ti.Vector([y[(unit + r) * LANES + lane] for r in ti.static(range(units))])
        for k in ti.static(range(inputs)):
            value = x[(begin + k) * LANES + lane]
            for r in ti.static(range(units)):
                totals[r] += weights[first + r * row_stride + k * column_stride] * value
        for r in ti.static(range(units)):
            y[(unit + r) * LANES + lane] = totals[r]


@ti.func
def _some_units(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, unit: int,
                row_stride: ti.template(), column_stride: ti.template(), inputs: ti.template(), units: ti.template(),
                relu: ti.template()):
    """Units unit .. unit + units - 1 of a layer, for LANES samples; their weights start at `first`."""
    for k in range(units * LANES):
        y[unit * LANES + k] = 0.0
    for part in range(inputs // DEEP):
        _add_products(x, weights, y, first + part * DEEP * column_stride, unit, part * DEEP, row_stride, column_stride,
                      units, DEEP)
    if ti.static(inputs % DEEP > 0):
        done = ti.static(inputs - inputs % DEEP)
        _add_products(x, weights, y, first + done * column_stride, unit, done, row_stride, column_stride, units,
                      inputs % DEEP)
    if ti.static(relu):
        for k in range(units * LANES):
            y[unit * LANES + k] = ti.max(y[unit * LANES + k], 0.0)


@ti.func
def layer_lanes(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, row_stride: ti.template(),
                column_stride: ti.template(), inputs: ti.template(), outputs: ti.template(), relu: ti.template()):
    """y[o] = sum_i weights[first + o * row_stride + i * column_stride] x[i], then ReLU if `relu`, for LANES samples.

    `x` and `y` are local vectors of at least inputs * LANES and outputs * LANES. They must not be the same.
    """
    for part in range(outputs // UNITS):
        _some_units(x, weights, y, first + part * UNITS * row_stride, part * UNITS, row_stride, column_stride, inputs,
                    UNITS, relu)
    if ti.static(outputs % UNITS > 0):
        done = ti.static(outputs - outputs % UNITS)
        _some_units(x, weights, y, first + done * row_stride, done, row_stride, column_stride, inputs, outputs % UNITS,
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
