"""Regions of one model: rays are cut at their borders, and what is seen is what all samples at once show."""

import dataclasses

import pytest
import torch

from taichi_nerf.config import FieldConfig, HashGridConfig, RegionsConfig, SamplingConfig, SettingError
from taichi_nerf.models.model import Box
from taichi_nerf.models.regions import Regions
from taichi_nerf.ops.volume_rendering import composite
from taichi_nerf.samplers.regions import cut_samples, interleaved, spans_of
from taichi_nerf.types import Rays, Seeds, Standing
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import Look, Shown

CONFIG = RegionsConfig(
    count=4, field=FieldConfig(hash_grid=HashGridConfig(levels=4, features=2, log2_entries=10, max_resolution=64)),
    sampling=SamplingConfig(grid_resolution=16, steps=64, early_stop=0.0))
STANDING = Standing(step=3, progress=0.1, seeds=Seeds(1, 2, 3))
pytestmark = pytest.mark.usefixtures("all_on_cpu", "products_in_single")


def some_rays(rng, count: int = 40) -> Rays:
    """From around the cube and from within it, some of them along an axis, or in a border."""
    origins = torch.rand(count, 3, generator=rng) * 2 - 1
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=1)
    directions[:6] = torch.eye(3).repeat(2, 1) * torch.tensor([1.0, -1.0]).repeat_interleave(3)[:, None]
    origins[:6] = 0.0 - directions[:6]
    return Rays(origins, directions)


def model_of(config=CONFIG, side: int = 2) -> Regions:
    """With densities that tell regions apart."""
    model = Regions(config, Box(aabb_scale=side))
    rng = torch.Generator().manual_seed(4)
    for part in model.parts:
        with torch.no_grad():
            part.field.table.uniform_(-2, 2, generator=rng)
    return model


def test_regions_tile_each_ray_to_the_bit(rng):
    model, rays = model_of(), some_rays(rng)
    enter, leave, order = spans_of(rays, model.boxes)
    assert (order.sort(dim=0).values == torch.arange(4)[:, None]).all()
    for ray in range(len(rays)):
        at = 0.0
        for k in order[:, ray].tolist():
            if leave[k, ray] > enter[k, ray]:
                assert enter[k, ray] == at
                at = float(leave[k, ray])
                middle = (enter[k, ray] + leave[k, ray].clamp_max(enter[k, ray] + 1)) / 2
                place = rays.origins[ray] + middle * rays.directions[ray]
                assert (place >= model.boxes[k, 0] - 1e-6).all() and (place <= model.boxes[k, 1] + 1e-6).all()
        assert at == float("inf")  # the faces of the cube cut nothing


def test_samples_are_cut_and_none_is_lost_or_counted_twice(rng):
    model, rays = model_of(), some_rays(rng)
    enter, leave, order = spans_of(rays, model.boxes)
    plain = Regions(dataclasses.replace(CONFIG, count=1), Box(aabb_scale=2)).parts[0].march(rays, STANDING)
    pieces = [cut_samples(part.march(rays, STANDING), rays.directions, enter[k], leave[k])
              for k, part in enumerate(model.parts)]
    together, source = interleaved(pieces, order)
    assert len(together) > len(plain) and sorted(source.tolist()) == list(range(len(together)))
    lengths = []
    for samples in (plain, together):
        assert (samples.ray_index.diff() >= 0).all() and (samples.ray_count.sum() == len(samples))
        same_ray = samples.ray_index.diff() == 0
        assert (samples.t.diff()[same_ray] > 0).all()
        torch.testing.assert_close(samples.positions, rays.origins[samples.ray_index] + samples.t[:, None]
                                   * rays.directions[samples.ray_index], atol=1e-6, rtol=0)
        lengths.append(torch.zeros(len(rays)).index_add(0, samples.ray_index, samples.dt))
    torch.testing.assert_close(*lengths)


@pytest.mark.parametrize("standing", [pytest.param(None, marks=pytest.mark.slow), STANDING])
def test_what_regions_show_is_what_all_samples_at_once_show(rng, standing):
    model, rays = model_of(), some_rays(rng)
    pixels = model.render(rays, standing)
    samples = pixels.samples
    with torch.no_grad():
        found = model.radiance(samples.positions)
        colours = found.colour(rays.directions[samples.ray_index])
        density = model.density(samples.positions)
        shown = composite(density, colours, samples.t, samples.dt, samples.ray_start, samples.ray_count, 0.0)
    names = ("colour", "opacity", "depth", "weights")
    for name, expected in zip(names, shown):
        torch.testing.assert_close(getattr(pixels, name), expected, atol=1e-5, rtol=1e-4, msg=name)
    values = torch.rand(len(samples), generator=rng)
    expected = torch.zeros(len(rays)).index_add(0, samples.ray_index, shown[3] * values)
    torch.testing.assert_close(pixels.carried(values), expected, atol=1e-5, rtol=1e-4)
    assert pixels.opacity.max() > 0.5 and len(samples) == pixels.visible


@pytest.mark.slow
def test_a_region_knows_cells_of_its_own_alone():
    model = model_of()
    for part, (lower, upper) in zip(model.parts, torch.from_numpy(model.corners)):
        part.grid.update(part.density, 64)
        inside, outside = (lower + upper) / 2, torch.where(lower.abs() < 0.99, lower - 0.3, upper + 0.3)
        assert part.grid.occupied(inside[None]).all() and not part.grid.occupied(outside[None]).any()
        assert part.grid.bits.any()
    whole = Regions(dataclasses.replace(CONFIG, count=1), Box(aabb_scale=2))
    assert whole.parts[0].grid.within is None and (whole.parts[0].grid.bits == -1).all()


@pytest.mark.slow
def test_cropped_regions_show_what_lies_between_two_corners(rng):
    model, rays = model_of(), some_rays(rng)
    with torch.no_grad(), model.cropped((0.1, -1, -1), (1, 1, 1)):
        assert (model.render(rays).samples.positions[:, 0] > 0).all()


def test_the_viewer_shows_regions_with_all_that_it_has():
    """Pictures, a box to crop to, and normals across the borders."""
    door = Door(model_of())
    assert door.can_crop and door.has_normals and not door.moves
    look = Look(pose=((1.0, 0.0, 0.0, 0.1), (0.0, 1.0, 0.0, 0.1), (0.0, 0.0, 1.0, 1.5)), fov=0.9, window=(12, 8))
    shown = [door.picture(look, shown, (12, 8), lambda: False).image for shown in (
        Shown(), Shown(what="normals"), Shown(crop=((0.0, -1.0, -1.0), (1.0, 1.0, 1.0))))]
    assert all(image.shape == (8, 12, 3) and image.std() > 1 for image in shown)
    assert (shown[2][:, :3] == 255).all() and not (shown[0][:, :3] == 255).all()


@pytest.mark.parametrize("settings, message", [
    ({"count": 0}, "count must be from 1 to 256, got 0"),
    ({"count": 2, "boxes": (0.0,) * 6}, "boxes must be six numbers for each of 2 regions, got 6"),
    ({"count": 1, "boxes": (0.0, 0.0, 0.0, 1.0, 0.0, 1.0)}, "boxes must begin below where they end"),
    ({"count": 2, "boxes": (0.0, 0.0, 0.0, 1.0, 1.0, 1.0) * 2}, "boxes must be disjoint"),
])
def test_regions_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        dataclasses.replace(CONFIG, **settings)
