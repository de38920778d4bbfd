"""Camera paths of the viewer: what is saved is what `render --path` reads, and nothing is overwritten."""

import json

import numpy as np
import pytest

from taichi_nerf import paths
from taichi_nerf.errors import UserError
from taichi_nerf.viewer.key_frames import FOLDER, KeyFrames, files

from ..test_paths import make_cameras, make_scene, ring


@pytest.fixture
def scene():
    return make_scene(make_cameras(ring(6)), centre=(1.0, -2.0, 0.5), scale=0.25)


@pytest.fixture
def keys(scene):
    keys = KeyFrames(scene, (40, 30))
    for n, pose in enumerate(scene.model_cameras("train").camera_to_world[:3]):
        keys.add(pose, 0.6 + 0.1 * n)
    return keys


def test_what_is_saved_is_read_back_by_render(keys, scene, tmp_path):
    file = keys.save(tmp_path, "path")
    cameras = paths.from_json(file, scene)
    assert np.allclose(cameras.camera_to_world, scene.model_cameras("train").camera_to_world[:3], atol=1e-6)
    assert np.allclose(2 * np.arctan(15 / cameras.focal[:, 1]), [0.6, 0.7, 0.8], atol=1e-5)
    assert cameras.size.tolist() == [[40, 30]] * 3
    frame = json.loads(file.read_text())["frames"][0]  # in the world of the scene's file
    assert np.allclose(np.array(frame["camera_to_world"]), scene.splits["train"].cameras.camera_to_world[0], atol=1e-5)


def test_a_path_is_loaded_and_goes_on(keys, scene, tmp_path):
    again = KeyFrames(scene, (40, 30))
    again.load(keys.save(tmp_path, "path"))
    assert len(again) == 3
    poses, fov = again.between(21)
    assert np.allclose(poses[[0, 10, 20]], [key.pose for key in keys._keys], atol=1e-6)
    assert np.allclose(fov[[0, 10, 20]], [0.6, 0.7, 0.8], atol=1e-5)
    again.drop()
    assert len(again) == 2


def test_key_frames_of_what_moves_keep_their_times(scene, tmp_path):
    keys = KeyFrames(scene, (40, 30), moves=True)
    for pose, time in zip(scene.model_cameras("train").camera_to_world[:3], (0.25, 1.0, 0.5)):
        keys.add(pose, 0.6, time)
    assert np.allclose(keys.times_between(5), [0.25, 0.625, 1.0, 0.75, 0.5])
    file = keys.save(tmp_path, "path")
    assert np.allclose(paths.times_from_json(file, 5), keys.times_between(5))  # what `render --path` takes
    again = KeyFrames(scene, (40, 30), moves=True)
    again.load(file)
    assert np.allclose(again.times_between(3), [0.25, 1.0, 0.5])


def test_a_path_without_times_goes_through_all_of_the_time_and_one_of_what_stands_still_has_none(keys, scene, tmp_path):
    file = keys.save(tmp_path, "path")
    assert keys.times_between(4) is None and paths.times_from_json(file) is None
    again = KeyFrames(scene, (40, 30), moves=True)
    again.load(file)
    assert np.allclose(again.times_between(3), [0, 0.5, 1])


def test_no_file_is_overwritten(keys, tmp_path):
    first, second = keys.save(tmp_path, "path"), keys.save(tmp_path, "path")
    assert (first.name, second.name) == ("path.json", "path_2.json")
    assert files(tmp_path) == ["path.json", "path_2.json"]


@pytest.mark.parametrize("name", ["../../outside", "/etc/path", "..", "", "a/b\x1b"])
def test_no_name_leads_out_of_the_folder(keys, tmp_path, name):
    assert keys.save(tmp_path, name).resolve().parent == (tmp_path / FOLDER).resolve()


def test_a_path_of_nothing_and_a_file_that_is_none_are_refused(keys, scene, tmp_path):
    with pytest.raises(UserError, match="at least one key frame"):
        KeyFrames(scene, (40, 30)).save(tmp_path, "path")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match=r"bad\.json"):
        keys.load(tmp_path / "bad.json")
    assert len(keys) == 3


def test_a_folder_that_cannot_be_written_is_told(keys, tmp_path):
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        keys.save(tmp_path, "path")
