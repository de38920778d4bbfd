"""Known distances: which pixels are drawn, and what the loss asks of the weights of a ray."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf.config import DepthConfig, TrainingConfig
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.scene import Points, Sightings
from taichi_nerf.errors import UserError
from taichi_nerf.models.pixels import Pixels
from taichi_nerf.training.batches import PhotoRays
from taichi_nerf.training.corrections import Corrections
from taichi_nerf.training.depth import KnownDistances, known_pixels, transport_loss
from taichi_nerf.training.photos import photos_of
from taichi_nerf.training.run import make_model
from taichi_nerf.types import PackedSamples

from .conftest import SMALL


def make_pixels(weights, t, dt=0.1) -> Pixels:
    """What one ray renders to, whose samples have these weights at these distances."""
    weights, t = torch.tensor(weights, dtype=torch.float64), torch.tensor(t, dtype=torch.float64)
    count = torch.tensor([len(t)], dtype=torch.int32)
    samples = PackedSamples(torch.zeros(len(t), 3), t, torch.full_like(t, dt), torch.zeros(len(t), dtype=torch.int32),
                            torch.zeros(1, dtype=torch.int32), count)
    return Pixels(colour=torch.zeros(1, 3), opacity=weights.sum()[None], depth=(weights * t).sum()[None],
                  weights=weights, packed=samples, marched=len(t))


def distances_of(scene) -> KnownDistances:
    photos = photos_of(scene)
    source = PhotoRays(photos, Corrections(scene.model_cameras("train"), TrainingConfig()), cones=False)
    return KnownDistances(scene, source, make_model(scene, SMALL), DepthConfig(weight=1.0))


def loss(weights, t, distance=1.0) -> float:
    return float(transport_loss(make_pixels(weights, t), torch.tensor([distance], dtype=torch.float64)))


def test_an_opaque_surface_at_the_distance_costs_nothing():
    assert loss([0.0, 1.0, 0.0], [0.5, 1.04, 1.5]) == 0


def test_a_surface_elsewhere_costs_its_distance_from_there():
    assert loss([1.0], [1.35]) == pytest.approx(0.3)
    assert loss([1.0], [2.7], distance=2.0) == pytest.approx(0.65 / 2)


def test_matter_behind_does_not_make_up_for_fog_before():
    assert loss([0.5, 0.5], [0.8, 1.2]) == pytest.approx(0.15)  # whose mean distance is right


def test_a_ray_that_meets_nothing_costs_all_of_the_distance():
    assert loss([], []) == 1
    assert loss([0.25], [1.0]) == pytest.approx(0.75)


def test_pixels_are_drawn_where_the_distance_is_known(small_scene):
    known = distances_of(small_scene)
    index, pixel, distance = known.draw(500, seed=3)
    depth = small_scene.splits["train"].depth
    for n, (x, y), d in zip(index.tolist(), pixel.tolist(), distance.tolist()):
        assert d == pytest.approx(depth[n][int(y), int(x)] * small_scene.scale, rel=1e-6)
    assert len(torch.unique(index)) == len(depth)
    again, other = known.draw(500, seed=3)[1], known.draw(500, seed=4)[1]
    assert torch.equal(pixel, again) and not torch.equal(pixel, other)


def test_a_scene_that_knows_no_distances_is_refused(small_scene):
    split = small_scene.splits["train"]
    nowhere = [np.full((16, 16), np.inf)] * 6
    for depth, message in ((None, "knows no distances"), (nowhere, "distance of no opaque pixel")):
        scene = with_split(small_scene, dataclasses.replace(split, depth=depth))
        with pytest.raises(UserError, match=message):
            distances_of(scene)


def test_points_of_structure_from_motion_are_distances_of_the_pixels_that_saw_them(small_scene):
    split = small_scene.splits["train"]
    points = Points(position=np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)))
    opaque = [np.argwhere(split.images.image(n)[..., 3] == 255)[3, ::-1] for n in range(len(split))]
    seen = [Sightings(point=[n, 7 + n], pixel=[opaque[n] + 0.7, (-3.0, 2.0)]) for n in range(len(split))]
    scene = dataclasses.replace(small_scene, points=points, centre=np.array([0.1, 0, 0]))
    scene = with_split(scene, dataclasses.replace(split, depth=None, sightings=seen))
    pixel_index, distance = known_pixels(scene)
    assert len(pixel_index) == len(split)  # those outside of the picture are left out
    for n, (x, y) in enumerate(opaque):
        assert pixel_index[n] == split.images.offset[n] + 16 * y + x
        away = scene.to_model(points.position[n]) - scene.model_cameras("train").position[n]
        assert distance[n] == pytest.approx(np.linalg.norm(away), rel=1e-5)


def test_the_loss_is_trained_on(make_trainer):
    plain = make_trainer(gradients="autograd")
    deep = make_trainer(gradients="autograd", depth=DepthConfig(weight=1.0))
    for trainer in (plain, deep):
        for _ in range(3):
            trainer.step()
    assert deep.totals().loss > plain.totals().loss
    assert not torch.equal(plain.model.field.table, deep.model.field.table)
