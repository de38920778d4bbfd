"""The one place that imports the compiler. Every kernel module takes `ti` from here."""

import os

os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "False")  # stdout belongs to the program

import taichi as ti

__all__ = ["in_double", "live", "on_cpu", "stride_for", "ti"]


def on_cpu() -> bool:
    """Whether the kernels run on a CPU, where the schedule is other than on a GPU (few fat tasks, no atomics)."""
    return ti.lang.impl.current_cfg().arch in (ti.x64, ti.arm64)


def in_double() -> bool:
    """Whether the kernels compute in float64: the `default_fp` of `ti.init`."""
    return ti.lang.impl.current_cfg().default_fp == ti.f64


def stride_for(tasks: int) -> int:
    """The stride of a parallel loop in which a thread should take `tasks` tasks at a time.

    Taichi's CPU backend gives a thread no fewer than 512 iterations at once, whatever `block_dim` says: a loop over a
    few fat tasks would run on a single thread. Such a loop runs over `stride` times as many iterations, and all but
    every stride-th do nothing, which costs a nanosecond each. On a GPU an iteration is a thread: the stride is 1.
    """
    return max(1, 512 // tasks) if on_cpu() else 1


@ti.func
def live(size, count: ti.template(), counted: ti.template()):
    """How many of the `size` elements that an array has room for are in use: count[0] if `counted`, else all.

    A count that is known on the device alone lets one launch follow the other without the host waiting for it.
    """
    n = size
    if ti.static(counted):
        n = ti.min(count[0], size)
    return n
