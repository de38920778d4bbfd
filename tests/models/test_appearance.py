"""Appearances of images in Instant-NGP: who has one, who has none, and who learns."""

import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    FieldConfig,
    HashGridConfig,
    InstantNGPConfig,
    SamplingConfig,
    SettingError,
    TrainingConfig,
    check_fit,
)
from taichi_nerf.data.builtin import hemisphere_cameras
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.models.views import render_view
from taichi_nerf.types import Rays

CONFIG = InstantNGPConfig(
    field=FieldConfig(hash_grid=HashGridConfig(levels=4, features=2, log2_entries=10, max_resolution=64),
                      geometry_features=4, density_width=8, colour_width=8, direction_degree=2),
    sampling=SamplingConfig(grid_resolution=16, steps=64), appearance=3)


@pytest.fixture
def model():
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    model = InstantNGP(CONFIG, Box(images=5), seed=1)
    with torch.no_grad():
        model.field.table.normal_(generator=torch.Generator().manual_seed(0))
        model.appearance.normal_(generator=torch.Generator().manual_seed(1))
    yield model
    runtime.init(before.backend, before.dtype, threads=before.threads)


def same_rays(image_index=None, count=6):
    origins = torch.tensor([[0.0, 0.0, 1.0]]).repeat(count, 1)
    index = None if image_index is None else torch.tensor(image_index, dtype=torch.int32)
    return Rays(origins, torch.tensor([[0.0, 0.0, -1.0]]).repeat(count, 1), None, index)


def test_images_differ_in_colour_and_not_in_matter(model):
    pixels = model.render(same_rays([0, 0, 1, 1, 4, 4]))
    assert torch.equal(pixels.colour[0], pixels.colour[1]) and not torch.equal(pixels.colour[0], pixels.colour[2])
    assert (pixels.opacity == pixels.opacity[0]).all() and pixels.opacity[0] > 0


def test_a_ray_of_no_image_has_the_appearance_zero(model):
    found = model.render(same_rays()).colour
    with torch.no_grad():
        model.appearance[2] = 0
    torch.testing.assert_close(model.render(same_rays([2] * 6)).colour, found)


def test_only_images_that_were_drawn_learn_and_the_optimiser_knows_them(model):
    model.render(same_rays([3] * 6)).colour.sum().backward()
    assert model.appearance.grad[3].any()
    assert not model.appearance.grad[[0, 1, 2, 4]].any()
    assert any(model.appearance is parameter for network in model.networks() for parameter in network)


def test_a_view_has_the_appearance_that_is_asked_for_and_both_renderers_agree_on_none(model):
    cameras = hemisphere_cameras(1, 8)
    cameras.camera_to_world[:, :, 3] /= 3
    views = [render_view(model, cameras, 0, background=1.0, renderer=renderer, image_index=index)
             for renderer, index in (("torch", None), ("auto", 3), ("taichi", None))]
    assert abs(views[0].colour - views[1].colour).max() > 0.01
    assert abs(views[0].colour - views[2].colour).max() < 0.02  # PyTorch's networks may be in half precision


def test_explicit_steps_know_no_appearance():
    with pytest.raises(SettingError, match="explicit knows no appearance"):
        check_fit(CONFIG, TrainingConfig(gradients="explicit"))
