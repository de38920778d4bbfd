"""The spherical harmonics operation against the float64 reference, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.spherical_harmonics import encode_direction
from taichi_nerf.reference import spherical_harmonics as reference


def unit_directions(backend, count, rng):
    directions = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    return backend.tensor(torch.nn.functional.normalize(directions, dim=1)).requires_grad_()


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_value_and_gradient_equal_the_reference(backend, rng, count, degree):
    directions = unit_directions(backend, count, rng)
    basis = encode_direction(directions, degree)
    exact = directions.detach().double().requires_grad_()
    expected = reference.spherical_harmonics(exact, degree)
    backend.assert_close(basis, expected, "basis")
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64).to(backend.device)
    (gradient,) = torch.autograd.grad(basis, directions, backend.tensor(cotangent))
    (expected_gradient,) = torch.autograd.grad(expected, exact, cotangent, materialize_grads=True)
    scale = 1.0 if degree == 1 else None  # there it is zero
    backend.assert_close(gradient, expected_gradient, "gradient of directions", scale)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_gradcheck(backend, rng, degree):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    directions = unit_directions(backend, 6, rng)
    assert torch.autograd.gradcheck(lambda d: encode_direction(d, degree), [directions])


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    directions = unit_directions(backend, 4, rng)
    with pytest.raises(ValueError, match="directions must have shape"):
        encode_direction(directions[:, :2])
    with pytest.raises(TypeError, match="directions must be float32 or float64"):
        encode_direction(directions.half())
    for degree in (0, 6, 2.5):
        with pytest.raises(ValueError, match="degree must be from 1 to 5"):
            encode_direction(directions, degree)
