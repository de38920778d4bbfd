"""What the benchmarks share: a fair clock, and the machine's description."""

import os
import platform
import time
from collections.abc import Callable
from statistics import median


def seconds_of(work: Callable[[], object], repeats: int = 7, warm_up: int = 2) -> float:
    """Median time of `work`, after `warm_up` calls that compile and fill caches."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def machine() -> str:
    """Processor and cores, as far as the system tells."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
