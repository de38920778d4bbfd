"""Laws of the positional encoding kernels, each on every backend."""

import math

import pytest
import torch

from taichi_nerf.reference import positional_encoding as reference
from taichi_nerf_kernels import positional_encoding as kernels


def encode(backend, x, levels, variance=None, identity=True, alpha=None):
    features = backend.empty(len(x), kernels.encoding_width(x.shape[1], levels, identity))
    weight = backend.tensor(kernels.window(levels, alpha))
    integrated = variance is not None
    kernels.encode_forward(x, variance if integrated else x, weight, features, identity, integrated)
    return features


def points(backend, count, dimensions, rng, reach=4.0):
    return backend.tensor((torch.rand(count, dimensions, generator=rng, dtype=torch.float64) * 2 - 1) * reach)


@pytest.mark.parametrize("reach", [1e-3, 4.0, 1e3])
def test_high_frequencies_of_large_coordinates_lose_no_digits(backend, rng, reach):
    x = points(backend, 500, 3, rng, reach)
    expected = reference.encode(x.double(), 16)
    found = encode(backend, x, 16)
    backend.assert_close(found[:, :3], x, "identity")
    # The argument reaches 3e7, but the error is that of one sine, at most doubled three times.
    error = (found[:, 3:].double() - expected[:, 3:]).abs().max().item()
    assert error < (3e-8 if backend.dtype == torch.float64 else 8e-6)


def test_sines_and_cosines_lie_on_the_unit_circle(backend, rng):
    x = points(backend, 300, 2, rng)
    features = encode(backend, x, 8, identity=False).reshape(300, 8, 2, 2)
    backend.assert_close(features.square().sum(2), torch.ones(300, 8, 2), "sin^2 + cos^2")


def test_multiples_of_an_eighth_of_a_turn_are_met(backend):
    x = backend.tensor([[i * math.pi / 4] for i in range(-9, 10)])
    backend.assert_close(encode(backend, x, 3), reference.encode(x.double(), 3), "features")


def test_shifting_by_a_whole_turn_changes_nothing(backend, rng):
    x = points(backend, 63, 2, rng)
    here, there = (encode(backend, y, 3, identity=False) for y in (x, x + 2 * math.pi))
    backend.assert_close(there, here, "features")


def test_a_gaussian_without_width_is_a_point(backend, rng):
    x = points(backend, 63, 3, rng)
    a, b = encode(backend, x, 6), encode(backend, x, 6, variance=torch.zeros_like(x))
    assert torch.equal(a, b)


def test_a_wide_gaussian_has_no_high_frequencies(backend, rng):
    x = points(backend, 63, 3, rng)
    features = encode(backend, x, 8, variance=torch.full_like(x, 1.0), identity=False).reshape(63, 8, 6)
    assert features[:, 0].abs().max() > 0.5
    assert features[:, 4:].abs().max() < 1e-30


def test_the_integrated_encoding_is_the_mean_over_the_gaussian(backend, rng):
    x = points(backend, 20, 1, rng)
    variance = torch.rand(20, 1, generator=rng, dtype=torch.float64) * 0.5
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2)
    at = x.double().cpu()[:, None] + variance.sqrt()[:, None] * z[:, None]  # [20, 2001, 1]
    values = reference.encode(at.reshape(-1, 1), 4, identity=False).reshape(20, 2001, 8)
    expected = (values * density[:, None]).sum(1) / density.sum()
    backend.assert_close(encode(backend, x, 4, backend.tensor(variance), False), expected, "mean")


def test_the_window_lets_frequencies_in_one_after_the_other(backend, rng):
    x = points(backend, 20, 3, rng)
    full = encode(backend, x, 4, identity=False).reshape(20, 4, 6)
    for alpha in (0.0, 1.0, 2.5, 4.0):
        found = encode(backend, x, 4, identity=False, alpha=alpha).reshape(20, 4, 6)
        for k in range(4):
            share = min(max(alpha - k, 0.0), 1.0)
            backend.assert_close(found[:, k], full[:, k] * math.sin(math.pi / 2 * share) ** 2, f"{alpha} {k}", 1.0)


def test_the_window_leaves_the_identity(backend, rng):
    x = points(backend, 20, 3, rng)
    found = encode(backend, x, 4, alpha=0.0)
    assert torch.equal(found[:, :3], x) and found[:, 3:].abs().max() == 0


def test_not_a_number_does_not_turn_into_one(backend):
    x = backend.tensor([[float("nan"), 1.0]])
    found = encode(backend, x, 2, identity=False).reshape(4, 2)
    assert found[:, 0].isnan().all() and torch.isfinite(found[:, 1]).all()
