"""The elastic energy against the float64 reference, and its argument."""

import pytest
import torch

from taichi_nerf.ops.elastic import elastic_energy
from taichi_nerf.reference import elastic as reference


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_value_and_gradient_equal_the_reference(backend, rng, count):
    exact = 0.3 * torch.randn(count, 3, 3, generator=rng, dtype=torch.float64) + torch.eye(3)
    jacobian = backend.tensor(exact).requires_grad_()
    exact = jacobian.detach().double().cpu().requires_grad_()
    energy, expected = elastic_energy(jacobian), reference.elastic_energy(exact)
    small = exact.detach().svd().S.amin(dim=-1) < 0.02 if count else torch.zeros(0, dtype=torch.bool)
    backend.assert_close(energy[~small], expected[~small], "energy")  # a single precision knows no small ones
    cotangent = torch.randn(count, generator=rng, dtype=torch.float64) * ~small
    (gradient,) = torch.autograd.grad(energy, jacobian, backend.tensor(cotangent))
    (expected_gradient,) = torch.autograd.grad(expected, exact, cotangent)
    backend.assert_close(gradient, expected_gradient, "gradient")


@pytest.mark.parametrize("spread", [0.0, 1e-10, 1e-4, 0.3])
def test_gradcheck(backend, rng, spread):
    """At the identity, where all singular values are one, near it and far from it."""
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    jacobian = torch.eye(3) + spread * torch.randn(5, 3, 3, generator=rng, dtype=torch.float64)
    jacobian[4] = torch.diag(torch.tensor([2.0, 2.0, 0.5]))
    assert torch.autograd.gradcheck(elastic_energy, [backend.tensor(jacobian).requires_grad_()])


def test_wrong_arguments_raise_an_error_that_names_them(backend):
    with pytest.raises(ValueError, match="jacobian must have shape"):
        elastic_energy(backend.empty(4, 9))
    with pytest.raises(TypeError, match="jacobian must be float32 or float64"):
        elastic_energy(backend.empty(4, 3, 3).half())
