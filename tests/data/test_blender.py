"""The Blender layout."""

import json

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.data.export import write_blender
from taichi_nerf.errors import UserError

from .conftest import orbit_pose, picture, write_json


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def test_splits_poses_intrinsics_and_pixels_are_those_of_the_files(blender_folder):
    scene = load_scene(blender_folder)
    assert scene.format == "blender" and scene.name == "blender" and not scene.held_out
    assert {name: len(split) for name, split in scene.splits.items()} == {"train": 4, "val": 2, "test": 5}
    assert (scene.scale, scene.aabb_scale, scene.background, scene.bounded) == (1 / 3, 1, "white", True)
    test = scene.splits["test"]
    focal = 0.5 * 10 / np.tan(0.5 * 0.69)
    np.testing.assert_allclose(test.cameras.focal, np.full((5, 2), focal), rtol=1e-6)
    np.testing.assert_array_equal(test.cameras.principal, np.full((5, 2), (5, 4)))
    np.testing.assert_array_equal(test.cameras.size, np.full((5, 2), (10, 8)))
    expected = np.array([orbit_pose(6 + n, 12) for n in range(5)])[:, :3]
    np.testing.assert_array_equal(test.cameras.camera_to_world, expected.astype(np.float32))
    for n in range(5):
        assert np.array_equal(test.images.image(n), picture(6 + n, 10, 8))  # and not the depth map beside it
    assert [path.name for path in test.paths] == [f"r_{n}.png" for n in range(5)]


def test_only_the_splits_asked_for_are_opened(blender_folder):
    for path in [*(blender_folder / "test").iterdir(), *(blender_folder / "val").iterdir()]:
        path.write_bytes(b"broken")
    assert list(load_scene(blender_folder, splits=("train",)).splits) == ["train"]
    with pytest.raises(UserError, match=r"r_0\.png"):
        load_scene(blender_folder, splits=("test",))


def test_every_picks_views_before_their_images_are_opened(blender_folder):
    for n in (1, 3):
        (blender_folder / "test" / f"r_{n}.png").write_bytes(b"broken")
    scene = load_scene(blender_folder, every={"test": 2})
    assert [path.name for path in scene.splits["test"].paths] == ["r_0.png", "r_2.png", "r_4.png"]
    assert len(scene.splits["train"]) == 4
    assert np.array_equal(scene.splits["test"].images.image(1), picture(8, 10, 8))


def test_downscale_shrinks_images_and_intrinsics_alike(blender_folder):
    full, small = load_scene(blender_folder), load_scene(blender_folder, downscale=3)
    assert small.splits["train"].cameras.size.tolist() == [[3, 2]] * 4
    assert small.splits["train"].images.image(0).shape == (2, 3, 4)
    ratio = np.array([3 / 10, 2 / 8])
    for name in ("focal", "principal"):
        expected = getattr(full.splits["train"].cameras, name) * ratio
        np.testing.assert_allclose(getattr(small.splits["train"].cameras, name), expected, rtol=1e-6)
    assert small.scale == full.scale and small.background == full.background


def test_opaque_images_have_a_black_background(blender_folder):
    for path in blender_folder.rglob("r_?.png"):
        Image.fromarray(picture(1, 10, 8, channels=3)).save(path)
    scene = load_scene(blender_folder)
    assert scene.background == "black" and not scene.splits["train"].images.has_alpha


def test_the_file_itself_may_be_named(blender_folder):
    assert list(load_scene(blender_folder / "transforms_train.json").splits) == ["train", "val", "test"]


def test_splits_that_the_folder_lacks_are_left_out_unless_asked_for(blender_folder):
    (blender_folder / "transforms_val.json").unlink()
    assert list(load_scene(blender_folder).splits) == ["train", "test"]
    with pytest.raises(UserError, match="has no split 'val'; it has train, test"):
        load_scene(blender_folder, splits=("train", "val"))


def test_train_and_test_may_not_share_an_image(blender_folder):
    path = blender_folder / "transforms_test.json"
    edit(path, lambda content: content["frames"][1].update(file_path="./test/../train/r_2"))
    for splits in (None, ("train",)):
        with pytest.raises(UserError, match=r"r_2\.png is in the training images and in the test images"):
            load_scene(blender_folder, splits=splits)


def test_an_empty_split_is_named(blender_folder):
    edit(blender_folder / "transforms_test.json", lambda content: content.update(frames=[]))
    with pytest.raises(UserError, match=r"transforms_test\.json: no image for the split 'test'"):
        load_scene(blender_folder)
    assert len(load_scene(blender_folder, splits=["train"]).splits["train"]) == 4


def test_one_training_camera_is_too_few_and_one_test_camera_is_not(blender_folder):
    edit(blender_folder / "transforms_test.json", lambda c: c.update(frames=c["frames"][:1]))
    assert len(load_scene(blender_folder).splits["test"]) == 1
    edit(blender_folder / "transforms_train.json", lambda c: c.update(frames=c["frames"][:1]))
    with pytest.raises(UserError, match="one camera only"):
        load_scene(blender_folder)


def test_without_strict_bad_frames_are_left_out_and_named(blender_folder):
    (blender_folder / "train" / "r_1.png").unlink()
    cut = blender_folder / "test" / "r_3.png"
    cut.write_bytes(cut.read_bytes()[:100])
    doubled = [[2, 0, 0, 0]] * 3
    edit(blender_folder / "transforms_val.json", lambda c: c["frames"][0].update(transform_matrix=doubled))
    scene = load_scene(blender_folder, strict=False)
    assert {name: len(split) for name, split in scene.splits.items()} == {"train": 3, "val": 1, "test": 4}
    assert len(scene.problems) == 3 and all("\n" not in problem for problem in scene.problems)
    assert np.array_equal(scene.splits["train"].images.image(1), picture(2, 10, 8))
    assert np.array_equal(scene.splits["test"].images.image(3), picture(10, 10, 8))


def test_lego(real_data):
    scene = load_scene(
        real_data("nerf_synthetic/lego"), downscale=2, splits=("train", "test"), every={"test": 8}
    )
    train, test = scene.splits["train"], scene.splits["test"]
    assert (len(train), len(test)) == (100, 25) and scene.background == "white"
    assert [path.stem for path in test.paths[:3]] == ["r_0", "r_8", "r_16"]
    np.testing.assert_allclose(train.cameras.focal[0], 1111.1110311937682 / 4, rtol=1e-6)
    assert train.images.image(0).shape == (200, 200, 4)
    np.testing.assert_allclose(
        np.linalg.norm(scene.model_cameras("train").position, axis=1), 4.031 / 3, rtol=1e-3
    )


def add_times(folder, split: str, times):
    path = folder / f"transforms_{split}.json"
    content = json.loads(path.read_text())
    for frame, time in zip(content["frames"], times):
        if time is not None:
            frame["time"] = time
    write_json(path, content)


def test_times_of_the_frames_are_kept(blender_folder):
    scene = load_scene(blender_folder)
    assert scene.splits["train"].time is None and scene.problems == []
    add_times(blender_folder, "train", (0.0, 0.5, None, 0.75))
    scene = load_scene(blender_folder)
    np.testing.assert_allclose(scene.splits["train"].time, (0.0, 0.5, 2 / 3, 0.75))
    np.testing.assert_allclose(scene.splits["test"].time, np.arange(5) / 4)  # D-NeRF: i of N without is i / (N - 1)
    np.testing.assert_allclose(scene.splits["test"].subset([3, 1]).time, (0.75, 0.25))
    counts = {"train": "1 of 4", "val": "2 of 2", "test": "5 of 5"}
    said = "; they are taken as evenly spaced"
    assert scene.problems == [f"{each} frames of transforms_{name}.json state no time{said}"
                              for name, each in counts.items()]
    exported = load_scene(write_blender(scene, blender_folder.parent / "export"))
    assert exported.problems == []
    np.testing.assert_allclose(exported.splits["train"].time, scene.splits["train"].time)


@pytest.mark.parametrize(("time", "message"), [
    (-2.0, "'time' is -2; times lie between 0 and 1, shift and divide all so that the first is 0 and the last 1"),
    ("x", "not a number"),
])
def test_times_that_are_none_are_refused(blender_folder, time, message):
    add_times(blender_folder, "train", (time,))
    with pytest.raises(UserError, match=message):
        load_scene(blender_folder)


def test_a_dynamic_scene_has_times_and_photographs_over_black(real_data):
    scene = load_scene(real_data("dnerf/lego_100"))
    assert scene.background == "black" and "each image has a time: the scene moves" in scene.notes
    for split, count in (("train", 50), ("val", 11), ("test", 20)):
        time = scene.splits[split].time
        assert len(time) == count and time[0] == 0 and time.max() <= 1 and (np.diff(time) > 0).all()
