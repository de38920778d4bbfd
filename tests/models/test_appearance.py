"""Appearances of images in Instant-NGP: who has one, who has none, and who learns."""

import itertools

import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    FieldConfig,
    HashGridConfig,
    InstantNGPConfig,
    SamplingConfig,
)
from taichi_nerf.data.builtin import hemisphere_cameras
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.models.views import render_view
from taichi_nerf.types import Rays, Shot

CONFIG = InstantNGPConfig(
    field=FieldConfig(hash_grid=HashGridConfig(levels=4, features=2, log2_entries=10, max_resolution=64),
                      geometry_features=4, density_width=8, colour_width=8, direction_degree=2),
    sampling=SamplingConfig(grid_resolution=16, steps=64), appearance=3)


@pytest.fixture
def model():
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    model = InstantNGP(CONFIG, Box(), seed=1, counts={"appearance": 5})
    with torch.no_grad():
        model.field.table.normal_(generator=torch.Generator().manual_seed(0))
        model.codes["appearance"].table.normal_(generator=torch.Generator().manual_seed(1))
    yield model
    runtime.init(before.backend, before.dtype, threads=before.threads)


def same_rays(ids=None, count=6):
    origins = torch.tensor([[0.0, 0.0, 1.0]]).repeat(count, 1)
    shot = Shot() if ids is None else Shot(ids={"appearance": torch.tensor(ids, dtype=torch.int32)})
    return Rays(origins, torch.tensor([[0.0, 0.0, -1.0]]).repeat(count, 1), None, shot)


def test_images_differ_in_colour_and_not_in_matter(model):
    pixels = model.render(same_rays([0, 0, 1, 1, 4, 4]))
    assert torch.equal(pixels.colour[0], pixels.colour[1]) and not torch.equal(pixels.colour[0], pixels.colour[2])
    assert (pixels.opacity == pixels.opacity[0]).all() and pixels.opacity[0] > 0


def test_a_ray_of_no_image_has_the_mean_appearance(model):
    found = model.render(same_rays()).colour
    codes = model.codes["appearance"].table
    with torch.no_grad():
        codes[2] = codes.mean(dim=0)  # it is the mean of the others, too, or the mean would move
        codes[0] += codes[2] * len(codes) - codes.sum(dim=0)
    torch.testing.assert_close(model.render(same_rays([2] * 6)).colour, found)


def test_only_images_that_were_drawn_learn_and_the_optimiser_knows_them(model):
    model.render(same_rays([3] * 6)).colour.sum().backward()
    codes = model.codes["appearance"].table
    assert codes.grad[3].any()
    assert not codes.grad[[0, 1, 2, 4]].any()
    assert [group.name for group in model.parameter_groups() if group.parameters[0] is codes] == ["codes.appearance"]


@pytest.mark.slow
def test_a_view_has_the_appearance_that_is_asked_for_and_both_renderers_agree_on_none(model):
    cameras = hemisphere_cameras(1, 8)
    cameras.camera_to_world[:, :, 3] /= 3
    code = {"appearance": torch.tensor([1.0, -2.0, 0.5])}
    shots = Shot(), Shot.single(ids={"appearance": 3}), Shot.single(codes=code)
    views = [[render_view(model, cameras, 0, background=1.0, renderer=renderer, shot=shot)
              for renderer in ("torch", "taichi")] for shot in shots]
    for staged, fast in views:
        assert abs(staged.colour - fast.colour).max() < 0.02  # PyTorch's networks may be in half precision
    for (one, _), (other, _) in itertools.combinations(views, 2):
        assert abs(one.colour - other.colour).max() > 0.01
