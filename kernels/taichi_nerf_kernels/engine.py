"""The one place that imports the compiler. Every kernel module takes `ti` from here.

The environment variable TAICHI_NERF_ENGINE names it: `taichi`, the default, or `quadrants`, the maintained fork of
Taichi. What the two keep in different places, the functions below find.
"""

import contextlib
import io
import os

ENGINES = ("taichi", "quadrants")
ENGINE = os.environ.get("TAICHI_NERF_ENGINE") or "taichi"

if ENGINE == "taichi":
    os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "False")  # stdout belongs to the program
    import taichi as ti
elif ENGINE == "quadrants":
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # as above, but it heeds no variable
            import quadrants as ti
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"TAICHI_NERF_ENGINE is quadrants, which cannot be imported ({missing}): pip install quadrants, or unset "
            "the variable to use Taichi", name="TAICHI_NERF_ENGINE") from missing
else:
    raise ImportError(f"TAICHI_NERF_ENGINE must be one of {', '.join(ENGINES)}, got {ENGINE!r}",
                      name="TAICHI_NERF_ENGINE")

__all__ = [
    "ENGINE",
    "ENGINES",
    "QUIET",
    "configuration",
    "dealt",
    "dealt_places",
    "has_driver",
    "in_double",
    "is_running",
    "live",
    "on_cpu",
    "stride_for",
    "threads",
    "ti",
    "version",
]

QUIET = {"log_level": ti.ERROR} | ({"verbose": False} if ENGINE == "taichi" else {})
"""Arguments of `init` for a compiler that says nothing but errors."""


def version() -> str:
    """Name and version of the compiler."""
    return f"{ENGINE} {'.'.join(map(str, ti.__version__))}"


def is_running() -> bool:
    """Whether `init` has been called."""
    runtime = ti.lang.impl.get_runtime()
    return (runtime.prog if ENGINE == "taichi" else runtime._prog) is not None


def configuration():
    """What `init` settled: `arch`, `default_fp`, `cpu_max_num_threads`, `debug`."""
    return ti.lang.impl.current_cfg()


def has_driver(arch) -> bool:
    """Whether the compiler finds what it needs to run on `arch` (ti.cpu, ti.cuda, ti.vulkan). It warns of nothing."""
    levels = ("trace", "debug", "info", "warn", "error", "critical")
    before = next((level for level in levels if ti.is_logging_effective(level)), "critical")
    ti.set_logging_level(ti.ERROR)
    try:
        return ti.lang.misc.is_arch_supported(arch)
    finally:
        ti.set_logging_level(before)


def on_cpu() -> bool:
    """Whether the kernels run on a CPU, where the schedule is other than on a GPU (few fat tasks, no atomics)."""
    return configuration().arch in (ti.x64, ti.arm64)


def in_double() -> bool:
    """Whether the kernels compute in float64: the `default_fp` of `ti.init`."""
    return configuration().default_fp == ti.f64


def threads() -> int:
    """Threads of a CPU, each of which takes one of as many equal parts of a loop, however long the part takes it."""
    return configuration().cpu_max_num_threads


def stride_for(tasks: int) -> int:
    """The stride of a parallel loop in which a thread should take `tasks` tasks at a time.

    Taichi's CPU backend gives a thread no fewer than 512 iterations at once, whatever `block_dim` says: a loop over a
    few fat tasks would run on a single thread. Such a loop runs over `stride` times as many iterations, and all but
    every stride-th do nothing, which costs a nanosecond each. On a GPU an iteration is a thread: the stride is 1.

    To wake the threads and to wait for them takes 60 microseconds. A loop that takes less is one for a single thread:
    `ti.loop_config(serialize=ti.static(on_cpu()))`.
    """
    return max(1, 512 // tasks) if on_cpu() else 1


@ti.func
def dealt_places(tasks: int):
    """Places of a loop over `dealt` tasks."""
    players = ti.static(threads())
    return (tasks + players - 1) // players * players


@ti.func
def dealt(place: int, tasks: int):
    """The task at `place` of a loop of `dealt_places`, or a number beyond: tasks are dealt to the threads of a CPU one
    by one. Where neighbours take alike long, as in a picture, the threads' equal parts of the loop would not."""
    players = ti.static(threads())
    each = (tasks + players - 1) // players
    return place % each * players + place // each


@ti.func
def live(size, count: ti.template(), counted: ti.template()):
    """How many of the `size` elements that an array has room for are in use: count[0] if `counted`, else all.

    A count that is known on the device alone lets one launch follow the other without the host waiting for it.
    """
    n = size
    if ti.static(counted):
        n = ti.min(count[0], size)
    return n
