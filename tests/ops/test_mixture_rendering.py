"""Mixture rendering against the float64 reference, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.mixture_rendering import composite_mixture
from taichi_nerf.reference import mixture_rendering as reference

NAMES = ("density", "colour", "transient_density", "transient_colour", "beta", "fenceposts")
OUTPUTS = ("colour", "opacity", "uncertainty")


def make_fields(backend, rays, intervals, rng):
    def uniform(*shape):
        return torch.rand(shape, generator=rng, dtype=torch.float64)

    posts = (uniform(rays, intervals + 1) * 0.1 + 0.01).cumsum(1)
    fields = (20 * uniform(rays, intervals), uniform(rays, intervals, 3), 10 * uniform(rays, intervals),
              uniform(rays, intervals, 3), uniform(rays, intervals), posts)
    return [backend.tensor(x).requires_grad_() for x in fields]


@pytest.mark.parametrize("last", ["bounded", "infinite", "opaque"])
@pytest.mark.parametrize("rays, intervals", [(0, 5), (3, 0), (1, 1), (63, 63), (2000, 4)])
def test_values_and_gradients_equal_the_reference(backend, rng, rays, intervals, last):
    inputs = make_fields(backend, rays, intervals, rng)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    outputs, expected = composite_mixture(*inputs, last), reference.composite_mixture(*exact, last)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents, materialize_grads=True, allow_unused=True)
    for name, actual, value in zip(OUTPUTS, outputs, expected):
        backend.assert_close(actual, value, name)
    for name, actual, value in zip(NAMES, gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


@pytest.mark.parametrize("output", range(3), ids=OUTPUTS)
def test_each_output_alone_has_the_right_gradient(backend, rng, output):
    inputs = make_fields(backend, 5, 7, rng)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    composite_mixture(*inputs)[output].square().sum().backward()
    reference.composite_mixture(*exact)[output].square().sum().backward()
    for name, actual, value in zip(NAMES, inputs, exact):
        expected = torch.zeros_like(value) if value.grad is None else value.grad
        backend.assert_close(actual.grad, expected, f"gradient of {name}", max(expected.abs().max().item(), 1.0))


@pytest.mark.parametrize("last", ["bounded", "opaque"])  # finite differences of 1e10 tell nothing
def test_gradcheck(backend, rng, last):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    assert torch.autograd.gradcheck(lambda *x: tuple(composite_mixture(*x, last)), make_fields(backend, 3, 5, rng))


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    density, colour, transient, shown, beta, posts = (x.detach() for x in make_fields(backend, 5, 4, rng))
    with pytest.raises(ValueError, match=r"fenceposts must have shape \(5, 5\)"):
        composite_mixture(density, colour, transient, shown, beta, posts[:, 1:])
    with pytest.raises(TypeError, match="transient_density must be"):
        composite_mixture(density, colour, transient.half(), shown, beta, posts)
    with pytest.raises(ValueError, match=r"transient_colour must have shape \(5, 4, 3\)"):
        composite_mixture(density, colour, transient, shown[:, :2], beta, posts)
    with pytest.raises(ValueError, match="last must be one of bounded, infinite, opaque, got 'open'"):
        composite_mixture(density, colour, transient, shown, beta, posts, "open")
