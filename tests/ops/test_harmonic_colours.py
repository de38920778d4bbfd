"""Colours in spherical harmonics against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.harmonic_colours import harmonic_colours
from taichi_nerf.reference import harmonic_colours as reference

NAMES = ("coefficients", "directions")


def make_inputs(backend, count, bands, rng):
    """Coefficients and directions in the precision of the backend, and the same numbers in float64."""
    coefficients = torch.randn(3 * bands**2, count, generator=rng, dtype=torch.float64)
    directions = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    given = [backend.tensor(x) for x in (coefficients, torch.nn.functional.normalize(directions, dim=1))]
    exact = [x.double().cpu().requires_grad_() for x in given]
    return [x.requires_grad_() for x in given], exact


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_value_and_gradients_equal_the_reference(backend, rng, count, bands):
    given, exact = make_inputs(backend, count, bands, rng)
    colours, expected = harmonic_colours(*given), reference.harmonic_colours(*exact)
    backend.assert_close(colours, expected, "colours")
    cotangent = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    found = torch.autograd.grad(colours, given, backend.tensor(cotangent))
    wanted = torch.autograd.grad(expected, exact, cotangent, materialize_grads=True)
    for name, gradient, expected_gradient in zip(NAMES, found, wanted):
        scale = 1.0 if bands == 1 else None  # there that of the directions is zero
        backend.assert_close(gradient, expected_gradient, f"gradient of {name}", scale)


def test_directions_that_learn_nothing_cost_no_gradient(backend, rng):
    (coefficients, directions), exact = make_inputs(backend, 63, 3, rng)
    cotangent = torch.randn(63, 3, generator=rng, dtype=torch.float64)
    (found,) = torch.autograd.grad(harmonic_colours(coefficients, directions.detach()), coefficients,
                                   backend.tensor(cotangent))
    (wanted,) = torch.autograd.grad(reference.harmonic_colours(*exact), exact[:1], cotangent)
    backend.assert_close(found, wanted, "gradient of coefficients")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    given, _ = make_inputs(backend, 5, 3, rng)
    assert torch.autograd.gradcheck(harmonic_colours, given)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    (coefficients, directions), _ = make_inputs(backend, 4, 2, rng)
    with pytest.raises(ValueError, match=r"coefficients must have shape \(\*, 3\)"):
        harmonic_colours(coefficients, directions[:3])
    with pytest.raises(ValueError, match="directions must have shape"):
        harmonic_colours(coefficients, directions[:, :2])
    with pytest.raises(TypeError, match=r"coefficients must be torch\.float"):
        harmonic_colours(coefficients.half(), directions)
    for rows in (0, 3 * 2, 11):
        with pytest.raises(ValueError, match=f"three times 1, 4, 9, 16, 25 rows, got {rows}"):
            harmonic_colours(coefficients[:rows], directions)
