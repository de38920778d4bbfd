"""The passes, on bare arrays: by level or by chunk on a CPU, by sample on a GPU."""

from ..engine import on_cpu, ti
from . import by_chunk, by_level, by_sample


def hash_grid_forward(x, table, levels, scales, y, features: int, count=None, widths=None) -> None:
    """y [L * F, N] of positions x [N, 3]: every element of y is written. `table` is flat, [E * F].

    With `widths` [N], here and in the gradients, what a position sees of a level is weighted by its width.

    A y of int16, here and as a gradient, holds bfloat16 (see `bfloat16`).

    With a `count`, an int32 array on the device, count[0] of the N points are in use and the rest is left alone.
    """
    if x.shape[0] == 0:
        return
    given = *_given(widths, scales), *_given(count, levels)
    if on_cpu():
        table, entry = _by_entry(table, features)
        by_level.encode_kernel(features, entry)(x, table, levels, scales, y, *given)
    else:
        by_sample.encode_samples(x, table, levels, scales, y, features, *given)


def hash_grid_backward_table(x, y_gradient, levels, scales, table_gradient, features: int, count=None,
                             widths=None) -> None:
    """Adds the gradient with respect to the table to `table_gradient` [E * F]; the caller zeroes it.

    `count` and `widths` as of `hash_grid_forward`.
    """
    if x.shape[0] == 0:
        return
    given = *_given(widths, scales), *_given(count, levels)
    if on_cpu():
        table_gradient, entry = _by_entry(table_gradient, features)
        by_level.splat_kernel(features, entry)(x, y_gradient, levels, scales, table_gradient, *given)
    else:
        by_sample.splat_samples(x, y_gradient, levels, scales, table_gradient, features, *given)


def hash_grid_backward_positions(x, table, y_gradient, levels, scales, x_gradient, features: int,
                                 widths=None) -> None:
    """Writes the gradient with respect to the positions, x_gradient [N, 3]."""
    if x.shape[0] == 0:
        return
    given = _given(widths, scales)
    if on_cpu():
        table, entry = _by_entry(table, features)
        by_chunk.differentiate_kernel(features, entry)(x, table, y_gradient, levels, scales, x_gradient, *given)
    else:
        by_sample.differentiate_positions(x, table, y_gradient, levels, scales, x_gradient, features, *given)


def hash_grid_backward_widths(x, widths, table, y_gradient, levels, scales, widths_gradient, features: int) -> None:
    """Writes the gradient with respect to the widths, widths_gradient [N]."""
    if x.shape[0] == 0:
        return
    by_sample.differentiate_widths(x, widths, table, y_gradient, levels, scales, widths_gradient, features)


def _given(array, other):
    """An argument that may be absent, and whether it is there: `other` then stands in its place."""
    return (other, False) if array is None else (array, True)


def _by_entry(table, features: int):
    """A flat table as F-vectors, and their type; or as it is, and None: a `ti.ndarray` has no other view."""
    if features == 1 or isinstance(table, ti.Ndarray):
        return table, None
    return table.reshape(-1, features), by_level.entry_type(features, str(table.dtype).endswith("float64"))
