"""Laws of the counter-based random numbers."""

import numpy as np
import pytest
import torch

from taichi_nerf.reference import random as reference
from taichi_nerf_kernels import random as kernels


def draw(backend, seed, count, first=0):
    numbers = backend.empty(count)
    kernels.uniform_forward(seed, first, numbers)
    return numbers.cpu().double()


def pcg(value: np.ndarray) -> np.ndarray:
    state = value * np.uint32(747796405) + np.uint32(2891336453)
    word = ((state >> ((state >> np.uint32(28)) + np.uint32(4))) ^ state) * np.uint32(277803737)
    return (word >> np.uint32(22)) ^ word


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_every_backend_draws_the_same_numbers(backend, seed):
    index = np.arange(1000, dtype=np.uint32)
    expected = torch.tensor((pcg(pcg(index) + pcg(np.full_like(index, seed))) >> np.uint32(8)) / 2.0**24)
    assert torch.equal(draw(backend, seed, 1000), expected)
    assert torch.equal(reference.uniform(seed, torch.arange(1000)), expected)


def test_a_draw_depends_on_its_index_alone(backend):
    assert torch.equal(draw(backend, 5, 100)[40:], draw(backend, 5, 60, first=40))


def test_draws_are_uniform(backend):
    numbers = draw(backend, 3, 100_000)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers, 100, 0, 1)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert 60 < chi_square < 150  # 99 degrees of freedom: both tails below 0.1 %


@pytest.mark.parametrize("lag", [1, 2, 3, 64])
def test_neighbouring_indices_are_uncorrelated(backend, lag):
    numbers = draw(backend, 9, 100_000)
    assert abs(torch.corrcoef(torch.stack([numbers[lag:], numbers[:-lag]]))[0, 1]) < 0.015


@pytest.mark.parametrize("other", [1, 2, 1024])
def test_neighbouring_seeds_are_uncorrelated(backend, other):
    pair = torch.stack([draw(backend, 0, 100_000), draw(backend, other, 100_000)])
    assert abs(torch.corrcoef(pair)[0, 1]) < 0.015
