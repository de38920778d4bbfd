"""The one owner of `ti.init`: backend, precision, threads, and where tensors live.

    backend   tensors live on   how kernels see them
    cpu       cpu               in place
    cuda      cuda              in place
    vulkan    cpu               copied to the device and back at every launch

If the host program has initialised Taichi already, what it chose is used.
"""

import atexit
import contextlib
import io
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import torch

from taichi_nerf_kernels.engine import QUIET, configuration, has_driver, is_running, ti

from . import devices, frontend
from .errors import UserError
from .output import say

BACKENDS = ("auto", "cpu", "cuda", "vulkan")
MLPS = ("auto", "torch", "fused")
_FLOATS = {torch.float32: ti.f32, torch.float64: ti.f64}


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What the kernels run on."""

    backend: str
    """`cpu`, `cuda` or `vulkan`."""
    dtype: torch.dtype
    """Type of every floating-point tensor."""
    device: torch.device
    """Where tensors live."""
    threads: int
    """Processor threads of the kernels and of PyTorch."""
    mlp: str = "auto"
    """What computes the small networks: `torch`, `fused` (the kernels), or `auto`: on a CPU torch, else the faster."""
    half_storage: bool = False
    """Whether the device keeps arrays of float16, for what need not be more precise."""


frontend.quicken()
_current: Runtime | None = None


def init(backend: str = "auto", dtype: torch.dtype = torch.float32, threads: int | None = None,
         seed: int = 0, mlp: str = "auto", debug: bool | None = None) -> Runtime:
    """Start Taichi on `backend` and return what was chosen. Calling it again starts anew.

    With `debug` (by default, if the environment has TAICHI_NERF_DEBUG=1) kernels check every index, and are slow.

    Raises UserError when this machine lacks the backend.
    """
    global _current
    if backend not in BACKENDS:
        raise UserError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    check_threads(threads)
    if mlp not in MLPS:
        raise UserError(f"mlp must be one of {', '.join(MLPS)}, got {mlp!r}")
    threads = threads or usable_cpus()
    if backend == "auto":
        backend = "cpu" if why_missing("cuda") else "cuda"
        for note in passed_over(backend):
            say(f"taichi-nerf: --backend auto takes {backend}: {note}")
    reason = why_missing(backend)
    if reason is not None:
        raise UserError(f"backend {backend} does not work on this machine: {reason}; use --backend auto or cpu")
    _check_room_for_threads(3 * threads)  # Taichi's, and PyTorch's of two libraries
    torch.set_num_threads(threads)
    with contextlib.redirect_stdout(io.StringIO()):  # Taichi announces its backend there, whatever it is told
        ti.init(
            arch={"cpu": ti.cpu, "cuda": ti.cuda, "vulkan": ti.vulkan}[backend],
            default_fp=_FLOATS[dtype],
            cpu_max_num_threads=threads,
            random_seed=seed,
            cfg_optimization=backend != "cpu",  # a second of three to compile, for what LLVM does again
            offline_cache=True,
            offline_cache_file_path=_cache_folder(),
            enable_fallback=False,
            debug=os.environ.get("TAICHI_NERF_DEBUG") == "1" if debug is None else debug,
            **QUIET,
        )
    _current = _describe(dtype, threads, mlp)
    if backend == "vulkan":
        for note in vulkan_notes(devices.vulkan_devices()):
            say(f"taichi-nerf: {note}")
    return _current


def current() -> Runtime:
    """The running runtime; what the host program initialised, or `init()` with its defaults."""
    global _current
    if _current is None:
        if not is_running():
            return init()
        dtype = torch.float64 if configuration().default_fp == ti.f64 else torch.float32
        _current = _describe(dtype, configuration().cpu_max_num_threads)
    return _current


def why_missing(backend: str) -> str | None:
    """Why `backend` cannot be used here, or None if it can."""
    if backend == "cpu":
        return None
    if backend == "cuda":
        if torch.version.cuda is None:
            return "PyTorch sees no CUDA device: this is its build without CUDA (https://pytorch.org has the other)"
        if not torch.cuda.is_available():
            return "PyTorch sees no CUDA device: there is none, or its driver is missing or too old"
        return None if has_driver(ti.cuda) else "Taichi finds no CUDA driver"
    if not has_driver(ti.vulkan):
        return "no Vulkan driver was found (on Debian and Ubuntu: apt install mesa-vulkan-drivers libvulkan1)"
    return None


def passed_over(backend: str) -> list[str]:
    """What this machine has that is faster than `backend` by its looks, and why it is not used."""
    notes = []
    if backend != "cuda" and (has_driver(ti.cuda) or shutil.which("nvidia-smi")):
        notes.append(f"an NVIDIA driver is here, but {why_missing('cuda')}")
    if backend == "cpu":
        cards = [device.name for device in devices.vulkan_devices() if not device.software]
        reason = why_missing("vulkan") or ("for all else every launch copies its tensors through host memory, which is "
                                           "slower than the CPU")
        notes += [f"{', '.join(cards)} could be used by --backend vulkan, and may train instant-ngp many times as "
                  f"fast, but {reason}"] if cards else []
    return notes


def vulkan_notes(found: list[devices.VulkanDevice]) -> list[str]:
    """What makes Vulkan slow with the devices `found`."""
    notes = []
    if found and all(device.software for device in found):
        notes.append(f"the only Vulkan device is software ({found[0].name}): right, but slower than --backend cpu")
    if any(not device.float_atomics for device in found):
        names = ", ".join(device.name for device in found if not device.float_atomics)
        notes.append(f"{names} cannot add floats atomically: sums go through compare-and-exchange, which is slow")
    return notes


def check_threads(threads: int | None) -> None:
    """Raises UserError for a number of threads that no process can have; None: as many as there are processors."""
    if threads is not None and not 1 <= threads <= devices.MOST_THREADS:
        raise UserError(f"threads must be from 1 to {devices.MOST_THREADS}, got {threads}")


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Raises UserError where `what` needs more bytes than are free: the system would end the process without a word."""
    free = devices.free_memory()
    if free is not None and needed > free:
        raise UserError(f"{what} needs {needed / 2**30:.1f} GiB of memory, of which {free / 2**30:.1f} GiB are free; "
                        f"{remedy}")


def _check_room_for_threads(count: int):
    """Raises RuntimeError where the system does not start so many threads: the libraries would crash or hang."""
    done, started = threading.Event(), []
    try:
        for _ in range(count):
            started.append(threading.Thread(target=done.wait, daemon=True))
            started[-1].start()
    finally:
        done.set()


def usable_cpus() -> int:
    """Processors this process may use; ranks on one machine share its processors."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus // devices.ranks_here())


def _cache_folder() -> str:
    """Where Taichi keeps compiled kernels: where it would, or a folder for this process if it cannot write there.

    It would crash at the end of the process, after all work was done.
    """
    chosen = os.environ.get("TI_OFFLINE_CACHE_FILE_PATH") or ti.lang.impl.default_cfg().offline_cache_file_path
    try:
        folder = Path(chosen).absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return chosen
    except OSError:  # not even to be looked at
        pass
    passing = tempfile.mkdtemp(prefix="taichi-nerf-")
    atexit.register(_drop, passing)
    return passing


def _drop(folder: str):
    ti.reset()  # it writes what it compiled
    shutil.rmtree(folder, ignore_errors=True)


def _describe(dtype: torch.dtype, threads: int, mlp: str = "auto") -> Runtime:
    arch = configuration().arch
    backend = {ti.x64: "cpu", ti.arm64: "cpu", ti.cuda: "cuda", ti.vulkan: "vulkan"}.get(arch)
    if backend is None:
        raise UserError(f"Taichi runs on {arch}; taichi-nerf needs cpu, cuda or vulkan")
    device = torch.device("cuda" if backend == "cuda" else "cpu")
    found = devices.vulkan_devices() if backend == "vulkan" else []
    half = dtype == torch.float32 and (backend == "cuda" or (bool(found) and all(d.half_storage for d in found)))
    return Runtime(backend=backend, dtype=dtype, device=device, threads=threads, mlp=mlp, half_storage=half)
