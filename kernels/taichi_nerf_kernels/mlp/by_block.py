"""The schedule for a CPU: a task has a block of samples, or, of the gradient with respect to the weights, a few of
those, so that no other adds to them and none needs atomics."""

from functools import cache

from ..engine import stride_for, ti
from ..launch import kernel
from .block import LANES, ROWS, layer_lanes, load_lanes, store_lanes
from .layout import CHUNK, first_tiles, product_rows, row_offsets, weight_offsets

BLOCKS = 32  # blocks of samples that a thread takes at a time
TILE = 16  # inputs of a task of the weight gradient, which has ROWS units


@ti.func
def _forward_lanes(a: ti.template(), weights: ti.template(), activations: ti.template(), y: ti.template(), begin: int,
                   lanes: int, sizes: ti.template(), layer: ti.template(), keeps: ti.template()):
    """The layers from `layer` on, whose inputs are `a`; activations are stored if it `keeps` them."""
    inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
    first = ti.static(weight_offsets(sizes)[layer])
    z = ti.Vector.zero(float, outputs * LANES)
    if ti.static(layer == len(sizes) - 2):
        layer_lanes(a, weights, z, first, inputs, 1, inputs, outputs, False)
        store_lanes(z, 0, begin, lanes, outputs, y)
    else:
        layer_lanes(a, weights, z, first, inputs, 1, inputs, outputs, True)
        if ti.static(keeps):
            store_lanes(z, ti.static(row_offsets(sizes)[layer]), begin, lanes, outputs, activations)
        _forward_lanes(z, weights, activations, y, begin, lanes, sizes, layer + 1, keeps)


@ti.func
def _backward_lanes(g: ti.template(), weights: ti.template(), activations: ti.template(), x_gradient: ti.template(),
                    scratch: ti.template(), begin: int, lanes: int, sizes: ti.template(), layer: ti.template(),
                    wants_x: ti.template()):
    """The layers from `layer` down to the first; `g` is the gradient with respect to the output of `layer`."""
    inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
    first = ti.static(weight_offsets(sizes)[layer])
    if ti.static(layer > 0 or wants_x):
        h = ti.Vector.zero(float, inputs * LANES)
        layer_lanes(g, weights, h, first, 1, inputs, outputs, inputs, False)
        if ti.static(layer == 0):
            store_lanes(h, 0, begin, lanes, inputs, x_gradient)
        else:
            row = ti.static(row_offsets(sizes)[layer - 1])
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
def forward_kernel(sizes: tuple[int, ...], counted: bool, keeps: bool):
    """The kernel of the forward pass."""

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

    return forward


@cache
def backward_kernel(sizes: tuple[int, ...], counted: bool, wants_x: bool):
    """The kernel of the backward pass through the layers."""
    layers = len(sizes) - 1

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

    return backward


@cache
def weight_gradient_kernel(sizes: tuple[int, ...], counted: bool):
    """The kernel of dW_l = g_l a_(l-1)^T for all layers."""
    layers = len(sizes) - 1
    first_tile = first_tiles(sizes, ROWS, TILE)
    a_row, g_row = product_rows(sizes)

    @kernel
    def weight_gradients(x: ti.types.ndarray(ndim=2), activations: ti.types.ndarray(ndim=2),
                         y_gradient: ti.types.ndarray(ndim=2), scratch: ti.types.ndarray(ndim=2),
                         weight_gradient: ti.types.ndarray(ndim=1), count: ti.types.ndarray(ndim=1)):
        n = count[0] if ti.static(counted) else x.shape[1]
        stride = ti.static(stride_for(1))
        for slot in range(first_tile[layers] * stride):
            if slot % stride != 0:
                continue
            for layer in ti.static(range(layers)):
                inputs, outputs = ti.static(sizes[layer], sizes[layer + 1])
                tile = slot // stride - first_tile[layer]
                if tile >= 0 and tile < ti.static(first_tile[layer + 1] - first_tile[layer]):
                    across = ti.static((inputs + TILE - 1) // TILE)
                    o, i = tile // across * ROWS, tile % across * TILE
                    a = ti.static(x if ti.static(layer == 0) else activations)
                    g = ti.static(y_gradient if ti.static(layer == layers - 1) else scratch)
                    _weight_gradient_tile(a, a_row[layer], g, g_row[layer], n, weight_gradient,
                                          ti.static(weight_offsets(sizes)[layer]), o, i, inputs, outputs)

    return weight_gradients
