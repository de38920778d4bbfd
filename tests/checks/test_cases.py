"""The registry of cases: complete, right on every backend, and able to tell right from wrong."""

import dataclasses

import pytest
import torch

from taichi_nerf.checks import measure
from taichi_nerf.checks.cases import CASES
from tests.test_layers import COMPOSITIONS, HELPERS, KERNELS, modules, stem_of

STEMS = sorted({stem_of(path) for path in modules(KERNELS)} - HELPERS - COMPOSITIONS)


def test_every_kernel_stem_has_a_case():
    assert sorted(CASES) == STEMS


@pytest.mark.slow  # tests/ops asks the same of more shapes
@pytest.mark.parametrize("stem", CASES)
def test_values_and_gradients_equal_the_reference(backend, stem):
    result = measure.check(CASES[stem])
    assert result.passed, f"{stem}: {result.worst} > {result.tolerance:g} on {backend.name}"
    assert len(result.errors) >= 1 + len(CASES[stem].gradients)


@pytest.mark.parametrize("stem", CASES)
def test_no_items_and_one_item_are_checked_too(backend, stem):
    if backend.name != "cpu-f64":
        pytest.skip("the shapes of the cases are the same on every backend")
    assert measure.check(CASES[stem], 1).passed


@pytest.mark.parametrize("stem", CASES)
def test_the_model_of_the_work_is_complete(stem):
    case = CASES[stem]
    assert case.forward.bytes > 0 and case.forward.operations > 0
    assert (case.backward is not None) == bool(case.gradients)
    assert set(case.trained or ()) <= set(case.gradients)


@pytest.mark.parametrize("stem", CASES)
def test_timed_passes_compute_what_is_checked(backend, stem):
    """With the items of the check, so that it is quick: the outputs that are timed are those of the reference."""
    case = dataclasses.replace(CASES[stem], many=CASES[stem].few)
    forward, both, items, inputs = measure.timed_work(case)
    assert items == case.few and (both is None) == (case.backward is None)
    exact = measure.exact_copies(inputs)
    for actual, expected in zip(forward(), case.reference(**exact), strict=True):
        assert measure.relative_error(actual, expected) <= measure.TOLERANCE[backend.dtype]
    assert both is None or all(torch.isfinite(gradient).all() for gradient in both())


def test_a_wrong_value_a_wrong_gradient_and_a_wrong_shape_fail(backend):
    case = CASES["spherical_harmonics"]

    def broken(change):
        return measure.check(dataclasses.replace(case, operation=lambda **inputs: change(*case.operation(**inputs))))

    assert broken(lambda y: (y,)).passed
    assert not broken(lambda y: (y + 1e-2,)).passed
    only_gradient = broken(lambda y: (y + 1e-2 * (y - y.detach()),))
    assert not only_gradient.passed and only_gradient.worst[0] == "gradient of directions"
    assert not broken(lambda y: (y[:-1],)).passed
    assert not broken(lambda y: (y * float("nan"),)).passed


def test_limits_and_launches_have_a_speed(backend):
    assert all(value > 0 for value in measure.limits(0.01).values())
    assert measure.launch_overhead(calls=10)["launch_seconds"] > 0
