"""The ray marching operation against the float64 reference, and its arguments."""

import math

import pytest
import torch

from taichi_nerf.ops.ray_marching import march_rays
from taichi_nerf.reference import occupancy_grid as grid_reference
from taichi_nerf.reference import ray_marching as reference

G = 16
OPTIONS = {"step_min": 0.013, "cone_angle": 1 / 50, "step_max": 0.05, "near": 0.1, "far": 1.6, "seed": 6}


def make_scene(backend, rays, rng, cascades=2):
    occupied = torch.rand(cascades, 4, 4, 4, generator=rng) < 0.3
    for axis in (1, 2, 3):
        occupied = occupied.repeat_interleave(G // 4, axis)
    x, y, z = grid_reference.morton_decode(torch.arange(G**3)).unbind(-1)
    words = (occupied[:, x, y, z].reshape(-1, 32).long() << torch.arange(32)).sum(1)
    bits = backend.tensor(words - ((words >> 31) << 32), torch.int32)
    origins = 1.4 * (torch.rand(rays, 3, generator=rng, dtype=torch.float64) - 0.5)
    origins[1::3] += 3  # behind these rays there is nothing
    directions = torch.nn.functional.normalize(
        torch.randn(rays, 3, generator=rng, dtype=torch.float64), dim=-1
    )
    directions[1::3] = directions[1::3].abs()
    rays = [backend.tensor(v).requires_grad_() for v in (origins, directions)]
    return rays, [v.detach().double().cpu().requires_grad_() for v in rays], bits, occupied


@pytest.mark.parametrize("rays", [0, 1, 63, 2000])
def test_samples_and_gradients_equal_the_reference(backend, rng, rays):
    given, exact, bits, occupied = make_scene(backend, rays, rng)
    samples = march_rays(*given, bits, resolution=G, cascades=2, **OPTIONS)
    positions, t, dt, ray_index, _, count = reference.march_rays(*exact, occupied, **OPTIONS)
    # In float32 a point on the face of a cell may fall on either side: in few rays.
    differing = samples.ray_count.cpu() != count
    assert differing.sum() <= (0 if backend.dtype == torch.float64 else 0.05 * rays)
    kept, expected_kept = ~differing[samples.ray_index.cpu().long()], ~differing[ray_index.long()]
    assert len(samples) == samples.ray_count.sum() and samples.ray_total == rays
    assert torch.equal(samples.ray_start, torch.cumsum(samples.ray_count, 0).int() - samples.ray_count)
    assert torch.equal(samples.ray_index.cpu()[kept], ray_index[expected_kept])
    for name, value in {"positions": positions, "t": t, "dt": dt}.items():
        backend.assert_close(getattr(samples, name).cpu()[kept], value[expected_kept], name)
    cotangent = torch.randn(len(samples), 3, generator=rng, dtype=torch.float64) * kept[:, None]
    expected_cotangent = torch.zeros_like(positions)
    expected_cotangent[expected_kept] = cotangent[kept]
    gradients = torch.autograd.grad(samples.positions, given, backend.tensor(cotangent))
    expected = torch.autograd.grad(positions, exact, expected_cotangent)
    for name, value, reference_value in zip(("origins", "directions"), gradients, expected):
        backend.assert_close(value, reference_value, f"gradient of {name}")
    if rays >= 63:
        assert (count == 0).any() and len(samples) > rays


def test_gradcheck_where_the_lattice_does_not_move(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("finite differences need float64")
    origins = 0.1 * torch.rand(4, 3, generator=rng, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(4, 3, generator=rng, dtype=torch.float64), dim=-1)
    bits = torch.full((G**3 // 32,), -1, dtype=torch.int32)

    def positions(o, d):
        return march_rays(
            o, d, bits, resolution=G, cascades=1, step_min=0.05, near=0.05, far=0.3, seed=2
        ).positions

    assert torch.autograd.gradcheck(positions, (origins.requires_grad_(), directions.requires_grad_()))


def test_placement_is_constant(backend, rng):
    given, _, bits, _ = make_scene(backend, 20, rng)
    samples = march_rays(*given, bits, resolution=G, cascades=2, **OPTIONS)
    assert samples.positions.requires_grad
    assert not samples.t.requires_grad and not samples.dt.requires_grad


def test_one_gradient_may_be_left_out(backend, rng):
    (origins, directions), _, bits, _ = make_scene(backend, 20, rng)
    samples = march_rays(origins, directions.detach(), bits, resolution=G, cascades=2, **OPTIONS)
    samples.positions.sum().backward()
    backend.assert_close(origins.grad, samples.ray_count[:, None].expand(20, 3))


@pytest.mark.parametrize("limit", [0, 1, 100, 10**6])
def test_the_sample_limit_keeps_the_first_samples(backend, rng, limit):
    given, _, bits, _ = make_scene(backend, 60, rng)
    everything = march_rays(*given, bits, resolution=G, cascades=2, **OPTIONS)
    limited = march_rays(*given, bits, resolution=G, cascades=2, sample_limit=limit, **OPTIONS)
    assert len(everything) > 100
    for name in ("positions", "t", "dt", "ray_index"):
        assert torch.equal(getattr(limited, name), getattr(everything, name)[:limit])
    assert limited.ray_count.sum() == min(limit, len(everything))
    assert (limited.ray_start + limited.ray_count <= limit).all()


def test_the_same_call_gives_the_same_samples(backend, rng):
    given, _, bits, _ = make_scene(backend, 500, rng)
    first, second = (march_rays(*given, bits, resolution=G, cascades=2, **OPTIONS) for _ in range(2))
    for name in ("positions", "t", "dt", "ray_index", "ray_start", "ray_count"):
        assert torch.equal(getattr(first, name), getattr(second, name))


NOT_A_RAY = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", NOT_A_RAY)
def test_a_ray_that_is_not_finite_has_no_samples_and_leaves_the_others_alone(backend, rng, value):
    given, _, bits, occupied = make_scene(backend, 20, rng)
    alone = march_rays(*given, bits, resolution=G, cascades=2, **OPTIONS)
    spoilt = [x.detach().clone() for x in given]
    assert alone.ray_count[3] > 0 and alone.ray_count[9] > 0
    spoilt[0][3, 1] = spoilt[1][9, 2] = value
    spoilt = [x.requires_grad_() for x in spoilt]
    found = march_rays(*spoilt, bits, resolution=G, cascades=2, **OPTIONS)
    expected = alone.ray_count.clone()
    expected[[3, 9]] = 0
    assert torch.equal(found.ray_count, expected)
    *_, count = reference.march_rays(*(x.detach().double().cpu() for x in spoilt), occupied, **OPTIONS)
    assert (count != expected.cpu()).sum() <= (0 if backend.dtype == torch.float64 else 1)
    for gradient in torch.autograd.grad(found.positions.sum(), spoilt):
        assert torch.isfinite(gradient).all() and not gradient[[3, 9]].any()


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-6, 1e30])
def test_a_direction_of_any_length_is_followed_for_a_while_at_most(backend, rng, length):
    given, _, bits, _ = make_scene(backend, 50, rng)
    directions = given[1].detach() * length
    samples = march_rays(given[0].detach(), directions, bits, resolution=G, cascades=2, step_min=1e-4, cone_angle=0.0)
    assert (samples.ray_count >= 0).all() and torch.isfinite(samples.t).all()


def test_bad_arguments_raise(backend, rng):
    (origins, directions), _, bits, _ = make_scene(backend, 5, rng)

    def march(o=origins, d=directions, b=bits, **options):
        return march_rays(o, d, b, **{"resolution": G, "cascades": 2, "step_min": 0.01, **options})

    march()
    with pytest.raises(ValueError, match="directions must have shape"):
        march(d=directions[:3])
    with pytest.raises(TypeError, match="origins must be float32 or float64"):
        march(o=origins.detach().int())
    with pytest.raises(TypeError, match=r"bits must be torch\.int32"):
        march(b=bits.long())
    with pytest.raises(ValueError, match="bits must have shape"):
        march(cascades=1)
    for name, options in {
        "resolution": {"resolution": 100},
        "step_min": {"step_min": 0.0},
        "step_max": {"step_max": 0.001},
        "cone_angle": {"cone_angle": -0.1},
        "near": {"near": 2.0, "far": 1.0},
        "max_samples": {"max_samples": 0},
        "sample_limit": {"sample_limit": -1},
    }.items():
        with pytest.raises(ValueError, match=name):
            march(**options)
    for name in ("step_min", "step_max", "near", "far"):
        with pytest.raises(ValueError, match=name):
            march(**{name: math.nan})
