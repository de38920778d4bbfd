"""Laws of the multisampling kernels, each on every backend."""

import math

import pytest
import torch

from taichi_nerf.reference import conical_frustum
from taichi_nerf.reference import multisampling as reference
from taichi_nerf_kernels import multisampling as kernels


def make_intervals(backend, rays, intervals, rng):
    step = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) * 0.2 + 0.02
    posts = step.cumsum(1)
    return [backend.tensor(x.reshape(-1)) for x in (posts[:, :-1], posts[:, 1:])]


def make_rays(backend, rays, rng):
    lines = [torch.randn(rays, 3, generator=rng, dtype=torch.float64) for _ in range(2)]
    radius = torch.rand(rays, generator=rng, dtype=torch.float64) * 0.05 + 0.001
    return [backend.tensor(x) for x in (*lines, radius)]


def packed(backend, *counts):
    count = torch.tensor(counts)
    return [backend.tensor(x, torch.int32) for x in (count.cumsum(0) - count, count)]


def points(backend, intervals, rays, pack, seed=None):
    positions, widths = (backend.empty(len(intervals[0]), *shape) for shape in ((6, 3), (6,)))
    kernels.multisampling_forward(*intervals, *rays, *pack, seed or 0, positions, widths, seed is not None)
    return positions, widths


@pytest.mark.parametrize("seed", [None, 4])
def test_the_points_have_the_mean_and_the_extent_of_the_frustum(backend, rng, seed):
    intervals, rays = make_intervals(backend, 40, 5, rng), make_rays(backend, 40, rng)
    positions, _ = points(backend, intervals, rays, packed(backend, *[5] * 40), seed)
    posts = torch.stack(intervals, dim=1).double()  # each interval a ray of its own
    origins, directions, radius = (x.repeat_interleave(5, 0).double() for x in rays)
    (mean,), (variance,) = (x.transpose(0, 1) for x in conical_frustum.frustum_gaussians(
        posts, origins, directions, radius))
    backend.assert_close(positions.mean(1), mean, "mean")
    positions = positions.double()
    backend.assert_close(positions.var(1, unbiased=False).sum(1), variance.sum(1), "trace")
    t = ((positions - origins[:, None]) * directions[:, None]).sum(2) / directions.square().sum(1, keepdim=True)
    t_variance = conical_frustum.frustum_moments(posts, radius)[1]
    backend.assert_close(t.var(1, unbiased=False), t_variance[:, 0], "t_variance")


def test_over_all_turns_the_points_have_the_covariance_of_the_frustum(backend):
    count = 20000
    intervals = [backend.tensor([1.0] * count), backend.tensor([2.0] * count)]
    rays = [backend.tensor(x) for x in ([[0.0, 0.0, 0.0]], [[1.0, 2.0, -2.0]], [0.5])]
    positions = points(backend, intervals, rays, packed(backend, count), 3)[0].view(-1, 3).double().cpu()
    d, radius = rays[1][0].double().cpu(), rays[2].double().cpu()
    _, t_variance, across = conical_frustum.frustum_moments(torch.tensor([[1.0, 2.0]], dtype=torch.float64), radius)
    expected = t_variance * d[:, None] * d + across * (torch.eye(3) - d[:, None] * d / d.square().sum())
    assert (positions.T.cov() - expected).abs().max() < 0.01 * expected.max()


def test_the_points_lie_on_the_cone_and_widths_are_half_of_their_distance_from_the_ray(backend, rng):
    intervals, (origins, directions, radius) = make_intervals(backend, 20, 4, rng), make_rays(backend, 20, rng)
    positions, widths = points(backend, intervals, (origins, directions, radius), packed(backend, *[4] * 20), 7)
    offset = (positions.view(20, 24, 3) - origins[:, None]).double()
    d = directions.double()[:, None]
    t = (offset * d).sum(2) / d.square().sum(2)
    distance = (offset - t[..., None] * d).norm(dim=2)
    backend.assert_close(distance, t * radius.double()[:, None] / 2**0.5, "distance")
    backend.assert_close(2 * widths.view(20, 24), distance, "widths")


def test_every_second_interval_is_reversed_and_turned_by_30_degrees(backend):
    one = [backend.tensor([1.0] * 3), backend.tensor([1.5] * 3)]
    rays = [backend.tensor(x) for x in ([[0.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]], [0.125])]
    positions, _ = points(backend, one, rays, packed(backend, 3))
    assert torch.equal(positions[0], positions[2])
    backend.assert_close(positions[1, :, 2], positions[0, :, 2].flip(0), "distances")
    first, second = (torch.atan2(*positions[n, :, :2].T.flip(0)) for n in (0, 1))
    turn = torch.remainder((second - first).double().cpu() + 0.1, 2 * math.pi) - 0.1
    assert (turn - math.pi / 6).abs().max() < 1e-5


def test_a_seed_turns_and_reverses_at_random(backend):
    count = 2000
    intervals = [backend.tensor([1.0] * count), backend.tensor([1.5] * count)]
    rays = [backend.tensor(x) for x in ([[0.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]], [0.125])]
    positions, _ = points(backend, intervals, rays, packed(backend, count), 3)
    again, _ = points(backend, intervals, rays, packed(backend, count), 3)
    other, _ = points(backend, intervals, rays, packed(backend, count), 4)
    assert torch.equal(positions, again) and not torch.equal(positions, other)
    reversed_ = positions[:, 0, 2] > positions[:, 5, 2]
    assert 0.45 < reversed_.double().mean() < 0.55
    for half in (reversed_, ~reversed_):
        angle = torch.atan2(positions[half][:, 0, 1], positions[half][:, 0, 0])
        assert (angle.double().cpu().cos().mean().abs() < 0.08) and (angle.double().cpu().sin().mean().abs() < 0.08)


@pytest.mark.parametrize("near", [0.0, 1e-9, 1e-5, 1e-3])
@pytest.mark.parametrize("pole", [-1.0, 1.0])
def test_axes_across_the_ray_are_right_near_the_z_axis_too(backend, near, pole):
    directions = torch.tensor([[near, 0.0, pole], [0.6 * near, -0.8 * near, pole]], dtype=torch.float64)
    given = [backend.tensor(x) for x in ([[0.0] * 3] * 2, directions, [1.0, 1.0])]
    intervals = [backend.tensor([1.0, 1.0]), backend.tensor([1.25, 1.25])]
    positions, _ = points(backend, intervals, given, packed(backend, 1, 1))
    exact, _ = reference.multisample_cones(*(x.double() for x in (*intervals, *given)))
    backend.assert_close(positions, exact, "positions")


def test_neighbouring_directions_have_neighbouring_points(backend, rng):
    directions = torch.randn(500, 3, generator=rng, dtype=torch.float64)
    directions[:, 2] = -directions[:, 2].abs()  # the half of them that is away from the one jump
    given = [backend.tensor(x) for x in (torch.zeros(500, 3), directions, torch.ones(500))]
    moved = [given[0], given[1] + 1e-3, given[2]]
    intervals = [backend.tensor(torch.full((500,), x)) for x in (1.0, 1.25)]
    pack = packed(backend, *[1] * 500)
    (a, _), (b, _) = points(backend, intervals, given, pack), points(backend, intervals, moved, pack)
    step = (a - b).norm(dim=2).amax(1) * given[1].norm(dim=1).clamp_max(1)
    assert step.max() < 1e-2


def test_short_and_long_intervals_stay_finite_and_right(backend):
    t_0 = torch.tensor([0.0, 0.0, 1000.0, 0.25, 1e3, 1e11], dtype=torch.float64)
    t_1 = torch.tensor([0.0, 2.0, 1000.0 + 2.0**-6, 1e6, 1e6, 1e12], dtype=torch.float64)
    intervals = [backend.tensor(x) for x in (t_0, t_1)]
    rays = [backend.tensor(x) for x in ([[0.0, 0.0, 0.0]], [[0.0, 0.0, -1.0]], [1e-3])]
    positions, widths = points(backend, intervals, rays, packed(backend, 6))
    gradients = [backend.empty(*shape) for shape in ((6,), (6,), (1, 3), (1, 3), (1,))]
    kernels.multisampling_backward(*intervals, *rays[1:], *packed(backend, 6), 0, positions[..., :] * 1e-12,
                                   widths * 1e-12, *gradients, False)
    assert all(torch.isfinite(x).all() for x in (positions, widths, *gradients))
    expected = reference.distances(t_0[1:], t_1[1:]).sort(dim=1)[0]
    found = (-positions[1:, :, 2]).double().cpu().sort(dim=1)[0]
    assert ((found - expected) / expected).abs().max() < (1e-9 if backend.dtype == torch.float64 else 1e-6)


def test_permuting_the_rays_permutes_outputs_and_gradients(backend, rng):
    intervals, rays = make_intervals(backend, 9, 4, rng), make_rays(backend, 9, rng)
    cotangents = [backend.tensor(torch.randn(9, 4, *shape, generator=rng)) for shape in ((6, 3), (6,))]

    def run(order):
        pack = packed(backend, *[4] * 9)
        given = [x.view(9, 4)[order].reshape(-1) for x in intervals]
        chosen = [x[order].contiguous() for x in rays]
        out = points(backend, given, chosen, pack)
        gradients = [torch.full_like(x, float("nan")) for x in (*given, *chosen)]
        kernels.multisampling_backward(*given, *chosen[1:], *pack, 0, *(c[order].flatten(0, 1) for c in cotangents),
                                       *gradients, False)
        return [x.view(9, -1) for x in (*out, *gradients)]

    order = torch.randperm(9, generator=rng).to(backend.device)
    for a, b in zip(run(torch.arange(9, device=backend.device)), run(order)):
        assert torch.equal(a[order], b)
