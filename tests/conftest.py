"""Backends of this machine, one after the other, and the folder of real scenes where there is one.

A kernel test takes the fixture `backend` and runs on each.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

os.environ.setdefault("TI_ENABLE_PYBUF", "0")  # else Taichi takes pytest for a notebook, and says so at the very end
from taichi_nerf import runtime
from taichi_nerf_kernels import engine

REAL_DATA = os.environ.get("TAICHI_NERF_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
# Backend, precision, and threads of the kernels: two where a race would show against the narrowest tolerance.
CONFIGURATIONS = {
    "cpu-f64": ("cpu", torch.float64, 2),
    "cpu-f32": ("cpu", torch.float32, None),
    "vulkan-f32": ("vulkan", torch.float32, None),
    "cuda-f32": ("cuda", torch.float32, None),
}
MOST_WORKERS = 8  # each compiles and holds kernels of its own
_started: runtime.Runtime | None = None


@dataclass(frozen=True)
class Backend:
    """What a kernel test runs on, and how close it must come to the float64 reference."""

    name: str
    dtype: torch.dtype
    device: torch.device

    @property
    def tolerance(self) -> float:
        return 1e-9 if self.dtype == torch.float64 else 1e-4

    def tensor(self, values, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.as_tensor(values).to(device=self.device, dtype=dtype or self.dtype)

    def empty(self, *shape: int) -> torch.Tensor:
        """A fresh output, poisoned: an element that a kernel forgets to write stays NaN."""
        return torch.full(shape, float("nan"), dtype=self.dtype, device=self.device)

    def assert_close(self, actual: torch.Tensor, expected: torch.Tensor, name: str = "value",
                     scale: float | None = None):
        """`actual` equals the float64 `expected` within the tolerance, relative to the largest expected magnitude."""
        actual, expected = actual.detach().double().cpu(), expected.detach().double().cpu()
        assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)} != {tuple(expected.shape)}"
        if expected.numel() == 0:
            return
        assert torch.isfinite(actual).all(), f"{name}: not finite on {self.name}"
        size = max(expected.abs().max().item(), 1e-12) if scale is None else scale
        error = (actual - expected).abs().max().item() / size
        assert error <= self.tolerance, f"{name}: relative error {error:.3g} > {self.tolerance:g} on {self.name}"


def _is_about_speed(config: pytest.Config) -> bool:
    return "performance" in config.option.markexpr


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config) -> int:
    """Processes of `pytest -n auto`; none beside what measures speed."""
    return 0 if _is_about_speed(config) else min(runtime.usable_cpus(), MOST_WORKERS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Slow tests first: at the end they would leave all processes but one idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _going_on(init):
    """`runtime.init`, but that a runtime that is as wanted goes on: in a new one all kernels are prepared anew."""

    def start(backend="auto", dtype=torch.float32, threads=None, seed=0, mlp="auto", debug=None):
        running = runtime._current
        wanted = (backend, dtype, runtime.usable_cpus() if threads is None else threads,
                  os.environ.get("TAICHI_NERF_DEBUG") == "1" if debug is None else debug)
        if running is not None and engine.is_running() and wanted == (
                running.backend, running.dtype, running.threads, engine.configuration().debug):
            torch.set_num_threads(running.threads)
            runtime._current = dataclasses.replace(running, mlp=mlp)
            return runtime._current
        return init(backend, dtype, threads, seed, mlp, debug)

    return start


@pytest.fixture(scope="session", autouse=True)
def one_thread(request):
    """A test that asks for no number of threads has one: others run beside it, and of what Taichi compiles it takes
    again only what was compiled for as many."""
    if _is_about_speed(request.config):
        yield
        return
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "usable_cpus", lambda: 1)
        patch.setattr(runtime, "init", _going_on(runtime.init))
        yield


def _parameters():
    """Single precision on the CPU is slow's where Vulkan shows it: it is the code of float64 compiled once more."""
    missing = {backend: runtime.why_missing(backend) for backend, *_ in CONFIGURATIONS.values()}
    for name, (backend, *_) in CONFIGURATIONS.items():
        marks = [pytest.mark.skip(reason=f"{backend}: {missing[backend]}")] if missing[backend] else []
        if name == "cpu-f32" and not missing["vulkan"]:
            marks.append(pytest.mark.slow)
        yield pytest.param(name, marks=marks)


@pytest.fixture(scope="session", params=list(_parameters()))
def configuration(request) -> str:
    """The name of each backend and precision of this machine in turn; those missing are skipped, saying why."""
    _start(request.param)
    return request.param


@pytest.fixture
def backend(configuration) -> Backend:
    """What runs now: the configured backend, even if the test before this one started another."""
    running = runtime.current()
    if running != _started:
        running = _start(configuration)
    return Backend(name=configuration, dtype=running.dtype, device=running.device)


def _start(configuration: str) -> runtime.Runtime:
    global _started
    backend, dtype, threads = CONFIGURATIONS[configuration]
    _started = runtime.init(backend, dtype, threads, mlp="torch")
    if threads is not None:
        torch.set_num_threads(1)  # PyTorch computes what they are compared with
    return _started


@pytest.fixture
def on_cpu():
    """Single precision on the CPU; what ran before runs again afterwards."""
    yield from _instead(torch.float32)


@pytest.fixture(scope="module")
def all_on_cpu():
    """The same for all tests of a module, of which none wants anything else: each start takes seconds."""
    yield from _instead(torch.float32)


@pytest.fixture
def in_double():
    """The same in double precision."""
    yield from _instead(torch.float64)


def _instead(dtype: torch.dtype):
    before = runtime.current()
    runtime.init("cpu", dtype, threads=1, mlp="torch")
    yield
    runtime.init(before.backend, before.dtype, before.threads, mlp=before.mlp)


@pytest.fixture
def products_in_single(monkeypatch):
    """Products of small networks are those of float32, also on a processor that has units for bfloat16, whose rounding
    makes 1e-3 of a difference in the last bit of an input."""
    monkeypatch.setattr("taichi_nerf.fields.mlp.fastest_precision", lambda device: torch.float32)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture(scope="session")
def real_data():
    """`real_data("fox_4")` is the folder of that scene, or the test is skipped."""

    def find(name: str) -> Path:
        folder = Path(REAL_DATA) / name
        if not folder.is_dir():
            pytest.skip(
                f"the real scene {folder} is absent (set TAICHI_NERF_DATA to the folder that holds it)"
            )
        return folder

    return find
