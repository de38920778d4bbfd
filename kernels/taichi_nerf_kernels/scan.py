"""Running sums of integers on the device."""

from .engine import stride_for, ti
from .launch import kernel

__all__ = ["CHUNK", "inclusive_scan"]

CHUNK = 256  # elements that one task sums up


@kernel
def inclusive_scan(
    values: ti.types.ndarray(ndim=1),  # [N] int32
    partial: ti.types.ndarray(ndim=1),  # scratch, at least [N / CHUNK + 1] int32
    sums: ti.types.ndarray(ndim=1),  # out [N] int32
):
    """sums[i] = values[0] + .. + values[i]."""
    stride = ti.static(stride_for(1))
    for slot in range(partial.shape[0] * stride):
        if slot % stride != 0:
            continue
        task = slot // stride
        total = 0
        for i in range(task * CHUNK, ti.min((task + 1) * CHUNK, values.shape[0])):
            total += values[i]
        partial[task] = total
    for _ in range(1):
        total = 0
        for task in range(partial.shape[0]):
            below = partial[task]
            partial[task] = total
            total += below
    for slot in range(partial.shape[0] * stride):
        if slot % stride != 0:
            continue
        task = slot // stride
        total = partial[task]
        for i in range(task * CHUNK, ti.min((task + 1) * CHUNK, values.shape[0])):
            total += values[i]
            sums[i] = total
