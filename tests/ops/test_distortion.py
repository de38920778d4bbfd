"""The distortion loss against the float64 reference, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.distortion import distortion_loss, interval_distortion_loss
from taichi_nerf.reference import distortion as reference

SHAPES = {"no rays": [], "one sample": [1], "empty ray": [4, 0, 6], "63": [63], "2000": [20] * 99 + [0, 20]}


def make_inputs(backend, counts, rng):
    count = torch.tensor(counts, dtype=torch.int32)
    lengths = torch.rand(int(count.sum()), generator=rng, dtype=torch.float64) * 0.1 + 0.01
    weights = torch.rand(len(lengths), generator=rng, dtype=torch.float64) / 10
    inputs = [backend.tensor(x).requires_grad_() for x in (weights, lengths.cumsum(0), lengths)]
    return inputs, [backend.tensor(x, torch.int32) for x in (count.cumsum(0) - count, count)]


@pytest.mark.parametrize("counts", SHAPES.values(), ids=SHAPES.keys())
def test_value_and_gradient_equal_the_reference(backend, rng, counts):
    inputs, rays = make_inputs(backend, counts, rng)
    loss = distortion_loss(*inputs, *rays)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    expected = reference.distortion_loss(*exact, *rays)
    backend.assert_close(loss, expected, "loss")
    cotangent = torch.randn(len(counts), generator=rng, dtype=torch.float64).to(backend.device)
    gradients = torch.autograd.grad(loss, inputs, backend.tensor(cotangent))
    expected_gradients = torch.autograd.grad(expected, exact, cotangent)
    for name, actual, value in zip(("weights", "midpoints", "lengths"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    inputs, rays = make_inputs(backend, [5, 0, 8], rng)
    assert torch.autograd.gradcheck(lambda *x: distortion_loss(*x, *rays), inputs)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    (weights, midpoints, lengths), (start, count) = make_inputs(backend, [5, 3], rng)
    with pytest.raises(ValueError, match="midpoints must have shape"):
        distortion_loss(weights, midpoints[:3], lengths, start, count)
    with pytest.raises(TypeError, match="lengths must be"):
        distortion_loss(weights, midpoints, lengths.half(), start, count)
    with pytest.raises(TypeError, match="ray_count must be"):
        distortion_loss(weights, midpoints, lengths, start, count.long())


@pytest.mark.parametrize("start, count", [([0, -2**31], [5, 3]), ([0, 5], [5, 2**31 - 1]), ([0, 6], [5, 3]),
                                          ([0, 5], [-1, 3])])
def test_samples_that_there_are_not_are_refused_or_left_out(backend, rng, start, count):
    (weights, midpoints, lengths), _ = make_inputs(backend, [5, 3], rng)
    start, count = backend.tensor(start, torch.int32), backend.tensor(count, torch.int32)
    if backend.device.type == "cpu":
        with pytest.raises(ValueError, match="ray_start and ray_count must lie among the 8 samples"):
            distortion_loss(weights, midpoints, lengths, start, count)
    else:  # the host does not wait to look
        loss = distortion_loss(weights, midpoints, lengths, start, count)
        assert torch.isfinite(loss).all() and torch.autograd.grad(loss.sum(), weights)


def make_intervals(backend, rays, intervals, rng):
    length = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) * 0.1 + 0.01
    weights = torch.rand(rays, intervals, generator=rng, dtype=torch.float64) / 10
    return [backend.tensor(x).requires_grad_() for x in (weights, length.cumsum(1))]


@pytest.mark.parametrize("rays, intervals", [(0, 5), (3, 0), (1, 1), (63, 63), (2000, 4)])
def test_intervals_equal_the_sum_over_pairs_in_value_and_gradient(backend, rng, rays, intervals):
    inputs = make_intervals(backend, rays, intervals, rng)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    loss, expected = interval_distortion_loss(*inputs), reference.interval_distortion_loss(*exact)
    backend.assert_close(loss, expected, "loss")
    cotangent = torch.randn(rays, generator=rng, dtype=torch.float64).to(backend.device)
    gradients = torch.autograd.grad(loss, inputs, backend.tensor(cotangent))
    expected_gradients = torch.autograd.grad(expected, exact, cotangent)
    for name, actual, value in zip(("weights", "fenceposts"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_intervals_pass_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    assert torch.autograd.gradcheck(interval_distortion_loss, make_intervals(backend, 3, 6, rng))


def test_wrong_intervals_raise_an_error_that_names_them(backend, rng):
    weights, fenceposts = make_intervals(backend, 5, 4, rng)
    with pytest.raises(ValueError, match=r"fenceposts must have shape \(5, 5\)"):
        interval_distortion_loss(weights, fenceposts[:, 1:])
    with pytest.raises(TypeError, match="fenceposts must be"):
        interval_distortion_loss(weights, fenceposts.half())
