"""The one place that imports the compiler. Every kernel module takes `ti` from here."""

import os

os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "False")  # stdout belongs to the program

import taichi as ti

__all__ = ["on_cpu", "ti"]


def on_cpu() -> bool:
    """Whether the kernels run on a CPU, where the schedule is other than on a GPU (few fat tasks, no atomics)."""
    return ti.lang.impl.current_cfg().arch in (ti.x64, ti.arm64)
