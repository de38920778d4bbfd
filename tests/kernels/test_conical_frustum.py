"""Laws of the conical frustum kernels, each on every backend."""

import pytest
import torch

from taichi_nerf.reference import conical_frustum as reference
from taichi_nerf_kernels import conical_frustum as kernels

SHAPES = {"cone": kernels.CONE, "cylinder": kernels.CYLINDER}


def moments(backend, fenceposts, radius, shape="cone"):
    out = [backend.empty(len(fenceposts), fenceposts.shape[1] - 1) for _ in range(3)]
    kernels.moments_forward(fenceposts, radius, *out, SHAPES[shape])
    return out


def make_rays(backend, rays, intervals, rng):
    step = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) * 0.2 + 0.02
    radius = torch.rand(rays, generator=rng, dtype=torch.float64) * 0.05 + 0.001
    return backend.tensor(step.cumsum(1)), backend.tensor(radius)


def make_lines(backend, rays, rng):
    return [backend.tensor(torch.randn(rays, 3, generator=rng, dtype=torch.float64)) for _ in range(2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_equal_those_of_the_solid(backend, rng, shape):
    fenceposts, radius = make_rays(backend, 63, 7, rng)
    expected = reference.frustum_moments(fenceposts.double(), radius.double(), shape)
    for name, a, b in zip(("t_mean", "t_variance", "radial_variance"), moments(backend, fenceposts, radius, shape),
                          expected):
        backend.assert_close(a, b, name)


def test_a_cone_from_its_tip_has_the_moments_of_a_cone(backend):
    t_mean, t_variance, radial = moments(backend, backend.tensor([[0.0, 2.0]]), backend.tensor([0.125]))
    found = torch.cat([t_mean, t_variance, radial * 64], dim=1)[0]
    # 3/4 of the height, 3/80 of its square, 3/20 of the square of the radius at the base
    backend.assert_close(found, torch.tensor([1.5, 0.15, 0.6], dtype=torch.float64), "moments")


def test_an_interval_of_length_zero_is_a_disc(backend):
    fenceposts = backend.tensor([[0.0, 0.0, 3.0, 3.0]])
    t_mean, t_variance, radial = moments(backend, fenceposts, backend.tensor([0.125]))
    assert t_mean[0, [0, 2]].tolist() == [0.0, 3.0] and t_variance[0, [0, 2]].tolist() == [0.0, 0.0]
    backend.assert_close(radial[0, 2], torch.tensor(0.125**2 * 9 / 4, dtype=torch.float64), "radial_variance")


def test_short_intervals_far_away_lose_no_digits(backend):
    """Where the textbook formula in float32 gives a negative variance."""
    start = torch.tensor([1.0, 30.0, 1000.0], dtype=torch.float64)
    fenceposts = backend.tensor(torch.stack([start, start + 2.0**-6], dim=1))
    _, t_variance, _ = moments(backend, fenceposts, backend.tensor([0.01] * 3))
    # With m the middle: h^2 / 3 - (16 / 45) h^4 / m^2 + O(h^6), whose last term is below 1e-13 here.
    h, m = 2.0**-7, start + 2.0**-7
    expected = h**2 / 3 - 4 / 15 * h**4 * (12 * m**2 - h**2) / (3 * m**2 + h**2) ** 2
    backend.assert_close(t_variance[:, 0], expected, "t_variance")
    if backend.dtype == torch.float32:
        naive = reference.frustum_moments(fenceposts.float(), torch.full((3,), 0.01, device=backend.device))[1]
        assert (naive[:, 0].cpu() - expected).abs().max() > 0.1 * expected.max()


def test_very_long_intervals_stay_finite(backend):
    fenceposts = backend.tensor([[0.2, 1e6, 1e12]])
    out = moments(backend, fenceposts, backend.tensor([1e-3]))
    gradient = backend.empty(1, 3), backend.empty(1)
    kernels.moments_backward(fenceposts, backend.tensor([1e-3]), *out, *gradient, kernels.CONE)
    assert all(torch.isfinite(x).all() for x in (*out, *gradient[:1]))
    assert (out[1] > 0).all()


def test_scaling_the_ray_scales_the_moments(backend, rng):
    fenceposts, radius = make_rays(backend, 20, 4, rng)
    small, large = moments(backend, fenceposts, radius), moments(backend, fenceposts * 8, radius)
    for power, a, b in zip((1, 2, 2), small, large):
        assert torch.equal(b, a * 8.0**power)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gaussians_diagonal_has_the_trace_of_its_moments(backend, rng, shape):
    fenceposts, radius = make_rays(backend, 63, 5, rng)
    origins, directions = make_lines(backend, 63, rng)
    mean, variance = backend.empty(63, 5, 3), backend.empty(63, 5, 3)
    kernels.gaussians_forward(fenceposts, origins, directions, radius, mean, variance, SHAPES[shape])
    t_mean, t_variance, radial = moments(backend, fenceposts, radius, shape)
    square = directions.square().sum(1, keepdim=True)
    backend.assert_close(variance.sum(2), t_variance * square + 2 * radial, "trace")
    along = ((mean - origins[:, None]) * directions[:, None]).sum(2) / square
    backend.assert_close(along, t_mean, "t_mean")


def test_permuting_the_rays_permutes_outputs_and_gradients(backend, rng):
    fenceposts, radius = make_rays(backend, 9, 5, rng)
    origins, directions = make_lines(backend, 9, rng)
    cotangents = [backend.tensor(torch.randn(9, 5, 3, generator=rng)) for _ in range(2)]

    def run(order):
        given = [x[order].contiguous() for x in (fenceposts, origins, directions, radius)]
        out = [backend.empty(9, 5, 3), backend.empty(9, 5, 3)]
        kernels.gaussians_forward(*given, *out, kernels.CONE)
        gradient = [torch.full_like(x, float("nan")) for x in given]
        kernels.gaussians_backward(given[0], *given[2:], *(c[order].contiguous() for c in cotangents), *gradient,
                                   kernels.CONE)
        return [*out, *gradient]

    order = torch.randperm(9, generator=rng).to(backend.device)
    for a, b in zip(run(torch.arange(9, device=backend.device)), run(order)):
        assert torch.equal(a[order], b)


def test_the_radius_of_a_pinhole_in_the_middle_is_that_of_the_paper(backend):
    cameras = [backend.tensor([[50.0, 50.0]]), backend.tensor([[8.0, 6.0]]), backend.tensor([[0.0] * 6]),
               backend.tensor([0], torch.int32)]
    radius = backend.empty(2)
    pixel = backend.tensor([[8.0, 6.0], [58.0, 6.0]])  # the second 45 degrees off the axis
    kernels.cone_radius_forward(backend.tensor([0, 0], torch.int32), pixel, *cameras, radius)
    expected = torch.tensor([1.0, 0.5**0.5], dtype=torch.float64) * 2 / 12**0.5 / 50
    backend.assert_close(radius, expected, "radius")
