"""The compiler: which one, what the debug mode finds, and that the kernels pass both."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from taichi_nerf import runtime
from taichi_nerf_kernels import engine
from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.hash_grid import level_in_turn
from taichi_nerf_kernels.integers import bit_at, wrapping_add, wrapping_multiply

ROOT = Path(__file__).resolve().parents[2]


def python(*arguments, timeout=60, **environment) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, sys.path))), **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT,
                          timeout=timeout)


def run_tests(*arguments, timeout=900, **environment):
    """pytest in a process of its own; fails with its output, and returns it."""
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, timeout=timeout, **environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


@ti.kernel
def deal(tasks: int, of_places: ti.types.ndarray(ndim=1), levels: ti.types.ndarray(ndim=1)):
    for place in range(engine.dealt_places(tasks)):
        of_places[place] = engine.dealt(place, tasks)
    for place in range(tasks):
        levels[place] = level_in_turn(place, tasks)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("tasks", [0, 1, 7, 8, 16, 1000])
def test_dealing_leaves_no_task_out_and_does_none_twice(threads, tasks):
    runtime.init("cpu", threads=threads)
    of_places, levels = np.full(-(-tasks // threads) * threads, -1, np.int32), np.full(tasks, -1, np.int32)
    deal(tasks, of_places, levels)
    assert sorted(task for task in of_places if task < tasks) == list(range(tasks)) == sorted(levels)


def test_levels_are_dealt_to_and_fro():
    runtime.init("cpu", threads=2)
    of_places, levels = np.zeros(8, np.int32), np.zeros(8, np.int32)
    deal(8, of_places, levels)
    assert of_places.tolist() == [0, 2, 4, 6, 1, 3, 5, 7]  # four in a row are a thread's
    assert levels.tolist() == [7, 4, 3, 0, 6, 5, 2, 1]


def test_an_unknown_engine_is_refused_with_a_sentence():
    done = python("-m", "taichi_nerf", "info", TAICHI_NERF_ENGINE="tachi")
    assert done.returncode == 2
    assert done.stderr.strip() == "taichi-nerf: TAICHI_NERF_ENGINE must be one of taichi, quadrants, got 'tachi'"


BLOCKED = "import sys; sys.modules['quadrants'] = None; from taichi_nerf.cli import main; sys.exit(main(['info']))"


def test_an_engine_that_is_not_installed_is_named_with_what_to_do():
    done = python("-c", BLOCKED, TAICHI_NERF_ENGINE="quadrants")
    assert done.returncode == 2
    assert "TAICHI_NERF_ENGINE is quadrants, which cannot be imported" in done.stderr
    assert "pip install quadrants" in done.stderr and "Traceback" not in done.stderr


def test_importing_the_engine_prints_nothing():
    done = python("-c", "import taichi_nerf_kernels.engine as e; assert not e.is_running()")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(importlib.util.find_spec("quadrants") is None, reason="quadrants is not installed")
def test_kernels_pass_on_quadrants():
    tests = [f"tests/kernels/test_{stem}.py" for stem in ("hash_grid", "random", "volume_rendering")]
    output = run_tests(*tests, "-k", "f32", TAICHI_NERF_ENGINE="quadrants")
    assert " passed" in output
    version = python("-c", "from taichi_nerf_kernels import engine; print(engine.version())",
                     TAICHI_NERF_ENGINE="quadrants")
    assert version.stdout.startswith("quadrants ")


@ti.kernel
def words(a: ti.types.ndarray(ndim=1), b: ti.types.ndarray(ndim=1), out: ti.types.ndarray(ndim=2)):
    for i in range(a.shape[0]):
        out[i, 0] = ti.cast(wrapping_add(a[i], b[i]), ti.i32)
        out[i, 1] = ti.cast(wrapping_multiply(a[i], b[i]), ti.i32)
        out[i, 2] = bit_at(a[i] > b[i], i % 32)


@pytest.mark.parametrize("debug", [False, True])
def test_integers_wrap_alike_with_and_without_the_debug_mode(backend, rng, debug, capfd):
    import torch

    a, b = (torch.randint(-(2**31), 2**31, (1000,), generator=rng) for _ in range(2))
    a[:4], b[:4] = torch.tensor([-1, -1, 0, 2**31 - 1]), torch.tensor([-1, 1, -1, 1])
    out = torch.full((1000, 3), -7, dtype=torch.int32, device=backend.device)
    configuration = runtime.current()
    runtime.init(configuration.backend, configuration.dtype, debug=debug)
    try:
        words(a.int().to(backend.device), b.int().to(backend.device), out)
        ti.sync()
    finally:
        runtime.init(configuration.backend, configuration.dtype)

    def wrapped(value):
        return (value + 2**31) % 2**32 - 2**31

    assert torch.equal(out[:, 0].cpu().long(), wrapped(a + b))
    product = (a % 2**32).numpy().astype("uint64") * (b % 2**32).numpy().astype("uint64")
    assert torch.equal(out[:, 1].cpu().long(), wrapped(torch.from_numpy((product % 2**32).astype("int64"))))
    place = torch.arange(1000) % 32
    assert torch.equal(out[:, 2].cpu().long(), wrapped((a > b).long() << place))
    assert "overflow" not in "".join(capfd.readouterr())


@ti.kernel
def read_past_the_end(a: ti.types.ndarray(ndim=1), out: ti.types.ndarray(ndim=1)):
    for i in range(out.shape[0]):
        out[i] = a[i + 1]


def test_the_debug_mode_finds_an_index_out_of_bounds(backend, monkeypatch):
    if backend.name != "cpu-f64":
        pytest.skip("Taichi checks bounds on the CPU")
    import torch

    monkeypatch.setenv("TAICHI_NERF_DEBUG", "1")
    runtime.init("cpu")
    try:
        assert engine.configuration().debug
        with pytest.raises(Exception, match="Out of bound access"):
            read_past_the_end(torch.zeros(4), torch.zeros(4))
    finally:
        monkeypatch.undo()
        runtime.init("cpu")


@pytest.mark.slow
def test_no_kernel_leaves_its_arrays_under_the_debug_mode():
    """All kernel and operation tests on the CPU; that Taichi reports no overflow either is worth as much."""
    ours = "tests/kernels/test_engine.py"
    output = run_tests("tests/kernels", "tests/ops", "-s", "-k", "cpu-f32", "-m", "slow or not slow",
                       f"--ignore={ours}", TAICHI_NERF_DEBUG="1")
    assert " passed" in output
    assert "overflow detected" not in output
