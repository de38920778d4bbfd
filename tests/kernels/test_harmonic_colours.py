"""Laws of the kernels of colours in spherical harmonics, each on every backend."""

import math

import pytest
import torch

from taichi_nerf.reference import harmonic_colours as reference
from taichi_nerf_kernels import harmonic_colours as kernels

BANDS = 3


def make_inputs(backend, count, rng, bands=BANDS):
    coefficients = torch.randn(3 * bands**2, count, generator=rng, dtype=torch.float64)
    directions = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    return backend.tensor(coefficients), backend.tensor(torch.nn.functional.normalize(directions, dim=1))


def shown(backend, coefficients, directions, bands=BANDS):
    colours = backend.empty(len(directions), 3)
    kernels.harmonic_colours_forward(coefficients, directions, colours, bands)
    return colours


def gradients(backend, coefficients, directions, colours, cotangent, bands=BANDS):
    """Of coefficients and directions."""
    found = backend.empty(*coefficients.shape), backend.empty(*directions.shape)
    kernels.harmonic_colours_backward(coefficients, directions, colours, cotangent, *found, bands, True)
    return found


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_colours_and_gradients_are_written_wherever_there_is_a_sample(backend, rng, count):
    coefficients, directions = make_inputs(backend, count, rng)
    colours = shown(backend, coefficients, directions)
    backend.assert_close(colours, reference.harmonic_colours(coefficients.double(), directions.double()), "colours")
    found = gradients(backend, coefficients, directions, colours, torch.ones_like(colours))
    assert all(torch.isfinite(x).all() for x in found)


def test_shuffled_samples_have_shuffled_colours_and_gradients(backend, rng):
    count = 64  # all in full vectors of a processor, as in the test of the basis
    coefficients, directions = make_inputs(backend, count, rng)
    cotangent, order = backend.tensor(torch.randn(count, 3, generator=rng)), torch.randperm(count, generator=rng)
    order = order.to(backend.device)
    colours = shown(backend, coefficients, directions)
    straight = gradients(backend, coefficients, directions, colours, cotangent)
    given = coefficients[:, order].contiguous(), directions[order]
    shuffled = shown(backend, *given)
    assert torch.equal(shuffled, colours[order])
    found = gradients(backend, *given, shuffled, cotangent[order])
    assert torch.equal(found[0], straight[0][:, order]) and torch.equal(found[1], straight[1][order])


def test_a_constant_is_the_same_colour_from_everywhere(backend, rng):
    coefficients, directions = make_inputs(backend, 200, rng)
    raw = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    coefficients[:] = 0
    coefficients[:: BANDS**2] = backend.tensor(raw.t() * math.sqrt(4 * math.pi))
    backend.assert_close(shown(backend, coefficients, directions), raw.sigmoid().expand(200, 3), "colours")


def test_each_channel_has_its_own_coefficients(backend, rng):
    coefficients, directions = make_inputs(backend, 50, rng)
    before = shown(backend, coefficients, directions)
    coefficients[BANDS**2: 2 * BANDS**2] += 1
    after = shown(backend, coefficients, directions)
    assert torch.equal(before[:, ::2], after[:, ::2]) and not torch.equal(before[:, 1], after[:, 1])


def test_extreme_coefficients_give_colours_and_finite_gradients(backend, rng):
    coefficients, directions = make_inputs(backend, 100, rng)
    colours = shown(backend, coefficients * 1e6, directions)
    assert (colours >= 0).all() and (colours <= 1).all()
    assert ((colours < 1e-9) | (colours > 1 - 1e-6)).double().mean() > 0.99
    found = gradients(backend, coefficients * 1e6, directions, colours, torch.ones_like(colours))
    assert all(torch.isfinite(x).all() for x in found)
