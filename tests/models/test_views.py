"""Whole pictures of a ball whose pictures are known."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from taichi_nerf.config import FieldConfig, HashGridConfig, InstantNGPConfig, SamplingConfig
from taichi_nerf.data import Cameras
from taichi_nerf.data.scene import EQUIRECTANGULAR
from taichi_nerf.models import probe, views
from taichi_nerf.models.cones import sharpest_view, times_as_wide
from taichi_nerf.models.growing import GROWTH, growing_views
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.camera import rays_from_pixels
from taichi_nerf.types import Rays, Shot

from .ball import Ball


def cameras_around(count=3, size=(24, 18), distance=1.5, focal=30.0):
    """Cameras on a slanted circle that look at the origin."""
    poses = []
    for n in range(count):
        angle = 2 * math.pi * n / count + 0.3
        back = np.array([math.cos(angle), math.sin(angle), 0.5 + 0.2 * n])
        back /= np.linalg.norm(back)
        right = np.cross((0.0, 0.0, 1.0), back)
        right /= np.linalg.norm(right)
        poses.append(np.stack([right, np.cross(back, right), back, distance * back], axis=1))
    return Cameras(
        camera_to_world=np.array(poses),
        focal=np.full((count, 2), focal),
        principal=np.tile(0.5 * np.array(size), (count, 1)),
        distortion=np.zeros((count, 6)),
        lens=np.zeros(count),
        size=np.tile(size, (count, 1)),
    )


def true_rays(cameras, index):
    """Origin [3] and directions [H, W, 3] of a camera without distortion, in numpy."""
    width, height = cameras.size[index]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    principal, focal = cameras.principal[index], cameras.focal[index]
    local = np.stack(
        [(x - principal[0]) / focal[0], -(y - principal[1]) / focal[1], -np.ones_like(x)], axis=-1
    )
    direction = local @ cameras.camera_to_world[index, :, :3].T.astype(np.float64)
    return cameras.position[index].astype(np.float64), direction / np.linalg.norm(
        direction, axis=-1, keepdims=True
    )


def hit(origin, direction, radius):
    """Distance along each ray to the ball around the origin, NaN where it passes by."""
    along = direction @ origin
    inside = along**2 - origin @ origin + radius**2
    return np.where(inside > 0, -along - np.sqrt(np.maximum(inside, 0)), np.nan)


def test_the_ball_has_its_outline_depth_colour_and_normals(backend):
    model, cameras = Ball(backend.dtype, backend.device), cameras_around()
    for index in range(len(cameras)):
        view = render_view(model, cameras, index, background=1.0, normals=True)
        origin, direction = true_rays(cameras, index)
        inner = np.isfinite(hit(origin, direction, 0.27))
        outside = np.isnan(hit(origin, direction, 0.36))
        assert view.opacity[inner].min() > 0.999 and view.opacity[outside].max() < 1e-3
        surface = hit(origin, direction, 0.3)
        assert np.abs(view.depth - surface)[inner].max() < 0.025
        assert np.allclose(view.colour[inner], (0.5, 0.4, 0.2), atol=1e-3)
        assert np.allclose(view.colour[outside], 1, atol=1e-3)
        expected = (origin + surface[..., None] * direction) / 0.3
        assert (expected * view.normals).sum(axis=-1)[inner].min() > math.cos(math.radians(8))
        assert np.allclose(np.linalg.norm(view.normals[inner], axis=-1), 1, atol=1e-5)


def test_what_is_transparent_has_neither_depth_nor_normal(backend):
    model = Ball(backend.dtype, backend.device, peak=0.0)
    view = render_view(model, cameras_around(1), 0, background=(0.1, 0.2, 0.3), normals=True)
    assert np.allclose(view.colour, np.array([0.1, 0.2, 0.3]), atol=1e-6)
    assert not view.opacity.any() and not view.depth.any() and not view.normals.any()


def test_every_pixel_is_the_pixel_of_its_ray(backend):
    model = Ball(backend.dtype, backend.device, centre=(0.1, -0.05, 0.02), softness=0.05)
    cameras = cameras_around(2, size=(13, 7), focal=15.0)
    view = render_view(model, cameras, 1, background=0.0, chunk=10)
    assert view.colour.shape == (7, 13, 3) and view.depth.shape == view.opacity.shape == (7, 13)
    assert view.normals is None
    one = [(3, 12), (6, 0), (0, 5)]
    pixel = backend.tensor([[x + 0.5, y + 0.5] for y, x in one])
    arrays = (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.distortion)
    tensors = [backend.tensor(array) for array in arrays]
    index = backend.tensor([1, 1, 1], torch.int32)
    rays = rays_from_pixels(index, pixel, *tensors, backend.tensor(cameras.lens, torch.int32))
    with torch.no_grad():
        rendered = model.render(Rays(*rays))
    for n, (y, x) in enumerate(one):
        assert np.allclose(view.colour[y, x], rendered.colour[n].cpu(), atol=1e-6)
        opacity = rendered.opacity[n].item()
        assert np.isclose(view.depth[y, x] * opacity, rendered.depth[n].item(), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 17, 1000])
def test_pieces_do_not_show(backend, chunk):
    model, cameras = (
        Ball(backend.dtype, backend.device, softness=0.05),
        cameras_around(1, size=(6, 5), focal=6.0),
    )
    whole = render_view(model, cameras, 0, background=0.5, normals=True)
    pieces = render_view(model, cameras, 0, background=0.5, normals=True, chunk=chunk)
    for name in ("colour", "opacity", "depth", "normals"):
        assert np.allclose(getattr(whole, name), getattr(pieces, name), atol=1e-5), name
    assert whole.samples == pieces.samples


def test_pieces_are_so_large_that_their_samples_stay_bounded_though_the_top_is_empty(backend, monkeypatch):
    monkeypatch.setitem(probe.PIECES, backend.device.type, (64, 2**15, 20_000))
    model = Ball(backend.dtype, backend.device)
    cameras = cameras_around(1, size=(64, 64), focal=96.0)
    cameras = Cameras(**{**vars(cameras), "principal": np.array([[32.0, 64.0]])})  # the box is at the bottom
    render_view(model, cameras, 0, background=0.0)
    assert sum(model.pieces) > 5 * 20_000, "the picture must need several pieces"
    assert max(model.pieces) < 1.5 * 20_000
    assert len(model.pieces) < 2 * sum(model.pieces) / 20_000, "and must not be cut into crumbs"


def test_rendering_leaves_no_gradient_behind(backend):
    if backend.dtype == torch.float64:
        pytest.skip("the model is of float32")
    grid = HashGridConfig(levels=2, features=2, log2_entries=8, base_resolution=4, max_resolution=8)
    sampling = SamplingConfig(grid_resolution=16, steps=32)
    model = InstantNGP(InstantNGPConfig(field=FieldConfig(hash_grid=grid), sampling=sampling), Box()).to(
        backend.device
    )
    model.field.table_gradient = model.field.table_gradient.to(backend.device)
    view = render_view(model, cameras_around(1, size=(6, 5)), 0, background=1.0, normals=True)
    assert view.samples > 0 and np.isfinite(view.normals).all()
    assert not model.field.table_gradient.any()
    for parameter in model.parameters():
        assert parameter.grad is None and parameter.requires_grad


def small_model(backend, seed=0, **settings):
    """Instant-NGP with a random table, neither empty nor opaque."""
    grid = HashGridConfig(levels=3, features=2, log2_entries=8, base_resolution=4, max_resolution=16)
    field = FieldConfig(
        hash_grid=grid, geometry_features=4, density_width=8, colour_width=8, direction_degree=2
    )
    sampling = SamplingConfig(grid_resolution=16, steps=64)
    model = InstantNGP(InstantNGPConfig(field=field, sampling=sampling, **settings), Box(aabb_scale=2, near=0.1), seed)
    with torch.no_grad():
        model.field.table.mul_(3e4)
    return model.to(backend.dtype).to(backend.device)


@pytest.mark.parametrize("per_pixel", [4, 9])
@pytest.mark.parametrize("renderer", ["torch", "taichi"])
def test_a_pixel_of_several_rays_is_the_mean_of_a_finer_picture(backend, per_pixel, renderer):
    side = math.isqrt(per_pixel)
    model, size = small_model(backend), np.array([13, 11])
    coarse, fine = (cameras_around(2, size=size * n, focal=12.0 * n) for n in (1, side))
    expected = render_view(model, fine, 1, background=0.3, renderer=renderer)
    model.config = dataclasses.replace(model.config, rays_per_pixel=per_pixel)
    view = render_view(model, coarse, 1, background=0.3, renderer=renderer, chunk=50)
    assert view.colour.shape == (11, 13, 3) and view.samples == expected.samples
    for name in ("colour", "opacity"):
        finer = getattr(expected, name)
        mean = finer.reshape(11, side, 13, side, *finer.shape[2:]).mean(axis=(1, 3))
        assert np.ptp(mean) > 0.1
        assert np.allclose(getattr(view, name), mean, atol=2e-2 if renderer == "torch" else 1e-4), name


@pytest.mark.parametrize("renderer", ["torch", "taichi"])
@pytest.mark.parametrize("widths", ["off", "level"])
@pytest.mark.parametrize("side", [2, 3])
def test_a_picture_smaller_than_the_photos_is_one_of_their_size_made_smaller(backend, widths, side, renderer):
    model, size = small_model(backend, widths=widths), np.array([13, 11])
    coarse, fine = (cameras_around(2, size=size * n, focal=12.0 * n) for n in (1, side))
    before = render_view(model, coarse, 1, background=0.3, renderer=renderer)
    model.before_training(fine)
    given = {"background": 0.3, "renderer": renderer}
    of_one_ray, view, expected = (render_view(model, coarse, 1, supersample=False, **given),
                                  render_view(model, coarse, 1, chunk=50, **given),
                                  render_view(model, fine, 1, **given))
    assert np.array_equal(before.colour, of_one_ray.colour)
    assert view.samples == expected.samples
    for name in ("colour", "opacity"):
        finer = getattr(expected, name)
        mean = finer.reshape(11, side, 13, side, *finer.shape[2:]).mean(axis=(1, 3))
        assert np.allclose(getattr(view, name), mean, atol=2e-2 if renderer == "torch" else 1e-4), name
        of_several, of_one = (np.abs(getattr(found, name) - mean).mean() for found in (view, of_one_ray))
        assert of_one > 2 * of_several, name


def test_a_pixel_has_more_rays_the_more_it_sees_of_the_middle(backend):
    model, photos = small_model(backend), cameras_around(3, size=(24, 18), distance=1.5, focal=30.0)
    model.before_training(photos)

    def side(**settings):
        cameras = cameras_around(3, **{"size": (8, 6), "distance": 1.5, "focal": 30.0, **settings})
        return math.isqrt(views._frame(model, cameras, 0, Shot(), supersample=True).per_pixel)

    assert side() == side(focal=300.0) == side(distance=0.2) == 1  # who is inside does not see the more
    assert side(focal=15.0) == side(distance=3.0) == 2
    assert side(focal=15.0, distance=4.5) == 6
    assert side(focal=0.3) == side(distance=1e30) == views.MOST_BESIDE
    model.config = dataclasses.replace(model.config, rays_per_pixel=4)
    assert (side(), side(focal=15.0), side(focal=3.0)) == (2, 4, views.MOST_BESIDE)
    panorama = dataclasses.replace(photos, lens=np.full(3, EQUIRECTANGULAR))
    assert views._frame(model, panorama.resized((8, 6)), 0, Shot(), supersample=True).per_pixel == 4


def test_long_lenses_from_far_away_see_as_much_as_the_photos_from_near():
    """A pixel of each photo sees as much of the middle: none is to have several rays, which take longer."""
    near, far = cameras_around(3, distance=1.0, focal=30.0), cameras_around(3, distance=4.0, focal=120.0)
    photos = Cameras.joined([near, far])
    sharpest = sharpest_view(photos)
    assert [times_as_wide(photos, n, sharpest) for n in range(6)] == pytest.approx([1] * 6)
    close = Cameras.joined([near, cameras_around(3, distance=1.0, focal=90.0)])  # who stands near sees details by one
    found = [times_as_wide(close, n, sharpest_view(close)) for n in range(6)]
    assert found == pytest.approx([3] * 3 + [1] * 3)


def test_normals_of_several_rays_are_those_of_one_where_nothing_turns(backend):
    cameras, found = cameras_around(1), []
    for per_pixel in (1, 4):
        model = Ball(backend.dtype, backend.device)
        model.rays_per_pixel = per_pixel
        found.append(render_view(model, cameras, 0, background=1.0, normals=True))
    inner = np.isfinite(hit(*true_rays(cameras, 0), 0.25))
    assert (found[0].normals * found[1].normals).sum(axis=-1)[inner].min() > math.cos(math.radians(3))
    assert np.abs(found[0].depth - found[1].depth)[inner].max() < 0.01


def test_both_renderers_show_the_same(backend):
    model, cameras = small_model(backend), cameras_around(2, size=(21, 17), focal=20.0)
    exact = backend.dtype == torch.float64  # otherwise PyTorch may take the networks' products in half precision
    for index in range(2):
        fast, staged = (
            render_view(model, cameras, index, background=0.5, renderer=name) for name in ("taichi", "torch")
        )
        for name, tolerance in (("colour", 0.02), ("opacity", 0.02), ("depth", 0.05)):
            error = np.abs(getattr(fast, name) - getattr(staged, name)).max()
            assert error < (1e-6 if exact else tolerance), name
        assert fast.samples == staged.samples or not exact
        assert fast.opacity.max() > 0.5 and np.ptp(fast.colour) > 0.1


def test_the_fast_renderer_sees_that_a_weight_has_changed(backend):
    model, cameras = small_model(backend), cameras_around(1, size=(8, 6), focal=8.0)
    before = render_view(model, cameras, 0, background=0.0, renderer="taichi")
    with torch.no_grad():
        model.field.colour_network.weights[-1].neg_()
    after = render_view(model, cameras, 0, background=0.0, renderer="taichi")
    seen = before.opacity > 0.3
    assert np.allclose((before.colour + after.colour)[seen], before.opacity[seen][:, None], atol=1e-3)
    assert np.abs(before.colour - after.colour).max() > 0.01


def test_what_the_fast_renderer_cannot_do_is_refused(backend):
    ball, model, cameras = Ball(backend.dtype, backend.device), small_model(backend), cameras_around(1)
    with pytest.raises(ValueError, match="torch or auto for Ball"):
        render_view(ball, cameras, 0, background=0.0, renderer="taichi")
    with pytest.raises(ValueError, match="torch or auto for normals"):
        render_view(model, cameras, 0, background=0.0, normals=True, renderer="taichi")


def test_wrong_arguments_are_refused(backend):
    model, cameras = Ball(backend.dtype, backend.device), cameras_around(2)
    with pytest.raises(ValueError, match="chunk"):
        render_view(model, cameras, 0, background=0.0, chunk=0)
    with pytest.raises(IndexError, match="index"):
        render_view(model, cameras, 2, background=0.0)
    with pytest.raises(ValueError):
        render_view(model, cameras, 0, background=(0.0, 1.0))


def launching(backend) -> Ball:
    """One that renders in one launch, too: nothing."""
    model = Ball(backend.dtype, backend.device)
    model.one_launch = lambda shot: lambda rays: (
        torch.zeros(len(rays), 3), torch.zeros(len(rays)), torch.zeros(len(rays)), torch.zeros(len(rays)))
    return model


@pytest.mark.parametrize("renderer", ["torch", "taichi"])
def test_a_picture_is_broken_off_between_two_pieces(backend, renderer):
    if renderer == "taichi" and backend.dtype == torch.float64:
        pytest.skip("its kernel is of single precision")
    model, asked = launching(backend), []

    def stopped():
        asked.append(None)
        return len(asked) == 3

    with pytest.raises(views.BrokenOff):
        render_view(model, cameras_around(), 0, background=1.0, chunk=40, renderer=renderer, stopped=stopped)
    whole = render_view(model, cameras_around(), 0, background=1.0, renderer=renderer, stopped=lambda: False)
    assert np.array_equal(
        whole.colour, render_view(model, cameras_around(), 0, background=1.0, renderer=renderer).colour)


@pytest.mark.parametrize("renderer", ["torch", "taichi"])
def test_after_each_piece_it_is_told_how_many_pixels_are_done(backend, renderer):
    if renderer == "taichi" and backend.dtype == torch.float64:
        pytest.skip("its kernel is of single precision")
    model, cameras, told = launching(backend), cameras_around(), []
    count = int(cameras.size[0].prod())

    def tell(done, total):
        told.append((done, total))

    render_view(model, cameras, 0, background=1.0, chunk=40, renderer=renderer, on_piece=tell)
    assert told == [(min(40 * (n + 1), count), count) for n in range(-(-count // 40))]
    wanted = np.zeros(cameras.size[0, ::-1], bool)
    wanted[0] = True
    told.clear()
    render_view(model, cameras, 0, background=1.0, renderer=renderer, wanted=wanted, on_piece=tell)
    assert told == [(wanted.shape[1], wanted.shape[1])]


def test_a_picture_grows_up_to_all_of_its_pixels(backend):
    model, cameras = Ball(backend.dtype, backend.device), cameras_around(2, size=(40, 30))
    found = list(growing_views(model, cameras, 1, first=20, background=1.0))
    pixels = [view.depth.size for view in found]
    assert len(found) == 4 and all(GROWTH * a == pytest.approx(b, rel=0.25) for a, b in pairwise(pixels[:-1]))
    assert np.array_equal(found[-1].colour, render_view(model, cameras, 1, background=1.0).colour)
    assert len(list(growing_views(model, cameras, 1, first=1e9, background=1.0))) == 1


@pytest.mark.parametrize("supersample", [True, False])
def test_the_last_of_growing_pictures_alone_supersamples_where_it_may(backend, supersample):
    model, cameras = Ball(backend.dtype, backend.device), cameras_around(2, size=(20, 15))
    model.sharpest = sharpest_view(cameras.resized((60, 45)))
    first, *_, last = growing_views(model, cameras, 1, first=30, background=1.0, supersample=supersample)
    whole, other = (render_view(model, cameras, 1, background=1.0, supersample=each).colour
                    for each in (supersample, not supersample))
    assert np.array_equal(last.colour, whole) and not np.array_equal(last.colour, other)
    small = cameras.resized(first.depth.shape[::-1])
    assert np.array_equal(first.colour, render_view(model, small, 1, background=1.0, supersample=False).colour)


def test_a_growing_picture_is_broken_off_in_the_middle_of_it(backend):
    model, asked = Ball(backend.dtype, backend.device), []
    growing = growing_views(model, cameras_around(size=(40, 30)), 0, first=80, background=1.0, chunk=40,
                            stopped=lambda: len(asked) == 3 or asked.append(None))
    assert next(growing).depth.size < 100
    with pytest.raises(views.BrokenOff):
        next(growing)
