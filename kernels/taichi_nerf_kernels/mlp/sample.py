"""Networks for one sample, on a GPU: in registers, with its loops unrolled UNROLL iterations at a time.

For use within any kernel.
"""

from ..engine import ti
from .layout import mlp_weights

UNROLL = 16  # iterations of one unrolled loop


def chunks(count: int) -> list[range]:
    """range(count) in pieces that Taichi unrolls without a warning."""
    return [range(i, min(i + UNROLL, count)) for i in range(0, count, UNROLL)]


@ti.func
def unit_sample(x: ti.template(), weights: ti.template(), first: int, stride: ti.template(), inputs: ti.template()):
    """sum_i weights[first + i * stride] x[i], unrolled."""
    total = 0.0
    for chunk in ti.static(chunks(inputs)):
        for i in ti.static(chunk):
            total += weights[first + i * stride] * x[i]
    return total


@ti.func
def add_unit_sample(y: ti.template(), a: float, weights: ti.template(), first: int, stride: ti.template(),
                    outputs: ti.template()):
    """y[k] += weights[first + k * stride] a, unrolled."""
    for chunk in ti.static(chunks(outputs)):
        for k in ti.static(chunk):
            y[k] += weights[first + k * stride] * a


@ti.func
def layer_pair_sample(x: ti.template(), weights: ti.template(), first: int, inputs: ti.template(),
                      units: ti.template(), outputs: ti.template()):
    """W_2 max(W_1 x, 0) for one sample, a vector of `outputs`; the weights of both layers begin at `first`."""
    y = ti.Vector.zero(float, outputs)
    for j in range(units):
        a = ti.max(unit_sample(x, weights, first + j * inputs, 1, inputs), 0.0)
        add_unit_sample(y, a, weights, first + units * inputs + j, units, outputs)
    return y


@ti.func
def layer_sample(x: ti.template(), weights: ti.template(), first: int, inputs: ti.template(), outputs: ti.template()):
    """W x for one sample, a vector of `outputs`, with both loops unrolled: for few outputs."""
    y = ti.Vector.zero(float, outputs)
    for chunk in ti.static(chunks(outputs)):
        for k in ti.static(chunk):
            y[k] = unit_sample(x, weights, first + k * inputs, 1, inputs)
    return y


@ti.func
def network_sample(x, weights: ti.template(), first: int, sizes: ti.template()):
    """A whole network on one sample in registers, for use within a kernel on a GPU: a vector of sizes[-1].

    Args:
        x: vector of sizes[0].
        weights: an ndarray, or better a `ti.simt.block.SharedArray`; the weights of the network begin at `first`.
        sizes: a tuple, known at compile time.
    """
    y = ti.Vector.zero(float, sizes[-1])
    if ti.static(len(sizes) == 2):
        y = layer_sample(x, weights, first, sizes[0], sizes[1])
    elif ti.static(len(sizes) == 3):
        y = layer_pair_sample(x, weights, first, sizes[0], sizes[1], sizes[2])
    else:
        a = layer_pair_sample(x, weights, first, sizes[0], sizes[1], sizes[2])
        y = network_sample(ti.max(a, 0.0), weights, first + ti.static(mlp_weights(sizes[:3])), sizes[2:])
    return y


@ti.func
def load_sample(source: ti.template(), n: int, rows: ti.template()):
    """Column `n` of an array in registers."""
    a = ti.Vector.zero(float, rows)
    for chunk in ti.static(chunks(rows)):
        for i in ti.static(chunk):
            a[i] = source[i, n]
    return a


@ti.func
def store_sample(a: ti.template(), target: ti.template(), row: ti.template(), n: int, rows: ti.template()):
    """Registers into column `n` of an array."""
    for chunk in ti.static(chunks(rows)):
        for i in ti.static(chunk):
            target[row + i, n] = a[i]
