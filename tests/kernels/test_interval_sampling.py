"""Laws of the sampling kernels, each on every backend."""

import pytest
import torch

from taichi_nerf.reference import interval_sampling as reference
from taichi_nerf_kernels import interval_sampling as kernels

SPACINGS = {"linear": kernels.LINEAR, "disparity": kernels.DISPARITY, "piecewise": kernels.PIECEWISE,
            "power-ladder": kernels.POWER_LADDER}
MODES = (kernels.CENTRE, kernels.ENDS, kernels.JITTERED, kernels.JITTERED_RAY)


def make_histogram(backend, rays, intervals, rng):
    length = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) + 0.1
    fenceposts = length.cumsum(1)
    fenceposts = (fenceposts - fenceposts[:, :1]) / (fenceposts[:, -1:] - fenceposts[:, :1])
    weights = torch.rand(rays, intervals, generator=rng, dtype=torch.float64)
    return backend.tensor(fenceposts), backend.tensor(weights / weights.sum(1, keepdim=True))


def sample(backend, fenceposts, weights, count, mode=kernels.CENTRE, padding=0.0, exponent=1.0, seed=3, between=False):
    samples = backend.empty(len(weights), count + int(between))
    kernels.sample_histogram(fenceposts, weights, padding, exponent, seed, 0.0, 1.0, samples, mode, between)
    return samples


def uniform(backend, rays, count, mode, seed=3):
    samples = backend.empty(rays, count)
    kernels.sample_uniform(seed, samples, mode)
    return samples


@pytest.mark.parametrize("spacing", SPACINGS)
def test_normalised_distances_run_from_near_to_far_and_back(backend, rng, spacing):
    s = backend.tensor(torch.rand(40, 30, generator=rng, dtype=torch.float64).sort(dim=1)[0])
    s[:, 0], s[:, -1] = 0, 1
    near = backend.tensor(torch.rand(40, generator=rng, dtype=torch.float64) + 0.2)
    far = near * 50
    t, back = torch.full_like(s, float("nan")), torch.full_like(s, float("nan"))
    kernels.to_distance(s, near, far, t, SPACINGS[spacing])
    kernels.to_normalised(t, near, far, back, SPACINGS[spacing])
    assert torch.equal(t[:, 0], near) and torch.equal(t[:, -1], far)
    assert (t.diff(dim=1) >= 0).all()
    backend.assert_close(back, s, "s")


def test_disparity_reaches_a_million_and_piecewise_starts_at_zero(backend):
    s, near, far = backend.tensor([[0.0, 0.5, 1.0]]), backend.tensor([0.25]), backend.tensor([1e6])
    t = torch.full_like(s, float("nan"))
    kernels.to_distance(s, near, far, t, kernels.DISPARITY)
    backend.assert_close(t[0, :2], torch.tensor([0.25, 2 / (4 + 1e-6)], dtype=torch.float64), "t")
    assert t[0, 2] == 1e6
    kernels.to_distance(s, near * 0, far, t, kernels.PIECEWISE)
    assert t[0, 0] == 0 and 0.9 < t[0, 1] < 1.1 and t[0, 2] == 1e6


def test_the_power_ladder_is_even_near_by_and_tells_far_distances_apart(backend):
    near, far = backend.tensor([0.0]), backend.tensor([1e6])
    s = backend.tensor([[0.0, 2**-10, 2**-9, 1 - 2**-9, 1 - 2**-12, 1.0]])
    t = torch.full_like(s, float("nan"))
    kernels.to_distance(s, near, far, t, kernels.POWER_LADDER)
    assert t[0, 0] == 0 and 1.99 < t[0, 2] / t[0, 1] < 2.01 and t[0, 5] == 1e6
    # far away 1 - s falls with the power -3/2 of the distance: an eighth of it lies four times as far
    rung = 1 + 0.8 * t[0, 3:5].double()
    assert abs(rung[1] / rung[0] - 4) < 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_samples_are_sorted_and_inside_the_support(backend, rng, mode):
    fenceposts, weights = make_histogram(backend, 50, 30, rng)
    weights = weights * (weights > 0.03)  # with gaps
    for samples in (sample(backend, fenceposts, weights, 64, mode),
                    sample(backend, fenceposts, weights, 64, mode, between=True)):
        assert (samples.diff(dim=1) >= 0).all()
        assert (samples >= fenceposts[:, :1]).all() and (samples <= fenceposts[:, -1:]).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_uniform_histogram_gives_uniform_samples(backend, mode):
    fenceposts = backend.tensor(torch.linspace(0, 1, 17, dtype=torch.float64)).repeat(63, 1)
    samples = sample(backend, fenceposts, torch.ones_like(fenceposts[:, 1:]) / 16, 40, mode)
    backend.assert_close(samples, uniform(backend, 63, 40, mode), "samples")


@pytest.mark.parametrize("mode", [kernels.CENTRE, kernels.JITTERED, kernels.JITTERED_RAY])
def test_each_part_of_the_unit_interval_gets_one_sample(backend, mode):
    part = torch.floor(uniform(backend, 100, 33, mode).double() * 33 + 1e-9)
    assert torch.equal(part.cpu(), torch.arange(33).double().expand(100, 33))


def test_one_jitter_per_ray_moves_its_samples_together(backend):
    single, own = (uniform(backend, 500, 16, m).double() for m in (kernels.JITTERED_RAY, kernels.JITTERED))
    assert (single.diff(dim=1) - 1 / 16).abs().max() < 1e-6
    assert (own.diff(dim=1) - 1 / 16).abs().max() > 0.05
    for samples in (single, own):
        assert abs((samples[:, 0] * 16).mean() - 0.5) < 0.05 and abs((samples[:, 0] * 16).var() - 1 / 12) < 0.02


@pytest.mark.parametrize("mode", [kernels.JITTERED, kernels.JITTERED_RAY])
def test_samples_are_unbiased(backend, rng, mode):
    """Over many rays the share of the samples in an interval is its weight: within four standard deviations."""
    fenceposts, weights = (x.expand(4000, -1).contiguous() for x in make_histogram(backend, 1, 12, rng))
    samples = sample(backend, fenceposts, weights, 5, mode)
    edges = fenceposts[0].double().cpu()
    counts = torch.histogram(samples.double().cpu().flatten(), edges)[0] / samples.numel()
    expected = weights[0].double().cpu()
    deviation = (expected * (1 - expected) / (4000 if mode == kernels.JITTERED_RAY else 20000)).sqrt()
    assert ((counts - expected).abs() < 4 * deviation).all()


@pytest.mark.parametrize("padding, exponent", [(0.0, 1.0), (1e-2, 1.0), (0.0, 0.4), (0.0, 0.0)])
@pytest.mark.parametrize("mode", MODES)
def test_samples_equal_those_of_searchsorted(backend, rng, mode, padding, exponent):
    fenceposts, weights = make_histogram(backend, 63, 30, rng)
    weights[:, 5] = 0
    u = uniform(backend, 63, 40, mode).double().cpu()
    expected = reference.sample_histogram(fenceposts.double().cpu(), weights.double().cpu(), u, padding, exponent)
    if padding == 0:  # at the edge of a gap the two may stand on either side
        edges = fenceposts[:, 5:7].double().cpu()
        keep = ((expected[:, :, None] - edges[:, None]).abs() > 1e-4).all(dim=2)
    else:
        keep = torch.ones_like(expected, dtype=torch.bool)
    assert keep.double().mean() > 0.95
    found = sample(backend, fenceposts, weights, 40, mode, padding, exponent).double().cpu()
    backend.assert_close(found[keep], expected[keep], "samples")


def test_an_interval_without_mass_or_length_gets_no_sample(backend):
    fenceposts = backend.tensor([[0.0, 0.25, 0.5, 0.5, 1.0]])
    samples = sample(backend, fenceposts, backend.tensor([[0.5, 0.0, 3.0, 0.5]]), 64)
    assert (samples <= 0.25).sum() == 32 and (samples >= 0.5).sum() == 32
    assert samples[0, -32] > 0.5


def test_a_ray_without_mass_is_sampled_evenly(backend):
    fenceposts = backend.tensor([[0.0, 0.1, 1.0]])
    found = sample(backend, fenceposts, torch.zeros_like(fenceposts[:, 1:]), 32)
    backend.assert_close(found, uniform(backend, 1, 32, kernels.CENTRE), "samples")


def test_annealing_goes_from_even_to_the_weights_themselves(backend, rng):
    fenceposts = backend.tensor(torch.linspace(0, 1, 17, dtype=torch.float64)).repeat(9, 1)
    _, weights = make_histogram(backend, 9, 16, rng)
    backend.assert_close(sample(backend, fenceposts, weights, 20, exponent=0.0),
                         uniform(backend, 9, 20, kernels.CENTRE), "exponent 0")
    assert torch.equal(sample(backend, fenceposts, weights, 20, exponent=1.0),
                       sample(backend, fenceposts, weights, 20))


def test_fenceposts_lie_half_way_between_the_samples(backend, rng):
    fenceposts, weights = make_histogram(backend, 20, 10, rng)
    found = sample(backend, fenceposts, weights, 12, kernels.JITTERED_RAY, between=True)
    samples = sample(backend, fenceposts, weights, 12, kernels.JITTERED_RAY).double()
    backend.assert_close(found, reference.fenceposts_between(samples), "fenceposts")


@pytest.mark.parametrize("a, b", [(0, 0), (0, 5), (5, 0), (1, 1), (64, 128)])
def test_merging_equals_sorting(backend, rng, a, b):
    lists = [backend.tensor(torch.rand(21, n, generator=rng, dtype=torch.float64).sort(dim=1)[0]) for n in (a, b)]
    if a and b:
        lists[0][:, 0] = lists[1][:, 0]  # a tie
        lists[0] = lists[0].sort(dim=1)[0]
    merged = backend.empty(21, a + b)
    kernels.merge_sorted(*lists, merged)
    assert torch.equal(merged, torch.cat(lists, dim=1).sort(dim=1)[0])


def test_blurring_equals_the_formula_and_covers_the_weights(backend, rng):
    _, weights = make_histogram(backend, 20, 33, rng)
    blurred = torch.full_like(weights, float("nan"))
    kernels.blur(weights, 0.01, blurred)
    backend.assert_close(blurred, reference.blur_weights(weights.double(), 0.01), "weights")
    assert (blurred > weights).all()


def dilate(backend, fenceposts, weights, reach, low=0.0, high=1.0):
    rays, intervals = weights.shape
    queue = torch.full((rays, intervals), -7, dtype=torch.int32, device=backend.device)
    out = backend.empty(rays, 3 * intervals + 1), backend.empty(rays, 3 * intervals)
    kernels.dilate(fenceposts, weights, reach, low, high, queue, *out)
    return out


@pytest.mark.parametrize("reach", [0.003, 0.05, 0.4, 3.0])
@pytest.mark.parametrize("intervals", [1, 2, 31])
def test_dilating_equals_the_maximum_over_all_intervals(backend, rng, intervals, reach):
    histogram = make_histogram(backend, 40, intervals, rng)
    expected = reference.dilate_histogram(*(x.double() for x in histogram), reach)
    for name, a, b in zip(("fenceposts", "weights"), dilate(backend, *histogram, reach), expected):
        backend.assert_close(a, b, name)


def test_a_dilated_histogram_has_mass_one_and_bounds_the_old_one_in_density(backend, rng):
    fenceposts, weights = make_histogram(backend, 30, 20, rng)
    new_fenceposts, new_weights = dilate(backend, fenceposts, weights, 0.02)
    backend.assert_close(new_weights.sum(1), torch.ones(30), "mass")
    assert (new_fenceposts.diff(dim=1) >= 0).all() and (new_weights >= 0).all()
    old, new = (w.double() / f.double().diff(dim=1) for f, w in ((fenceposts, weights), (new_fenceposts, new_weights)))
    # Relative to the highest density, which dilation keeps, no place is less dense than before.
    middle = (new_fenceposts[:, 1:] + new_fenceposts[:, :-1]) / 2
    index = (torch.searchsorted(fenceposts, middle.contiguous(), right=True) - 1).clamp(0, 19)
    before = old.gather(1, index) / old.amax(1, keepdim=True)
    wide = new_fenceposts.diff(dim=1) > 1e-4
    after = torch.where(wide, new, 0.0) / torch.where(wide, new, 0.0).amax(1, keepdim=True)
    assert ((after - before)[wide] > -2e-3).all()


def test_without_reach_dilating_changes_only_the_fenceposts(backend, rng):
    fenceposts, weights = make_histogram(backend, 20, 15, rng)
    new_fenceposts, new_weights = dilate(backend, fenceposts, weights, 0.0)
    a = sample(backend, new_fenceposts, new_weights, 50)
    backend.assert_close(a, sample(backend, fenceposts, weights, 50), "samples")


def test_permuting_the_rays_permutes_the_results(backend, rng):
    fenceposts, weights = make_histogram(backend, 15, 20, rng)
    order = torch.randperm(15, generator=rng).to(backend.device)
    shuffled = fenceposts[order].contiguous(), weights[order].contiguous()
    assert torch.equal(sample(backend, *shuffled, 20), sample(backend, fenceposts, weights, 20)[order])
    for a, b in zip(dilate(backend, *shuffled, 0.05), dilate(backend, fenceposts, weights, 0.05)):
        assert torch.equal(a, b[order])
