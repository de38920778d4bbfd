"""Adam for tables of which a step touches few entries: the others, moments included, stay as they are.

    E entries of F features, side by side in flat arrays [E F]; g is the gradient of one entry, n the number
    of steps that this entry has made.

    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    parameter <- parameter - lr (m / (1 - beta1^n)) / (sqrt(v / (1 - beta2^n)) + epsilon)

An entry is skipped if its whole gradient is zero (it was not touched; plain Adam would let it drift on its
momentum), and also if its gradient or its square overflowed, which would spoil v for good.

A table of several levels may be held back by the mean square of each, lambda / 2 sum_l mean(theta_l^2), so that a small
coarse level is held as firmly as a large fine one (Barron et al. 2023, Zip-NeRF, section 3.3): `adam_step_decayed` adds
lambda / (E_l F) theta to the gradient of the entries that have one.

On a CPU a task is a block of entries. It first lists those with a gradient, without a branch, and then steps
them: with a branch taken at random the processor would wait for one cache miss after the other.

Kingma and Ba 2015, algorithm 1; the skipping and the count per entry: Mueller et al. 2022, section 4.
"""

import math

import numpy as np

from .bounds import entry_in, float_bits, is_finite
from .engine import on_cpu, stride_for, ti
from .launch import kernel

ENTRIES_PER_TASK = 4096  # on a CPU, where every task costs a call; one elsewhere
_MAGNITUDE = 0x7FFFFFFF  # all bits of a float32 but the sign
_MOST_STEPS = 2**31 - 1  # which a count does not pass


def bias_correction_table(beta1: float, beta2: float, digits: int = 24) -> np.ndarray:
    """Rows n = 0, 1, .. of (1 / (1 - beta1^n), 1 / sqrt(1 - beta2^n)), as float64; row 0 is not used.

    It ends where beta^n no longer shows in a float of `digits` binary digits, so that the last row, which is
    1, serves all n beyond. The table takes the place of two powers per touched entry.
    """
    largest = max(beta1, beta2)
    steps = math.ceil(-(digits + 1) * math.log(2) / math.log(largest)) if largest > 0 else 1
    n = np.arange(1, steps + 1, dtype=np.float64)
    rows = np.stack([1 / -np.expm1(n * _log(beta1)), 1 / np.sqrt(-np.expm1(n * _log(beta2)))], axis=1)
    return np.concatenate([np.ones((1, 2)), rows, np.ones((1, 2))])


def _log(beta: float) -> float:
    return math.log(beta) if beta > 0 else -math.inf


@ti.func
def adam_moments(m, v, g, beta1, beta2):
    """Moments after one more gradient."""
    return beta1 * m + (1.0 - beta1) * g, beta2 * v + (1.0 - beta2) * g * g


@ti.func
def adam_change(m, v, n, bias_correction: ti.template(), learning_rate, epsilon):
    """What step number n takes off a parameter."""
    row = entry_in(n, bias_correction.shape[0])
    step_size = learning_rate * bias_correction[row, 0]
    return step_size * m / (ti.sqrt(v) * bias_correction[row, 1] + epsilon)


@ti.func
def list_touched(gradient: ti.template(), first, end, touched: ti.template(), features: ti.template()):
    """How many of the entries first .. end - 1 have a gradient; they are written to `touched` from `first` on."""
    count = 0
    for entry in range(first, end):
        bits = 0
        for f in ti.static(range(features)):
            bits |= float_bits(gradient[entry * features + f])
        touched[first + count] = entry
        count += ti.cast((bits & _MAGNITUDE) != 0, ti.i32)
    return count


@ti.func
def _step_entry(entry, g, value, parameter: ti.template(), gradient: ti.template(), first_moment: ti.template(),
                second_moment: ti.template(), step_count: ti.template(), bias_correction: ti.template(),
                overflowed: ti.template(), learning_rate, beta1, beta2, epsilon, features: ti.template(),
                zero_gradient: ti.template()):
    """One step of an entry with the gradient g [F] and its `value` [F]."""
    base = entry * features
    # Everything is read before anything is written, so that no read waits for a write.
    m = ti.Vector([first_moment[base + f] for f in range(features)])
    v = ti.Vector([second_moment[base + f] for f in range(features)])
    n = ti.min(step_count[entry], _MOST_STEPS - 1) + 1
    if is_finite(g.dot(g)):
        m, v = adam_moments(m, v, g, beta1, beta2)
        value -= adam_change(m, v, n, bias_correction, learning_rate, epsilon)
        for f in ti.static(range(features)):
            parameter[base + f] = value[f]
            first_moment[base + f] = m[f]
            second_moment[base + f] = v[f]
        step_count[entry] = n
    else:
        overflowed[0] += 1
    if ti.static(zero_gradient):
        for f in ti.static(range(features)):
            gradient[base + f] = 0.0


@kernel
def adam_step(
    parameter: ti.types.ndarray(ndim=1),  # in, out [E F]
    gradient: ti.types.ndarray(ndim=1),  # [E F]; out if zero_gradient
    first_moment: ti.types.ndarray(ndim=1),  # in, out [E F]
    second_moment: ti.types.ndarray(ndim=1),  # in, out [E F]
    step_count: ti.types.ndarray(ndim=1),  # in, out [E] int32
    bias_correction: ti.types.ndarray(ndim=2),  # [N, 2] of `bias_correction_table`
    touched: ti.types.ndarray(ndim=1),  # scratch [E] int32
    overflowed: ti.types.ndarray(ndim=1),  # in, out [1] int32: entries skipped for overflow are added
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    features: ti.template(),  # F
    zero_gradient: ti.template(),  # whether to leave the gradient zero, in the same pass
):
    """One step of every entry with a gradient."""
    stride = ti.static(stride_for(1))
    block = ti.static(ENTRIES_PER_TASK if on_cpu() else 1)
    entries = step_count.shape[0]
    for slot in range(((entries + block - 1) // block) * stride):
        if slot % stride != 0:
            continue
        # A list of the entries with a gradient.
        first = slot // stride * block
        count = list_touched(gradient, first, ti.min(first + block, entries), touched, features)
        # A step of each.
        for k in range(first, first + count):
            entry = touched[k]
            base = entry * features
            g = ti.Vector([gradient[base + f] for f in range(features)])
            value = ti.Vector([parameter[base + f] for f in range(features)])
            _step_entry(entry, g, value, parameter, gradient, first_moment, second_moment, step_count, bias_correction,
                        overflowed, learning_rate, beta1, beta2, epsilon, features, zero_gradient)


@kernel
def adam_step_decayed(
    parameter: ti.types.ndarray(ndim=1),  # in, out [E F]
    gradient: ti.types.ndarray(ndim=1),  # [E F]; out if zero_gradient
    first_moment: ti.types.ndarray(ndim=1),  # in, out [E F]
    second_moment: ti.types.ndarray(ndim=1),  # in, out [E F]
    step_count: ti.types.ndarray(ndim=1),  # in, out [E] int32
    bias_correction: ti.types.ndarray(ndim=2),  # [N, 2] of `bias_correction_table`
    level_start: ti.types.ndarray(ndim=1),  # [L] int32: first entry of each level, ascending from 0
    factor: ti.types.ndarray(ndim=1),  # [L]: 1 / (E_l F)
    touched: ti.types.ndarray(ndim=1),  # scratch [E] int32
    overflowed: ti.types.ndarray(ndim=1),  # in, out [1] int32: entries skipped for overflow are added
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,  # lambda
    features: ti.template(),  # F
    zero_gradient: ti.template(),  # whether to leave the gradient zero, in the same pass
):
    """The same with the gradient of the mean squares of the levels added to that of the entries which have one."""
    stride = ti.static(stride_for(1))
    block = ti.static(ENTRIES_PER_TASK if on_cpu() else 1)
    entries, levels = step_count.shape[0], level_start.shape[0]
    for slot in range(((entries + block - 1) // block) * stride):
        if slot % stride != 0:
            continue
        first = slot // stride * block
        count = list_touched(gradient, first, ti.min(first + block, entries), touched, features)
        level, next_start = 0, 0  # of the entries, which ascend
        for k in range(first, first + count):
            entry = touched[k]
            base = entry * features
            while entry >= next_start:
                if next_start > 0:
                    level += 1
                next_start = level_start[level + 1] if level + 1 < levels else entries
            g = ti.Vector([gradient[base + f] for f in range(features)])
            value = ti.Vector([parameter[base + f] for f in range(features)])
            g += decay * factor[level] * value
            _step_entry(entry, g, value, parameter, gradient, first_moment, second_moment, step_count, bias_correction,
                        overflowed, learning_rate, beta1, beta2, epsilon, features, zero_gradient)


@kernel
def adam_step_dense(
    parameter: ti.types.ndarray(ndim=1),  # in, out [P]
    gradient: ti.types.ndarray(ndim=1),  # [P], left zero
    first_moment: ti.types.ndarray(ndim=1),  # in, out [P]
    second_moment: ti.types.ndarray(ndim=1),  # in, out [P]
    step_count: ti.types.ndarray(ndim=1),  # in, out [2] int32: steps made; scratch
    samples: ti.types.ndarray(ndim=1),  # [1] int32: with 0 of them there is no step
    bias_correction: ti.types.ndarray(ndim=2),  # [N, 2] of `bias_correction_table`
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
):
    """One step of every parameter, those without a gradient too, with g + weight_decay parameter in place of g: the
    Adam of networks. A gradient that is not finite somewhere makes no step at all."""
    ti.loop_config(serialize=ti.static(on_cpu()))  # see `stride_for`
    for _ in range(1):
        step_count[1] = ti.cast(samples[0] > 0, ti.i32)
    ti.loop_config(serialize=ti.static(on_cpu()))
    for i in range(parameter.shape[0]):
        if not is_finite(gradient[i]):
            step_count[1] = 0
    ti.loop_config(serialize=ti.static(on_cpu()))
    for _ in range(1):
        step_count[0] += step_count[1]
    ti.loop_config(serialize=ti.static(on_cpu()))
    for i in range(parameter.shape[0]):
        if step_count[1] == 1:
            g = gradient[i] + weight_decay * parameter[i]
            m, v = adam_moments(first_moment[i], second_moment[i], g, beta1, beta2)
            first_moment[i] = m
            second_moment[i] = v
            parameter[i] -= adam_change(m, v, step_count[0], bias_correction, learning_rate, epsilon)
        gradient[i] = 0.0
