"""What the commands say of a scene, where a run finds one that has moved, and paths through the poses of a file."""

import dataclasses
import json

import numpy as np
import pytest

from taichi_nerf import cli, paths, runtime
from taichi_nerf.cli.main import _parsed
from taichi_nerf.cli.train import _resumed, _tell
from taichi_nerf.config import RunConfig, SceneConfig, from_dict, todays_run
from taichi_nerf.data import load_scene
from taichi_nerf.data.export import transforms_content, write_blender
from taichi_nerf.errors import UserError
from taichi_nerf.output import quoted
from taichi_nerf.training.folder import RunFolder, load_training_scene

from .odd import FLIP, FOCAL, SIZE, VIEWS, Transforms, assert_same, poses


def said_by_info(capsys, *argv) -> str:
    assert cli.main(["info", *map(str, argv)]) == 0
    return capsys.readouterr().out


def test_what_info_warns_of_train_does_too(tmp_path, capsys):
    folder = Transforms(tmp_path, objects=True).repose(lambda m: m @ FLIP).write(sharpen=1)
    told = said_by_info(capsys, folder)
    _tell(RunConfig(), load_scene(folder))
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in told.splitlines() if line.startswith("warning: ")]
    assert any("--axes opencv" in line for line in warnings) and set(warnings) == set(lines[1:])
    assert lines[0].startswith(f"{tmp_path.name}: transforms.json with 12 frames; ")
    assert "not used: 'sharpen'" in lines[0]
    mended = said_by_info(capsys, folder, "--axes", "opencv")
    assert "warning" not in mended and "--axes" not in mended


def test_how_a_file_is_read_is_a_setting_of_the_run(tmp_path):
    folder = Transforms(tmp_path / "odd", objects=True).repose(lambda m: np.linalg.inv(m @ FLIP)).write()
    good = load_training_scene(SceneConfig(path=str(Transforms(tmp_path / "good", objects=True).folder)))
    settings = SceneConfig(path=str(folder), axes="opencv", world_to_camera=True)
    assert_same(load_training_scene(settings), good)
    scene = Transforms(tmp_path / "few", objects=True)
    scene.image(3).unlink()
    assert sum(map(len, load_training_scene(SceneConfig(path=str(scene.folder))).splits.values())) == VIEWS - 1
    for n in range(5):
        scene.image(n).unlink(missing_ok=True)
    with pytest.raises(UserError, match="--skip-missing"):
        load_training_scene(SceneConfig(path=str(scene.folder)))
    loaded = load_training_scene(SceneConfig(path=str(scene.folder), skip_missing=True))
    assert sum(map(len, loaded.splits.values())) == VIEWS - 5


def test_settings_of_the_fourth_version_took_any_alpha_for_a_background():
    values = dataclasses.asdict(RunConfig())
    for name in ("axes", "world_to_camera", "skip_missing"):
        del values["scene"][name]
    values["scene"]["alpha"] = "background"
    assert from_dict(RunConfig, todays_run(values, 4)) == RunConfig(scene=SceneConfig(alpha="background"))
    del values["scene"]["alpha"], values["scene"]["masks"]
    assert from_dict(RunConfig, todays_run(values, 4)).scene.alpha == "background"


@pytest.fixture
def moved_run(tmp_path):
    """A run whose scene is now elsewhere: the run, and the place."""
    runtime.init("cpu")
    folder = Transforms(tmp_path / "my scene").folder
    settings = SceneConfig(path=str(folder))
    RunFolder.create(tmp_path / "run", RunConfig(scene=settings), load_training_scene(settings))
    return tmp_path / "run", folder.rename(tmp_path / "elsewhere")


def test_a_scene_that_has_moved_is_found_with_an_option(moved_run):
    path, place = moved_run
    for read in (lambda run: run.training_scene(), lambda run: run.split("test")):
        with pytest.raises(UserError, match=r"my scene, the scene of .*run, does not exist; .* with --scene"):
            read(RunFolder.open(path))
    assert len(RunFolder.open(path).split("test", path=place)[0].splits["test"]) == 2
    run, scene = _resumed(_parsed(["train", "--resume", str(path), "--scene", str(place), "--steps", "1"]))
    assert run.config.scene.path == str(place) and len(scene.splits["train"]) == 10
    with pytest.raises(UserError, match="--scene says where that of a run to --resume is now"):
        _parsed(["train", "--scene", str(place)])


def test_a_run_remembers_what_was_taken_from_all_positions(tmp_path):
    runtime.init("cpu")
    far = np.array([455000.0, 4421000.0, 300.0])

    def moved(pose):
        pose[:3, 3] += far
        return pose

    settings = SceneConfig(path=str(Transforms(tmp_path / "scene").repose(moved).write()))
    scene = load_training_scene(settings)
    RunFolder.create(tmp_path / "run", RunConfig(scene=settings), scene)
    run = RunFolder.open(tmp_path / "run")
    assert np.array_equal(run.cameras_scene().origin, scene.origin) and scene.origin.any()
    frames = [{"camera_to_world": pose.tolist(), "fov": 40} for pose in moved_poses(far)]
    (tmp_path / "path.json").write_text(json.dumps({"frames": frames}))
    cameras = paths.from_json(tmp_path / "path.json", run.cameras_scene(), size=(8, 8))
    expected = load_scene(settings.path, test_every=0)
    np.testing.assert_allclose(cameras.camera_to_world, expected.model_cameras("train").camera_to_world, atol=1e-5)
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    del content["scene"]["origin"]  # a run of an older release
    (tmp_path / "run" / "config.json").write_text(json.dumps(content))
    assert not RunFolder.open(tmp_path / "run").cameras_scene().origin.any()
    content["scene"]["centre"] = (np.array(content["scene"]["centre"]) + scene.origin).tolist()
    (tmp_path / "run" / "config.json").write_text(json.dumps(content))
    again = RunFolder.open(tmp_path / "run").training_scene()
    np.testing.assert_allclose(again.model_cameras("train").camera_to_world,
                               scene.model_cameras("train").camera_to_world, atol=1e-6)


def moved_poses(far: np.ndarray) -> np.ndarray:
    every = poses()
    every[:, :3, 3] += far
    return every


@pytest.mark.parametrize("keys", [{}, {"fl_x": None, "fl_y": None, "x_fov": 38.9, "y_fov": 38.9},
                                  {"fl_x": None, "fl_y": None, "camera_angle_x": 0.679}])
def test_a_path_may_be_a_transforms_file(tmp_path, keys):
    folder = Transforms(tmp_path).write(**keys)
    scene = load_scene(folder, test_every=0)
    expected = scene.model_cameras("train")
    cameras = paths.from_json(folder / "transforms.json", scene)
    np.testing.assert_allclose(cameras.camera_to_world, expected.camera_to_world, atol=1e-6)
    assert cameras.size.tolist() == [[SIZE, SIZE]] * VIEWS
    np.testing.assert_allclose(cameras.focal, FOCAL, rtol=2e-3)
    larger = paths.from_json(folder / "transforms.json", scene, size=(2 * SIZE, 2 * SIZE))
    np.testing.assert_allclose(larger.focal, 2 * FOCAL, rtol=2e-3)


def test_exports_of_fisheyes_say_so_in_the_head(tmp_path):
    scene = load_scene(Transforms(tmp_path / "a").write(camera_model="OPENCV_FISHEYE", k1=0.01))
    content = json.loads((write_blender(scene, tmp_path / "b") / "transforms_train.json").read_text())
    assert content["camera_model"] == "OPENCV_FISHEYE" == content["frames"][0]["camera_model"]
    cameras = scene.splits["train"].cameras
    assert transforms_content(scene, cameras, ["a"] * len(cameras))["camera_model"] == "OPENCV_FISHEYE"
    mixed = dataclasses.replace(cameras, lens=np.arange(len(cameras)) % 2)
    assert "camera_model" not in transforms_content(scene, mixed, ["a"] * len(cameras))
    plain = write_blender(load_scene(Transforms(tmp_path / "c").folder), tmp_path / "d")
    assert "camera_model" not in json.loads((plain / "transforms_train.json").read_text())


def test_paths_in_hints_can_be_typed():
    assert quoted("runs/my scene (1)") == "'runs/my scene (1)'" and quoted("runs/lego") == "runs/lego"
