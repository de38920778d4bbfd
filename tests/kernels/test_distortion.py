"""Laws of the distortion kernels, each on every backend."""

from types import SimpleNamespace

import torch

from taichi_nerf.reference import distortion as reference
from taichi_nerf_kernels import distortion as kernels

COUNTS = [3, 0, 1, 17, 40, 0, 5]
INPUTS = ("weights", "midpoints", "lengths")


def make_rays(backend, counts, rng):
    count = torch.tensor(counts, dtype=torch.int32)
    lengths = torch.rand(int(count.sum()), generator=rng, dtype=torch.float64) * 0.1 + 0.01
    weights = torch.rand(len(lengths), generator=rng, dtype=torch.float64) / 10
    return SimpleNamespace(
        weights=backend.tensor(weights), midpoints=backend.tensor(lengths.cumsum(0) - lengths / 2),
        lengths=backend.tensor(lengths), ray_start=backend.tensor(count.cumsum(0) - count, torch.int32),
        ray_count=backend.tensor(count, torch.int32),
    )


def forward(backend, s):
    loss = backend.empty(len(s.ray_start))
    kernels.distortion_forward(*vars(s).values(), loss)
    return loss


def backward(backend, s, loss_gradient):
    gradients = [backend.empty(len(s.weights)) for _ in INPUTS]
    kernels.distortion_backward(*vars(s).values(), loss_gradient, *gradients)
    return gradients


def test_loss_and_gradients_equal_the_sum_over_pairs(backend, rng):
    s = make_rays(backend, COUNTS, rng)
    exact = [getattr(s, name).double().requires_grad_() for name in INPUTS]
    expected = reference.distortion_loss(*exact, s.ray_start, s.ray_count)
    backend.assert_close(forward(backend, s), expected, "loss")
    cotangent = backend.tensor(torch.randn(len(COUNTS), generator=rng))
    expected_gradients = torch.autograd.grad(expected, exact, cotangent.double())
    for name, actual, value in zip(INPUTS, backward(backend, s, cotangent), expected_gradients):
        backend.assert_close(actual, value, name)


def test_one_interval_costs_a_third_of_its_length(backend, rng):
    s = make_rays(backend, [1], rng)
    s.weights[:] = 1
    backend.assert_close(forward(backend, s), s.lengths / 3, "loss")


def test_splitting_an_interval_changes_nothing(backend, rng):
    whole = make_rays(backend, [9], rng)
    twice = SimpleNamespace(**{k: getattr(whole, k).repeat_interleave(2) for k in INPUTS},
                            ray_start=whole.ray_start, ray_count=whole.ray_count * 2)
    twice.weights, twice.lengths = twice.weights / 2, twice.lengths / 2
    side = backend.tensor(torch.tensor([-0.5, 0.5]).repeat(9))
    twice.midpoints = twice.midpoints + side * twice.lengths
    backend.assert_close(forward(backend, twice), forward(backend, whole), "loss")


def test_moving_the_ray_changes_nothing_far_away_either(backend, rng):
    s = make_rays(backend, COUNTS, rng)
    s.midpoints = torch.round(s.midpoints * 256) / 256  # moves by 1024 without rounding
    near = forward(backend, s)
    s.midpoints = s.midpoints + 1024
    backend.assert_close(forward(backend, s), near, "loss")


def test_spreading_the_weights_out_costs_more(backend, rng):
    s = make_rays(backend, [20], rng)
    near = forward(backend, s)
    s.midpoints = s.midpoints * 2
    assert forward(backend, s) > near


def test_permuting_the_rays_permutes_losses_and_not_the_gradients(backend, rng):
    s = make_rays(backend, COUNTS, rng)
    order = torch.randperm(len(COUNTS), generator=rng).to(backend.device)
    rays = {"ray_start": s.ray_start[order], "ray_count": s.ray_count[order]}
    shuffled = SimpleNamespace(**{**vars(s), **rays})
    cotangent = backend.tensor(torch.randn(len(COUNTS), generator=rng))
    assert torch.equal(forward(backend, shuffled), forward(backend, s)[order])
    for a, b in zip(backward(backend, s, cotangent), backward(backend, shuffled, cotangent[order])):
        assert torch.equal(a, b)


# Dense intervals


def make_intervals(backend, rays, intervals, rng):
    length = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) * 0.1 + 0.01
    weights = torch.rand(rays, intervals, generator=rng, dtype=torch.float64) / intervals
    return backend.tensor(weights), backend.tensor(length.cumsum(1))


def dense(backend, weights, fenceposts, cotangent):
    loss = backend.empty(len(weights))
    gradients = [torch.full_like(x, float("nan")) for x in (weights, fenceposts)]
    kernels.distortion_dense_forward(weights, fenceposts, loss)
    kernels.distortion_dense_backward(weights, fenceposts, cotangent, *gradients)
    return loss, *gradients


def test_dense_loss_and_gradients_are_those_of_packed_samples(backend, rng):
    weights, fenceposts = make_intervals(backend, 9, 20, rng)
    cotangent = backend.tensor(torch.randn(9, generator=rng))
    packed = SimpleNamespace(
        weights=weights.reshape(-1), midpoints=((fenceposts[:, 1:] + fenceposts[:, :-1]) / 2).reshape(-1),
        lengths=fenceposts.diff(dim=1).reshape(-1), ray_start=backend.tensor(range(0, 180, 20), torch.int32),
        ray_count=backend.tensor([20] * 9, torch.int32),
    )
    at_weights, at_middle, at_length = (g.reshape(9, 20) for g in backward(backend, packed, cotangent))
    at_posts = torch.zeros_like(fenceposts)
    at_posts[:, :-1] += at_middle / 2 - at_length
    at_posts[:, 1:] += at_middle / 2 + at_length
    loss, *gradients = dense(backend, weights, fenceposts, cotangent)
    backend.assert_close(loss, forward(backend, packed), "loss")
    for name, a, b in zip(("weights", "fenceposts"), gradients, (at_weights, at_posts)):
        backend.assert_close(a, b, name)


def test_moving_all_fenceposts_changes_nothing(backend, rng):
    weights, fenceposts = make_intervals(backend, 9, 20, rng)
    loss, _, at_posts = dense(backend, weights, fenceposts, backend.tensor(torch.ones(9)))
    backend.assert_close(at_posts.double().sum(1), torch.zeros(9), "sum of gradients", 1.0)
    assert (loss > 0).all()


def test_permuting_dense_rays_permutes_losses_and_gradients(backend, rng):
    weights, fenceposts = make_intervals(backend, 9, 20, rng)
    cotangent = backend.tensor(torch.randn(9, generator=rng))
    order = torch.randperm(9, generator=rng).to(backend.device)
    shuffled = [x[order].contiguous() for x in (weights, fenceposts, cotangent)]
    for a, b in zip(dense(backend, weights, fenceposts, cotangent), dense(backend, *shuffled)):
        assert torch.equal(a[order], b)
