"""The passes, on bare arrays: by blocks of samples on a CPU, by sample on a GPU."""

from ..engine import on_cpu
from . import by_block, by_sample


def _schedule():
    return by_block if on_cpu() else by_sample


def _checked(sizes: tuple[int, ...]) -> tuple[int, ...]:
    sizes = tuple(map(int, sizes))
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be at least two positive numbers, got {sizes}")
    return sizes


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
    forward = _schedule().forward_kernel(_checked(sizes), count is not None, activations is not None)
    forward(x, weights, x if activations is None else activations, y, weights if count is None else count)


def mlp_backward(x, weights, activations, y_gradient, x_gradient, weight_gradient, scratch, sizes: tuple[int, ...],
                 count=None) -> None:
    """Writes x_gradient [I, N] (None: not wanted) and adds to weight_gradient [P], which the caller zeroes.

    `activations` are those of `mlp_forward`; `scratch`, of `mlp_scratch_shape`, is overwritten; `count` as there.
    On a CPU the result is the same in every run, on a GPU sums are added atomically.
    """
    if x.shape[1] == 0:
        return
    schedule, sizes, counted = _schedule(), _checked(sizes), count is not None
    given = weights if count is None else count
    if len(sizes) > 2 or x_gradient is not None:
        backward = schedule.backward_kernel(sizes, counted, x_gradient is not None)
        backward(weights, activations, y_gradient, scratch if x_gradient is None else x_gradient, scratch, given)
    weight_gradients = schedule.weight_gradient_kernel(sizes, counted)
    weight_gradients(x, activations, y_gradient, scratch, weight_gradient, given)
