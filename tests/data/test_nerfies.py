"""Nerfies and HyperNeRF folders: world-to-camera axes, both names of the distortion, ids and times, the box."""

import json
import math

import numpy as np
import pytest

from taichi_nerf.data import load_scene
from taichi_nerf.errors import UserError

from .captures import HEIGHT, WIDTH, write_json, write_nerfies


@pytest.mark.parametrize("tangential", ["tangential_distortion", "tangential"])
def test_cameras_come_back(tmp_path, tangential):
    poses = write_nerfies(tmp_path, tangential=tangential)
    scene = load_scene(tmp_path)
    assert (scene.format, scene.held_out, list(scene.splits)) == ("nerfies", False, ["train", "test"])
    for name, first in (("train", 0), ("test", 1)):
        cameras = scene.splits[name].cameras
        np.testing.assert_allclose(cameras.camera_to_world, poses[first::2, :3], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(cameras.focal, [[50.0, 52.0]] * 4)
        np.testing.assert_allclose(cameras.principal, [[23.5, 16.5]] * 4)
        np.testing.assert_allclose(cameras.distortion, [[-0.1, 0.03, 0.01, 0, 0.004, -0.003]] * 4, rtol=1e-6)


def test_ids_and_times(tmp_path):
    write_nerfies(tmp_path)
    test = load_scene(tmp_path).splits["test"]
    assert {name: values.tolist() for name, values in test.ids.items()} == {
        "warp": [1, 3, 5, 7], "appearance": [0, 1, 2, 3], "camera": [1, 1, 1, 1],
    }  # fmt: skip
    np.testing.assert_allclose(test.time, np.array([1, 3, 5, 7]) / 7)
    path = tmp_path / "metadata.json"
    write_json(path, {item: {**entry, "time_id": 3} for item, entry in json.loads(path.read_text()).items()})
    np.testing.assert_allclose(load_scene(tmp_path).splits["test"].time, 1.0)


def test_times_are_those_of_the_images_alone(tmp_path):
    write_nerfies(tmp_path)
    change_json(tmp_path / "metadata.json", cut={"warp_id": 700}, lost={"appearance_id": 0}, wrong=None)
    scene = load_scene(tmp_path)
    np.testing.assert_allclose(scene.splits["test"].time, np.array([1, 3, 5, 7]) / 7)
    assert scene.problems == []


def test_an_image_without_a_time_among_others_is_told(tmp_path):
    write_nerfies(tmp_path)
    change_json(tmp_path / "metadata.json", **{"000003": {"camera_id": 0}, "000004": {"time_id": 3, "camera_id": 0}})
    scene = load_scene(tmp_path)
    assert scene.splits["train"].time is None and scene.problems == [
        f"{tmp_path / 'metadata.json'}: 2 of 8 images, such as 000004, have no 'warp_id', so that none has a time; "
        "give it to all of them"]
    change_json(tmp_path / "metadata.json", **{f"{n:06d}": {"camera_id": 0} for n in range(8)})
    assert load_scene(tmp_path).problems == []  # of what stands still


@pytest.mark.parametrize("item", ["../outside", "/outside", "a/../../outside", "..\\outside", "a\0", "a" * 201])
def test_ids_that_lead_out_of_the_folder_are_refused(tmp_path, item):
    write_nerfies(tmp_path)
    change_json(tmp_path / "metadata.json", **{item: {"warp_id": 3}})
    change_json(tmp_path / "dataset.json", val_ids=["000001", item])
    with pytest.raises(UserError, match=r"dataset\.json: the id .* is none"):
        load_scene(tmp_path)


def test_the_model_lies_as_the_scene_file_says(tmp_path):
    write_nerfies(tmp_path)
    scene = load_scene(tmp_path)
    assert (scene.scale, scene.near, scene.far) == (0.1, 0.2, 0.9)
    np.testing.assert_allclose(scene.to_model(np.array([20.0, 20.0, 30.0])), (1, 0, 0), atol=1e-6)
    np.testing.assert_allclose(scene.to_model(scene.points.position), 0, atol=0.05)
    assert (np.abs(scene.model_cameras("train").position) < scene.half_side).all()
    assert scene.aabb_scale == 1


def test_the_images_nearest_in_size_are_used(tmp_path):
    write_nerfies(tmp_path, scales=(2, 4))
    full, quarter, eighth = (load_scene(tmp_path, downscale=d).splits["train"] for d in (1, 4, 8))
    assert [split.paths[0].parent.name for split in (full, quarter, eighth)] == ["2x", "4x", "4x"]
    np.testing.assert_array_equal(quarter.cameras.size, [[WIDTH // 4, HEIGHT // 4]] * 4)
    np.testing.assert_allclose(eighth.cameras.focal, [[50 / 8, 52 / 8]] * 4)


def test_mip_nerfs_metadata_is_not_claimed(tmp_path):
    write_json(tmp_path / "metadata.json", {"train": {"file_path": []}, "val": {}, "test": {}})
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"metadata\.json: 'cam2world' of 'train'"):
        load_scene(tmp_path)


def change_json(path, **changes):
    content = json.loads(path.read_text())
    write_json(path, {key: value for key, value in {**content, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "camera/000003.json").unlink(), "000003.json does not exist; put it there, or take its id"),
        (lambda f: (f / "rgb/1x/000003.png").unlink(), "000003.png does not exist"),
        (lambda f: change_json(f / "camera/000003.json", orientation=[[1, 0], [0, 1]]), "must be 9 numbers"),
        (lambda f: change_json(f / "camera/000003.json", orientation=np.zeros((3, 3)).tolist()), "not a rotation"),
        (lambda f: change_json(f / "camera/000003.json", focal_length=None), "'focal_length' is missing"),
        (lambda f: change_json(f / "camera/000003.json", skew=3.0), "skewed pixels are not supported"),
        (lambda f: change_json(f / "metadata.json", **{"000003": None}), "has no entry for 000003"),
        (lambda f: change_json(f / "metadata.json", **{"000003": {"warp_id": -1}}), "a whole number from 0"),
        (lambda f: change_json(f / "dataset.json", train_ids="all"), "'train_ids' is not a list of ids"),
        (lambda f: change_json(f / "scene.json", scale=0), "'scale', 'near' and 'far' are 0"),
        (lambda f: np.save(f / "points.npy", np.zeros(4)), r"has the shape \[4\]"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, damage, message):
    write_nerfies(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        load_scene(tmp_path)


def test_without_scene_file_and_points_the_cameras_place_the_model(tmp_path):
    write_nerfies(tmp_path)
    (tmp_path / "scene.json").unlink()
    (tmp_path / "points.npy").unlink()
    scene = load_scene(tmp_path)
    np.testing.assert_allclose(scene.centre, (10, 20, 30), atol=1e-3)
    assert scene.points is None and math.isclose(scene.near, 0.05)
