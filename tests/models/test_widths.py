"""Instant-NGP whose samples are as wide as their pixels see them."""

import dataclasses

import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import FieldConfig, HashGridConfig, InstantNGPConfig, SamplingConfig, SettingError
from taichi_nerf.data.builtin import hemisphere_cameras
from taichi_nerf.data.multiscale import with_scales
from taichi_nerf.models.family import settled
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.models.views import render_view
from taichi_nerf.types import Rays, Seeds, Standing

from .test_family import facing

CONFIG = InstantNGPConfig(
    field=FieldConfig(hash_grid=HashGridConfig(levels=4, features=2, log2_entries=10, max_resolution=64),
                      geometry_features=4, density_width=8, colour_width=8, direction_degree=2),
    sampling=SamplingConfig(grid_resolution=16, steps=64), widths="level")


@pytest.fixture
def make():
    """Models of one table, which shows something everywhere."""
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)

    def made(**changes):
        model = InstantNGP(dataclasses.replace(CONFIG, **changes), Box(), seed=1)
        with torch.no_grad():
            model.field.table.normal_(generator=torch.Generator().manual_seed(0))
        return model

    yield made
    runtime.init(before.backend, before.dtype, threads=before.threads)


def rays_of(radius: float, count: int = 48, per_pixel: int = 1) -> Rays:
    place = torch.rand(count, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    origins = torch.cat([place, torch.ones(count, 1)], dim=1)
    return Rays(origins, torch.tensor([[0.0, 0.0, -1.0]]).repeat(count, 1), torch.full((count,), radius),
                per_pixel=per_pixel)


def test_rays_without_width_see_points_to_the_last_bit(make):
    for name in ("colour", "opacity", "depth"):
        assert torch.equal(getattr(make().render(rays_of(0.0)), name),
                           getattr(make(widths="off").render(rays_of(0.3)), name)), name


def test_the_wider_a_pixel_the_less_neighbours_differ(make):
    with torch.no_grad():
        spread = [make().render(rays_of(radius)).colour.std(dim=0).mean() for radius in (0.0, 0.02, 0.1, 1.0)]
    assert spread[0] > spread[1] > 1.2 * spread[2] > 1.2 * spread[3], spread


def test_each_of_several_rays_of_a_pixel_has_its_part_of_the_area(make):
    alone, four = make().render(rays_of(0.05)), make().render(rays_of(0.1, per_pixel=4))
    torch.testing.assert_close(four.samples.widths, alone.samples.widths)


def test_both_renderers_see_the_same_widths(make):
    cameras = hemisphere_cameras(1, 24)
    cameras.camera_to_world[:, :, 3] /= 3  # within the box
    pictures = {}
    for widths in ("off", "level"):
        model = make(widths=widths)
        for renderer in ("torch", "taichi"):
            pictures[widths, renderer] = render_view(model, cameras, 0, background=1.0, renderer=renderer).colour
        assert abs(pictures[widths, "torch"] - pictures[widths, "taichi"]).max() < 0.01  # networks in half precision
    assert abs(pictures["level", "taichi"] - pictures["off", "taichi"]).max() > 0.02


def test_the_usual_width_is_that_of_a_pixel_in_the_middle_of_the_box_and_is_saved(make):
    model, cameras = make(), hemisphere_cameras(5, 40)
    model.before_training(cameras)
    distance = torch.from_numpy(cameras.camera_to_world[:, :, 3]).norm(dim=1).median()
    assert float(model.usual_width) == pytest.approx(float(distance) / 12**0.5 / cameras.focal[0, 0], rel=1e-5)
    again = make()
    again.load_state_dict(model.state_dict())
    places = torch.rand(20, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    assert torch.equal(again.density(places), model.density(places))
    assert not torch.equal(model.density(places), make(widths="off").density(places))


def test_six_points_are_for_others():
    with pytest.raises(SettingError, match="widths six is for mip-nerf and mip-nerf-360"):
        dataclasses.replace(CONFIG, widths="six")


def test_samples_have_widths_where_images_are_of_several_scales_unless_told_otherwise():
    config, scene = InstantNGPConfig(), facing()
    assert settled(config, scene).widths == "off"
    assert settled(config, with_scales(scene, 2)).widths == "level"
    assert settled(dataclasses.replace(config, widths="off"), with_scales(scene, 2)).widths == "off"
    assert settled(dataclasses.replace(config, widening=0.1), scene).widths == "level"
    with pytest.raises(SettingError, match="widening needs widths level"):
        dataclasses.replace(config, widening=0.1, widths="off")


def test_pixels_have_several_rays_where_samples_have_widths_as_images_are_of_several_scales():
    config, scene = InstantNGPConfig(), facing()
    several = with_scales(scene, 2)
    assert settled(config, scene).rays_per_pixel == 1
    assert settled(config, several).rays_per_pixel == 4
    assert settled(dataclasses.replace(config, rays_per_pixel=1), several).rays_per_pixel == 1
    assert settled(dataclasses.replace(config, widths="off"), several).rays_per_pixel == 1
    assert settled(dataclasses.replace(config, widths="level"), scene).rays_per_pixel == 1


def test_what_is_added_to_the_widths_is_halved_six_times_and_then_nothing(make):
    model = make(widening=0.64)

    def standing(progress):
        return Standing(step=0, progress=progress, seeds=Seeds(1, 2, 3))

    added = [model.widened(standing(progress)) for progress in (0.0, 0.4, 0.79999, 0.8, 1.0)]
    assert added == pytest.approx([0.64, 0.08, 0.01, 0.0, 0.0], rel=1e-3) and model.widened(None) == 0
    seen = [model.render(rays_of(0.01), where).samples.widths for where in (standing(0.4), standing(1.0))]
    torch.testing.assert_close(seen[0][:20], seen[1][:20] + 0.08)
