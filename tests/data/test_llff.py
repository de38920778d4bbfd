"""LLFF folders: axes, intrinsics, bounds as near and far, images in several sizes."""

import numpy as np
import pytest

from taichi_nerf.data import load_scene
from taichi_nerf.errors import UserError

from .captures import HEIGHT, WIDTH, arc_poses, write_images, write_llff


def test_poses_and_intrinsics_come_back(tmp_path):
    poses = write_llff(tmp_path)
    scene = load_scene(tmp_path, test_every=0)
    assert (scene.format, scene.forward_facing, scene.held_out) == ("llff", True, True)
    cameras = scene.splits["train"].cameras
    np.testing.assert_allclose(cameras.camera_to_world, poses[:, :3], atol=1e-6)
    np.testing.assert_array_equal(cameras.focal, np.full((10, 2), 50.0))
    np.testing.assert_array_equal(cameras.principal, [[WIDTH / 2, HEIGHT / 2]] * 10)


def test_bounds_become_distances_near_and_far(tmp_path):
    write_llff(tmp_path)
    scene = load_scene(tmp_path, test_every=0)
    secant = np.sqrt(1 + (WIDTH**2 + HEIGHT**2) / 100.0**2)
    np.testing.assert_allclose(scene.splits["train"].bounds, [[2.0, 12.0 * secant]] * 10, rtol=1e-6)
    assert scene.near == pytest.approx(0.75 * 2.0 * scene.scale)
    assert scene.far == pytest.approx(12 * secant * scene.scale)


def test_every_eighth_image_is_held_out(tmp_path):
    write_llff(tmp_path)
    scene = load_scene(tmp_path)
    assert scene.splits["test"].images.names == ("IMG_0000", "IMG_0008") and len(scene.splits["train"]) == 8


def test_cameras_around_something_face_not_one_way(tmp_path):
    write_llff(tmp_path, poses=arc_poses(12))
    scene = load_scene(tmp_path)
    assert not scene.forward_facing
    np.testing.assert_allclose(scene.to_model(np.zeros(3)), 0, atol=0.2)


def test_smaller_copies_are_used(tmp_path):
    write_llff(tmp_path)
    write_images(tmp_path / "images_2", [f"image{n:03d}.png" for n in range(10)], (WIDTH // 2, HEIGHT // 2))
    cameras = load_scene(tmp_path, downscale=4, test_every=0).splits["train"].cameras
    np.testing.assert_array_equal(cameras.focal, np.full((10, 2), 12.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:, :15], r"has the shape \[10, 15\]"),
        (lambda rows: rows[:9], "has 9 cameras and .* 10 images"),
        (lambda rows: rows * np.where(np.arange(17) == 3, np.nan, 1), "not finite"),
        (lambda rows: rows * np.where(np.arange(17) == 1, -1, 1), "not a rotation|mirrors"),
        (lambda rows: rows * np.where(np.arange(17) == 15, 0, 1), "near and far are 0"),
        (lambda rows: rows * np.where(np.arange(17) == 14, 0, 1), "not positive"),
        (lambda rows: rows * np.where(np.arange(17) == 4, 3, 1), "its camera 48 x 96"),
        (lambda rows: rows.astype(str), "not an array as numpy saves it"),
    ],
)
def test_damaged_arrays_are_refused(tmp_path, change, message):
    write_llff(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", change(np.load(tmp_path / "poses_bounds.npy")))
    with pytest.raises(UserError, match=message):
        load_scene(tmp_path)


def test_an_array_that_lies_about_its_size_is_refused(tmp_path):
    write_llff(tmp_path)
    path = tmp_path / "poses_bounds.npy"
    path.write_bytes(path.read_bytes().replace(b"(10, 17), }", b"(10000000000, 17), }"))
    with pytest.raises(UserError, match="not an array as numpy saves it"):
        load_scene(tmp_path)


def test_fern(real_data):
    folder = real_data("nerf_llff_data/fern")
    scene, colmap, stated = (
        load_scene(folder, downscale=2, splits=["test"], format=name) for name in ("llff", "colmap", "transforms")
    )
    assert scene.forward_facing and len(scene.splits["test"]) == 3
    poses = scene.splits["test"].cameras.camera_to_world
    np.testing.assert_allclose(poses, stated.splits["test"].cameras.camera_to_world, atol=1e-4)
    assert {path.parent.name for path in scene.splits["test"].paths} == {"images_2"}
    # what the bounds say agrees with what the points say
    assert scene.near / scene.scale == pytest.approx(colmap.near / colmap.scale, rel=0.1)
    assert np.linalg.norm(scene.centre - colmap.centre) * scene.scale < 0.2
