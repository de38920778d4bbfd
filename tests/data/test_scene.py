"""Cameras, images and the map from the world to the model."""

import dataclasses

import numpy as np
import pytest

from taichi_nerf.data.scene import Cameras, Images, Scene, Split

from .conftest import orbit_pose


def make_cameras(sizes) -> Cameras:
    n = len(sizes)
    return Cameras(
        camera_to_world=np.array([orbit_pose(k, n) for k in range(n)])[:, :3],
        focal=np.array(sizes) * 1.5,
        principal=np.array(sizes) * 0.5,
        distortion=np.tile([0.1, 0.01, 0, 0, 0.001, 0.002], (n, 1)),
        lens=np.zeros(n),
        size=sizes,
    )


def make_scene(**changes) -> Scene:
    cameras = make_cameras([(4, 2), (6, 5), (3, 3)])
    arrays = [np.full((h, w, 4), n, np.uint8) for n, (w, h) in enumerate(cameras.size)]
    images = Images.from_list(arrays)
    split = Split(name="train", cameras=cameras, images=images)
    options = {"name": "test", "format": "built-in", "splits": {"train": split}, "centre": (1.0, 2.0, 3.0)}
    options |= {"scale": 0.25, "aabb_scale": 1, "near": 0.05, "background": "white"}
    return Scene(**{**options, **changes})


def test_scaled_follows_the_true_ratio_of_each_axis():
    cameras = make_cameras([(270, 480), (101, 75)])
    half = cameras.scaled(4)
    assert half.size.tolist() == [[67, 120], [25, 18]]
    ratio = half.size / cameras.size
    np.testing.assert_allclose(half.focal, cameras.focal * ratio, rtol=1e-6)
    np.testing.assert_allclose(half.principal, 0.5 * half.size, rtol=1e-6)
    np.testing.assert_array_equal(half.distortion, cameras.distortion)
    np.testing.assert_array_equal(half.camera_to_world, cameras.camera_to_world)


def test_scaled_keeps_the_direction_of_every_image_point():
    cameras = make_cameras([(101, 75)])
    small = cameras.scaled(2)
    corner = (np.array([0.0, 0.0]) - cameras.principal) / cameras.focal
    np.testing.assert_allclose((0 - small.principal) / small.focal, corner, rtol=1e-6)
    np.testing.assert_allclose((small.size - small.principal) / small.focal, -corner, rtol=1e-6)


def test_subset_takes_integers_masks_slices_and_nothing():
    cameras = make_cameras([(4, 2), (6, 5), (3, 3)])
    assert cameras.subset([2, 0]).size.tolist() == [[3, 3], [4, 2]]
    assert cameras.subset(1).size.tolist() == [[6, 5]]
    assert cameras.subset(np.array([True, False, True])).size.tolist() == [[4, 2], [3, 3]]
    assert len(cameras.subset(slice(1, None))) == 2 and len(cameras.subset([])) == 0
    assert cameras.subset([1]).camera_to_world.dtype == np.float32


def test_subset_of_a_split_keeps_images_paths_and_depth_together():
    split = make_scene().splits["train"]
    split = dataclasses.replace(split, paths=("a", "b", "c"), depth=[np.full((1, 1), n) for n in range(3)])
    two = split.subset([2, 1])
    assert two.paths == ("c", "b") and two.depth[0][0, 0] == 2 and two.images.image(1)[0, 0, 0] == 1
    assert two.images.names == ("0002", "0001")


def test_model_cameras_are_moved_and_scaled_and_not_turned():
    scene = make_scene()
    world, model = scene.splits["train"].cameras, scene.model_cameras("train")
    np.testing.assert_allclose(model.position, (world.position - [1, 2, 3]) * 0.25, rtol=1e-6)
    np.testing.assert_array_equal(model.camera_to_world[:, :, :3], world.camera_to_world[:, :, :3])
    np.testing.assert_allclose(scene.to_world(scene.to_model(world.position)), world.position, rtol=1e-5)


def test_pixels_per_unit_are_those_of_a_rod_at_the_origin():
    """Which lies across each view; the pixels of the median view count."""
    scene = make_scene(centre=(0.0, 0.0, 0.0), scale=0.5)
    cameras = scene.model_cameras("train")
    lengths = []
    for pose, focal in zip(cameras.camera_to_world, cameras.focal):
        rod = [sign * 0.5 * pose[:, axis] for axis in (0, 1) for sign in (1, -1)]
        seen = [(end - pose[:, 3]) @ pose[:, :3] for end in rod]
        u, v = np.array([-focal * x[:2] / x[2] for x in seen]).T
        lengths.append((abs(u[0] - u[1]) + abs(v[2] - v[3])) / 2)
    assert max(lengths) > 1.5 * min(lengths)
    assert scene.pixels_per_unit == pytest.approx(np.median(lengths), rel=1e-5)


def test_pixels_per_unit_of_images_of_several_sizes_are_those_of_the_full_size():
    scene = make_scene(centre=(0.0, 0.0, 0.0))
    split = scene.splits["train"]
    alone = dataclasses.replace(scene, splits={"train": split.subset([1])})
    scaled = dataclasses.replace(split, scale=np.array([2, 1, 4]))
    assert dataclasses.replace(scene, splits={"train": scaled}).pixels_per_unit == alone.pixels_per_unit
    near = dataclasses.replace(alone, scale=1e-3)  # a camera among the things is not infinitely near to them
    assert near.pixels_per_unit == pytest.approx(split.cameras.focal[1].mean() / 0.5)
    assert dataclasses.replace(scene, splits={}).pixels_per_unit == np.inf


@pytest.mark.parametrize(("aabb_scale", "cascades"), [(1, 1), (2, 2), (16, 5), (128, 8)])
def test_cascades_are_one_plus_the_logarithm(aabb_scale, cascades):
    scene = make_scene(aabb_scale=aabb_scale)
    assert scene.cascades == cascades and scene.half_side == aabb_scale / 2


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(ValueError, match=r"focal must have shape \[3, 2\], got \[2, 2\]"):
        dataclasses.replace(make_cameras([(4, 2), (6, 5), (3, 3)]), focal=np.ones((2, 2)))
    with pytest.raises(ValueError, match="aabb_scale"):
        make_scene(aabb_scale=3)
    with pytest.raises(ValueError, match="background"):
        make_scene(background="grey")
    split = make_scene().splits["train"]
    with pytest.raises(ValueError, match="differ in size"):
        dataclasses.replace(split, cameras=split.cameras.scaled(2))


def test_dataclasses_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_scene().scale = 2


def test_world_cameras_are_the_inverse_of_model_cameras():
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    scene = make_scene(rotation=turn * np.sign(np.linalg.det(turn)), centre=[1.0, -2.0, 0.5], scale=0.4)
    cameras = make_cameras([(4, 3), (4, 3)])
    back = scene.world_cameras(scene.model_cameras(cameras))
    np.testing.assert_allclose(back.camera_to_world, cameras.camera_to_world, atol=1e-5)


@pytest.mark.parametrize("height", [np.nan, np.inf, 1e30])
def test_sizes_that_are_no_whole_numbers_of_32_bits_are_refused(height):
    cameras = make_cameras([(4, 2), (6, 5)])
    with pytest.raises(ValueError, match="size must be of type int32"):
        dataclasses.replace(cameras, size=np.array([(4, height), (6, 5)]))
