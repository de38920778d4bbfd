"""Laws of the ray marching kernels, each on every backend."""

import math

import pytest
import torch

from taichi_nerf.reference import occupancy_grid as grid_reference
from taichi_nerf.reference import ray_marching as reference
from taichi_nerf_kernels import ray_marching as kernels
from taichi_nerf_kernels.engine import ti

G = 32


def make_bits(occupied):
    """Dense [C, G, G, G] bool -> words [C * G^3 / 32] int32."""
    size = occupied.shape[1]
    x, y, z = grid_reference.morton_decode(torch.arange(size**3)).unbind(-1)
    words = (occupied[:, x, y, z].reshape(-1, 32).long() << torch.arange(32)).sum(1)
    return (words - ((words >> 31) << 32)).int()


def make_occupancy(kind, cascades, rng, size=G):
    """[C, G, G, G]: all, none, single cells, or a few solid cubes; cascades are independent."""
    if kind in ("full", "empty"):
        return torch.full((cascades, size, size, size), kind == "full")
    if kind == "cells":
        return torch.rand(cascades, size, size, size, generator=rng) < 0.003
    coarse = torch.rand(cascades, 8, 8, 8, generator=rng) < 0.04
    return (
        coarse.repeat_interleave(size // 8, 1).repeat_interleave(size // 8, 2).repeat_interleave(size // 8, 3)
    )


def make_rays(backend, count, cascades, rng):
    """Rays from inside and outside, in the backend's precision; a few are parallel to an axis or miss."""
    half = 0.5 * 2 ** (cascades - 1)
    origins = 1.6 * half * (2 * torch.rand(count, 3, generator=rng, dtype=torch.float64) - 1)
    aims = 0.9 * half * (2 * torch.rand(count, 3, generator=rng, dtype=torch.float64) - 1)
    directions = (aims - origins) / (aims - origins).norm(dim=-1, keepdim=True)
    directions[1:7] = torch.cat([torch.eye(3), -torch.eye(3)])[: max(0, min(6, count - 1))]
    directions[8:12] = -directions[8:12]
    return tuple(backend.tensor(x).double() for x in (origins, directions))


def march(
    backend,
    origins,
    directions,
    bits,
    cascades,
    *,
    step_min,
    step_max=1e10,
    cone=0.0,
    near=0.0,
    far=1e10,
    max_samples=1024,
    seed=None,
    runs=8,
    size=G,
):
    rays = len(origins)
    origins, directions = backend.tensor(origins).contiguous(), backend.tensor(directions).contiguous()
    bits = backend.tensor(bits, torch.int32)

    def integers(*shape):
        return backend.tensor(torch.full(shape, -7), torch.int32)

    lattice = (
        size,
        cascades,
        cone,
        math.log1p(cone),
        step_min,
        step_max,
        near,
        far,
        -1 if seed is None else seed,
    )
    count, recorded, blocks = integers(rays), integers(rays, 2 * runs), integers(len(bits) // 64 + 6)
    kernels.march_count(origins, directions, bits, blocks, *lattice, max_samples, count, recorded)
    start = torch.cumsum(count, 0, dtype=torch.int32) - count
    total = int(count.sum())
    positions, t, dt, ray_index = (
        backend.empty(total, 3),
        backend.empty(total),
        backend.empty(total),
        integers(total),
    )
    kernels.fill_samples(
        origins, directions, bits, blocks, *lattice, recorded, start, count, positions, t, dt, ray_index
    )
    return positions, t, dt, ray_index.cpu(), start.cpu(), count.cpu()


def assert_same_samples(backend, actual, expected):
    """Equal sample for sample in f64. In f32 few rays may differ: a point on a face falls on either side."""
    positions, t, dt, ray_index, start, count = actual
    differing = count != expected[5]
    if backend.dtype == torch.float64:
        assert not differing.any()
    assert differing.sum() <= 0.05 * len(count)
    assert torch.equal(start, torch.cumsum(count, 0).int() - count)
    assert torch.equal(ray_index, torch.repeat_interleave(torch.arange(len(count)), count.long()).int())
    keep, expected_keep = ~differing[ray_index.long()], ~differing[expected[3].long()]
    for name, values, exact in zip(("positions", "t", "dt"), (positions, t, dt), expected):
        backend.assert_close(values.cpu()[keep], exact[expected_keep], name)


CASES = {
    "equal steps": (1, {"step_min": math.sqrt(3) / 300}),
    "cascades, equal steps": (3, {"step_min": math.sqrt(3) / 300}),
    "cascades, growing steps": (3, {"step_min": math.sqrt(3) / 300, "cone": 1 / 40, "seed": 8}),
    "bounded steps": (4, {"step_min": math.sqrt(3) / 400, "cone": 1 / 50, "step_max": 0.04, "seed": 8}),
    "near and far": (2, {"step_min": 0.011, "near": 0.21, "far": 1.3, "seed": 1}),
    "few samples": (1, {"step_min": 0.007, "max_samples": 5, "seed": 2}),
    "steps wider than cells": (3, {"step_min": 0.09, "seed": 3}),
}


@pytest.mark.parametrize("kind", ["full", "empty", "cells", "cubes"])
@pytest.mark.parametrize("cascades, options", CASES.values(), ids=CASES.keys())
def test_skipping_empty_space_changes_no_sample(backend, rng, kind, cascades, options):
    occupied = make_occupancy(kind, cascades, rng)
    origins, directions = make_rays(backend, 200, cascades, rng)
    actual = march(backend, origins, directions, make_bits(occupied), cascades, **options)
    named = {("cone_angle" if k == "cone" else k): v for k, v in options.items()}
    expected = reference.march_rays(origins.cpu(), directions.cpu(), occupied, **named)
    assert_same_samples(backend, actual, expected)
    assert (len(expected[1]) > 0) == (kind != "empty")


@pytest.mark.parametrize("size", [16, 64, 128])
def test_every_resolution_marches_alike(backend, rng, size):
    occupied = make_occupancy("cells" if size == 16 else "cubes", 2, rng, size)
    origins, directions = make_rays(backend, 100, 2, rng)
    options = {"step_min": 0.02, "seed": 5}
    actual = march(backend, origins, directions, make_bits(occupied), 2, size=size, cone=0.02, **options)
    expected = reference.march_rays(origins.cpu(), directions.cpu(), occupied, cone_angle=0.02, **options)
    assert_same_samples(backend, actual, expected)


@pytest.mark.parametrize("runs", [0, 1, 3])
def test_marching_on_after_the_recorded_runs_finds_the_same_samples(backend, rng, runs):
    bits = make_bits(make_occupancy("cubes", 2, rng) | make_occupancy("cells", 2, rng))
    origins, directions = make_rays(backend, 150, 2, rng)
    options = {"step_min": 0.003, "seed": 4}
    few = march(backend, origins, directions, bits, 2, runs=runs, **options)
    many = march(backend, origins, directions, bits, 2, runs=200, **options)
    for a, b in zip(few, many):
        assert torch.equal(a, b)


def test_shuffled_rays_give_shuffled_samples(backend, rng):
    bits = make_bits(make_occupancy("cubes", 1, rng))
    origins, directions = make_rays(backend, 80, 1, rng)
    order = torch.randperm(80, generator=rng)
    _, t, _, _, _, count = march(backend, origins, directions, bits, 1, step_min=0.01)
    _, shuffled_t, _, _, _, shuffled_count = march(
        backend, origins[order], directions[order], bits, 1, step_min=0.01
    )
    assert torch.equal(shuffled_count, count[order])
    parts = torch.split(t, count.tolist())
    assert torch.equal(shuffled_t, torch.cat([parts[r] for r in order]))


def test_intervals_of_a_full_grid_abut(backend, rng):
    origins, directions = make_rays(backend, 50, 1, rng)
    bits = make_bits(make_occupancy("full", 1, rng))
    _, t, dt, ray_index, _, _ = march(backend, origins, directions, bits, 1, step_min=0.01, cone=0.02, seed=1)
    ends, starts = t + 0.5 * dt, t - 0.5 * dt
    same_ray = (ray_index[1:] == ray_index[:-1]).to(t.device)
    # The one step across the place where steps begin to grow is a little shorter than its interval.
    gap = (starts[1:] - ends[:-1])[same_ray] / dt[:-1][same_ray]
    assert same_ray.sum() > 1000
    assert gap.abs().max() < 0.02 and (gap.abs() > 1e-3).sum() <= 50


def test_jitter_is_the_same_for_a_seed_and_spread_over_a_step(backend):
    origins = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64).expand(2000, 3)
    directions = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64).expand(2000, 3)
    bits = make_bits(torch.ones(1, G, G, G, dtype=torch.bool))

    def first_t(seed):
        _, t, _, _, start, _ = march(backend, origins, directions, bits, 1, step_min=0.1, seed=seed)
        return t.cpu().double()[start.long()]

    assert torch.equal(first_t(3), first_t(3)) and not torch.equal(first_t(3), first_t(4))
    shift = (first_t(3) - 1.5) / 0.1 - 0.5
    assert shift.min() >= -1e-4 and shift.max() <= 1 + 1e-4
    assert abs(shift.mean() - 0.5) < 0.03 and abs(shift.var() - 1 / 12) < 0.01
    assert (march(backend, origins, directions, bits, 1, step_min=0.1)[1][0] - 1.55).abs() < 1e-5


@ti.kernel
def lattice_round_trip(
    cone: float,
    growth: float,
    dt_min: float,
    dt_max: float,
    u: ti.types.ndarray(ndim=1),
    t: ti.types.ndarray(ndim=1),
    back: ti.types.ndarray(ndim=1),
):
    for i in range(u.shape[0]):
        pace = ti.Vector([cone, growth, dt_min, dt_max])
        t[i] = kernels.time_of_step(u[i], pace)
        back[i] = kernels.step_of_time(t[i], pace)


@pytest.mark.parametrize(
    "cone, dt_min, dt_max", [(0.0, 0.01, 1e10), (1 / 64, 0.01, 0.2), (1 / 256, 0.002, 1e10)]
)
def test_step_coordinate_and_time_are_inverse(backend, cone, dt_min, dt_max):
    u = torch.linspace(0, 700, 5001, dtype=torch.float64)
    t, back = backend.empty(5001), backend.empty(5001)
    lattice_round_trip(cone, math.log1p(cone), dt_min, dt_max, backend.tensor(u), t, back)
    exact = reference.time_of_step(u, cone, dt_min, dt_max)
    assert (exact.diff() > 0).all()
    backend.assert_close(t, exact)
    backend.assert_close(back, u)
    backend.assert_close(reference.step_of_time(exact, cone, dt_min, dt_max), u)


def test_gradient_of_positions_sums_over_each_ray(backend, rng):
    count = torch.tensor([3, 0, 1, 60, 0])
    start = torch.cumsum(count, 0) - count
    t = torch.rand(64, generator=rng, dtype=torch.float64)
    cotangent = torch.randn(64, 3, generator=rng, dtype=torch.float64)
    to_origins, to_directions = backend.empty(5, 3), backend.empty(5, 3)
    kernels.sample_positions_backward(
        backend.tensor(cotangent),
        backend.tensor(t),
        backend.tensor(start, torch.int32),
        backend.tensor(count, torch.int32),
        to_origins,
        to_directions,
    )
    rays = torch.repeat_interleave(torch.arange(5), count)
    zeros = torch.zeros(5, 3, dtype=torch.float64)
    backend.assert_close(to_origins, zeros.index_add(0, rays, cotangent))
    backend.assert_close(to_directions, zeros.index_add(0, rays, t[:, None] * cotangent))


def packed(backend, counts, rays_in_use, capacity):
    """(ray_count, ray_start, rays in use, samples) of `pack_samples`."""
    counts = torch.tensor(counts)
    count, start = backend.tensor(counts, torch.int32), backend.tensor(counts.cumsum(0), torch.int32)
    rays, samples = backend.tensor([rays_in_use], torch.int32), backend.tensor([-7], torch.int32)
    kernels.pack_samples(count, start, capacity, rays, samples)
    return count.tolist(), start.tolist(), rays.item(), samples.item()


def test_packing_with_room_for_all_is_the_exclusive_scan(backend):
    assert packed(backend, [3, 0, 2, 4, 0], 5, 9) == ([3, 0, 2, 4, 0], [0, 3, 3, 5, 9], 5, 9)


def test_packing_leaves_out_the_first_ray_without_room_and_all_behind_it(backend):
    assert packed(backend, [3, 0, 2, 4, 1], 5, 8) == ([3, 0, 2, 0, 0], [0, 3, 3, 5, 8], 3, 5)
    assert packed(backend, [9, 1], 2, 8) == ([0, 0], [0, 8], 0, 0)


def test_packing_keeps_rays_out_of_use_out_of_use(backend):
    assert packed(backend, [3, 2, 0, 0], 2, 8) == ([3, 2, 0, 0], [0, 3, 5, 5], 2, 5)
