"""What each kernel costs on every backend, and the launch: `pytest -m performance`.

    pytest -m performance --benchmark-save before         then change a kernel, and
    pytest -m performance --benchmark-compare             which puts both side by side

The cases are those of `taichi-nerf bench`; a kernel that is not right is not timed.
"""

from functools import cache

import pytest

from taichi_nerf.checks import measure
from taichi_nerf.checks.cases import CASES
from taichi_nerf.timing import synchronise

pytest.importorskip("pytest_benchmark", reason="needs pytest-benchmark: pip install 'taichi-nerf[benchmark]'")
pytestmark = pytest.mark.performance


@cache
def is_right(configuration: str, stem: str) -> bool:
    return measure.check(CASES[stem]).passed


@pytest.fixture
def f32(backend):
    if backend.name.endswith("f64"):
        pytest.skip("speed is measured in float32")
    return backend


@pytest.mark.parametrize("passes", ["forward", "forward-backward"])
@pytest.mark.parametrize("stem", CASES)
def test_kernel(benchmark, f32, stem, passes):
    case = CASES[stem]
    if passes == "forward-backward" and case.backward is None:
        pytest.skip(f"{stem} has no backward pass")
    assert is_right(f32.name, stem), f"{stem} is wrong on {f32.name}: no speed is worth measuring"
    forward, both, items, _ = measure.timed_work(case)
    work = forward if passes == "forward" else both

    def run():
        work()
        synchronise()

    run()  # compiles
    benchmark.group = f"{stem} {passes}"
    benchmark.extra_info |= {"backend": f32.name, "items": items, "item": case.item}
    benchmark(run)


def test_launch(benchmark, f32):
    benchmark.group = "launch"
    benchmark.extra_info |= {"backend": f32.name, **measure.launch_overhead()}
    benchmark(measure.launch_work(1))
