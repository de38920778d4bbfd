"""The sampling operations against the float64 reference, and their arguments."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf.ops import interval_sampling as ops
from taichi_nerf.reference import interval_sampling as reference


def make_histogram(backend, rays, intervals, rng):
    length = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) + 0.1
    fenceposts = length.cumsum(1)
    fenceposts = (fenceposts - fenceposts[:, :1]) / (fenceposts[:, -1:] - fenceposts[:, :1])
    weights = torch.rand(rays, intervals, generator=rng, dtype=torch.float64) + 0.02
    return [backend.tensor(x) for x in (fenceposts, weights / weights.sum(1, keepdim=True))]


def exact(*tensors):
    return [x.double().cpu() for x in tensors]


DRAWS = {"centre": {}, "ends": {"ends": True}, "sample": {"seed": 2**33 + 5}, "ray": {"seed": 7, "jitter": "ray"}}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("rays, intervals, count", [(0, 3, 4), (1, 1, 1), (3, 1, 0), (63, 63, 100), (2000, 8, 5)])
def test_samples_equal_the_reference(backend, rng, rays, intervals, count, draw):
    fenceposts, weights = make_histogram(backend, rays, intervals, rng)
    u = reference.sample_uniform(rays, count, **draw)
    backend.assert_close(ops.sample_uniform(rays, count, like=weights, **draw), u, "u")
    for padding, exponent in ((0.0, 1.0), (0.01, 0.5)):
        found = ops.sample_histogram(fenceposts, weights, count, padding=padding, exponent=exponent, **draw)
        expected = reference.sample_histogram(*exact(fenceposts, weights), u, padding, exponent)
        backend.assert_close(found, expected, f"padding {padding}")


@pytest.mark.parametrize("seed", [None, 11])
def test_the_second_level_of_mip_nerf_equals_the_reference(backend, rng, seed):
    fenceposts, weights = make_histogram(backend, 63, 33, rng)
    blurred = reference.blur_weights(*exact(weights), 0.01)
    u = reference.sample_uniform(63, 21, seed, ends=seed is None)
    backend.assert_close(ops.resample_mip_nerf(fenceposts, weights, 20, seed=seed),
                         reference.sample_histogram(*exact(fenceposts), blurred, u), "fenceposts")


@pytest.mark.parametrize("seed, jitter", [(None, "ray"), (11, "ray"), (11, "sample")])
@pytest.mark.parametrize("reach", [0.0, 0.01])
def test_a_level_of_mip_nerf_360_equals_the_reference(backend, rng, seed, jitter, reach):
    fenceposts, weights = make_histogram(backend, 63, 33, rng)
    histogram = exact(fenceposts, weights)
    if reach > 0:
        histogram = [x[:, 1:-1] for x in reference.dilate_histogram(*histogram, reach)]
    samples = reference.sample_histogram(*histogram, reference.sample_uniform(63, 20, seed, jitter), 0.0, 0.7)
    expected = reference.fenceposts_between(samples)
    found = ops.resample_mip_nerf_360(fenceposts, weights, 20, reach=reach, anneal=0.7, seed=seed, jitter=jitter)
    backend.assert_close(found, expected, "fenceposts")
    assert (found >= 0).all() and (found <= 1).all() and (found.diff(dim=1) >= 0).all()


def inverse_cdf(fenceposts, weights, u):
    """[R, n] by numpy's interpolation, which takes the right one of equal places: as nerf's and multinerf's code."""
    cdf = torch.nn.functional.pad(weights.cumsum(1) / weights.sum(1, keepdim=True), (1, 0))
    return torch.tensor(np.stack([np.interp(u, c, f) for c, f in zip(cdf.numpy(), fenceposts.numpy())]))


def test_the_outermost_fenceposts_of_mip_nerf_360_leave_the_dilated_histogram_but_not_the_domain(backend):
    even = torch.linspace(0.02, 0.98, 11, dtype=torch.float64).expand(3, -1)  # as a level before leaves it
    weights = torch.ones(3, 10, dtype=torch.float64)
    weights[0, 0] = weights[1, -1] = weights[2, 4] = 1.7
    for low, high in ((0.0, 1.0), (0.001, 0.999)):
        histogram = [x[:, 1:-1] for x in reference.dilate_histogram(even, weights, 0.03, low, high)]
        centres = inverse_cdf(*histogram, (np.arange(5) + 0.5) / 5)
        middle = (centres[:, 1:] + centres[:, :-1]) / 2
        first, last = 2 * centres[:, :1] - middle[:, :1], 2 * centres[:, -1:] - middle[:, -1:]
        expected = torch.cat([first.clamp(min=low), middle, last.clamp(max=high)], dim=1)
        found = ops.resample_mip_nerf_360(backend.tensor(even), backend.tensor(weights), 5, reach=0.03, low=low,
                                          high=high)
        backend.assert_close(found, expected, "fenceposts")
        assert expected[0, 0] < histogram[0][0, 0] - 5e-3
        assert expected[1, -1] > histogram[0][1, -1] + 5e-3


def test_ends_are_where_the_mass_begins_and_where_it_ends(backend):
    fenceposts = backend.tensor(torch.tensor([[0, 1, 2, 5, 7, 8, 10]] * 3).double() / 10)
    weights = backend.tensor([[0.0, 0.0, 1.0, 2.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0] * 6])
    expected = torch.tensor([[0.2, 0.55, 0.7], [0.0, 0.05, 0.1], [0.0, 0.5, 1.0]], dtype=torch.float64)
    found = ops.sample_histogram(fenceposts, weights, 3, ends=True)
    backend.assert_close(found, expected, "samples")
    u = reference.sample_uniform(3, 3, ends=True)
    backend.assert_close(reference.sample_histogram(*exact(fenceposts, weights), u), expected, "reference")
    below_one = inverse_cdf(*exact(fenceposts, weights), [0, 0.5, 1 - 2**-24])  # what the papers' code evaluates at
    assert (found.double().cpu() - below_one)[:, 1:].abs().max() < 1e-5


def test_without_a_seed_mip_nerf_samples_its_histogram_from_end_to_end(backend, rng):
    fenceposts, weights = make_histogram(backend, 7, 12, rng)
    found = ops.resample_mip_nerf(fenceposts, weights, 9)
    blurred = reference.blur_weights(*exact(weights), 0.01)
    backend.assert_close(found, inverse_cdf(*exact(fenceposts), blurred, np.linspace(0, 1, 10)), "fenceposts")
    backend.assert_close(found[:, [0, -1]], fenceposts[:, [0, -1]], "ends")


@pytest.mark.parametrize("spacing", ["linear", "disparity", "piecewise", "power-ladder"])
@pytest.mark.parametrize("rays", [0, 1, 63])
def test_spacings_equal_the_reference(backend, rng, spacing, rays):
    s = backend.tensor(torch.rand(rays, 20, generator=rng, dtype=torch.float64))
    near = backend.tensor(torch.rand(rays, generator=rng, dtype=torch.float64) + 0.3)
    far = near * 30
    t = ops.distance_from_normalised(s, near, far, spacing)
    backend.assert_close(t, reference.distance_from_normalised(*exact(s, near, far), spacing), "t")
    back = ops.normalised_from_distance(t, near, far, spacing)
    backend.assert_close(back, reference.normalised_from_distance(*exact(t, near, far), spacing), "s")


@pytest.mark.parametrize("power", [-1.5, -0.25, 0.5, 2.0])
def test_the_power_ladder_is_that_of_the_paper_and_has_its_inverse(backend, rng, power):
    x = backend.tensor(torch.rand(63, generator=rng, dtype=torch.float64) * 3)
    y = ops.power_ladder(x, power)
    backend.assert_close(y, reference.power_ladder(*exact(x), power), "y")
    backend.assert_close(x, reference.inverse_power_ladder(reference.power_ladder(*exact(x), power), power), "x")
    small = ops.power_ladder(backend.tensor([1e-3]), power)
    assert abs(float(small) - 1e-3) < 1e-5
    for limit in (0, 1):
        with pytest.raises(ValueError, match="power must be neither 0 nor 1"):
            ops.power_ladder(x, limit)


def test_merge_blur_and_dilation_equal_the_reference(backend, rng):
    fenceposts, weights = make_histogram(backend, 20, 12, rng)
    other, _ = make_histogram(backend, 20, 30, rng)
    assert torch.equal(ops.merge_sorted(fenceposts, other), torch.cat([fenceposts, other], dim=1).sort(dim=1)[0])
    backend.assert_close(ops.blur_weights(weights, 0.5), reference.blur_weights(*exact(weights), 0.5), "blur")
    for a, b in zip(ops.dilate_histogram(fenceposts, weights, 0.02, 0.1, 0.9),
                    reference.dilate_histogram(*exact(fenceposts, weights), 0.02, 0.1, 0.9)):
        backend.assert_close(a, b, "dilation")


def test_samples_depend_on_the_seed_and_carry_no_gradient(backend, rng):
    fenceposts, weights = make_histogram(backend, 20, 12, rng)
    a, b, c = (ops.sample_histogram(fenceposts, weights.requires_grad_(), 8, seed=s) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert not a.requires_grad


def test_numbers_that_are_none_and_lists_that_are_empty_lead_nowhere(backend):
    fenceposts = backend.tensor([[0.0, math.nan, 1.0], [math.nan] * 3, [1.0, 0.0, -1.0]])
    places, weights = ops.dilate_histogram(fenceposts, torch.ones_like(fenceposts[:, 1:]), 0.1)
    assert places.shape == (3, 7) and weights.shape == (3, 6)
    assert ops.blur_weights(backend.empty(4, 0)).shape == (4, 0)
    with pytest.raises(ValueError, match=r"weights must have fewer than 2\^31 numbers"):
        ops.blur_weights(backend.empty(1, 1).expand(2**16, 2**15))


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    fenceposts, weights = make_histogram(backend, 5, 4, rng)
    with pytest.raises(ValueError, match=r"fenceposts must have shape \(5, 5\)"):
        ops.sample_histogram(fenceposts[:, 1:], weights, 4)
    with pytest.raises(TypeError, match="fenceposts must be"):
        ops.sample_histogram(fenceposts.half(), weights, 4)
    with pytest.raises(ValueError, match="weights must have at least one column"):
        ops.sample_histogram(fenceposts, weights[:, :0], 4)
    with pytest.raises(ValueError, match="jitter must be one of sample, ray, got 'all'"):
        ops.sample_uniform(3, 4, like=weights, seed=1, jitter="all")
    with pytest.raises(ValueError, match="ends is for samples without a seed"):
        ops.sample_uniform(3, 4, like=weights, seed=1, ends=True)
    with pytest.raises(ValueError, match="rays and count must be at least 0"):
        ops.sample_uniform(-3, 4, like=weights)
    with pytest.raises(ValueError, match="padding and exponent must be at least 0"):
        ops.sample_histogram(fenceposts, weights, 4, padding=-1.0)
    with pytest.raises(ValueError, match="count must be at least 2"):
        ops.resample_mip_nerf_360(fenceposts, weights, 1, reach=0.1)
    with pytest.raises(ValueError, match="reach must be at least 0"):
        ops.dilate_histogram(fenceposts, weights, -0.1)
    with pytest.raises(ValueError, match="spacing must be one of linear, disparity, piecewise, power-ladder"):
        ops.distance_from_normalised(fenceposts, weights[:, 0], weights[:, 0], "cubic")
    with pytest.raises(ValueError, match="b must have shape"):
        ops.merge_sorted(fenceposts, weights[:2])
