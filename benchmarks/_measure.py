"""What the benchmarks share: a fair clock."""

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
