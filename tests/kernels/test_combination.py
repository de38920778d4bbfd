"""Laws of linear combinations, each on every backend."""

import pytest
import torch

from taichi_nerf_kernels import combination as kernels

NUMBERS, OUTPUTS = 4, 3


def make_inputs(backend, rng, samples, rays):
    coefficients = torch.randn(OUTPUTS * NUMBERS, samples, generator=rng)
    ray_index = torch.randint(rays, (samples,), generator=rng, dtype=torch.int32)
    return (backend.tensor(coefficients), backend.tensor(torch.randn(NUMBERS, rays, generator=rng)),
            ray_index.to(backend.device))


def combined(backend, coefficients, numbers, ray_index):
    out = backend.empty(len(ray_index), OUTPUTS)
    kernels.combination_forward(coefficients, numbers, ray_index, out, OUTPUTS)
    return out


def gradients(backend, coefficients, numbers, ray_index, cotangent):
    """Of the coefficients and of the numbers."""
    found, of_samples = backend.empty(*coefficients.shape), backend.empty(NUMBERS, len(ray_index))
    kernels.combination_to_coefficients(numbers, ray_index, cotangent, found, OUTPUTS)
    of_rays = torch.zeros_like(numbers)
    kernels.combination_to_numbers(coefficients, ray_index, cotangent, of_samples, of_rays, OUTPUTS)
    return found, of_rays


@pytest.mark.parametrize("samples", [1, 63, 127, 128, 129, 2000])
def test_everything_is_written_wherever_there_is_a_sample(backend, rng, samples):
    given = make_inputs(backend, rng, samples, 9)
    found = combined(backend, *given)
    assert torch.isfinite(found).all()
    assert all(torch.isfinite(x).all() for x in gradients(backend, *given, torch.ones_like(found)))


def test_one_number_of_one_picks_its_coefficient(backend, rng):
    coefficients, numbers, ray_index = make_inputs(backend, rng, 63, 9)
    for a in range(NUMBERS):
        numbers[:] = 0
        numbers[a] = 1
        assert torch.equal(combined(backend, coefficients, numbers, ray_index).t(), coefficients[a::NUMBERS])


def test_it_is_linear_in_both(backend, rng):
    coefficients, numbers, ray_index = make_inputs(backend, rng, 63, 9)
    twice = combined(backend, coefficients, numbers, ray_index) * 2
    assert torch.equal(combined(backend, coefficients * 2, numbers, ray_index), twice)
    assert torch.equal(combined(backend, coefficients, numbers * 2, ray_index), twice)


def test_shuffled_samples_have_shuffled_values_and_gradients(backend, rng):
    """And the numbers of a ray the same gradient, but for rounding."""
    coefficients, numbers, ray_index = make_inputs(backend, rng, 64, 9)
    cotangent = backend.tensor(torch.randn(64, OUTPUTS, generator=rng))
    order = torch.randperm(64, generator=rng).to(backend.device)
    straight = combined(backend, coefficients, numbers, ray_index)
    shuffled = coefficients[:, order].contiguous(), numbers, ray_index[order]
    assert torch.equal(combined(backend, *shuffled), straight[order])
    to_coefficients, to_numbers = gradients(backend, coefficients, numbers, ray_index, cotangent)
    found = gradients(backend, *shuffled, cotangent[order])
    assert torch.equal(found[0], to_coefficients[:, order])
    backend.assert_close(found[1], to_numbers, "gradient of numbers")


def test_rays_without_samples_learn_nothing(backend, rng):
    coefficients, numbers, ray_index = make_inputs(backend, rng, 63, 9)
    _, to_numbers = gradients(backend, coefficients, numbers, ray_index.clamp(min=2, max=6),
                              backend.tensor(torch.ones(63, OUTPUTS)))
    assert (to_numbers[:, 2:7] != 0).all()
    assert (to_numbers[:, :2] == 0).all() and (to_numbers[:, 7:] == 0).all()


def test_a_ray_that_there_is_not_is_the_nearest_that_there_is(backend, rng):
    coefficients, numbers, ray_index = make_inputs(backend, rng, 63, 9)
    wild, tame = ray_index.clone(), ray_index.clone()
    for sample, ray in ((0, -5), (31, 9), (62, 2**31 - 1)):
        wild[sample], tame[sample] = ray, min(max(ray, 0), 8)
    cotangent = backend.tensor(torch.randn(63, OUTPUTS, generator=rng))
    assert torch.equal(combined(backend, coefficients, numbers, wild), combined(backend, coefficients, numbers, tame))
    for found, expected in zip(gradients(backend, coefficients, numbers, wild, cotangent),
                               gradients(backend, coefficients, numbers, tame, cotangent)):
        backend.assert_close(found, expected.double(), "gradient")
