"""Where a photo was taken: cameras around one, and the camera that sees what a photo shows."""

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taichi_nerf import cli, runtime
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.errors import UserError
from taichi_nerf.models.views import render_view
from taichi_nerf.training import locate as module
from taichi_nerf.training.locate import apart, around, locate
from taichi_nerf.training.run import make_model
from taichi_nerf.types import UNKNOWN, Shot

from .test_lights import CONFIG

command = importlib.import_module("taichi_nerf.cli.locate")  # the function in `cli` has its name
STILL = dataclasses.replace(CONFIG, appearance=0)


@pytest.fixture(scope="module")
def scene():
    return builtin_scene(resolution=24, views=(4, 0, 2), samples_per_pixel=1)


def test_cameras_around_one_are_no_farther_off_than_was_said(scene):
    camera = scene.splits["train"].cameras.subset([1])
    found = around(camera, scene, degrees=20, share=0.2, count=200, seed=3)
    angle, away = apart(scene, camera.subset([0] * 200), found)
    assert angle[0] < 0.05 and away[0] < 1e-6  # the first is the camera itself; of rounded cosines
    assert 20 < angle.max() < 40 and np.median(angle) > 8  # about the scene and about itself
    turned = around(camera, scene, degrees=0, share=0.2, count=200)
    assert 0.07 < apart(scene, camera.subset([0] * 200), turned)[1].max() <= 0.1
    assert np.ptp(found.focal) == 0 and len(np.unique(found.position, axis=0)) == 200


def test_how_far_cameras_are_apart_is_in_degrees_and_parts_of_the_box(scene):
    camera = scene.splits["train"].cameras.subset([0])
    pose = scene.model_cameras(camera).camera_to_world.copy()
    pose[0, :, 3] += (0, 0.25 * 2 * scene.half_side, 0)
    pose[0, :, :2] = pose[0, :, 1::-1] * (1, -1)  # a quarter of a turn about the axis of view
    other = scene.world_cameras(dataclasses.replace(camera, camera_to_world=pose))
    angle, away = apart(scene, camera, other)
    assert angle[0] == pytest.approx(90, abs=1e-3) and away[0] == pytest.approx(0.25, rel=1e-5)


def test_of_cameras_that_are_one_the_first_is_kept(scene):
    cameras = scene.splits["train"].cameras.subset([0, 1, 0, 2, 1])
    assert module._distinct(scene, cameras, module.SAME) == [0, 1, 3]
    assert module._distinct(scene, cameras, (1000.0, 1000.0)) == [0]


def model_of(scene):
    model = make_model(scene, STILL, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for table, *_ in model.field.tables():
            table.normal_(generator=generator)
    return model


@pytest.mark.slow
def test_a_photo_is_located_from_a_start_that_is_far_off(scene):
    """Of what the model shows, so that the camera is found exactly; the model stays."""
    model, true = model_of(scene), scene.splits["test"].cameras.subset([0])
    shown = render_view(model, scene.model_cameras(true), 0, background=1.0).colour
    photo, before = np.round(255 * shown).astype(np.uint8), [each.clone() for each in model.parameters()]
    start = around(true, scene, degrees=20, share=0.3, count=2, seed=1).subset([1])
    assert apart(scene, start, true)[0][0] > 10
    steps = []
    found = locate(model, scene, photo, around(start, scene, degrees=30, share=0.6, count=64, seed=2),
                   on_step=lambda done, total: steps.append((done, total)))
    angle, away = apart(scene, found.camera, true)
    assert angle[0] < 0.5 and away[0] < 0.005 and found.psnr > 35
    assert found.degrees < 1 and found.units < 0.1 and 0 < found.confidence <= 1 and not found.shot.codes
    assert steps[-1][0] == steps[-1][1] and np.diff([done for done, _ in steps]).min() > 0
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters()))


def test_the_picture_shows_the_model_in_the_light_that_was_fitted_to_the_photo(scene, monkeypatch, tmp_path):
    model, drawn = make_model(scene, CONFIG, seed=1), []
    camera, shot = scene.splits["train"].cameras.subset([0]), Shot(codes={"appearance": torch.full((1, 3), 3.0)})
    found = module.Located(camera=camera, psnr=20.0, confidence=1.0, degrees=1.0, units=1.0, shot=shot)
    monkeypatch.setattr("taichi_nerf.pictures.side_by_side", lambda *seen, **_: drawn.extend(seen) or shades(8, 8))
    photo = np.dstack([shades(24, 24), np.full((24, 24), 255, np.uint8)])
    command._draw(model, scene, photo, found, tmp_path / "x.png")
    lit, mean = (render_view(model, scene.model_cameras(camera), 0, background=1.0, shot=each).colour
                 for each in (shot, UNKNOWN))
    assert np.abs(drawn[1] / 255 - lit).max() < 1 / 255 and np.abs(lit - mean).max() > 0.05


@pytest.mark.parametrize("told, help", [
    ({}, "; give --near or --fov, if you know them"), ({"near": "r_3"}, "; give --fov, if you know it"),
    ({"near": "r_3", "fov": 50.0}, "")])
def test_of_a_place_that_is_likely_wrong_it_is_said_what_else_may_be_told(told, help):
    assert command._what_may_help(command.Locate(run=Path("run"), photo=Path("photo.png"), **told)) == help


def shades(height, width):
    """[H, W, 3] uint8: a photo of nothing in particular."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_photo_is_of_the_lens_of_those_whose_shape_is_its_up_to_rounding():
    sizes = np.array([[64, 42], [96, 64], [42, 64], [64, 40], [768, 500]])
    assert command._alike(sizes, (768, 512)).tolist() == [True, True, False, False, False]
    assert command._alike(sizes, (512, 768)).tolist() == [False, False, True, False, False]


def test_of_a_camera_that_sees_nothing_no_place_is_known(scene, monkeypatch):
    monkeypatch.setattr(module, "_seen", lambda *_: np.ones((4, 4, 3)))
    camera = scene.splits["train"].cameras.subset([0])
    assert module._deviation(None, scene, camera, 0.1, None) == (np.inf, np.inf)


@pytest.mark.slow
def test_the_command_writes_a_camera_path_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "init", lambda *_, **__: runtime.current())
    monkeypatch.setattr(module, "LEVELS", tuple(dataclasses.replace(level, steps=2, candidates=2, side=8)
                                                for level in module.LEVELS[:2]))
    run, photo = tmp_path / "run", tmp_path / "a photo.png"
    assert cli.main(["train", "--downscale", "8", "--steps", "2", "--orbit-frames", "0", "-o", str(run)]) == 0
    Image.fromarray(shades(20, 20)).save(photo)
    capsys.readouterr()
    assert cli.main(["locate", str(run), str(photo)]) == 0
    said = capsys.readouterr().out
    assert "a photo.png: taken at " in said and "confidence is" in said
    written = run / "located" / "a photo.json"
    assert len(json.loads(written.read_text())["frames"]) == 1 and written.with_suffix(".png").is_file()
    near = json.loads((run / "cameras.json").read_text())["train"]["names"][2]
    assert cli.main(["locate", str(run), str(photo), "--near", near, "--fov", "50", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(run / "located" / "a photo_2.json") and len(told["position"]) == 3
    assert cli.main(["render", str(run), "--path", str(written), "--size", "8", "8", "-o", str(tmp_path / "x")]) == 0


@pytest.mark.parametrize("arguments, said", [
    (["nothing.png"], "nothing.png"), (["photo.png", "--fov", "200"], "fov must be from 1 to 170"),
    (["photo.png", "-o", "x.txt"], "is no name of a camera path"), (["wide.png"], "another shape"),
    (["grey.png"], "shows one colour alone"), (["clear.png"], "shows one colour alone"),
    (["photo.png", "--near", "nobody"], "is no photo of")])
def test_what_cannot_be_located_is_said(arguments, said, tmp_path, monkeypatch, capsys, run_of_two_steps):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "init", lambda *_, **__: runtime.current())
    Image.fromarray(shades(20, 20)).save("photo.png")
    Image.fromarray(shades(20, 40)).save("wide.png")
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save("grey.png")
    Image.fromarray(np.dstack([shades(20, 20), np.zeros((20, 20), np.uint8)])).save("clear.png")
    assert cli.main(["locate", str(run_of_two_steps), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_kernels_are_ready_before_cameras_are_turned_by_them(tmp_path, monkeypatch, run_of_two_steps):
    order = []

    def candidates(*_):
        order.append("cameras")
        raise UserError("enough")

    monkeypatch.setattr(runtime, "init", lambda *_, **__: order.append("runtime"))
    monkeypatch.setattr(command, "_candidates", candidates)
    Image.fromarray(shades(20, 20)).save(tmp_path / "photo.png")
    assert cli.main(["locate", str(run_of_two_steps), str(tmp_path / "photo.png")]) == 2
    assert order == ["runtime", "cameras"]


@pytest.fixture
def run_of_two_steps(tmp_path, scene):
    """As far as its files, which nothing was trained into."""
    from taichi_nerf.config import RunConfig
    from taichi_nerf.training.folder import RunFolder

    (tmp_path / "run").mkdir()
    return RunFolder.create(tmp_path / "run", RunConfig(), scene).path
