"""Orientation, position and scale: laws that hold whatever the file's world is, and that nothing is lost on the way."""

import json
from typing import get_args

import numpy as np
import pytest
import torch

from taichi_nerf import cli, paths
from taichi_nerf.config import Orientation, SceneFormat
from taichi_nerf.data import load_scene
from taichi_nerf.data.export import write_blender
from taichi_nerf.data.load import FORMATS
from taichi_nerf.data.placement import ORIENTATIONS, orientation, up_axis
from taichi_nerf.errors import UserError
from taichi_nerf.reference.camera import project

from .captures import (
    arc_poses,
    cloud,
    rotation_about,
    write_colmap,
    write_images,
    write_json,
    write_llff,
    write_nerfies,
    write_nsvf,
)

pytest.importorskip("pycolmap")
TURN = rotation_about((0.3, 1.0, -0.4), 130.0)


def moved(poses: np.ndarray, turn=TURN, scale: float = 7.0, shift=(30.0, -20.0, 10.0)) -> np.ndarray:
    """Poses [N, 4, 4] in a world that was turned, scaled and shifted."""
    poses = poses.copy()
    poses[:, :3, :3] = turn @ poses[:, :3, :3]
    poses[:, :3, 3] = scale * poses[:, :3, 3] @ turn.T + shift
    return poses


@pytest.mark.parametrize("orient", ["up", "pca"])
def test_the_model_does_not_depend_on_the_files_world(tmp_path, orient):
    poses = arc_poses(13)
    write_llff(tmp_path / "a", poses=poses)
    write_llff(tmp_path / "b", poses=moved(poses, scale=1.0))
    one, other = (load_scene(tmp_path / name, orient=orient, test_every=0) for name in "ab")
    assert (one.aabb_scale, one.forward_facing) == (other.aabb_scale, other.forward_facing)
    np.testing.assert_allclose(
        one.model_cameras("train").camera_to_world, other.model_cameras("train").camera_to_world, atol=2e-4
    )
    assert one.near == pytest.approx(other.near, rel=1e-4)


def test_a_scene_in_other_units_is_the_same_in_the_model(tmp_path):
    write_colmap(tmp_path / "a")
    model = write_colmap(tmp_path / "b", poses=moved(arc_poses(12)))
    for point, xyz in zip(model.points.values(), 7.0 * cloud() @ TURN.T + (30.0, -20.0, 10.0)):
        point["xyz"] = xyz
    model.write_binary(tmp_path / "b" / "sparse" / "0")
    one, other = (load_scene(tmp_path / name, test_every=0) for name in "ab")
    assert one.scale == pytest.approx(7 * other.scale, rel=1e-4) and one.far == pytest.approx(other.far, rel=1e-4)
    np.testing.assert_allclose(
        one.to_model(one.points.position), other.to_model(other.points.position), atol=2e-4
    )


@pytest.mark.parametrize("height", [-0.5, 0.0, 0.8])
def test_up_is_found_in_a_tilted_world(height):
    poses = arc_poses(16)
    poses[:, 2, 3] += height * 4
    poses = moved(poses)[:, :3]
    np.testing.assert_allclose(up_axis(poses), TURN[:, 2], atol=1e-6)
    np.testing.assert_allclose(orientation(poses, "up")[2], TURN[:, 2], atol=1e-6)
    np.testing.assert_array_equal(orientation(poses, "none"), np.eye(3))


def test_pca_puts_z_where_the_cameras_are_spread_least():
    poses = moved(arc_poses(16))[:, :3]
    rotation = orientation(poses, "pca")
    spread = np.var((poses[:, :, 3] - poses[:, :, 3].mean(axis=0)) @ rotation.T, axis=0)
    assert spread[0] >= spread[1] >= spread[2]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0 and rotation[2] @ TURN[:, 2] > 0.9


def test_degenerate_cameras_still_give_a_rotation():
    pose = arc_poses(1)[:, :3]
    for poses in (np.repeat(pose, 4, axis=0), pose):
        for how in ("up", "pca"):
            rotation = orientation(poses, how)
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(rotation) > 0


def test_a_forward_facing_scene_looks_along_y_with_x_to_the_right(tmp_path):
    poses = write_llff(tmp_path)
    write_llff(tmp_path / "turned", poses=moved(poses, scale=1.0))
    for folder in (tmp_path, tmp_path / "turned"):
        axes = load_scene(folder, test_every=0).model_cameras("train").camera_to_world.mean(axis=0)
        np.testing.assert_allclose(axes[:, :3], [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=0.02)


@pytest.mark.parametrize("orient", ["up", "pca", "none"])
def test_the_way_into_the_model_is_reversible_and_moves_no_pixel(tmp_path, orient):
    write_colmap(tmp_path, poses=moved(arc_poses(12), scale=1.0))
    scene = load_scene(tmp_path, test_every=0, orient=orient)
    assert np.array_equal(scene.rotation, np.eye(3)) == (orient == "none")
    points = np.random.default_rng(1).normal(size=(50, 3)) + (30, -20, 10)
    np.testing.assert_allclose(scene.to_world(scene.to_model(points)), points, atol=1e-4)
    world, model = scene.splits["train"].cameras, scene.model_cameras("train")
    pixels = []
    for cameras, seen in ((world, points), (model, scene.to_model(points))):
        arrays = (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.distortion)
        arrays = [torch.from_numpy(array).double() for array in arrays]
        which = torch.zeros(len(points), dtype=torch.int64)
        result = project(which, torch.from_numpy(seen).double(), *arrays, torch.from_numpy(cameras.lens))
        pixels.append((result[0] if isinstance(result, tuple) else result).numpy())
    np.testing.assert_allclose(pixels[0], pixels[1], atol=2e-2)


def test_the_points_of_interest_lie_in_the_base_cube(tmp_path):
    model = write_colmap(tmp_path)
    for k, point in enumerate(model.points.values()):
        if k >= 30:
            point["xyz"] = 12.0 * point["xyz"] / np.linalg.norm(point["xyz"])  # far behind
    model.write_binary(tmp_path / "sparse" / "0")
    scene = load_scene(tmp_path, test_every=0)
    inside = (np.abs(scene.to_model(scene.points.position)) <= 0.5).all(axis=1)
    assert inside[:30].all() and not inside[30:].any()
    assert (np.abs(scene.to_model(scene.points.position)) <= scene.half_side).all()
    assert (np.abs(scene.model_cameras("train").position) <= scene.half_side).all()


def test_the_box_of_an_object_is_as_wide_as_what_nearly_all_cameras_see(tmp_path):
    poses, zoom = arc_poses(40), np.linspace(1, 2, 40)
    write_images(tmp_path / "images", [f"{n:02d}.png" for n in range(40)], (24, 18), channels=4)
    frames = [{"file_path": f"images/{n:02d}.png", "transform_matrix": poses[n].tolist(), "fl_x": 30.0 * zoom[n]}
              for n in range(40)]
    write_json(tmp_path / "transforms.json", {"frames": frames})
    scene = load_scene(tmp_path, test_every=0)
    cameras = scene.model_cameras("train")
    width = np.linalg.norm(cameras.position, axis=1) * 24 / cameras.focal[:, 0]
    assert (scene.aabb_scale, scene.bounded) == (1, True)
    assert (width <= 1 + 1e-4).mean() == 0.95 and width.max() < 1.1


def test_the_camera_paths_are_level_in_an_oriented_scene(tmp_path):
    write_colmap(tmp_path, poses=moved(arc_poses(12), scale=1.0))
    scene = load_scene(tmp_path, test_every=0)
    right = paths.orbit(scene, 12).camera_to_world[:, :, 0]
    np.testing.assert_allclose(right[:, 2], 0, atol=1e-4)
    poses = write_llff(tmp_path / "a")
    write_llff(tmp_path / "b", poses=moved(poses, scale=1.0))
    spirals = [paths.spiral(load_scene(tmp_path / name), 6).camera_to_world for name in "ab"]
    np.testing.assert_allclose(spirals[0], spirals[1], atol=2e-3)


@pytest.mark.parametrize("write", [write_nerfies, write_nsvf])
def test_formats_with_axes_of_their_own_are_turned_only_if_asked(tmp_path, write):
    write(tmp_path)
    assert np.array_equal(load_scene(tmp_path).rotation, np.eye(3))
    turned = load_scene(tmp_path, orient="up")
    assert not np.array_equal(turned.rotation, np.eye(3)) and turned.rotation[2, 2] > 0.99


def test_a_transforms_file_is_turned_only_if_asked(capture, blender_folder):
    for folder in (capture.folder, blender_folder):
        plain, same = load_scene(folder), load_scene(folder, orient="none")
        np.testing.assert_array_equal(plain.rotation, np.eye(3))
        np.testing.assert_array_equal(plain.centre, same.centre)
        assert plain.scale == same.scale
        assert load_scene(folder, orient="up").rotation[2, 2] == pytest.approx(1)


def test_an_export_keeps_the_files_world_and_how_the_model_lies_in_it(tmp_path):
    write_colmap(tmp_path / "scene", poses=moved(arc_poses(12), scale=1.0), models=("PINHOLE", "OPENCV_FISHEYE"))
    scene = load_scene(tmp_path / "scene")
    loaded = load_scene(write_blender(scene, tmp_path / "export"))
    assert loaded.aabb_scale == scene.aabb_scale
    for name, split in scene.splits.items():
        for field in ("camera_to_world", "focal", "distortion", "lens"):
            expected = getattr(split.cameras, field)
            np.testing.assert_allclose(getattr(loaded.splits[name].cameras, field), expected, rtol=1e-6, atol=1e-6)
        expected = scene.model_cameras(name).camera_to_world
        np.testing.assert_allclose(loaded.model_cameras(name).camera_to_world, expected, atol=1e-5)


@pytest.mark.parametrize("rotation", [[[1, 0], [0, 1]], np.diag([1, 1, 2]).tolist(), np.diag([1, 1, -1]).tolist(), "x"])
def test_a_stated_rotation_must_be_one(capture, rotation):
    with pytest.raises(UserError, match="'model_rotation' is not a"):
        load_scene(capture.write(model_rotation=rotation))


def test_orientations_that_are_none_are_refused(capture):
    with pytest.raises(UserError, match="--orient is down; it must be one of up, pca, none"):
        load_scene(capture.folder, orient="down")


def test_a_run_writes_down_how_its_scene_lies(tmp_path):
    from taichi_nerf import runtime
    from taichi_nerf.config import RunConfig, SceneConfig
    from taichi_nerf.training.folder import RunFolder, load_training_scene

    runtime.init("cpu")
    write_colmap(tmp_path / "scene", poses=moved(arc_poses(12), scale=1.0))
    config = RunConfig(scene=SceneConfig(path=str(tmp_path / "scene"), orient="pca", format="colmap"))
    scene = load_training_scene(config.scene)
    RunFolder.create(tmp_path / "run", config, scene)
    facts = json.loads((tmp_path / "run" / "config.json").read_text())["scene"]
    np.testing.assert_array_equal(facts["rotation"], scene.rotation)
    assert (facts["far"], facts["forward_facing"]) == (scene.far, False)
    run = RunFolder.open(tmp_path / "run")
    for again in (run.cameras_scene(), run.training_scene(), run.split("test")[0]):
        np.testing.assert_array_equal(again.rotation, scene.rotation)
        np.testing.assert_array_equal(
            again.model_cameras("test").camera_to_world, scene.model_cameras("test").camera_to_world
        )


def test_a_folder_of_several_formats_is_the_first_and_says_so(tmp_path):
    model = write_colmap(tmp_path)
    write_llff(tmp_path, poses=model.poses)
    (tmp_path / "images").rename(tmp_path / "all")
    write_images(tmp_path / "images", model.names)
    scene = load_scene(tmp_path)
    assert scene.format == "colmap" and "the folder is also one of llff: --format reads it as that" in scene.notes
    assert load_scene(tmp_path, format="llff").format == "llff"
    with pytest.raises(UserError, match="no scene of the format nerfies; it is colmap and llff"):
        load_scene(tmp_path, format="nerfies")
    with pytest.raises(UserError, match="--format is ply; it must be one of blender, nerfies"):
        load_scene(tmp_path, format="ply")
    assert get_args(SceneFormat) == tuple(FORMATS) and get_args(Orientation) == ORIENTATIONS


def test_the_command_line_takes_format_and_orientation(tmp_path, capsys):
    model = write_colmap(tmp_path / "scene")
    write_llff(tmp_path / "scene", poses=model.poses)
    for path in (tmp_path / "scene" / "images").glob("*.png"):
        path.unlink()
    assert cli.main(["info", str(tmp_path / "scene"), "--format", "llff", "--orient", "none", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    text = " | ".join(finding["text"] for finding in said["findings"])
    assert said["format"] == "llff" and "poses_bounds.npy of 12 images" in text and "turned" not in text
    assert cli.main(["info", str(tmp_path / "scene"), "--format", "nsvf"]) == 2
    assert "is no scene of the format nsvf; it is colmap and llff" in capsys.readouterr().err
