"""What the benchmarks share: a fair clock, and figures that are kept."""

import json
import time
from collections.abc import Callable
from pathlib import Path
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


def kept_figures(path: Path | None, about: dict) -> dict[str, dict]:
    """By seed, those of the same benchmark that was stopped. SystemExit where those of another would be lost."""
    kept = json.loads(path.read_text()) if path is not None and path.exists() else {"about": about, "seeds": {}}
    if kept["about"] != about:
        raise SystemExit(f"{path} has figures of {json.dumps(kept['about'])}, which would be lost; give another "
                         "--output")
    return kept["seeds"]
