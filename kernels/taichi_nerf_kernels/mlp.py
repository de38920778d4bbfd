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

from functools import cache
from itertools import accumulate, pairwise

from .engine import configuration, on_cpu, stride_for, ti
from .launch import kernel

LANES = 16  # samples of a block on a CPU
ROWS = 4  # units of a layer that a CPU computes together: each load of an input serves all of them
TILE = 16  # inputs of a CPU task of the weight gradient, which has ROWS units
BLOCKS = 32  # blocks of samples that a CPU thread takes at a time
CHUNK = 1024  # samples that the weight gradient adds up at a time
UNROLL = 16  # iterations of one unrolled loop
THREADS = 128  # of a block on a GPU
SIDE = 32  # weights along a side of the tile of a block, and samples that it stages at a time
SHARED_BYTES = 32768  # weights of more than this stay in global memory


def mlp_weights(sizes: tuple[int, ...]) -> int:
    """P, the number of weights of a network."""
    return sum(a * b for a, b in pairwise(sizes))


def mlp_activations_shape(sizes: tuple[int, ...], count: int) -> tuple[int, int]:
    """Shape of the hidden activations of `count` samples; one row if there is no hidden layer."""
    return max(sum(sizes[1:-1]), 1), count


def mlp_scratch_shape(sizes: tuple[int, ...], count: int) -> tuple[int, int]:
    """Shape of `scratch`, the gradients g_l of the hidden layers: that of the activations."""
    return mlp_activations_shape(sizes, count)


def _weight_offsets(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Where the weights of each layer begin."""
    return (0, *accumulate(a * b for a, b in pairwise(sizes[:-1])))


def _row_offsets(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The first row of each hidden layer in `activations`."""
    return (0, *accumulate(sizes[1:-2]))


def _chunks(count: int) -> list[range]:
    """range(count) in pieces that Taichi unrolls without a warning."""
    return [range(i, min(i + UNROLL, count)) for i in range(0, count, UNROLL)]


# For a block of LANES samples


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
    if ti.static(len(sizes) == 2):
        layer_lanes(x, weights, y, first, sizes[0], 1, sizes[0], sizes[1], False)
    else:
        a = ti.Vector.zero(float, sizes[1] * LANES)
        layer_lanes(x, weights, a, first, sizes[0], 1, sizes[0], sizes[1], True)
        network_lanes(a, weights, y, first + sizes[0] * sizes[1], sizes[1:])


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


# The schedule for a CPU


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


@ti.func
def _forward_lanes(a: ti.template(), weights: ti.template(), activations: ti.template(), y: ti.template(), begin: int,
                   lanes: int, sizes: ti.template(), layer: ti.template(), keeps: ti.template()):
    """The layers from `layer` on, whose inputs are `a`; activations are stored if it `keeps` them."""
    inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
    first = ti.static(_weight_offsets(sizes)[layer])
    z = ti.Vector.zero(float, outputs * LANES)
    if ti.static(layer == len(sizes) - 2):
        layer_lanes(a, weights, z, first, inputs, 1, inputs, outputs, False)
        store_lanes(z, 0, begin, lanes, outputs, y)
    else:
        layer_lanes(a, weights, z, first, inputs, 1, inputs, outputs, True)
        if ti.static(keeps):
            store_lanes(z, ti.static(_row_offsets(sizes)[layer]), begin, lanes, outputs, activations)
        _forward_lanes(z, weights, activations, y, begin, lanes, sizes, layer + 1, keeps)


@ti.func
def _backward_lanes(g: ti.template(), weights: ti.template(), activations: ti.template(), x_gradient: ti.template(),
                    scratch: ti.template(), begin: int, lanes: int, sizes: ti.template(), layer: ti.template(),
                    wants_x: ti.template()):
    """The layers from `layer` down to the first; `g` is the gradient with respect to the output of `layer`."""
    inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
    first = ti.static(_weight_offsets(sizes)[layer])
    if ti.static(layer > 0 or wants_x):
        h = ti.Vector.zero(float, inputs * LANES)
        layer_lanes(g, weights, h, first, 1, inputs, outputs, inputs, False)
        if ti.static(layer == 0):
            store_lanes(h, 0, begin, lanes, inputs, x_gradient)
        else:
            row = ti.static(_row_offsets(sizes)[layer - 1])
            for i in range(inputs):
                for lane in range(lanes):
                    value = ti.select(activations[row + i, begin + lane] > 0.0, h[i * LANES + lane], 0.0)
                    h[i * LANES + lane] = value
                    scratch[row + i, begin + lane] = value
            _backward_lanes(h, weights, activations, x_gradient, scratch, begin, lanes, sizes, layer - 1, wants_x)


@ti.func
def _weight_gradient_tile(a: ti.template(), a_row: ti.template(), g: ti.template(), g_row: ti.template(), count: int,
                          weight_gradient: ti.template(), first: ti.template(), o: int, i: int,
                          inputs: ti.template(), outputs: ti.template()):
    """Adds g a^T to ROWS x TILE weights of a layer. Rows beyond its last repeat it and are not added."""
    for chunk in range((count + CHUNK - 1) // CHUNK):
        last = ti.min((chunk + 1) * CHUNK, count)
        for part in range(TILE // ROWS):
            k = i + part * ROWS
            if k < inputs:
                sums = ti.Matrix.zero(float, ROWS, ROWS)
                for sample in range(chunk * CHUNK, last):
                    for c in ti.static(range(ROWS)):
                        value = a[a_row + ti.min(k + c, inputs - 1), sample]
                        for r in ti.static(range(ROWS)):
                            sums[r, c] += g[g_row + ti.min(o + r, outputs - 1), sample] * value
                for r in ti.static(range(ROWS)):
                    for c in ti.static(range(ROWS)):
                        if o + r < outputs and k + c < inputs:
                            weight_gradient[first + (o + r) * inputs + k + c] += sums[r, c]


@cache
def _cpu_kernels(sizes: tuple[int, ...], counted: bool, keeps: bool, wants_x: bool):
    """The kernels of the forward pass, of the backward pass through the layers, and of the weights."""
    layers = len(sizes) - 1
    tiles = tuple(-(-outputs // ROWS) * -(-inputs // TILE) for inputs, outputs in pairwise(sizes))
    ends = tuple(accumulate(tiles))
    rows = (0, *_row_offsets(sizes))  # of the inputs of each layer in `activations`, of their gradient in `scratch`

    @kernel
    def forward(x: ti.types.ndarray(ndim=2), weights: ti.types.ndarray(ndim=1),
                activations: ti.types.ndarray(ndim=2), y: ti.types.ndarray(ndim=2), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else x.shape[1]
        stride = ti.static(stride_for(BLOCKS))
        for slot in range((n + LANES - 1) // LANES * stride):
            if slot % stride != 0:
                continue
            begin = slot // stride * LANES
            lanes = ti.min(LANES, n - begin)
            a = ti.Vector.zero(float, sizes[0] * LANES)
            load_lanes(x, 0, begin, lanes, sizes[0], a)
            _forward_lanes(a, weights, activations, y, begin, lanes, sizes, 0, keeps)

    @kernel
    def backward(weights: ti.types.ndarray(ndim=1), activations: ti.types.ndarray(ndim=2),
                 y_gradient: ti.types.ndarray(ndim=2), x_gradient: ti.types.ndarray(ndim=2),
                 scratch: ti.types.ndarray(ndim=2), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else y_gradient.shape[1]
        stride = ti.static(stride_for(BLOCKS))
        for slot in range((n + LANES - 1) // LANES * stride):
            if slot % stride != 0:
                continue
            begin = slot // stride * LANES
            lanes = ti.min(LANES, n - begin)
            g = ti.Vector.zero(float, sizes[-1] * LANES)
            load_lanes(y_gradient, 0, begin, lanes, sizes[-1], g)
            _backward_lanes(g, weights, activations, x_gradient, scratch, begin, lanes, sizes, layers - 1, wants_x)

    @kernel
    def weight_gradients(x: ti.types.ndarray(ndim=2), activations: ti.types.ndarray(ndim=2),
                         y_gradient: ti.types.ndarray(ndim=2), scratch: ti.types.ndarray(ndim=2),
                         weight_gradient: ti.types.ndarray(ndim=1), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else x.shape[1]
        stride = ti.static(stride_for(1))
        for slot in range(ends[-1] * stride):
            if slot % stride != 0:
                continue
            for layer in ti.static(range(layers)):
                inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
                tile = slot // stride - ti.static(ends[layer] - tiles[layer])
                if tile >= 0 and tile < tiles[layer]:
                    across = ti.static((inputs + TILE - 1) // TILE)
                    o, i = tile // across * ROWS, tile % across * TILE
                    first = ti.static(_weight_offsets(sizes)[layer])
                    if ti.static(layers == 1):
                        _weight_gradient_tile(x, 0, y_gradient, 0, n, weight_gradient, first, o, i, inputs, outputs)
                    elif ti.static(layer == 0):
                        _weight_gradient_tile(x, 0, scratch, 0, n, weight_gradient, first, o, i, inputs, outputs)
                    elif ti.static(layer == layers - 1):
                        _weight_gradient_tile(activations, rows[layer], y_gradient, 0, n, weight_gradient, first, o, i,
                                              inputs, outputs)
                    else:
                        _weight_gradient_tile(activations, rows[layer], scratch, rows[layer + 1], n, weight_gradient,
                                              first, o, i, inputs, outputs)

    return forward, backward, weight_gradients


# The schedule for a GPU


@ti.func
def load_sample(source: ti.template(), n: int, rows: ti.template()):
    """Column `n` of an array in registers."""
    a = ti.Vector.zero(float, rows)
    for chunk in ti.static(_chunks(rows)):
        for i in ti.static(chunk):
            a[i] = source[i, n]
    return a


@ti.func
def store_sample(a: ti.template(), target: ti.template(), row: ti.template(), n: int, rows: ti.template()):
    """Registers into column `n` of an array."""
    for chunk in ti.static(_chunks(rows)):
        for i in ti.static(chunk):
            target[row + i, n] = a[i]


@ti.func
def _forward_sample(x: ti.template(), weights: ti.template(), activations: ti.template(), y: ti.template(), n: int,
                    sizes: ti.template(), layer: ti.template(), keeps: ti.template()):
    """The layers from `layer` on, whose inputs are `x`; activations are stored if it `keeps` them."""
    inputs, units = ti.static(sizes[layer], sizes[layer + 1])
    first = ti.static(_weight_offsets(sizes)[layer])
    if ti.static(layer == len(sizes) - 2):
        for k in range(units):
            y[k, n] = unit_sample(x, weights, first + k * inputs, 1, inputs)
    else:
        row, outputs = ti.static(_row_offsets(sizes)[layer], sizes[layer + 2])
        z = ti.Vector.zero(float, outputs)
        for j in range(units):
            a = ti.max(unit_sample(x, weights, first + j * inputs, 1, inputs), 0.0)
            if ti.static(keeps):
                activations[row + j, n] = a
            add_unit_sample(z, a, weights, first + units * inputs + j, units, outputs)
        if ti.static(layer == len(sizes) - 3):
            store_sample(z, y, 0, n, outputs)
        else:
            z = ti.max(z, 0.0)
            if ti.static(keeps):
                store_sample(z, activations, row + units, n, outputs)
            _forward_sample(z, weights, activations, y, n, sizes, layer + 2, keeps)


@ti.func
def _backward_sample(g: ti.template(), weights: ti.template(), activations: ti.template(), x_gradient: ti.template(),
                     scratch: ti.template(), n: int, sizes: ti.template(), layer: ti.template(),
                     wants_x: ti.template()):
    """The layers from `layer` down to the first; `g` is the gradient with respect to the output of `layer`."""
    units, outputs = ti.static(sizes[layer], sizes[layer + 1])
    first = ti.static(_weight_offsets(sizes)[layer])
    if ti.static(layer == 0):
        if ti.static(wants_x):
            for i in range(units):
                x_gradient[i, n] = unit_sample(g, weights, first + i, units, outputs)
    else:
        inputs, row = ti.static(sizes[layer - 1], _row_offsets(sizes)[layer - 1])
        below = ti.static(_weight_offsets(sizes)[layer - 1])
        h = ti.Vector.zero(float, inputs)
        for j in range(units):
            value = ti.select(activations[row + j, n] > 0.0, unit_sample(g, weights, first + j, units, outputs), 0.0)
            scratch[row + j, n] = value
            if ti.static(layer > 1 or wants_x):
                add_unit_sample(h, value, weights, below + j * inputs, 1, inputs)
        if ti.static(layer > 1):
            for chunk in ti.static(_chunks(inputs)):
                for i in ti.static(chunk):
                    h[i] = ti.select(activations[row - inputs + i, n] > 0.0, h[i], 0.0)
            store_sample(h, scratch, row - inputs, n, inputs)
            _backward_sample(h, weights, activations, x_gradient, scratch, n, sizes, layer - 2, wants_x)
        elif ti.static(wants_x):
            store_sample(h, x_gradient, 0, n, inputs)


@ti.func
def stage_weights(weights: ti.template(), shared: ti.template(), thread: int, threads: ti.template(),
                  count: ti.template()):
    """Copies the weights into the block's shared array: every thread of the block calls it."""
    for part in range((count + threads - 1) // threads):
        k = part * threads + thread
        if k < count:
            shared[k] = weights[k]
    ti.simt.block.sync()


@ti.func
def _weight_gradient_block(a: ti.template(), a_row: ti.template(), g: ti.template(), g_row: ti.template(), begin: int,
                           end: int, weight_gradient: ti.template(), first: ti.template(), o: int, i: int,
                           thread: int, a_tile: ti.template(), g_tile: ti.template(), inputs: ti.template(),
                           outputs: ti.template()):
    """Adds g a^T of samples begin .. end - 1 to SIDE x SIDE weights of a layer: a block of THREADS threads."""
    sums = ti.Matrix.zero(float, 2, 4)
    row, column = thread // 8 * 2, thread % 8 * 4  # of this thread's weights in the tile
    for part in range((end - begin + SIDE - 1) // SIDE):
        ti.simt.block.sync()  # the previous part has been used
        for step in range(SIDE * SIDE // THREADS):
            r, s = step * (THREADS // SIDE) + thread // SIDE, thread % SIDE
            sample = begin + part * SIDE + s
            a_value, g_value = 0.0, 0.0
            if sample < end:
                if i + r < inputs:
                    a_value = a[a_row + i + r, sample]
                if o + r < outputs:
                    g_value = g[g_row + o + r, sample]
            a_tile[r * (SIDE + 1) + s] = a_value
            g_tile[r * (SIDE + 1) + s] = g_value
        ti.simt.block.sync()
        for s in range(SIDE):
            for c in ti.static(range(4)):
                value = a_tile[(column + c) * (SIDE + 1) + s]
                for r in ti.static(range(2)):
                    sums[r, c] += g_tile[(row + r) * (SIDE + 1) + s] * value
    for r in ti.static(range(2)):
        for c in ti.static(range(4)):
            if o + row + r < outputs and i + column + c < inputs:
                ti.atomic_add(weight_gradient[first + (o + row + r) * inputs + i + column + c], sums[r, c])


@cache
def _gpu_kernels(sizes: tuple[int, ...], counted: bool, keeps: bool, wants_x: bool, real):
    """The kernels of the forward pass, of the backward pass through the layers, and of the weights, of type `real`."""
    layers, parameters = len(sizes) - 1, mlp_weights(sizes)
    staged = parameters * (8 if real == ti.f64 else 4) <= SHARED_BYTES
    tiles = tuple(-(-outputs // SIDE) * -(-inputs // SIDE) for inputs, outputs in pairwise(sizes))
    ends = tuple(accumulate(tiles))
    rows = (0, *_row_offsets(sizes))  # of the inputs of each layer in `activations`, of their gradient in `scratch`

    @kernel
    def forward(x: ti.types.ndarray(ndim=2), weights: ti.types.ndarray(ndim=1),
                activations: ti.types.ndarray(ndim=2), y: ti.types.ndarray(ndim=2), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else x.shape[1]
        ti.loop_config(block_dim=THREADS)
        for i in range((n + THREADS - 1) // THREADS * THREADS):  # whole blocks: all their threads must synchronise
            if ti.static(staged):
                shared = ti.simt.block.SharedArray((parameters,), real)
                stage_weights(weights, shared, i % THREADS, THREADS, parameters)
                if i < n:
                    _forward_sample(load_sample(x, i, sizes[0]), shared, activations, y, i, sizes, 0, keeps)
            elif i < n:
                _forward_sample(load_sample(x, i, sizes[0]), weights, activations, y, i, sizes, 0, keeps)

    @kernel
    def backward(weights: ti.types.ndarray(ndim=1), activations: ti.types.ndarray(ndim=2),
                 y_gradient: ti.types.ndarray(ndim=2), x_gradient: ti.types.ndarray(ndim=2),
                 scratch: ti.types.ndarray(ndim=2), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else y_gradient.shape[1]
        ti.loop_config(block_dim=THREADS)
        for i in range((n + THREADS - 1) // THREADS * THREADS):
            if ti.static(staged):
                shared = ti.simt.block.SharedArray((parameters,), real)
                stage_weights(weights, shared, i % THREADS, THREADS, parameters)
                if i < n:
                    _backward_sample(load_sample(y_gradient, i, sizes[-1]), shared, activations, x_gradient, scratch,
                                     i, sizes, layers - 1, wants_x)
            elif i < n:
                _backward_sample(load_sample(y_gradient, i, sizes[-1]), weights, activations, x_gradient, scratch, i,
                                 sizes, layers - 1, wants_x)

    @kernel
    def weight_gradients(x: ti.types.ndarray(ndim=2), activations: ti.types.ndarray(ndim=2),
                         y_gradient: ti.types.ndarray(ndim=2), scratch: ti.types.ndarray(ndim=2),
                         weight_gradient: ti.types.ndarray(ndim=1), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else x.shape[1]
        ti.loop_config(block_dim=THREADS)
        for k in range((n + CHUNK - 1) // CHUNK * (ends[-1] * THREADS)):
            a_tile = ti.simt.block.SharedArray((SIDE * (SIDE + 1),), real)
            g_tile = ti.simt.block.SharedArray((SIDE * (SIDE + 1),), real)
            block, thread = k // THREADS, k % THREADS
            begin = block // ends[-1] * CHUNK
            end = ti.min(begin + CHUNK, n)
            for layer in ti.static(range(layers)):
                inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
                tile = block % ends[-1] - ti.static(ends[layer] - tiles[layer])
                if tile >= 0 and tile < tiles[layer]:
                    across = ti.static((inputs + SIDE - 1) // SIDE)
                    o, i = tile // across * SIDE, tile % across * SIDE
                    first = ti.static(_weight_offsets(sizes)[layer])
                    if ti.static(layers == 1):
                        _weight_gradient_block(x, 0, y_gradient, 0, begin, end, weight_gradient, first, o, i, thread,
                                               a_tile, g_tile, inputs, outputs)
                    elif ti.static(layer == 0):
                        _weight_gradient_block(x, 0, scratch, 0, begin, end, weight_gradient, first, o, i, thread,
                                               a_tile, g_tile, inputs, outputs)
                    elif ti.static(layer == layers - 1):
                        _weight_gradient_block(activations, rows[layer], y_gradient, 0, begin, end, weight_gradient,
                                               first, o, i, thread, a_tile, g_tile, inputs, outputs)
                    else:
                        _weight_gradient_block(activations, rows[layer], scratch, rows[layer + 1], begin, end,
                                               weight_gradient, first, o, i, thread, a_tile, g_tile, inputs, outputs)

    return forward, backward, weight_gradients


def _kernels(sizes: tuple[int, ...], counted: bool, *, keeps: bool = True, wants_x: bool = True):
    sizes = tuple(map(int, sizes))
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be at least two positive numbers, got {sizes}")
    if on_cpu():
        return _cpu_kernels(sizes, counted, keeps, wants_x)
    return _gpu_kernels(sizes, counted, keeps, wants_x, configuration().default_fp)


def mlp_forward(x, weights, activations, y, sizes: tuple[int, ...], count=None) -> None:
    """y [O, N] of x [I, N], and the hidden activations [H_1 + .., N], which the backward pass needs.

    Args:
        weights: [P], all layers one after the other.
        activations: of `mlp_activations_shape`; written. None: no backward pass is to follow.
        y: written.
        sizes: (I, H_1, .., O); kernels are compiled for each.
        count: None for all columns, or an int32 array on the device whose first element is how many columns there
            are; those beyond are neither read nor written.

    Raises ValueError for fewer than two sizes.
    """
    if x.shape[1] == 0:
        return
    forward, _, _ = _kernels(sizes, count is not None, keeps=activations is not None)
    forward(x, weights, x if activations is None else activations, y, weights if count is None else count)


def mlp_backward(x, weights, activations, y_gradient, x_gradient, weight_gradient, scratch, sizes: tuple[int, ...],
                 count=None) -> None:
    """Writes x_gradient [I, N] (None: not wanted) and adds to weight_gradient [P], which the caller zeroes.

    `activations` are those of `mlp_forward`; `scratch`, of `mlp_scratch_shape`, is overwritten; `count` as there.
    On a CPU the result is the same in every run, on a GPU sums are added atomically.
    """
    if x.shape[1] == 0:
        return
    _, _, weight_gradients = _kernels(sizes, count is not None)
    _, backward, _ = _kernels(sizes, count is not None, wants_x=x_gradient is not None)
    given = weights if count is None else count
    if len(sizes) > 2 or x_gradient is not None:
        backward(weights, activations, y_gradient, scratch if x_gradient is None else x_gradient, scratch, given)
    weight_gradients(x, activations, y_gradient, scratch, weight_gradient, given)
