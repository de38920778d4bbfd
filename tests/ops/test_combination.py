"""Linear combinations against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.combination import combine
from taichi_nerf.reference import combination as reference


def make_inputs(backend, rng, samples, rays, numbers=8, outputs=6):
    """Coefficients, numbers and rays in no order, some of which have no sample; and the same in float64."""
    coefficients = torch.randn(outputs * numbers, samples, generator=rng, dtype=torch.float64)
    of_rays = torch.randn(numbers, rays, generator=rng, dtype=torch.float64)
    given = [backend.tensor(x) for x in (coefficients, of_rays)]
    ray_index = torch.randint(max(rays, 1), (samples,), generator=rng, dtype=torch.int32)
    exact = [x.double().cpu().requires_grad_() for x in given]
    return [x.requires_grad_() for x in given], exact, ray_index


@pytest.mark.parametrize("numbers, outputs", [(8, 6), (1, 1), (3, 2)])
@pytest.mark.parametrize("samples, rays", [(0, 0), (0, 5), (1, 1), (63, 40), (2000, 77)])
def test_value_and_gradients_equal_the_reference(backend, rng, samples, rays, numbers, outputs):
    given, exact, ray_index = make_inputs(backend, rng, samples, rays, numbers, outputs)
    found = combine(*given, ray_index.to(backend.device))
    expected = reference.combine(*exact, ray_index)
    backend.assert_close(found, expected, "combined")
    cotangent = torch.randn(samples, outputs, generator=rng, dtype=torch.float64)
    gradients = torch.autograd.grad(found, given, backend.tensor(cotangent))
    wanted = torch.autograd.grad(expected, exact, cotangent)
    for name, gradient, value in zip(("coefficients", "numbers"), gradients, wanted):
        backend.assert_close(gradient, value, f"gradient of {name}")


def test_numbers_that_learn_nothing_cost_no_gradient(backend, rng):
    (coefficients, numbers), exact, ray_index = make_inputs(backend, rng, 63, 7)
    cotangent = torch.randn(63, 6, generator=rng, dtype=torch.float64)
    found = combine(coefficients, numbers.detach(), ray_index.to(backend.device))
    (gradient,) = torch.autograd.grad(found, coefficients, backend.tensor(cotangent))
    (wanted,) = torch.autograd.grad(reference.combine(*exact, ray_index), exact[:1], cotangent)
    backend.assert_close(gradient, wanted, "gradient of coefficients")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    given, _, ray_index = make_inputs(backend, rng, 20, 4, 3, 2)
    assert torch.autograd.gradcheck(lambda *values: combine(*values, ray_index.to(backend.device)), given)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    (coefficients, numbers), _, ray_index = make_inputs(backend, rng, 5, 3)
    ray_index = ray_index.to(backend.device)
    with pytest.raises(ValueError, match="coefficients must have several times the 8 rows of the numbers, got 47"):
        combine(coefficients[:47], numbers, ray_index)
    with pytest.raises(ValueError, match="several times the 0 rows"):
        combine(coefficients, numbers[:0], ray_index)
    with pytest.raises(ValueError, match=r"ray_index must have shape \(5\)"):
        combine(coefficients, numbers, ray_index[:4])
    with pytest.raises(TypeError, match=r"numbers must be torch\.float"):
        combine(coefficients, numbers.half(), ray_index)
    if ray_index.device.type == "cpu":
        with pytest.raises(IndexError, match=r"ray_index must lie in \[0, 3\)"):
            combine(coefficients, numbers, ray_index + 3)
