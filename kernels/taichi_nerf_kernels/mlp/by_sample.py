"""The schedule for a GPU: a thread has a sample, with the weights in the memory that its block shares. Of the gradient
with respect to the weights a block of threads has a tile, which it adds up over CHUNK samples; tiles of other samples
are added to it atomically."""

from functools import cache

from ..engine import in_double, ti
from ..launch import kernel
from .layout import CHUNK, first_tiles, mlp_weights, product_rows, row_offsets, weight_offsets
from .sample import add_unit_sample, chunks, load_sample, store_sample, unit_sample

THREADS = 128  # of a block
SIDE = 32  # weights along a side of the tile of a block, and samples that it stages at a time
SHARED_BYTES = 32768  # weights of more than this stay in global memory


@ti.func
def _forward_sample(x: ti.template(), weights: ti.template(), activations: ti.template(), y: ti.template(), n: int,
                    sizes: ti.template(), layer: ti.template(), keeps: ti.template()):
    """The layers from `layer` on, whose inputs are `x`; activations are stored if it `keeps` them."""
    inputs, units = ti.static(sizes[layer], sizes[layer + 1])
    first = ti.static(weight_offsets(sizes)[layer])
    if ti.static(layer == len(sizes) - 2):
        for k in range(units):
            y[k, n] = unit_sample(x, weights, first + k * inputs, 1, inputs)
    else:
        row, outputs = ti.static(row_offsets(sizes)[layer], sizes[layer + 2])
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
    first = ti.static(weight_offsets(sizes)[layer])
    if ti.static(layer == 0):
        if ti.static(wants_x):
            for i in range(units):
                x_gradient[i, n] = unit_sample(g, weights, first + i, units, outputs)
    else:
        inputs, row = ti.static(sizes[layer - 1], row_offsets(sizes)[layer - 1])
        below = ti.static(weight_offsets(sizes)[layer - 1])
        h = ti.Vector.zero(float, inputs)
        for j in range(units):
            value = ti.select(activations[row + j, n] > 0.0, unit_sample(g, weights, first + j, units, outputs), 0.0)
            scratch[row + j, n] = value
            if ti.static(layer > 1 or wants_x):
                add_unit_sample(h, value, weights, below + j * inputs, 1, inputs)
        if ti.static(layer > 1):
            for chunk in ti.static(chunks(inputs)):
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


def fits_block(parameters: int) -> bool:
    """Whether the memory that a block shares has room for the weights."""
    return parameters * (8 if in_double() else 4) <= SHARED_BYTES


@ti.func
def shared_array(size: ti.template()):
    """`size` numbers in the memory that a block shares."""
    return ti.simt.block.SharedArray((size,), ti.f64 if ti.static(in_double()) else ti.f32)


@cache
def forward_kernel(sizes: tuple[int, ...], counted: bool, keeps: bool):
    """The kernel of the forward pass."""
    parameters = mlp_weights(sizes)

    @kernel
    def forward(x: ti.types.ndarray(ndim=2), weights: ti.types.ndarray(ndim=1),
                activations: ti.types.ndarray(ndim=2), y: ti.types.ndarray(ndim=2), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else x.shape[1]
        ti.loop_config(block_dim=THREADS)
        for i in range((n + THREADS - 1) // THREADS * THREADS):  # whole blocks: all their threads must synchronise
            if ti.static(fits_block(parameters)):
                shared = shared_array(parameters)
                stage_weights(weights, shared, i % THREADS, THREADS, parameters)
                if i < n:
                    _forward_sample(load_sample(x, i, sizes[0]), shared, activations, y, i, sizes, 0, keeps)
            elif i < n:
                _forward_sample(load_sample(x, i, sizes[0]), weights, activations, y, i, sizes, 0, keeps)

    return forward


@cache
def backward_kernel(sizes: tuple[int, ...], counted: bool, wants_x: bool):
    """The kernel of the backward pass through the layers."""
    parameters, layers = mlp_weights(sizes), len(sizes) - 1

    @kernel
    def backward(weights: ti.types.ndarray(ndim=1), activations: ti.types.ndarray(ndim=2),
                 y_gradient: ti.types.ndarray(ndim=2), x_gradient: ti.types.ndarray(ndim=2),
                 scratch: ti.types.ndarray(ndim=2), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else y_gradient.shape[1]
        ti.loop_config(block_dim=THREADS)
        for i in range((n + THREADS - 1) // THREADS * THREADS):
            if ti.static(fits_block(parameters)):
                shared = shared_array(parameters)
                stage_weights(weights, shared, i % THREADS, THREADS, parameters)
                if i < n:
                    _backward_sample(load_sample(y_gradient, i, sizes[-1]), shared, activations, x_gradient, scratch,
                                     i, sizes, layers - 1, wants_x)
            elif i < n:
                _backward_sample(load_sample(y_gradient, i, sizes[-1]), weights, activations, x_gradient, scratch, i,
                                 sizes, layers - 1, wants_x)

    return backward


@cache
def weight_gradient_kernel(sizes: tuple[int, ...], counted: bool):
    """The kernel of dW_l = g_l a_(l-1)^T for all layers."""
    layers = len(sizes) - 1
    first_tile = first_tiles(sizes, SIDE, SIDE)
    a_row, g_row = product_rows(sizes)

    @kernel
    def weight_gradients(x: ti.types.ndarray(ndim=2), activations: ti.types.ndarray(ndim=2),
                         y_gradient: ti.types.ndarray(ndim=2), scratch: ti.types.ndarray(ndim=2),
                         weight_gradient: ti.types.ndarray(ndim=1), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else x.shape[1]
        ti.loop_config(block_dim=THREADS)
        for k in range((n + CHUNK - 1) // CHUNK * (first_tile[layers] * THREADS)):
            a_tile = shared_array(SIDE * (SIDE + 1))
            g_tile = shared_array(SIDE * (SIDE + 1))
            block, thread = k // THREADS, k % THREADS
            begin = block // first_tile[layers] * CHUNK
            end = ti.min(begin + CHUNK, n)
            for layer in ti.static(range(layers)):
                inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
                tile = block % first_tile[layers] - first_tile[layer]
                if tile >= 0 and tile < ti.static(first_tile[layer + 1] - first_tile[layer]):
                    across = ti.static((inputs + SIDE - 1) // SIDE)
                    o, i = tile // across * SIDE, tile % across * SIDE
                    a = ti.static(x if ti.static(layer == 0) else activations)
                    g = ti.static(y_gradient if ti.static(layer == layers - 1) else scratch)
                    _weight_gradient_block(a, a_row[layer], g, g_row[layer], begin, end, weight_gradient,
                                           ti.static(weight_offsets(sizes)[layer]), o, i, thread, a_tile, g_tile,
                                           inputs, outputs)

    return weight_gradients
