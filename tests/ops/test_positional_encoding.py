"""The positional encoding operations against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.positional_encoding import encode_gaussian, encode_position, encoding_tangents, encoding_width
from taichi_nerf.reference import positional_encoding as reference


def make_inputs(backend, count, dimensions, rng):
    x = (torch.rand(count, dimensions, generator=rng, dtype=torch.float64) * 2 - 1) * 3
    variance = torch.rand(count, dimensions, generator=rng, dtype=torch.float64) ** 4
    return [backend.tensor(v).requires_grad_() for v in (x, variance)]


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
@pytest.mark.parametrize("levels, dimensions, identity, alpha", [(10, 3, True, None), (0, 3, True, None),
                                                                 (4, 2, False, None), (8, 3, True, 3.3)])
def test_points_equal_the_reference_in_value_and_gradient(backend, rng, count, levels, dimensions, identity, alpha):
    x, _ = make_inputs(backend, count, dimensions, rng)
    exact = x.detach().double().requires_grad_()
    features = encode_position(x, levels, identity=identity, alpha=alpha)
    expected = reference.encode(exact, levels, None, identity, alpha)
    assert features.shape[1] == encoding_width(dimensions, levels, identity)
    backend.assert_close(features, expected, "features")
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64).to(backend.device)
    (gradient,) = torch.autograd.grad(features, x, backend.tensor(cotangent))
    (expected_gradient,) = torch.autograd.grad(expected, exact, cotangent)
    backend.assert_close(gradient, expected_gradient, "gradient of x")


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
@pytest.mark.parametrize("levels, dimensions, identity, alpha", [(16, 3, False, None), (12, 21, False, None),
                                                                 (5, 3, True, 2.2)])
def test_gaussians_equal_the_reference_in_value_and_gradient(backend, rng, count, levels, dimensions, identity,
                                                             alpha):
    inputs = make_inputs(backend, count, dimensions, rng)
    exact = [i.detach().double().requires_grad_() for i in inputs]
    features = encode_gaussian(*inputs, levels, identity=identity, alpha=alpha)
    expected = reference.encode(exact[0], levels, exact[1], identity, alpha)
    backend.assert_close(features, expected, "features")
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64).to(backend.device)
    gradients = torch.autograd.grad(features, inputs, backend.tensor(cotangent))
    expected_gradients = torch.autograd.grad(expected, exact, cotangent)
    for name, actual, value in zip(("mean", "variance"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    x, variance = make_inputs(backend, 5, 3, rng)
    assert torch.autograd.gradcheck(lambda a: encode_position(a, 4, alpha=2.5), [x])
    assert torch.autograd.gradcheck(lambda a, b: encode_gaussian(a, b, 4, identity=True), [x, variance])


@pytest.mark.parametrize("alpha", [None, 1.4])
def test_tangents_are_those_of_the_reference(backend, rng, alpha):
    x, _ = make_inputs(backend, 63, 3, rng)
    found = encoding_tangents(encode_position(x.detach(), 4, alpha=alpha), 3)
    for j, axis in enumerate(torch.eye(3, dtype=torch.float64)):
        exact = x.detach().double().cpu()
        _, expected = torch.autograd.functional.jvp(lambda x: reference.encode(x, 4, alpha=alpha), exact,
                                                    axis.expand_as(exact))
        backend.assert_close(found[j], expected, f"along axis {j}")


def test_a_window_lets_frequencies_in_one_after_the_other(backend, rng):
    x = make_inputs(backend, 63, 3, rng)[0].detach()
    whole = encode_position(x, 4)
    for alpha, weights in ((0, (0, 0, 0, 0)), (1, (1, 0, 0, 0)), (2.5, (1, 1, 0.5, 0)), (4, (1, 1, 1, 1))):
        window = torch.tensor([1.0, *weights]).repeat_interleave(torch.tensor([3, 6, 6, 6, 6]))
        backend.assert_close(encode_position(x, 4, alpha=alpha), whole.cpu() * window, f"alpha {alpha}")


def test_strided_inputs_and_cotangents_are_accepted(backend, rng):
    x, _ = make_inputs(backend, 40, 6, rng)
    encode_position(x[:, ::2], 3).sum().backward()  # the cotangent is a single number, expanded
    exact = x.detach().double().requires_grad_()
    reference.encode(exact[:, ::2], 3).sum().backward()
    backend.assert_close(x.grad, exact.grad, "gradient")


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    x, variance = make_inputs(backend, 5, 3, rng)
    with pytest.raises(ValueError, match="x must have shape"):
        encode_position(x[0], 4)
    with pytest.raises(TypeError, match="x must be float32 or float64"):
        encode_position(x.half(), 4)
    with pytest.raises(ValueError, match="levels must be at least 0"):
        encode_position(x, -1)
    with pytest.raises(ValueError, match=r"variance must have shape \(5, 3\)"):
        encode_gaussian(x, variance[:4], 4)
    with pytest.raises(TypeError, match="variance must be"):
        encode_gaussian(x, variance.half(), 4)
    with pytest.raises(ValueError, match="encode fewer at a time"):
        encode_position(torch.empty(1, 1, device="meta").expand(2**27, 3), 8)
