"""The one owner of `ti.init`: backend, precision, threads, and where tensors live.

    backend   tensors live on   how kernels see them
    cpu       cpu               in place
    cuda      cuda              in place
    vulkan    cpu               copied to the device and back at every launch

If the host program has initialised Taichi already, what it chose is used.
"""

import contextlib
import io
import os
from dataclasses import dataclass

import torch

from taichi_nerf_kernels.engine import ti

from .errors import UserError

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
    """What computes the small networks: `torch`, `fused` (the kernels), or `auto`: the faster, on a CPU torch."""


_current: Runtime | None = None


def init(backend: str = "auto", dtype: torch.dtype = torch.float32, threads: int | None = None,
         seed: int = 0, mlp: str = "auto") -> Runtime:
    """Start Taichi on `backend` and return what was chosen. Calling it again starts anew.

    Raises UserError when this machine lacks the backend.
    """
    global _current
    if backend not in BACKENDS:
        raise UserError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, got {threads}")
    if mlp not in MLPS:
        raise UserError(f"mlp must be one of {', '.join(MLPS)}, got {mlp!r}")
    threads = threads or usable_cpus()
    if backend == "auto":
        backend = next(b for b in ("cuda", "vulkan", "cpu") if why_missing(b, auto=True) is None)
    reason = why_missing(backend)
    if reason is not None:
        raise UserError(f"backend {backend} does not work on this machine: {reason}; use --backend auto or cpu")
    torch.set_num_threads(threads)
    with contextlib.redirect_stdout(io.StringIO()):  # Taichi announces its backend there, whatever it is told
        ti.init(
            arch={"cpu": ti.cpu, "cuda": ti.cuda, "vulkan": ti.vulkan}[backend],
            default_fp=_FLOATS[dtype],
            cpu_max_num_threads=threads,
            random_seed=seed,
            offline_cache=True,
            log_level=ti.ERROR,
            enable_fallback=False,
            verbose=False,
        )
    _current = _describe(dtype, threads, mlp)
    return _current


def current() -> Runtime:
    """The running runtime; what the host program initialised, or `init()` with its defaults."""
    global _current
    if _current is None:
        if ti.lang.impl.get_runtime().prog is None:
            return init()
        dtype = torch.float64 if ti.lang.impl.current_cfg().default_fp == ti.f64 else torch.float32
        _current = _describe(dtype, ti.lang.impl.current_cfg().cpu_max_num_threads)
    return _current


def why_missing(backend: str, *, auto: bool = False) -> str | None:
    """Why `backend` cannot be used here, or None if it can. With `auto`, also why it should not be chosen unasked."""
    if backend == "cpu":
        return None
    if backend == "cuda":
        if not torch.cuda.is_available():
            return "PyTorch sees no CUDA device"
        return None if ti.lang.misc.is_arch_supported(ti.cuda) else "Taichi finds no CUDA driver"
    if not ti.lang.misc.is_arch_supported(ti.vulkan):
        return "no Vulkan driver was found (on Debian and Ubuntu: apt install mesa-vulkan-drivers libvulkan1)"
    if auto:
        return "every launch copies its tensors through host memory, which is slower than the CPU"
    return None


def usable_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _describe(dtype: torch.dtype, threads: int, mlp: str = "auto") -> Runtime:
    arch = ti.lang.impl.current_cfg().arch
    backend = {ti.x64: "cpu", ti.arm64: "cpu", ti.cuda: "cuda", ti.vulkan: "vulkan"}.get(arch)
    if backend is None:
        raise UserError(f"Taichi runs on {arch}; taichi-nerf needs cpu, cuda or vulkan")
    device = torch.device("cuda" if backend == "cuda" else "cpu")
    return Runtime(backend=backend, dtype=dtype, device=device, threads=threads, mlp=mlp)
