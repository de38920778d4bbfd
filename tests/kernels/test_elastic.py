"""Laws of the elastic energy, each on every backend."""

import math

import pytest
import torch

from taichi_nerf_kernels import elastic as kernels


def energy(backend, jacobian):
    out = backend.empty(len(jacobian))
    kernels.elastic_forward(jacobian.contiguous(), out)
    return out


def slope(backend, jacobian):
    out = backend.empty(len(jacobian), 3, 3)
    kernels.elastic_backward(jacobian.contiguous(), torch.ones(len(jacobian)).to(jacobian), out)
    return out


def rotations(count, rng):
    return torch.linalg.qr(torch.randn(count, 3, 3, generator=rng, dtype=torch.float64))[0]


def stretched(backend, count, rng, *factors):
    """Jacobians with these singular values."""
    middle = torch.diag(torch.tensor(factors, dtype=torch.float64))
    return backend.tensor(rotations(count, rng) @ middle @ rotations(count, rng))


@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 2, 2), (0.5, 2, 2), (1, 1, 3), (0.2, 1, 3), (1, 1 + 1e-7, 1),
                                     (0.3, 0.3, 4)])
def test_it_is_the_sum_of_squared_logarithms_of_the_singular_values(backend, rng, factors):
    expected = sum(math.log(factor) ** 2 for factor in factors)
    found = energy(backend, stretched(backend, 63, rng, *factors))
    backend.assert_close(found, torch.full((63,), expected, dtype=torch.float64), "energy", scale=max(expected, 1))


def test_at_the_identity_there_is_neither_energy_nor_slope(backend):
    jacobian = torch.eye(3).expand(2, 3, 3).contiguous().to(backend.device, backend.dtype)
    assert torch.equal(energy(backend, jacobian), torch.zeros(2).to(jacobian))
    assert torch.equal(slope(backend, jacobian), torch.zeros(2, 3, 3).to(jacobian))


@pytest.mark.parametrize("factor", [1e-4, 0.5, 1.0, 3.0])
def test_the_slope_of_a_scaling_is_that_of_its_logarithm(backend, rng, factor):
    """All singular values are equal: dE / dJ = 2 log s / s times the rotation."""
    turn = rotations(63, rng)
    expected = 2 * math.log(factor) / factor * turn
    backend.assert_close(slope(backend, backend.tensor(factor * turn)), expected, "slope",
                         scale=max(abs(2 * math.log(factor) / factor), 1))


def test_a_rotation_before_or_behind_changes_nothing(backend, rng):
    jacobian = torch.randn(63, 3, 3, generator=rng, dtype=torch.float64) + 2 * torch.eye(3)
    turned = rotations(63, rng) @ jacobian @ rotations(63, rng)
    found = energy(backend, backend.tensor(turned))
    backend.assert_close(found, energy(backend, backend.tensor(jacobian)), "energy")


def test_stretching_costs_what_pressing_does(backend, rng):
    there, back = (stretched(backend, 63, rng, *factors) for factors in ((2, 3, 1), (1 / 2, 1 / 3, 1)))
    backend.assert_close(energy(backend, there), energy(backend, back), "energy")


def test_space_that_is_folded_flat_is_finite(backend):
    flat = torch.stack([torch.zeros(3, 3), torch.diag(torch.tensor([1.0, 1.0, 0.0])), torch.ones(3, 3)]).to(
        backend.device, backend.dtype)
    assert torch.isfinite(energy(backend, flat)).all() and torch.isfinite(slope(backend, flat)).all()


def test_shuffled_jacobians_have_shuffled_energies(backend, rng):
    jacobian = backend.tensor(torch.randn(63, 3, 3, generator=rng))
    order = torch.randperm(63, generator=rng).to(backend.device)
    assert torch.equal(energy(backend, jacobian)[order], energy(backend, jacobian[order]))
    assert energy(backend, backend.empty(0, 3, 3)).shape == (0,)
