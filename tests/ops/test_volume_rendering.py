"""The volume rendering operations against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.volume_rendering import (
    compact_samples,
    composite,
    composite_intervals,
    interval_weights,
    visible_samples,
)
from taichi_nerf.reference import volume_rendering as reference

NAMES = ("density", "colour", "t", "dt")
SHAPES = {"no rays": [], "one sample": [1], "empty ray": [4, 0, 6], "63": [63], "2000": [20] * 99 + [0, 20]}


def make_inputs(backend, counts, rng):
    count = torch.tensor(counts, dtype=torch.int32)
    samples = int(count.sum())
    density = torch.rand(samples, generator=rng, dtype=torch.float64) * 20
    dt = torch.rand(samples, generator=rng, dtype=torch.float64) * 0.05 + 0.01
    values = [density, torch.rand(samples, 3, generator=rng, dtype=torch.float64), dt.cumsum(0), dt]
    rays = [(count.cumsum(0) - count).int(), count]
    inputs = [backend.tensor(v).requires_grad_() for v in values]
    return inputs, [backend.tensor(r, torch.int32) for r in rays]


@pytest.mark.parametrize("counts", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("early_stop", [0.0, 0.05])
def test_composite_equals_the_reference_in_value_and_gradient(backend, rng, counts, early_stop):
    inputs, rays = make_inputs(backend, counts, rng)
    outputs = composite(*inputs, *rays, early_stop=early_stop)
    exact = [i.detach().double().requires_grad_() for i in inputs]
    expected = reference.composite(*exact, *rays, early_stop)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents, materialize_grads=True)
    for name, actual, value in zip(("colour", "opacity", "depth", "weights"), outputs, expected):
        backend.assert_close(actual, value, name)
    for name, actual, value in zip(NAMES, gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


@pytest.mark.parametrize("output", range(4), ids=["colour", "opacity", "depth", "weights"])
def test_each_output_alone_has_the_right_gradient(backend, rng, output):
    inputs, rays = make_inputs(backend, [7, 0, 12], rng)
    exact = [i.detach().double().requires_grad_() for i in inputs]
    composite(*inputs, *rays)[output].square().sum().backward()
    reference.composite(*exact, *rays)[output].square().sum().backward()
    for name, actual, value in zip(NAMES, inputs, exact):
        expected = torch.zeros_like(value) if value.grad is None else value.grad
        scale = max(expected.abs().max().item(), 1.0)
        backend.assert_close(actual.grad, expected, f"gradient of {name}", scale)


@pytest.mark.parametrize("early_stop", [0.0, 0.05])
def test_composite_passes_gradcheck(backend, rng, early_stop):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    inputs, rays = make_inputs(backend, [5, 0, 8], rng)
    assert torch.autograd.gradcheck(lambda *x: composite(*x, *rays, early_stop=early_stop), inputs)


def test_only_the_gradients_asked_for_are_computed(backend, rng):
    inputs, rays = make_inputs(backend, [5, 3], rng)
    density, colour, t, dt = (i.detach() for i in inputs)
    composite(density.requires_grad_(), colour, t, dt, *rays)[0].sum().backward()
    assert density.grad is not None and colour.grad is None and t.grad is None and dt.grad is None


def test_ray_without_samples_shows_the_background(backend, rng):
    inputs, rays = make_inputs(backend, [0, 4], rng)
    colour, opacity, depth, _ = composite(*inputs, *rays)
    assert (colour + (1 - opacity)[:, None] * 0.25)[0].tolist() == [0.25] * 3
    assert depth[0] == 0


@pytest.mark.parametrize("counts", SHAPES.values(), ids=SHAPES.keys())
def test_compositing_the_visible_samples_alone_changes_nothing(backend, rng, counts):
    inputs, rays = make_inputs(backend, counts, rng)
    with torch.no_grad():
        kept = visible_samples(inputs[0], inputs[3], *rays, early_stop=0.05)
        start, index = compact_samples(rays[0], kept)
        full = composite(*inputs, *rays, early_stop=0.05)
        cut = composite(*(i[index] for i in inputs), start, kept, early_stop=0.0)
    expected_start, expected_index = reference.compact_samples(rays[0].cpu(), kept.cpu())
    assert torch.equal(start.cpu(), expected_start) and torch.equal(index.cpu(), expected_index)
    assert start.dtype == index.dtype == kept.dtype == torch.int32
    for name, a, b in zip(("colour", "opacity", "depth"), cut, full):
        backend.assert_close(a, b, name)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    (density, colour, t, dt), (start, count) = make_inputs(backend, [5, 3], rng)
    with pytest.raises(ValueError, match=r"colour must have shape \(8, 3\)"):
        composite(density, colour[:7], t, dt, start, count)
    with pytest.raises(TypeError, match="dt must be"):
        composite(density, colour, t, dt.half(), start, count)
    with pytest.raises(TypeError, match=r"ray_start must be torch\.int32"):
        composite(density, colour, t, dt, start.long(), count)
    with pytest.raises(ValueError, match=r"ray_count must have shape \(2\)"):
        composite(density, colour, t, dt, start, count[:1])
    with pytest.raises(ValueError, match="early_stop"):
        composite(density, colour, t, dt, start, count, early_stop=1.0)
    with pytest.raises(TypeError, match=r"density must be a torch\.Tensor"):
        visible_samples([1.0], dt, start, count)
    with pytest.raises(ValueError, match="kept_count must have shape"):
        compact_samples(start, count[:1])
    for counts, error in (([5, -1], "at least 0"), ([2**31 - 1, 2**31 - 1], "more than 2\\^31")):
        with pytest.raises(ValueError, match=error):
            compact_samples(start, backend.tensor(counts, torch.int32))
    with pytest.raises(ValueError, match="passed must be contiguous"):
        visible_samples(density, dt, start, count, passed=torch.zeros_like(density[:4])[::2])
    if start.device.type == "cpu":
        with pytest.raises(ValueError, match="kept must be the sum of kept_count, 8, got 9"):
            compact_samples(start, count, 9)


@pytest.mark.parametrize("wrong", [[-2**31, 0], [0, 6], [2**31 - 1, 0]])
def test_samples_that_there_are_not_are_refused_or_left_out(backend, rng, wrong):
    inputs, (_, count) = make_inputs(backend, [5, 3], rng)
    start = backend.tensor(wrong, torch.int32)
    if backend.device.type == "cpu":
        for operation in (lambda: composite(*inputs, start, count),
                          lambda: visible_samples(inputs[0], inputs[3], start, count)):
            with pytest.raises(ValueError, match="ray_start and ray_count must lie among the 8 samples"):
                operation()
    else:
        assert torch.isfinite(torch.stack([x.sum() for x in composite(*inputs, start, count)[:3]])).all()
        assert (visible_samples(inputs[0], inputs[3], start, count) <= 8).all()


# Dense intervals


def make_intervals(backend, rays, intervals, rng):
    length = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) * 0.1 + 0.01
    density = torch.rand(rays, intervals, generator=rng, dtype=torch.float64) * 20
    colour = torch.rand(rays, intervals, 3, generator=rng, dtype=torch.float64)
    return [backend.tensor(x).requires_grad_() for x in (density, colour, length.cumsum(1))]


@pytest.mark.parametrize("last", ["bounded", "infinite", "opaque"])
@pytest.mark.parametrize("rays, intervals", [(0, 5), (3, 0), (1, 1), (63, 63), (2000, 4)])
def test_intervals_equal_the_reference_in_value_and_gradient(backend, rng, rays, intervals, last):
    inputs = make_intervals(backend, rays, intervals, rng)
    exact = [i.detach().double().requires_grad_() for i in inputs]
    outputs, expected = composite_intervals(*inputs, last), reference.composite_intervals(*exact, last)
    outputs += (interval_weights(inputs[0], inputs[2], last),)
    expected += (reference.interval_weights(exact[0], exact[2], last),)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    for name, actual, value in zip(("colour", "opacity", "depth", "weights", "weights alone"), outputs, expected):
        backend.assert_close(actual, value, name)
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents)
    for name, actual, value in zip(("density", "colour", "fenceposts"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


@pytest.mark.parametrize("last", ["bounded", "opaque"])  # finite differences of 1e10 tell nothing
def test_intervals_pass_gradcheck(backend, rng, last):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    inputs = make_intervals(backend, 3, 6, rng)
    assert torch.autograd.gradcheck(lambda *x: composite_intervals(*x, last), inputs)
    assert torch.autograd.gradcheck(lambda *x: interval_weights(*x, last), inputs[::2])


def test_wrong_intervals_raise_an_error_that_names_them(backend, rng):
    density, colour, fenceposts = make_intervals(backend, 5, 4, rng)
    with pytest.raises(ValueError, match=r"fenceposts must have shape \(5, 5\)"):
        composite_intervals(density, colour, fenceposts[:, 1:])
    with pytest.raises(ValueError, match=r"colour must have shape \(5, 4, 3\)"):
        composite_intervals(density, colour[:, :3], fenceposts)
    with pytest.raises(TypeError, match="fenceposts must be"):
        interval_weights(density, fenceposts.half())
    with pytest.raises(ValueError, match="last must be one of bounded, infinite, opaque, got 'open'"):
        interval_weights(density, fenceposts, "open")
