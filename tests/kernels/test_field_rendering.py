"""Laws of rendering a field in one launch, each on every backend."""

import numpy as np
import pytest
import torch

from taichi_nerf.reference import field_rendering as reference
from taichi_nerf_kernels import field_rendering as kernels
from taichi_nerf_kernels.hash_grid import hash_grid_layout

from .test_ray_marching import make_bits, make_occupancy, make_rays

GRID = {"levels": 3, "log2_entries": 8, "base_resolution": 4, "max_resolution": 12}
LAYOUT = hash_grid_layout(features=2, **GRID)
SIZE = 16
SETTINGS = kernels.FieldSettings(features=2, density_sizes=(6, 8, 4), colour_sizes=(8, 8, 3), degree=2, side=1.0,
                                 resolution=SIZE, cascades=1, step=0.03)


def make_arrays(rng, thickness=1.0):
    """Table and layers; a positive table and positive weights of the density make it large or, negative, nothing."""
    numbers = np.random.default_rng(int(torch.randint(1 << 30, (), generator=rng)))
    table = numbers.uniform(0.5, 1.0, (LAYOUT.entries, 2))
    density = [numbers.uniform(0.2, 0.6, (8, 6)), numbers.normal(0, 0.3, (4, 8))]
    density[1][0] = thickness * numbers.uniform(0.1, 0.3, 8)
    return {"table": table, "density_weights": density,
            "colour_weights": [numbers.normal(0, 0.5, (8, 8)), numbers.normal(0, 0.5, (3, 8))]}


def make_field(arrays, occupied):
    return kernels.TaichiField.from_arrays(SETTINGS, LAYOUT, bits=make_bits(occupied).numpy(), **arrays)


def rendered(backend, field, origins, directions):
    """Colour, opacity, depth and samples, written into outputs of NaN."""
    rays = len(origins)
    outputs = [backend.empty(rays, 3), backend.empty(rays), backend.empty(rays)]
    samples = backend.tensor(torch.full((rays,), -7), torch.int32)
    field.render_rays(backend.tensor(origins).contiguous(), backend.tensor(directions).contiguous(), *outputs, samples)
    assert all(torch.isfinite(x).all() for x in outputs) and (samples >= 0).all()
    return [*outputs, samples]


@pytest.mark.parametrize("rays", [1, 63, 2000])
def test_an_empty_grid_shows_the_background(backend, rng, rays):
    field = make_field(make_arrays(rng), make_occupancy("empty", 1, rng, SIZE))
    origins, directions = (x[:rays] for x in make_rays(backend, max(rays, 20), 1, rng))
    assert not any(x.any() for x in rendered(backend, field, origins, directions))


def test_a_ray_that_misses_shows_the_background_beside_one_that_hits(backend, rng):
    field = make_field(make_arrays(rng), make_occupancy("full", 1, rng, SIZE))
    origins = torch.tensor([[0.0, 0, 2], [0, 0, 2], [0.9, 0, 2]], dtype=torch.float64)
    directions = torch.tensor([[0.0, 0, -1], [0, 0, 1], [0, 0, -1]], dtype=torch.float64)
    colour, opacity, depth, samples = rendered(backend, field, origins, directions)
    assert opacity[0] > 0.5 and samples[0] > 0
    assert not colour[1:].any() and not opacity[1:].any() and not depth[1:].any() and not samples[1:].any()


def test_the_next_picture_is_not_compiled_anew(backend, rng):
    field = make_field(make_arrays(rng), make_occupancy("cubes", 1, rng, SIZE))
    rays = make_rays(backend, 20, 1, rng)
    rendered(backend, field, *rays)
    made = [schedule.render_kernel.cache_info().misses for schedule in (kernels.by_ray, kernels.by_slot)]
    rendered(backend, field, *rays)
    assert made == [schedule.render_kernel.cache_info().misses for schedule in (kernels.by_ray, kernels.by_slot)]


def test_an_opaque_first_sample_hides_the_rest(backend, rng):
    arrays = make_arrays(rng, thickness=60.0)
    field = make_field(arrays, make_occupancy("full", 1, rng, SIZE))
    origins = torch.tensor([[0.1, 0.2, 2.0]], dtype=torch.float64)
    _, opacity, depth, samples = rendered(backend, field, origins, torch.tensor([[0.0, 0, -1]], dtype=torch.float64))
    assert samples[0] == 1 and opacity[0] == 1
    assert abs(depth[0].item() - (1.5 + 0.015)) < 1e-5  # the middle of the first step in the cube


def test_an_extreme_density_stays_finite(backend, rng):
    field = make_field(make_arrays(rng, thickness=1e6), make_occupancy("full", 1, rng, SIZE))
    origins, directions = make_rays(backend, 40, 1, rng)
    assert rendered(backend, field, origins, directions)[1].max() == 1


def test_shuffled_rays_have_shuffled_pixels(backend, rng):
    field = make_field(make_arrays(rng), make_occupancy("cubes", 1, rng, SIZE))
    origins, directions = make_rays(backend, 2000, 1, rng)
    order = torch.randperm(2000, generator=rng)
    straight = rendered(backend, field, origins, directions)
    shuffled = rendered(backend, field, origins[order], directions[order])
    for a, b in zip(straight, shuffled):
        assert torch.equal(a[order], b)


def test_a_camera_sees_the_pixels_of_its_rays(backend, rng):
    occupied, arrays = make_occupancy("cubes", 1, rng, SIZE), make_arrays(rng)
    width, height, focal, principal = 19, 11, np.array([14.0, 15.0]), np.array([9.0, 6.0])
    pose = np.concatenate([np.eye(3), [[0.0], [0.1], [1.4]]], axis=1)
    colour, opacity, depth = make_field(arrays, occupied).render(pose, focal, principal, (width, height))
    assert colour.shape == (height, width, 3) and opacity.shape == depth.shape == (height, width)
    v, u = np.indices((height, width)) + 0.5
    local = np.stack([(u - principal[0]) / focal[0], -(v - principal[1]) / focal[1], -np.ones_like(u)], axis=-1)
    directions = torch.from_numpy(local / np.linalg.norm(local, axis=-1, keepdims=True)).reshape(-1, 3)
    weights = [[torch.from_numpy(w) for w in arrays[name]] for name in ("density_weights", "colour_weights")]
    expected = reference.render_field(
        torch.from_numpy(pose[:, 3]).expand(len(directions), 3), directions, occupied,
        torch.from_numpy(arrays["table"]), *weights, side=1.0, degree=2, grid=GRID, march={"step_min": SETTINGS.step},
        early_stop=SETTINGS.early_stop)
    for name, a, b in zip(("colour", "opacity", "depth"), (colour, opacity, depth), expected):
        error = np.abs(a.reshape(b.shape) - b.numpy())
        if backend.dtype == torch.float64:
            assert error.max() < 1e-9, name
        else:  # a point on a face falls on either side
            assert (error > 1e-4).mean() < 0.03, name
    assert opacity.max() > 0.5


def test_every_pixel_is_in_one_tile():
    for width, height in ((1, 1), (19, 11), (64, 8)):
        order = kernels.tile_order(width, height)
        assert np.array_equal(np.sort(order), np.arange(width * height))
    tile = kernels.tile_order(32, 16)[:64]
    assert (tile % 32).max() == 7 and (tile // 32).max() == 7
