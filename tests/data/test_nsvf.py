"""NSVF folders: both kinds of intrinsics, OpenCV's axes, splits by the first letter, the box."""

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.errors import UserError

from .captures import write_nsvf


@pytest.mark.parametrize("matrix", [False, True], ids=["synthetic", "matrix"])
def test_cameras_come_back(tmp_path, matrix):
    poses = write_nsvf(tmp_path, matrix=matrix)
    scene = load_scene(tmp_path)
    assert (scene.format, scene.held_out, scene.background, scene.bounded) == ("nsvf", False, "white", True)
    for k, name in enumerate(("train", "val", "test")):
        cameras = scene.splits[name].cameras
        np.testing.assert_allclose(cameras.camera_to_world, poses[3 * k : 3 * k + 3, :3], atol=1e-6)
        np.testing.assert_allclose(cameras.focal, [[50.0, 52.0 if matrix else 50.0]] * 3)
        np.testing.assert_allclose(cameras.principal, [[23.5, 16.5]] * 3)


def test_the_unit_cube_is_the_box(tmp_path):
    write_nsvf(tmp_path)
    scene = load_scene(tmp_path)
    assert scene.aabb_scale == 1
    corners = scene.to_model(np.array([[-1.0, -0.5, -0.5], [1.0, 0.7, 0.9]]))
    np.testing.assert_allclose(corners, [[-0.5, -0.3, -0.35], [0.5, 0.3, 0.35]], atol=1e-6)


def test_without_images_for_testing_those_for_validation_are(tmp_path):
    write_nsvf(tmp_path)
    for path in (*tmp_path.glob("rgb/2_*"), *tmp_path.glob("pose/2_*")):
        path.unlink()
    scene = load_scene(tmp_path)
    assert {name: len(split) for name, split in scene.splits.items()} == {"train": 3, "test": 3}


def test_opaque_images_say_by_their_border_what_is_behind(tmp_path):
    write_nsvf(tmp_path, channels=3)
    for brightness, background in ((250, "white"), (3, "black")):
        image = np.full((32, 48, 3), brightness, np.uint8)
        image[8:24, 8:40] = 253 - brightness
        Image.fromarray(image).save(tmp_path / "rgb" / "0_0000.png")
        assert load_scene(tmp_path).background == background


def test_the_images_of_other_splits_are_not_opened(tmp_path):
    write_nsvf(tmp_path)
    (tmp_path / "rgb" / "1_0003.png").write_bytes((tmp_path / "rgb" / "1_0003.png").read_bytes()[:-30])
    assert len(load_scene(tmp_path, splits=["test"], downscale=2).splits["test"]) == 3
    with pytest.raises(UserError, match=r"1_0003.png cannot be read"):
        load_scene(tmp_path, splits=["val"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("intrinsics.txt", "50\n", "neither a 4 x 4 matrix nor begins with f cx cy"),
        ("intrinsics.txt", "50 x 16 0\n", "line 1 is not all numbers"),
        ("intrinsics.txt", "inf 23.5 16.5 0\n", "a number that is not finite"),
        ("intrinsics.txt", "50 23.5 16.5 0\n0 0 0\n0\n1\n99 48\n", "its camera 48 x 99"),
        ("pose/0_0001.txt", "1 0 0 0\n0 1 0 0\n", "is not a matrix of 4 x 4"),
        ("pose/0_0001.txt", "2 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "not a rotation"),
        ("bbox.txt", "1 1 1 0 0 0 0.4\n", "the lower and the upper corner"),
    ],
)
def test_damaged_text_is_refused(tmp_path, name, text, message):
    write_nsvf(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_scene(tmp_path)


def test_a_missing_pose_is_named(tmp_path):
    write_nsvf(tmp_path)
    (tmp_path / "pose" / "2_0008.txt").unlink()
    with pytest.raises(UserError, match=r"2_0008.txt does not exist"):
        load_scene(tmp_path)
