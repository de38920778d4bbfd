"""Laws of the kernels of Gaussians, each on every backend."""

import math

import pytest
import torch

from taichi_nerf.ops import gaussian_rendering as ops
from taichi_nerf_kernels import gaussian_rendering as kernels

from ..ops.test_gaussian_rendering import HEIGHT, WIDTH, make_camera, make_gaussians

FOCAL, SIDE = 20.0, 25  # of a camera that looks along -z from the origin


def drawn(given, camera, size=(WIDTH, HEIGHT)):
    return ops.render_gaussians(*given, *camera, *size)


def straight(backend):
    return [backend.tensor(x) for x in (torch.eye(3, 4), torch.full((2,), FOCAL), torch.full((2,), SIDE / 2))]


def one(backend, mean=(0.0, 0.0, -2.0), scale=(0.1, 0.1, 0.1), opacity=0.8, colour=1.0):
    """A Gaussian of one colour, with four functions."""
    harmonics = torch.zeros(1, 3, 4, dtype=torch.float64)
    harmonics[:, :, 0] = (colour - 0.5) * math.sqrt(4 * math.pi)
    values = [mean], [scale], [(1.0, 0.0, 0.0, 0.0)], [opacity], harmonics
    return [backend.tensor(torch.as_tensor(x, dtype=torch.float64)).requires_grad_() for x in values]


def shuffled(given, order):
    return [x[order] for x in given]


def test_one_gaussian_falls_off_as_it_should(backend):
    """f sigma / z pixels wide, and 0.3 square pixels more."""
    picture = drawn(one(backend), straight(backend), (SIDE, SIDE))
    x = torch.arange(SIDE, dtype=torch.float64) + 0.5 - SIDE / 2
    expected = 0.8 * torch.exp(-0.5 * (x[:, None] ** 2 + x**2) / ((FOCAL * 0.1 / 2) ** 2 + 0.3))
    expected = torch.where(expected < 1 / 255, 0, expected)
    backend.assert_close(picture.opacity, expected, "opacity", 1.0)
    backend.assert_close(picture.colour, expected[..., None].expand(-1, -1, 3), "colour", 1.0)


@pytest.mark.parametrize("unseen", [
    {"mean": (0.0, 0.0, 2.0)}, {"mean": (0.0, 0.0, 0.0)}, {"mean": (50.0, 0.0, -2.0)}, {"opacity": 0.0},
    {"scale": (math.nan, 0.1, 0.1)}, {"mean": (math.inf, 0.0, -2.0)}, {"scale": (1e30, 1e30, 1e30)},
], ids=["behind", "at the camera", "outside", "transparent", "no number", "infinitely far", "endless"])
def test_what_is_not_seen_leaves_nothing_and_learns_nothing(backend, unseen):
    given = one(backend, **unseen)
    picture = drawn(given, straight(backend), (SIDE, SIDE))
    assert (picture.opacity == 0).all() and (picture.colour == 0).all()
    for gradient in torch.autograd.grad(picture.colour.sum() + picture.opacity.sum(), given):
        assert (gradient == 0).all()


def test_what_has_no_extent_is_as_wide_as_a_pixel(backend):
    given = one(backend, scale=(0.0, 0.0, 0.0))
    picture = drawn(given, straight(backend), (SIDE, SIDE))
    assert picture.opacity[SIDE // 2, SIDE // 2].item() == pytest.approx(0.8, abs=1e-5)
    assert (picture.opacity > 0).sum() == 9
    for gradient in torch.autograd.grad(picture.colour.sum(), given):
        assert torch.isfinite(gradient).all()


def test_order_in_memory_and_sides_of_tiles_change_nothing(backend, rng, monkeypatch):
    given, _ = make_gaussians(backend, 150, 2, rng)
    given = [x.detach() for x in given]
    camera, _ = make_camera(backend)
    picture = drawn(given, camera)
    other = drawn(shuffled(given, torch.randperm(150, generator=rng).to(given[0].device)), camera)
    assert torch.equal(picture.colour, other.colour) and torch.equal(picture.opacity, other.opacity)
    for name in ("TILE", "TILE_ON_HOST"):
        monkeypatch.setattr(ops, name, 5)
    backend.assert_close(drawn(given, camera).colour, picture.colour, "colour")


def test_the_gradient_on_a_cpu_is_the_same_every_time(backend, rng):
    if backend.device.type != "cpu" or backend.name == "vulkan-f32":
        pytest.skip("a GPU adds in any order")
    given, _ = make_gaussians(backend, 150, 2, rng)
    camera, _ = make_camera(backend)
    found = [torch.autograd.grad(drawn(given, camera).colour.square().sum(), given) for _ in range(3)]
    for first, second, third in zip(*found):
        assert torch.equal(first, second) and torch.equal(first, third)


def test_every_output_is_written(backend, rng):
    given, _ = make_gaussians(backend, 40, 2, rng)
    given = [x.detach() for x in given]
    camera, _ = make_camera(backend)
    numbers = ops._numbers(*camera)
    ellipses, depth = backend.empty(40, kernels.COLUMNS), backend.empty(40)
    tiles = torch.full((40, 4), -7, dtype=torch.int32, device=backend.device)
    kernels.project_gaussians_forward(*given, numbers, ellipses, depth, tiles, WIDTH, HEIGHT, 8, 0.01, 2)
    assert torch.isfinite(ellipses).all() and torch.isfinite(depth).all() and (tiles >= 0).all()
    lists = ops._lists(depth, tiles, -(-WIDTH // 8), -(-HEIGHT // 8))
    colour, opacity = backend.empty(WIDTH * HEIGHT, 3), backend.empty(WIDTH * HEIGHT)
    end = torch.full((WIDTH * HEIGHT,), -7, dtype=torch.int32, device=backend.device)
    kernels.composite_gaussians_forward(ellipses, lists.entries, lists.tile_start, colour, opacity, end, WIDTH, HEIGHT,
                                        8)
    assert torch.isfinite(colour).all() and torch.isfinite(opacity).all() and (end >= 0).all()
    gradients = [torch.full_like(x, math.nan) for x in given]
    means, scales, quaternions, _, harmonics = given
    kernels.project_gaussians_backward(
        means, scales, quaternions, harmonics, numbers, lists.pair_first, lists.pair_place,
        torch.ones(len(lists.entries), kernels.GRADIENTS, dtype=backend.dtype, device=backend.device), *gradients,
        WIDTH, HEIGHT, 2)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
