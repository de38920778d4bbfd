"""Known distances: which pixels are drawn, and what the loss asks of the weights of a ray."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf.config import DepthConfig, SettingError, TrainingConfig
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.multiscale import with_scales
from taichi_nerf.data.scene import Points, Sightings
from taichi_nerf.errors import UserError
from taichi_nerf.models.pixels import Pixels
from taichi_nerf.training.batches import PhotoRays
from taichi_nerf.training.corrections import Corrections
from taichi_nerf.training.depth import KnownDistances, known_pixels, settled_depth, transport_loss
from taichi_nerf.training.photos import photos_of
from taichi_nerf.training.run import make_model
from taichi_nerf.types import PackedSamples, Seeds, Standing

from .conftest import SMALL, with_points

SEEDS = Seeds(rays=1, jitter=2, background=3)


def make_pixels(weights, t, dt=0.1) -> Pixels:
    """What one ray renders to, whose samples have these weights at these distances."""
    weights, t = torch.tensor(weights, dtype=torch.float64), torch.tensor(t, dtype=torch.float64)
    count = torch.tensor([len(t)], dtype=torch.int32)
    samples = PackedSamples(torch.zeros(len(t), 3), t, torch.full_like(t, dt), torch.zeros(len(t), dtype=torch.int32),
                            torch.zeros(1, dtype=torch.int32), count)
    return Pixels(colour=torch.zeros(1, 3), opacity=weights.sum()[None], depth=(weights * t).sum()[None],
                  weights=weights, packed=samples, marched=len(t))


def distances_of(scene, **settings) -> KnownDistances:
    photos = photos_of(scene)
    source = PhotoRays(photos, Corrections(scene.model_cameras("train"), TrainingConfig()), cones=False)
    config = settled_depth(DepthConfig(**{"weight": 1.0, **settings}), scene)
    return KnownDistances(scene, source, make_model(scene, SMALL), config)


def loss(weights, t, distance=1.0) -> float:
    return float(*transport_loss(make_pixels(weights, t), torch.tensor([distance], dtype=torch.float64)))


def test_an_opaque_surface_at_the_distance_costs_nothing():
    assert loss([0.0, 1.0, 0.0], [0.5, 1.04, 1.5]) == 0


def test_a_surface_elsewhere_costs_its_distance_from_there():
    assert loss([1.0], [0.65]) == pytest.approx(0.3)
    assert loss([1.0], [1.3], distance=2.0) == pytest.approx(0.65 / 2)
    assert loss([1.0], [2.7], distance=2.0) == pytest.approx(0.65 / 2.7)  # behind it, in disparity


def test_matter_behind_does_not_make_up_for_fog_before():
    assert loss([0.5, 0.5], [0.8, 1.2]) == pytest.approx(0.075 + 0.075 / 1.2)  # whose mean distance is right


@pytest.mark.parametrize("distance", [1e-3, 1.0, 1e3])
def test_a_distance_that_is_wrong_by_much_costs_no_more_than_a_ray_that_meets_nothing(distance):
    assert 0.9 < loss([1.0], [30.0], distance=distance) < 1


def test_a_ray_that_meets_nothing_costs_all_of_the_distance():
    assert loss([], []) == 1
    assert loss([0.25], [1.0]) == pytest.approx(0.75)


def test_pixels_are_drawn_where_the_distance_is_known(small_scene):
    known = distances_of(small_scene)
    index, pixel, distance, confidence = known.draw(500, seed=3)
    depth = small_scene.splits["train"].depth
    for n, (x, y), d in zip(index.tolist(), pixel.tolist(), distance.tolist()):
        assert d == pytest.approx(depth[n][int(y), int(x)] * small_scene.scale, rel=1e-6)
    assert len(torch.unique(index)) == len(depth)
    assert (confidence == 1).all()
    again, other = known.draw(500, seed=3)[1], known.draw(500, seed=4)[1]
    assert torch.equal(pixel, again) and not torch.equal(pixel, other)


def test_a_scene_that_knows_no_distances_is_refused(small_scene):
    split = small_scene.splits["train"]
    nowhere = [np.full((16, 16), np.inf)] * 6
    for depth, message in ((None, "it has no points"), (nowhere, "distance of no opaque pixel")):
        scene = with_split(small_scene, dataclasses.replace(split, depth=depth))
        with pytest.raises(UserError, match=message):
            distances_of(scene)
    scene = with_split(small_scene, dataclasses.replace(split, depth=None))
    with pytest.raises(UserError, match="it has no depth images"):
        distances_of(scene, of="images")
    with pytest.raises(UserError, match="it has no points"):
        distances_of(scene, weight=None, of="points")


def test_of_photos_in_several_sizes_the_largest_know_the_distances_of_points(small_scene):
    scene = with_points(small_scene)
    whole, scaled = known_pixels(scene, "points"), known_pixels(with_scales(scene, 2), "points")
    np.testing.assert_array_equal(scaled.distance, whole.distance)
    np.testing.assert_array_equal(scaled.confidence, whole.confidence)
    images, of_scales = (each.splits["train"].images for each in (scene, with_scales(scene, 2)))
    np.testing.assert_array_equal(of_scales.pixels[scaled.pixel_index], images.pixels[whole.pixel_index])
    with pytest.raises(UserError, match="it has no depth images, which --scales leaves out"):
        known_pixels(with_scales(small_scene, 2), "images")


def test_points_of_structure_from_motion_are_distances_of_the_pixels_that_saw_them(small_scene):
    split = small_scene.splits["train"]
    points = Points(position=np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)))
    opaque = [np.argwhere(split.images.image(n)[..., 3] == 255)[3, ::-1] for n in range(len(split))]
    seen = [Sightings(point=[n, 7 + n], pixel=[opaque[n] + 0.7, (-3.0, 2.0)]) for n in range(len(split))]
    scene = dataclasses.replace(small_scene, points=points, centre=np.array([0.1, 0, 0]))
    scene = with_split(scene, dataclasses.replace(split, depth=None, sightings=seen))
    pixel_index, distance, confidence = known_pixels(scene, "points")
    assert len(pixel_index) == len(split)  # those outside of the picture are left out
    assert (confidence == 1).all()  # nothing is known of their errors
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


def test_points_count_less_and_less_where_nothing_is_said(small_scene):
    scene = with_points(small_scene)
    config = settled_depth(DepthConfig(), scene)
    assert (config.weight, config.final, config.of) == (0.1, 0.0, "points")
    assert settled_depth(config, scene) == config
    known = distances_of(scene, weight=None)
    weights = [known.weight(Standing(step=3, progress=p, seeds=SEEDS)) for p in (0.0, 0.25, 0.5, 1.0)]
    assert weights[:2] == pytest.approx([0.1, 0.05]) and weights[2:] == [0, 0]


def test_no_further_rays_are_cast_once_the_weight_has_fallen_to_nothing(small_scene):
    known = distances_of(with_points(small_scene), weight=None)
    known.source = known.model = None  # of which no ray asks
    assert known.losses(None, range(8), Standing(step=3, progress=0.5, seeds=SEEDS)) == {}
    with pytest.raises(AttributeError):
        known.losses(None, range(8), Standing(step=3, progress=0.49, seeds=SEEDS))


def test_a_weight_that_is_given_stays_and_is_that_of_depth_images_first(small_scene):
    scene = with_points(small_scene)
    given = settled_depth(DepthConfig(weight=0.3), scene)
    assert (given.weight, given.final, given.of) == (0.3, 1.0, "images")
    assert settled_depth(DepthConfig(weight=0.3, final=0.5, of="points"), scene).of == "points"
    assert settled_depth(DepthConfig(weight=0.0), scene).weight == 0
    known = distances_of(scene, weight=0.4, final=0.5)
    assert [known.weight(Standing(step=3, progress=p, seeds=SEEDS)) for p in (0.25, 0.5, 1.0)] == pytest.approx(
        [0.3, 0.2, 0.2])


def test_depth_images_count_only_with_a_weight():
    with pytest.raises(SettingError, match="of images needs a weight"):
        DepthConfig(of="images")


def test_without_points_nothing_is_trained_on_besides_the_photos(small_scene, make_trainer):
    assert small_scene.splits["train"].depth is not None
    assert make_trainer().distances is None
    for seen in ([Sightings(point=[], pixel=np.zeros((0, 2)))] * 6, [Sightings(point=[0], pixel=[[-5.0, 0.0]])] * 6):
        split = dataclasses.replace(small_scene.splits["train"], sightings=seen)
        scene = with_split(dataclasses.replace(small_scene, points=Points(position=[[0, 0, 0]])), split)
        assert settled_depth(DepthConfig(), scene).weight == 0


def test_a_distance_that_is_less_sure_counts_less(small_scene):
    scene = with_points(small_scene)
    sure = known_pixels(scene, "points")
    error = scene.points.error.copy()
    error[0] *= 100
    scene = dataclasses.replace(scene, points=dataclasses.replace(scene.points, error=error))
    unsure = known_pixels(scene, "points")
    of_first = np.concatenate([seen.point for seen in scene.splits["train"].sightings]) == 0
    assert (unsure.confidence[of_first] < 0.01 * sure.confidence[of_first]).all()
    assert unsure.confidence.mean() == pytest.approx(1) and sure.confidence.mean() == pytest.approx(1)


def test_the_loss_of_a_ray_counts_as_its_distance_is_sure(make_trainer):
    deep = make_trainer(gradients="autograd", depth=DepthConfig(weight=1.0))
    term, standing = deep.distances, deep.clock.standing
    batch = deep.batches.draw(standing)
    plain = term.losses(None, batch, standing)["depth"].item()
    term.confidence = torch.full_like(term.confidence, 0.25)
    assert term.losses(None, batch, standing)["depth"].item() == pytest.approx(0.25 * plain)
