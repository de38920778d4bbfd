"""Samples that are drawn in proportion to their weights."""

import pytest
import torch

from taichi_nerf.samplers import by_weight
from taichi_nerf.samplers.by_weight import in_proportion


@pytest.mark.parametrize("samples", [1, 63, 2000])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_each_is_drawn_as_often_as_its_weight_says(monkeypatch, samples, count):
    """In the mean over all places of the comb, and in each as often but for a fraction."""
    weights = torch.rand(samples, generator=torch.Generator().manual_seed(0)).square()
    weights[1::3] = 0
    expected, places = count * weights.double() / weights.double().sum(), 400
    drawn = torch.zeros(samples, dtype=torch.float64)
    for place in range(places):
        monkeypatch.setattr(by_weight.torch, "rand", lambda *_, place=place, **__: torch.tensor((place + 0.5) / places))
        found = in_proportion(weights, count, 0)
        assert found.shape == (count,) and (found.diff() >= 0).all()
        often = found.bincount(minlength=samples)
        assert (often - expected).abs().max() < 1 + 1e-6 and (often[weights == 0] == 0).all()
        drawn += often
    assert (drawn / places - expected).abs().max() < 1.5 / places


def test_the_seed_decides_it():
    weights = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    first, again, other = (in_proportion(weights, 20, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_of_nothing_nothing_is_drawn_and_of_no_weight_what_is_there():
    assert in_proportion(torch.zeros(0), 0, 0).shape == (0,)
    found = in_proportion(torch.zeros(63), 5, 0)
    assert found.shape == (5,) and (0 <= found).all() and (found < 63).all()


def test_the_last_is_drawn_where_rounding_leads_beyond_it(monkeypatch):
    monkeypatch.setattr(by_weight.torch, "rand", lambda *_, **__: torch.tensor(1 - 2**-53, dtype=torch.float64))
    assert int(in_proportion(torch.full((10,), 0.1), 3, 0)[-1]) == 9
