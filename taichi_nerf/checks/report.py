"""Reports on this machine: a worker process for each backend, one after the other, and what they found."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from ..devices import machine
from ..errors import UserError
from ..output import Unfailing, is_terminal, result_json, visible
from ..progress import Progress
from ..runtime import check_threads, usable_cpus
from .cases import CASES

__all__ = ["bench", "doctor", "run_worker"]

BACKENDS = ("cpu", "cuda", "vulkan")
COMPILING_SECONDS = 240.0  # granted to a benchmark besides its budget
Result = dict[str, list[dict]]


def doctor(
    backends: Sequence[str] = BACKENDS, *, kernels: Sequence[str] = (), threads: int | None = None,
    timeout: float = 180.0, as_json: bool = False,
) -> int:
    """Check `kernels`, or all, on each of `backends`, and print what was found.

    `timeout` are the seconds after which a backend is given up. Returns 0 if the CPU is healthy and no check failed,
    else 1. Raises UserError for a kernel that there is not, and for fewer than one of `threads`.
    """
    start = time.perf_counter()
    results = _all_backends("doctor", backends, timeout, threads, kernels, None, False)
    for result in results.values():
        result["healthy"] = _is_healthy(result)
    cpu_failed = "cpu" in results and not results["cpu"]["healthy"]
    failed = cpu_failed or any(result.get("device") and not result["healthy"] for result in results.values())
    failed = failed or any(result.get("error") for result in results.values())
    if as_json:
        result_json({"machine": machine(), "backends": results, "healthy": not failed})
    else:
        console = _console()
        console.print(f"taichi-nerf on {machine()}: {_versions(results)}")
        console.print(_backend_table(results))
        console.print(_check_table(results))
        console.print(f"{'something is wrong' if failed else 'all is well'}, after {time.perf_counter() - start:.0f} s")
    return int(failed)


def bench(
    backends: Sequence[str] = BACKENDS, *, kernels: Sequence[str] = (), threads: int | None = None,
    seconds: float = 20.0, training: bool = True, as_json: bool = False,
) -> int:
    """Measure `kernels`, or all and the `training` step, on each of `backends`, and print what was found.

    `seconds` are for the measurements on one backend. Returns 0, or 1 if a check failed or a backend that works here
    broke off. Raises UserError as `doctor` does.
    """
    results = _all_backends("bench", backends, seconds + COMPILING_SECONDS, threads, kernels, seconds,
                            training and not kernels)
    failed = any(result.get("error") or not all(check["passed"] for check in result["checks"].values())
                 for result in results.values())
    if as_json:
        result_json({"machine": machine(), "backends": results})
        return int(failed)
    console = _console()
    console.print(f"taichi-nerf on {machine()}: {_versions(results)}")
    for backend, result in results.items():
        if "limits" in result:
            console.print(_limits_line(backend, result))
            console.print(_speed_table(result))
        else:
            console.print(f"{backend}: {_state(result)}")
        if "training" in result:
            t = result["training"]
            console.print(f"training the built-in scene: {_si(t['steps_per_second'])} steps/s, "
                          f"{_si(t['rays_per_second'])} rays/s, {_si(t['samples_per_second'])} visible samples/s")
    return int(failed)


def _all_backends(title: str, backends, timeout: float, threads: int | None, kernels, seconds: float | None,
                  training: bool) -> dict[str, dict]:
    unknown = set(kernels) - set(CASES)
    if unknown:
        raise UserError(f"there is no kernel {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    names, results = list(kernels) or list(CASES), {}
    check_threads(threads)
    with Progress(title) as line:
        for number, backend in enumerate(backends):
            task = {"backend": backend, "threads": threads or usable_cpus(), "kernels": names, "seconds": seconds,
                    "training": training}
            results[backend] = {"checks": {}, "speeds": {}}
            done = number * (len(names) + 1)
            line.count(done, len(backends) * (len(names) + 1), f"steps, {backend}")
            for event in run_worker(task, timeout):
                _note(results[backend], event)
                done += event["kind"] == "check"
                line.count(done, len(backends) * (len(names) + 1), f"steps, {backend}")
    return results


def _note(result: dict, event: dict):
    """Put what a worker told where it belongs."""
    kind, content = event["kind"], {key: value for key, value in event.items() if key != "kind"}
    if kind in ("check", "speed"):
        result[f"{kind}s"][content.pop("kernel")] = content
    elif kind in ("missing", "error"):
        result[kind] = content["reason"]
    else:
        result[kind] = content


def run_worker(task: dict, timeout: float) -> Iterator[dict]:
    """What the worker of `task` tells, and an {"kind": "error", "reason"} if it breaks off or takes too long."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "taichi_nerf.checks.worker", json.dumps(task)]
    late = threading.Event()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        timer = threading.Timer(timeout, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            for line in process.stdout:
                yield json.loads(line)
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()  # does nothing to one that has ended
        log.seek(0)
        said = [line for line in log.read().splitlines() if line.strip()]
    if late.is_set():
        yield {"kind": "error", "reason": f"no answer within {timeout:g} s"}
    elif code < 0:
        yield {"kind": "error", "reason": f"the process was killed by signal {-code}, as by a driver that crashes"}
    elif code > 0:
        yield {"kind": "error", "reason": visible(said[-1].strip()) if said else f"the process ended with code {code}"}


def _is_healthy(result: dict) -> bool:
    checks = result["checks"].values()
    return "device" in result and "error" not in result and all(check["passed"] for check in checks)


def _state(result: dict) -> str:
    if "missing" in result:
        return f"not here: {result['missing']}"
    if "error" in result:
        return f"broke off: {result['error']}"
    failed = [name for name, check in result["checks"].items() if not check["passed"]]
    return f"wrong: {', '.join(failed)}" if failed else "works"


def _versions(results: dict[str, dict]) -> str:
    known = next((result["device"]["versions"] for result in results.values() if "device" in result), {})
    return ", ".join(value if name == "engine" else f"{name} {value}" for name, value in known.items())


def _console() -> Console:
    """A terminal's own width; elsewhere as wide as the text, so that nothing is cut."""
    width = None if is_terminal(sys.stdout) else 200
    return Console(file=Unfailing(sys.stdout, results=True), highlight=False, markup=False, width=width)


def _backend_table(results: dict[str, dict]) -> Table:
    table = Table("backend", "state", "devices", "memory")
    for backend, result in results.items():
        found = result.get("device", {}).get("devices", [])
        state = "; ".join([_state(result), *result.get("device", {}).get("notes", [])])
        table.add_row(backend, state, "\n".join(d["name"] for d in found) or "-",
                      "\n".join(f"{d['memory'] / 2**30:.1f} GiB" if d["memory"] else "?" for d in found) or "-")
    return table


def _check_table(results: dict[str, dict]) -> Table:
    """The largest error of each kernel on each backend that started."""
    started = {backend: result for backend, result in results.items() if "device" in result}
    tolerance = max((c["tolerance"] for r in started.values() for c in r["checks"].values() if "tolerance" in c),
                    default=0.0)
    table = Table(title=f"largest relative error against float64, values and gradients; at most {tolerance:g}",
                  title_justify="left")
    table.add_column("kernel")
    for backend in started:
        table.add_column(backend)
    for name in dict.fromkeys(name for result in started.values() for name in result["checks"]):
        table.add_row(name, *(_error_cell(result["checks"].get(name)) for result in started.values()))
    return table


def _error_cell(check: dict | None) -> str:
    if check is None:
        return "-"
    if "error" in check:
        return f"FAILED: {check['error']}"
    where, error = check["worst"]
    return f"{error:.1e} ({where})" if check["passed"] else f"FAILED: {error:.1e} ({where})"


def _limits_line(backend: str, result: dict) -> str:
    limits, launch = result["limits"], result["launch"]
    return (f"\n{backend}, {result['device']['threads']} threads, {result['device']['devices'][0]['name']}: "
            f"copy {_si(limits['copy_bytes_per_second'])}B/s, "
            f"matrix product {_si(limits['product_operations_per_second'])}FLOP/s, "
            f"a launch {1e6 * launch['launch_seconds']:.0f} us and {1e6 * launch['tensor_seconds']:.0f} us more "
            f"for each further tensor; {_state(result)}")


def _speed_table(result: dict) -> Table:
    table = Table("kernel", "pass", "throughput", "bytes", "of copy", "operations", "of product", "others")
    for name, check in result["checks"].items():
        if not check["passed"]:
            table.add_row(name, _error_cell(check))
        speeds = result["speeds"].get(name, {})
        for key, title in (("forward", "forward"), ("both", "forward + backward")):
            if key in speeds:
                s = speeds[key]
                others = [f"{peer} {_si(rates[key])}" for peer, rates in speeds["peers"].items() if key in rates]
                table.add_row(name, title, f"{_si(s['items_per_second'])} {speeds['item']}/s",
                              f"{_si(s['bytes_per_second'])}B/s", f"{100 * s['share_of_copy']:.1f} %",
                              f"{_si(s['operations_per_second'])}/s", f"{100 * s['share_of_product']:.1f} %",
                              ", ".join(others))
    return table


def _si(value: float) -> str:
    """Three digits and k, M, G or T."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g} "
