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

from .block import LANES, ROWS, layer_lanes, load_lanes, network_lanes, store_lanes
from .by_block import BLOCKS, TILE
from .by_sample import SHARED_BYTES, SIDE, THREADS, stage_weights
from .layout import CHUNK, mlp_activations_shape, mlp_scratch_shape, mlp_weights
from .network import mlp_backward, mlp_forward
from .sample import (
    UNROLL,
    add_unit_sample,
    layer_pair_sample,
    layer_sample,
    load_sample,
    network_sample,
    store_sample,
    unit_sample,
)

__all__ = [
    "BLOCKS",
    "CHUNK",
    "LANES",
    "ROWS",
    "SHARED_BYTES",
    "SIDE",
    "THREADS",
    "TILE",
    "UNROLL",
    "add_unit_sample",
    "layer_lanes",
    "layer_pair_sample",
    "layer_sample",
    "load_lanes",
    "load_sample",
    "mlp_activations_shape",
    "mlp_backward",
    "mlp_forward",
    "mlp_scratch_shape",
    "mlp_weights",
    "network_lanes",
    "network_sample",
    "stage_weights",
    "store_lanes",
    "store_sample",
    "unit_sample",
]
