"""Small fully connected networks in one kernel: no bias, ReLU between the layers, a linear output.

Notation
    sizes    (I, H_1, .., O), known at compile time: inputs, widths of the hidden layers, outputs
    W_l      weights of layer l, [fan_out, fan_in]; `weights` [P] has all of them, flat, one layer after the other
    a_0 = x  [I, N], a_l = max(W_l a_(l-1), 0), y = W_last a_(last-1) [O, N]: feature-major
    activations [H_1 + H_2 + .., N]: the hidden a_l, one layer after the other, for the backward pass

With g_l the gradient with respect to W_l a_(l-1):

    g_last = y_gradient,  g_l = (W_(l+1)^T g_(l+1)) where a_l > 0,  x_gradient = W_1^T g_1,  dW_l = g_l a_(l-1)^T

On a CPU a task takes LANES samples together, in local vectors: LLVM makes vector code of the loops over lanes. On a
GPU a thread has a sample in registers. Registers cannot be indexed by a loop that is not unrolled, and unrolling both
loops of a product is slow to compile; therefore layers go in pairs, both under one loop over the units between them:

    for j in units:   a = max(sum_i W_l[j, i] x[i], 0)          i unrolled
                      y[k] += W_(l+1)[k, j] a   for all k       k unrolled
"""

from itertools import accumulate, pairwise

from .engine import ti

LANES = 16  # samples of a block on a CPU
ROWS = 4  # units of a layer that a CPU computes together: each load of an input serves all of them
TERMS = 8  # inputs added in one pass over the lanes
UNROLL = 16  # iterations of one unrolled loop


def mlp_weights(sizes: tuple[int, ...]) -> int:
    """P, the number of weights of a network."""
    return sum(a * b for a, b in pairwise(sizes))


def layer_offsets(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Where the weights of each layer begin, and P."""
    return (0, *accumulate(a * b for a, b in pairwise(sizes)))


def _widest(sizes: tuple[int, ...]) -> int:
    """Units of the widest hidden layer; 1 if there is none."""
    return max(sizes[1:-1], default=1)


def _chunks(count: int) -> list[range]:
    """range(count) in pieces that Taichi unrolls without a warning."""
    return [range(i, min(i + UNROLL, count)) for i in range(0, count, UNROLL)]


# For a block of LANES samples


@ti.func
def _unit_rows(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, unit: int,
               row_stride: ti.template(), column_stride: ti.template(), inputs: ti.template(), rows: ti.template(),
               relu: ti.template()):
    """Units unit .. unit + rows - 1 of a layer, for LANES samples."""
    tail = ti.static(inputs % TERMS)
    for lane in range(LANES):
        for r in ti.static(range(rows)):
            total = 0.0
            for term in ti.static(range(tail)):
                total += (weights[first + (unit + r) * row_stride + term * column_stride] * x[term * LANES + lane])
            y[(unit + r) * LANES + lane] = total
    for group in range(inputs // TERMS):
        i = tail + group * TERMS
        for lane in range(LANES):
            for r in ti.static(range(rows)):
                total = y[(unit + r) * LANES + lane]
                for term in ti.static(range(TERMS)):
                    total += (weights[first + (unit + r) * row_stride + (i + term) * column_stride]
                              * x[(i + term) * LANES + lane])
                y[(unit + r) * LANES + lane] = total
    if ti.static(relu):
        for lane in range(LANES):
            for r in ti.static(range(rows)):
                y[(unit + r) * LANES + lane] = ti.max(y[(unit + r) * LANES + lane], 0.0)


@ti.func
def layer_lanes(x: ti.template(), weights: ti.template(), y: ti.template(), first: int, row_stride: ti.template(),
                column_stride: ti.template(), inputs: ti.template(), outputs: ti.template(), relu: ti.template()):
    """y[o] = sum_i weights[first + o * row_stride + i * column_stride] x[i], then ReLU if `relu`, for LANES samples.

    `x` and `y` are local vectors of at least inputs * LANES and outputs * LANES: value i of sample `lane` at
    i * LANES + lane. They must not be the same.
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
    width = ti.static(_widest(sizes))
    even = ti.Vector.zero(float, width * LANES)
    odd = ti.Vector.zero(float, ti.static(width if len(sizes) > 3 else 1) * LANES)
    offsets = ti.static(layer_offsets(sizes))
    for layer in ti.static(range(len(sizes) - 1)):
        inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
        last = ti.static(layer == len(sizes) - 2)
        begin = first + offsets[layer]
        if ti.static(last and layer == 0):
            layer_lanes(x, weights, y, begin, inputs, 1, inputs, outputs, False)
        elif ti.static(last and layer % 2 == 1):
            layer_lanes(even, weights, y, begin, inputs, 1, inputs, outputs, False)
        elif ti.static(last):
            layer_lanes(odd, weights, y, begin, inputs, 1, inputs, outputs, False)
        elif ti.static(layer == 0):
            layer_lanes(x, weights, even, begin, inputs, 1, inputs, outputs, True)
        elif ti.static(layer % 2 == 1):
            layer_lanes(even, weights, odd, begin, inputs, 1, inputs, outputs, True)
        else:
            layer_lanes(odd, weights, even, begin, inputs, 1, inputs, outputs, True)


# For one sample


@ti.func
def unit_sample(x: ti.template(), weights: ti.template(), first: int, stride: ti.template(), inputs: ti.template()):
    """sum_i weights[first + i * stride] x[i], unrolled."""
    total = 0.0
    for chunk in ti.static(_chunks(inputs)):
        for i in ti.static(chunk):
            total += weights[first + i * stride] * x[i]
    return total


@ti.func
def add_unit_sample(y: ti.template(), a: float, weights: ti.template(), first: int, stride: ti.template(),
                    outputs: ti.template()):
    """y[k] += weights[first + k * stride] a, unrolled."""
    for chunk in ti.static(_chunks(outputs)):
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
    for chunk in ti.static(_chunks(outputs)):
        for k in ti.static(chunk):
            y[k] = unit_sample(x, weights, first + k * inputs, 1, inputs)
    return y


@ti.func
def network_sample(x, weights: ti.template(), first: int, sizes: ti.template()):
    """A whole network on one sample in registers, for use within a kernel on a GPU: a vector of sizes[-1].

    Args:
        x: vector of sizes[0].
        weights: an ndarray, or better a `ti.simt.block.SharedArray`; the weights of the network begin at `first`.
        sizes: a tuple of 2 to 5 sizes, known at compile time.
    """
    offsets = ti.static(layer_offsets(sizes))
    y = ti.Vector.zero(float, sizes[-1])
    if ti.static(len(sizes) == 2):
        y = layer_sample(x, weights, first, sizes[0], sizes[1])
    elif ti.static(len(sizes) == 3):
        y = layer_pair_sample(x, weights, first, sizes[0], sizes[1], sizes[2])
    else:
        a = layer_pair_sample(x, weights, first, sizes[0], sizes[1], sizes[2])
        a = ti.max(a, 0.0)
        if ti.static(len(sizes) == 4):
            y = layer_sample(a, weights, first + offsets[2], sizes[2], sizes[3])
        else:
            y = layer_pair_sample(a, weights, first + offsets[2], sizes[2], sizes[3], sizes[4])
    return y
