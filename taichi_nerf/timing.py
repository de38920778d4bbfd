"""Times on the running backend.

A time is the least of several repetitions: what else the machine does can only add to it.
"""

import time
from collections.abc import Callable

import torch

from taichi_nerf_kernels.engine import ti

from . import runtime

__all__ = ["best_seconds", "synchronise"]


def best_seconds(work: Callable[[], object], budget: float, least: int = 3) -> float:
    """Least time of one call, after one that compiles, within about `budget` seconds."""
    work()
    synchronise()
    best, spent, calls = float("inf"), 0.0, 0
    while calls < least or spent < budget:
        start = time.perf_counter()
        work()
        synchronise()
        seconds = time.perf_counter() - start
        best, spent, calls = min(best, seconds), spent + seconds, calls + 1
    return best


def synchronise():
    """Wait for the device."""
    ti.sync()
    if runtime.current().backend == "cuda":
        torch.cuda.synchronize()
