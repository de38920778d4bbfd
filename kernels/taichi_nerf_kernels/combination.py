"""Linear combinations: what is said of each sample of every number that its ray has, times that number.

    S samples, R rays; A numbers of each ray (a code, or waves of its time), O outputs; r(s) the ray of sample s

    y_so = sum_a c_(o A + a, s) k_(a, r(s))

With g the gradient with respect to y,

    dL/dc_(o A + a, s) = g_so k_(a, r(s))        dL/dk_ar = sum over s of ray r of sum_o g_so c_(o A + a, s)

Coefficients c and numbers k are feature-major, as networks write them; y has a row for each sample. On a CPU a task
takes LANES samples together, so many that of each row of c, which lie far apart, some cache lines follow one another;
and the sum over the samples of a ray is taken by number, so that no two tasks add to the same place and the result is
the same in every run. On a GPU a thread has a sample, and sums are added atomically. A ray that there is not is taken
for the nearest that there is.
"""

from .bounds import entry_in
from .engine import on_cpu, stride_for, ti
from .launch import kernel

__all__ = ["combination_forward", "combination_to_coefficients", "combination_to_numbers"]

LANES, TASKS = 128, 8  # samples side by side on a CPU, and how many times as many a thread takes at a time


@ti.func
def _load_numbers(numbers: ti.template(), a: int, ray_index: ti.template(), first: int, there: int,
                  target: ti.template()):
    """Number a of the rays of samples first .. first + there - 1."""
    for lane in range(there):
        target[lane] = numbers[a, entry_in(ray_index[first + lane], numbers.shape[1])]


@ti.func
def _forward_lanes(coefficients: ti.template(), numbers: ti.template(), ray_index: ti.template(),
                   combined: ti.template(), first: int, outputs: ti.template()):
    there, count = ti.min(LANES, ray_index.shape[0] - first), numbers.shape[0]
    totals, number = ti.Vector.zero(float, outputs * LANES), ti.Vector.zero(float, LANES)
    for a in range(count):
        _load_numbers(numbers, a, ray_index, first, there, number)
        for o in range(outputs):
            for lane in range(there):
                totals[o * LANES + lane] += coefficients[o * count + a, first + lane] * number[lane]
    for lane in range(there):
        for o in range(outputs):
            combined[first + lane, o] = totals[o * LANES + lane]


@ti.func
def _load_gradient(combined_gradient: ti.template(), first: int, there: int, outputs: ti.template(),
                   target: ti.template()):
    """Gradients with respect to y of these samples."""
    for lane in range(there):
        for o in range(outputs):
            target[o * LANES + lane] = combined_gradient[first + lane, o]


@ti.func
def _coefficients_lanes(numbers: ti.template(), ray_index: ti.template(), combined_gradient: ti.template(),
                        coefficients_gradient: ti.template(), first: int, outputs: ti.template()):
    there, count = ti.min(LANES, ray_index.shape[0] - first), numbers.shape[0]
    g, number = ti.Vector.zero(float, outputs * LANES), ti.Vector.zero(float, LANES)
    _load_gradient(combined_gradient, first, there, outputs, g)
    for a in range(count):
        _load_numbers(numbers, a, ray_index, first, there, number)
        for o in range(outputs):
            for lane in range(there):
                coefficients_gradient[o * count + a, first + lane] = g[o * LANES + lane] * number[lane]


@ti.func
def _numbers_lanes(coefficients: ti.template(), combined_gradient: ti.template(), of_samples: ti.template(), first: int,
                   outputs: ti.template()):
    there, count = ti.min(LANES, of_samples.shape[1] - first), of_samples.shape[0]
    g = ti.Vector.zero(float, outputs * LANES)
    _load_gradient(combined_gradient, first, there, outputs, g)
    for a in range(count):
        total = ti.Vector.zero(float, LANES)
        for o in range(outputs):
            for lane in range(there):
                total[lane] += coefficients[o * count + a, first + lane] * g[o * LANES + lane]
        for lane in range(there):
            of_samples[a, first + lane] = total[lane]


@kernel
def combination_forward(
    coefficients: ti.types.ndarray(ndim=2),  # [O A, S]
    numbers: ti.types.ndarray(ndim=2),  # [A, R]
    ray_index: ti.types.ndarray(ndim=1),  # [S]
    combined: ti.types.ndarray(ndim=2),  # [S, O] out
    outputs: ti.template(),  # O
):
    """y of every sample."""
    if ti.static(on_cpu()):
        skip = ti.static(stride_for(TASKS))
        for slot in range((ray_index.shape[0] + LANES - 1) // LANES * skip):
            if slot % skip == 0:
                _forward_lanes(coefficients, numbers, ray_index, combined, slot // skip * LANES, outputs)
    else:
        for s in range(ray_index.shape[0]):
            ray = entry_in(ray_index[s], numbers.shape[1])
            for o in ti.static(range(outputs)):
                total = 0.0
                for a in range(numbers.shape[0]):
                    total += coefficients[o * numbers.shape[0] + a, s] * numbers[a, ray]
                combined[s, o] = total


@kernel
def combination_to_coefficients(
    numbers: ti.types.ndarray(ndim=2),  # [A, R]
    ray_index: ti.types.ndarray(ndim=1),  # [S]
    combined_gradient: ti.types.ndarray(ndim=2),  # [S, O]
    coefficients_gradient: ti.types.ndarray(ndim=2),  # [O A, S] out
    outputs: ti.template(),  # O
):
    """Gradient with respect to the coefficients."""
    if ti.static(on_cpu()):
        skip = ti.static(stride_for(TASKS))
        for slot in range((ray_index.shape[0] + LANES - 1) // LANES * skip):
            if slot % skip == 0:
                _coefficients_lanes(numbers, ray_index, combined_gradient, coefficients_gradient, slot // skip * LANES,
                                    outputs)
    else:
        for s in range(ray_index.shape[0]):
            ray = entry_in(ray_index[s], numbers.shape[1])
            for a in range(numbers.shape[0]):
                for o in ti.static(range(outputs)):
                    coefficients_gradient[o * numbers.shape[0] + a, s] = combined_gradient[s, o] * numbers[a, ray]


@kernel
def combination_to_numbers(
    coefficients: ti.types.ndarray(ndim=2),  # [O A, S]
    ray_index: ti.types.ndarray(ndim=1),  # [S]
    combined_gradient: ti.types.ndarray(ndim=2),  # [S, O]
    of_samples: ti.types.ndarray(ndim=2),  # [A, S] overwritten on a CPU: what each sample adds
    numbers_gradient: ti.types.ndarray(ndim=2),  # [A, R] zeros, out
    outputs: ti.template(),  # O
):
    """Gradient with respect to the numbers: the sum over the samples of each ray."""
    if ti.static(on_cpu()):
        skip = ti.static(stride_for(TASKS))
        for slot in range((ray_index.shape[0] + LANES - 1) // LANES * skip):
            if slot % skip == 0:
                _numbers_lanes(coefficients, combined_gradient, of_samples, slot // skip * LANES, outputs)
        stride = ti.static(stride_for(1))
        for slot in range(of_samples.shape[0] * stride):
            if slot % stride == 0:
                a = slot // stride
                for s in range(of_samples.shape[1]):
                    ray = entry_in(ray_index[s], numbers_gradient.shape[1])
                    # no other task adds to this row: no atomics
                    numbers_gradient[a, ray] = numbers_gradient[a, ray] + of_samples[a, s]
    else:
        for a, s in ti.ndrange(numbers_gradient.shape[0], ray_index.shape[0]):
            total = 0.0
            for o in ti.static(range(outputs)):
                total += combined_gradient[s, o] * coefficients[o * numbers_gradient.shape[0] + a, s]
            numbers_gradient[a, entry_in(ray_index[s], numbers_gradient.shape[1])] += total
