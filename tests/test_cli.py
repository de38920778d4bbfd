"""The command line: what it writes, what it prints, and how it refuses.

Most commands run in this process, on a runtime that is started once; those that are killed have their own.
"""

import builtins
import dataclasses
import errno
import io
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from taichi_nerf import cli, devices, query, runtime
from taichi_nerf.cli.arguments import options_of
from taichi_nerf.cli.main import COMMANDS, _defaults, _name
from taichi_nerf.cli.meant import OTHERS_CALL_IT, meant
from taichi_nerf.cli.render import _panorama
from taichi_nerf.cli.splats import _say_what_photos_show, _test_photos
from taichi_nerf.cli.stop import Interruption
from taichi_nerf.cli.train import _default_folders, _made, _name_strangers, _Reporter, _tell_idle
from taichi_nerf.cli.trained import disk_words, trained_words
from taichi_nerf.cli.view import _wait_for_model
from taichi_nerf.config import (
    SYSTEMS,
    DepthConfig,
    RangeConfig,
    RunConfig,
    SceneConfig,
    SparsityConfig,
    TrainingConfig,
    few_view_settings,
    flattened,
    preset_of,
    recipe,
)
from taichi_nerf.data import load_scene
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.photometry import Light
from taichi_nerf.data.svox import read_svox
from taichi_nerf.errors import UserError
from taichi_nerf.export import orbit
from taichi_nerf.export.spherical import read_panorama, read_video_mark
from taichi_nerf.models.plenoctree import PlenOctree
from taichi_nerf.progress import Progress
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder, writing

from .data.captures import ColmapModel, write_images
from .data.test_hdr import write_exr
from .export.scenes import ball_and_box, tree_of
from .test_paths import make_cameras, make_scene, ring

SMALL = (
    "--backend cpu --threads 1 --orbit-frames 2 "
    "--batch.samples 512 --batch.marched 2048 --batch.max-rays 128 "
    "--model.field.hash-grid.levels 2 --model.field.hash-grid.log2-entries 10 "
    "--model.field.hash-grid.max-resolution 64 --model.field.density-width 16 --model.field.colour-width 16 "
    "--model.sampling.grid-resolution 16 --model.sampling.steps 64"
).split()
SIZE = 18


@pytest.fixture(scope="module", autouse=True)
def one_runtime():
    """Commands find a CPU runtime of one thread, whatever the one before took; that of the other tests is restored."""
    before, original = runtime.current(), runtime.init
    original("cpu", torch.float32, threads=1)

    def init(backend="auto", dtype=torch.float32, threads=None, seed=0, mlp="auto"):
        if backend not in ("auto", "cpu") or mlp != "auto":
            return original(backend, dtype, threads, seed, mlp)
        running = runtime.current()
        fits = (running.backend, running.dtype, running.threads, running.mlp) == ("cpu", dtype, 1, mlp)
        return running if fits else original("cpu", dtype, threads=1)

    runtime.init = init
    yield
    runtime.init = original
    original(before.backend, before.dtype, before.threads)


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory):
    """The built-in scene as a Blender folder: 6 training, 1 validation and 4 test views of 18 x 18 pixels."""
    folder = tmp_path_factory.mktemp("scenes") / "still"
    scene = builtin_scene(resolution=SIZE, views=(6, 1, 4), samples_per_pixel=4)
    for name, split in scene.splits.items():
        (folder / name).mkdir(parents=True)
        frames = []
        for n, pose in enumerate(split.cameras.camera_to_world):
            Image.fromarray(split.images.image(n)).save(folder / name / f"r_{n}.png")
            rows = [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": f"./{name}/r_{n}", "transform_matrix": rows})
        angle = 2 * math.atan(0.5 * SIZE / float(split.cameras.focal[0, 0]))
        content = {"camera_angle_x": angle, "frames": frames}
        (folder / f"transforms_{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def run(scene_folder, tmp_path_factory):
    """A run of 8 steps."""
    folder = tmp_path_factory.mktemp("runs") / "still"
    command = [
        "train",
        str(scene_folder),
        "--steps",
        "8",
        "--test-every",
        "2",
        "--output",
        str(folder),
        *SMALL,
    ]
    assert cli.main(command) == 0
    return folder


def refused(capsys, *argv: str) -> str:
    """The one sentence with which a command ends."""
    capsys.readouterr()
    assert cli.main([str(part) for part in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("taichi-nerf: ")
    return lines[0]


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_fused_networks_train_the_same_checkpoint(run, scene_folder, tmp_path):
    """Eight steps with the kernels give weights of the same names and shapes, and PyTorch evaluates them."""
    folder = tmp_path / "fused"
    command = ["train", scene_folder, "--steps", "8", "--mlp", "fused", "--output", folder, *SMALL]
    assert cli.main([str(part) for part in command]) == 0
    fused, plain = (next(load_file(f) for f in sorted(p.rglob("*.safetensors"))) for p in (folder, run))
    assert {k: v.shape for k, v in fused.items()} == {k: v.shape for k, v in plain.items()}
    assert json.loads((folder / "config.json").read_text())["runtime"]["mlp"] == "fused"
    assert cli.main(["eval", str(folder), "--backend", "cpu"]) == 0


@pytest.mark.slow
def test_training_on_masked_images_that_stay_on_disk(scene_folder, tmp_path, monkeypatch, capsys):
    """A run that is resumed and scored finds both again, and the scores say what is left out of them."""
    monkeypatch.setenv("TAICHI_NERF_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "masked"
    command = ["train", scene_folder, "--steps", "3", "--alpha", "mask", "--cache", "disk", "-o", folder, *SMALL]
    assert cli.main([str(part) for part in command]) == 0
    assert len(list((tmp_path / "cache").iterdir())) == 3  # one for each split
    assert " % of the pixels, which are left out of the scores" in capsys.readouterr().out
    assert cli.main(["train", "--resume", str(folder), "--steps", "5", "--orbit-frames", "0"]) == 0
    assert cli.main(["eval", str(folder), "--json"]) == 0
    protocol = json.loads(capsys.readouterr().out.splitlines()[-1])["protocol"]
    assert "left out of the scores" in protocol["masked"] and protocol["background"] == "black"


@pytest.mark.slow
def test_perturbed_images_are_those_of_the_run(scene_folder, tmp_path, capsys):
    """The run says that they are, goes on with the same ones, and notices others."""
    folder = tmp_path / "perturbed"
    command = ["train", scene_folder, "--perturb", "both", "--steps", "3", "-o", folder, *SMALL]
    assert cli.main([str(part) for part in command]) == 0
    assert "training images but the first have colours" in capsys.readouterr().err
    resume = ["train", "--resume", str(folder), "--steps", "5", "--orbit-frames", "0"]
    assert cli.main(resume) == 0
    assert cli.main(["info", str(folder)]) == 0
    assert "with --perturb both" in capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    assert config["run"]["scene"].pop("perturb") == "both"  # as of runs from before: they have none
    (folder / "config.json").write_text(json.dumps(config))
    assert "has other pixels than when" in refused(capsys, *resume)


def test_training_leaves_settings_weights_scores_pictures_and_a_video(run):
    names = {path.name for path in run.iterdir()}
    assert names == {
        "config.json", "cameras.json", "model.safetensors", "training_state.safetensors", "log.jsonl",
        "metrics.json", "test", "orbit.mp4",
    }  # fmt: skip
    assert {path.name for path in (run / "test").iterdir()} == {
        f"{view}{part}.png" for view in ("000_r_0", "001_r_2") for part in ("", "_render", "_depth")
    }
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 8
    config = json.loads((run / "config.json").read_text())
    assert config["run"]["training"]["steps"] == 8
    assert config["versions"]["torch"] == torch.__version__


def test_a_built_in_scene_is_trained_by_name_at_several_scales(tmp_path, capsys):
    folder = tmp_path / "field"
    command = ["train", "builtin:open-field", "--downscale", "20", "--scales", "2", "--test-every", "8", "--steps", "2"]
    assert cli.main([*command, "--output", str(folder), *SMALL, "--orbit-frames", "0"]) == 0
    assert "\nscale 1/2    PSNR" in capsys.readouterr().out
    scene = json.loads((folder / "config.json").read_text())["run"]["scene"]
    assert (scene["path"], scene["scales"]) == ("builtin:open-field", 2)
    trained = json.loads((folder / "metrics.json").read_text())
    assert [(each["scale"], each["images"]) for each in trained["per_scale"]] == [(1, 2), (2, 2)]
    assert cli.main(["eval", str(folder), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["per_scale"] == trained["per_scale"] and scores["per_image"] == trained["per_image"]
    assert cli.main(["info", str(folder)]) == 0
    facts = capsys.readouterr().out
    assert "on builtin:open-field, downscale 20" in facts
    assert "downscale 20, 2 scales, for 2 steps" in facts and "\nscale 1/2    PSNR" in facts
    assert "train: 120 images of 2 sizes up to 10 x 10 pixels" in facts
    assert cli.main(["render", str(folder), "--path", "test", "--every", "8", "-o", str(tmp_path / "views")]) == 0
    assert "4 frames of 5 x 5 to 10 x 10 pixels" in capsys.readouterr().out


def test_a_built_in_scene_that_there_is_not_is_one_sentence(capsys):
    for command in ("train", "info"):
        said = refused(capsys, command, "builtin:moon")
        assert "there are still-life, satin, crowd, moving, moving-rig, open-field" in said
    assert "too small for --scales 5" in refused(capsys, "train", "builtin:still-life", "--downscale", "20",
                                                 "--scales", "5", "--test-every", "0")


def test_a_score_that_a_picture_is_too_small_for_is_called_undefined():
    from taichi_nerf.cli.scores import means

    assert means({"psnr": None, "ssim": None, "lpips": 0.25}) == (
        "PSNR infinite, SSIM undefined (it needs 11 x 11 scored pixels), LPIPS 0.2500")


def test_eval_repeats_the_scores_of_the_training(run, capsys):
    assert cli.main(["eval", str(run), "--json"]) == 0
    scores, trained = json.loads(capsys.readouterr().out), json.loads((run / "metrics.json").read_text())
    for key in ("psnr", "ssim", "images", "seconds", "steps", "per_image"):
        assert scores[key] == trained[key], key
    assert scores["images"] == 2
    assert scores["protocol"]["every"] == 2
    assert {"background", "resolution", "split", "seconds", "device"} <= scores["protocol"].keys()


def test_eval_prints_each_image_and_the_protocol(run, capsys):
    assert cli.main(["eval", str(run), "--split", "train", "--every", "3"]) == 0
    out = capsys.readouterr().out
    assert "r_0" in out and "r_3" in out and "r_1" not in out
    for part in ("PSNR", "SSIM", "split train, every 3", "18 x 18 pixels", "background white", "8 steps"):
        assert part in out


def test_eval_of_a_scene_that_has_moved(run, scene_folder, tmp_path, capsys):
    (tmp_path / "moved").symlink_to(scene_folder)
    assert cli.main(["eval", str(run), "--every", "4", "--json", "--scene", str(tmp_path / "moved")]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1
    assert "nowhere" in refused(capsys, "eval", run, "--scene", tmp_path / "nowhere")


def test_eval_writes_pictures_into_a_new_folder_alone(run, tmp_path, capsys):
    assert cli.main(["eval", str(run), "--pictures", str(tmp_path / "new")]) == 0
    before = contents(tmp_path)
    assert len(before) == 2 * len(("side by side", "render", "depth"))
    assert "--pictures" in refused(capsys, "eval", run, "--pictures", tmp_path / "new")
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_a_run_of_one_backend_goes_on_on_another(scene_folder, tmp_path, capsys):
    if (reason := runtime.why_missing("vulkan")) is not None:
        pytest.skip(f"vulkan: {reason}")
    folder = tmp_path / "run"
    command = ["train", str(scene_folder), "--steps", "4", "--test-every", "4", "--output", str(folder), *SMALL]
    try:
        assert cli.main([*command, "--orbit-frames", "0", "--backend", "vulkan"]) == 0
    finally:
        ORIGINAL_INIT("cpu", torch.float32, threads=1)
    trained = json.loads((folder / "metrics.json").read_text())
    capsys.readouterr()
    assert cli.main(["eval", str(folder), "--backend", "cpu", "--json"]) == 0
    assert runtime.current().backend == "cpu"
    assert json.loads(capsys.readouterr().out)["psnr"] == pytest.approx(trained["psnr"], abs=0.05)
    more = ["train", "--resume", str(folder), "--backend", "cpu", "--steps", "7", "--orbit-frames", "0"]
    assert cli.main(more) == 0
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 7


def test_resume_of_a_run_with_a_later_end_goes_on(run, scene_folder, tmp_path):
    folder = tmp_path / "run"
    command = [
        "train",
        str(scene_folder),
        "--steps",
        "3",
        "--test-every",
        "4",
        "--output",
        str(folder),
        *SMALL,
    ]
    assert cli.main(command) == 0
    weights = load_file(folder / "model.safetensors")
    assert cli.main(["train", "--resume", str(folder), "--orbit-frames", "0"]) == 0
    for name, value in load_file(folder / "model.safetensors").items():
        assert torch.equal(value, weights[name])
    assert cli.main(["train", "--resume", str(folder), "--steps", "5", "--orbit-frames", "0"]) == 0
    steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 5
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 5


def test_a_run_keeps_the_finest_level_that_its_images_asked_for(scene_folder, tmp_path):
    folder, left_open = tmp_path / "run", [*SMALL]
    at = left_open.index("--model.field.hash-grid.max-resolution")
    del left_open[at : at + 2]
    command = ["train", str(scene_folder), "--steps", "2", "--test-every", "4", "--output", str(folder)]
    assert cli.main([*command, *left_open]) == 0
    wanted = round(1.25 * load_scene(scene_folder).pixels_per_unit)
    config = json.loads((folder / "config.json").read_text())["run"]["model"]
    assert config["field"]["hash_grid"]["max_resolution"] == wanted > 16
    assert checkpoint.describe(folder)["model"]["field"]["hash_grid"]["max_resolution"] == wanted
    assert cli.main(["train", "--resume", str(folder), "--steps", "3", "--orbit-frames", "0"]) == 0


def test_resume_keeps_its_settings(run, capsys):
    before = contents(run)
    assert "--seed cannot be changed" in refused(capsys, "train", "--resume", run, "--seed", "3")
    assert "--batch.samples" in refused(capsys, "train", "--resume", run, "--batch.samples", "99")
    for option, value in (("--scales", "1"), ("--model", "instant-ngp"), ("--model.widening", "0")):  # by default, too
        assert f"{option} cannot be changed" in refused(capsys, "train", "--resume", run, option, value)
    assert "--few-views cannot be changed" in refused(capsys, "train", "--resume", run, "--no-few-views")
    assert "SCENE and --output" in refused(capsys, "train", "somewhere", "--resume", run)
    assert contents(run) == before


def test_one_process_trains_in_a_run_and_those_that_read_it_do_not_wait(run, tmp_path, capsys):
    pytest.importorskip("fcntl", reason="this system has no locks")
    before = contents(run)
    with writing(run):
        message = refused(capsys, "train", "--resume", run, "--steps", "99")
        assert f"another process trains in {run}; wait for its end, or train in another folder" in message
        assert cli.main(["info", str(run)]) == 0
        assert cli.main(["eval", str(run), "--every", "4", "--json"]) == 0
        assert cli.main(["render", str(run), "--frames", "1", "--size", "4", "4", "-o", str(tmp_path / "a.mp4")]) == 0
    assert contents(run) == before


def test_runs_that_begin_in_one_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-120000")
    scene = SimpleNamespace(name="my lego")
    assert [str(_made(_default_folders(scene), there=False)) for _ in range(3)] == [
        f"runs/my-lego-20260101-120000{end}" for end in ("", "-2", "-3")]
    with pytest.raises(UserError, match="runs was made by another process just now; choose another --output"):
        _made([Path("runs")], there=False)
    assert _made([Path("runs")], there=True) == Path("runs")


def test_a_run_whose_pictures_have_changed_does_not_go_on(scene_folder, tmp_path, capsys):
    """Nor one whose poses have; where the scene lies does not matter."""
    scene, folder = tmp_path / "scene", tmp_path / "run"
    shutil.copytree(scene_folder, scene)
    command = ["train", scene, "--steps", "1", "--test-every", "4", "-o", folder, *SMALL, "--orbit-frames", "0"]
    assert cli.main([str(part) for part in command]) == 0
    moved = scene.rename(tmp_path / "moved")
    resume = ["train", "--resume", folder, "--scene", moved, "--orbit-frames", "0"]
    assert cli.main([str(part) for part in resume]) == 0
    before = contents(folder)
    picture = moved / "train" / "r_2.png"
    Image.fromarray(255 - opened(picture)).save(picture)
    assert f"{picture} has other pixels than when {folder} was begun; restore what was" in refused(capsys, *resume)
    shutil.copy(scene_folder / "train" / "r_2.png", picture)
    content = json.loads((moved / "transforms_train.json").read_text())
    content["frames"][4]["transform_matrix"][0][3] += 0.01
    (moved / "transforms_train.json").write_text(json.dumps(content))
    assert "r_4.png has another pose than when" in refused(capsys, *resume)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("seconds", "size", "frames"),
    [(10.0, (300, 512), 60), (60.0, (300, 512), 60), (240.0, (150, 256), 60), (960.0, (75, 128), 60),
     (1920.0, (75, 128), 30), (1e9, (75, 128), 12), (0.0, (300, 512), 60)],
)
def test_frames_of_the_orbit_become_smaller_and_then_fewer_with_the_time_that_they_take(seconds, size, frames):
    plan = orbit.affordable(orbit.Orbit((300, 512), 60), seconds, 60.0)
    assert plan == orbit.Orbit(size, frames, frames_a_second=frames / 2)


def test_small_frames_of_an_orbit_keep_their_size_and_few_their_number():
    assert orbit.affordable(orbit.Orbit((40, 30), 60), 120.0, 60.0) == orbit.Orbit((40, 30), 30, 15.0)
    assert orbit.affordable(orbit.Orbit((40, 30), 5), 120.0, 60.0) == orbit.Orbit((40, 30), 5)


def test_an_orbit_that_takes_too_long_gets_smaller_and_fewer_frames(scene_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(orbit, "LEAST_VIDEO_SIDE", 6)
    monkeypatch.setattr(orbit, "VIDEO_SECONDS", 0.0)
    rendered = []
    monkeypatch.setattr(orbit, "render_pictures", lambda model, cameras, *a, **k: rendered.append(cameras.size))
    command = ["train", str(scene_folder), "--steps", "2", "--test-every", "4", "--output", str(tmp_path / "slow")]
    assert cli.main([*command, *SMALL, "--orbit-frames", "2000"]) == 0
    said = re.search(r"orbit\.mp4 gets (\d+) frames of (\d+) x \2 pixels, since 2000 of 18 x 18 would",
                     capsys.readouterr().err)
    frames, side = int(said[1]), int(said[2])
    assert 12 <= frames <= 2000 and 6 <= side < 18 and np.array_equal(rendered[0], np.full((frames, 2), side))


def test_render_makes_a_video_for_each_thing_that_is_shown(run, capsys):
    what = ["colour", "depth", "opacity", "normals"]
    for prefix in ("orbit", "orbit_2"):
        assert cli.main(["render", str(run), "--frames", "2", "--size", "21", "13", "--what", *what]) == 0
        out = capsys.readouterr().out
        assert "21 x 13" in out
        for name in what:
            assert str(run / "renders" / f"{prefix}-{name}.mp4") in out
            assert (run / "renders" / f"{prefix}-{name}.mp4").stat().st_size > 0


def test_render_of_a_split_as_pictures(run, tmp_path):
    command = ["render", str(run), "--path", "test", "--every", "2", "--what", "colour", "depth"]
    assert cli.main([*command, "--output", str(tmp_path / "new")]) == 0
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["colour_0000.png", "colour_0001.png", "depth_0000.png", "depth_0001.png"]
    rendered, expected = tmp_path / "new" / "colour_0000.png", run / "test" / "000_r_0_render.png"
    assert np.array_equal(opened(rendered), opened(expected))


@pytest.mark.slow
def test_either_renderer_shows_and_scores_the_same(run, tmp_path, capsys):
    pictures, scores = [], []
    for renderer in ("torch", "taichi"):
        output = tmp_path / renderer
        command = ["render", str(run), "--path", "test", "--every", "4", "--renderer", renderer]
        assert cli.main([*command, "--output", str(output)]) == 0
        pictures.append(opened(output / "colour_0000.png").astype(float))
        capsys.readouterr()
        assert cli.main(["eval", str(run), "--json", "--renderer", renderer]) == 0
        scores.append(json.loads(capsys.readouterr().out))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1
    assert scores[1]["psnr"] == pytest.approx(scores[0]["psnr"], abs=0.05)
    assert scores[1]["protocol"]["precision"].endswith("networks float32")
    assert "normals" in refused(capsys, "render", run, "--renderer", "taichi", "--what", "normals")


def test_a_page_is_of_a_run_that_is_an_octree(run, tmp_path, monkeypatch, capsys):
    assert "make an octree of it with taichi-nerf octree" in refused(capsys, "page", run, "-o", tmp_path / "page.html")
    octree = PlenOctree.of_svox(tree_of(ball_and_box(3, 4)), checkpoint.load(run).box)
    monkeypatch.setattr(checkpoint, "load", lambda path: octree)
    monkeypatch.setattr("taichi_nerf.progress.EVERY_SECONDS", 0.0)
    assert cli.main(["page", str(run), "-o", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().err
    assert "packing: 0 %, 0 of 1 codebooks" in said and "packing: 100 %, a picture to begin with, 100 % of it" in said
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', text)[1])
    assert "<title>still</title>" in text and 'src="data:image/jpeg' in text
    assert len(scene["cameras"]) == 6 and scene["background"] == [1, 1, 1] and scene["leaves"] > 0


@pytest.mark.slow
def test_a_page_may_hold_the_field_itself(run, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.html"
    assert "or put the field itself into the page with --field" in refused(capsys, "page", run, "-o", page)
    assert cli.main(["page", str(run), "--field", "-o", str(page)]) == 0
    text, model = page.read_text(encoding="utf-8"), checkpoint.load(run)
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', text)[1])
    assert f"const LEVELS = {len(model.field.layout.levels)}u;\n" in text and 'src="data:image/jpeg' in text
    assert len(scene["cameras"]) == 6 and scene["cells"] == len(model.grid.values) and not scene["unbounded"]
    octree = PlenOctree.of_svox(tree_of(ball_and_box(3, 4)), model.box)
    for other, advice in ((octree, "leave out --field"), (object(), "make an octree of it with taichi-nerf octree")):
        monkeypatch.setattr(checkpoint, "load", lambda path, other=other: other)
        said = refused(capsys, "page", run, "--field", "-o", tmp_path / "other.html")
        assert "--field puts the field of instant-ngp into a page" in said and advice in said
    assert not (tmp_path / "other.html").exists()


def test_a_run_is_asked_in_the_units_of_its_scene(run):
    field = query.open(run)
    cameras = field.scene.splits["train"].cameras
    origins, directions = field.rays_of(cameras, 0)
    assert np.allclose(origins, cameras.position[0], atol=1e-5) and len(directions) == SIZE**2
    seen = field.along(origins, directions)
    there = np.isfinite(seen.distance)
    assert there.any() and np.allclose(seen.position[there], (origins + seen.distance[:, None] * directions)[there],
                                       atol=1e-4)
    assert field.at(seen.position[there]).density.shape == (there.sum(),)


@pytest.mark.parametrize("options, sentence", [
    (("--what", "mesh", "-o", "x.fbx"), "x.fbx is no format of mesh, which have .glb or .obj or .ply or .stl"),
    (("--what", "points", "-o", "x.glb"), "x.glb is no format of points, which have .ply or .las"),
    (("--what", "depth", "-o", "x.png"), "x.png is no format of depth, which have no ending, since it is a folder"),
    (("--what", "volume", "-o", "x.vdb"), "a .vdb file needs the Python module of OpenVDB, which pip cannot install"),
    (("--what", "volume", "-o", "x.ply"), "x.ply is no format of volume, which have .npz or .vdb"),
    (("-o", "x.stl", "--colour", "vertex"), "STL has no colours"),
    (("--time", "0.5"), "which knows no time; leave --time out"),
    (("--unit", "0"), "unit must be how many metres a unit of the scene has"),
    (("--unit", "1e9"), "unit must be how many metres a unit of the scene has"),
    (("--density", "-3"), "density must be above 0"),
    (("--front", "1"), "front must be above 0 and below 1, got 1"),
    (("--box", "0", "0", "0", "1", "-1", "1"), "box must be two corners, the first the lower one along each axis"),
    (("--resolution", "3"), "resolution must be"),
    (("--what", "depth", "--views", "nowhere"), "--views nowhere is no camera path"),
])
def test_an_export_that_cannot_be_is_one_sentence(run, tmp_path, monkeypatch, capsys, options, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, "export", run, *options)
    assert not list(tmp_path.iterdir())


def test_options_that_have_no_effect_on_what_is_exported_are_mentioned(run, tmp_path, capsys):
    options = ["--what", "volume", "--resolution", "8", "--faces", "500", "--front", "0.4", "--exr"]
    assert cli.main(["export", str(run), *options, "-o", str(tmp_path / "grid.npz")]) == 0
    said = "no effect with --what volume: --faces (of mesh), --front (of mesh and points), --exr (of depth)\n"
    assert f"taichi-nerf: {said}" in capsys.readouterr().err


def test_each_option_of_export_says_what_it_has_an_effect_on():
    from taichi_nerf.cli.export import DEFAULT_NAME, OF, Export
    from taichi_nerf.cli.options import Common

    of_all = {field.name for field in dataclasses.fields(Common)} | {"run", "what", "output", "unit", "time"}
    assert set().union(*OF.values()) == {field.name for field in dataclasses.fields(Export)} - of_all
    assert OF.keys() == DEFAULT_NAME.keys()


def test_depth_pictures_and_volumes_are_exported(run, tmp_path, capsys):
    folder, grid = tmp_path / "depth", tmp_path / "deep" / "grid.npz"
    assert cli.main(["export", str(run), "--what", "depth", "--views", "test", "-o", str(folder), "--unit", "0.5"]) == 0
    assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.json"))) > 0
    assert "metres: " in capsys.readouterr().out
    assert cli.main(["export", str(run), "--what", "volume", "--resolution", "8", "-o", str(grid)]) == 0
    captured = capsys.readouterr()
    assert "8 x 8 x 8 places" in captured.out and "memory: " in captured.err and "no effect" not in captured.err
    assert f"{grid} exists" in refused(capsys, "export", run, "--what", "volume", "-o", grid)
    assert cli.main(["info", str(grid)]) == 0
    assert "a volume of 8 x 8 x 8 places" in capsys.readouterr().out
    assert "--picture draws the cameras" in refused(capsys, "info", grid, "--picture", tmp_path / "x.png")
    assert cli.main(["info", str(folder)]) == 0
    assert "depth pictures of 18 x 18 pixels" in capsys.readouterr().out


@pytest.mark.slow
def test_points_and_meshes_are_exported_with_a_picture(trained_run, tmp_path, capsys):
    for options, name in ((("--what", "points"), "points.ply"), (("--faces", "500"), "mesh.glb"),
                          (("--faces", "500", "--unit", "0.1"), "small.obj"), (("--colour", "none"), "plain.stl"),
                          (("--density", "5", "--faces", "900"), "level.ply"),
                          (("--close", "--faces", "900"), "solid.stl"),
                          (("--close", "--density", "5", "--faces", "900"), "solid-level.stl")):
        file = tmp_path / name
        assert cli.main(["export", str(trained_run), "-o", str(file), "--resolution", "24", *options]) == 0
        assert file.is_file() and (tmp_path / f"{file.stem}-picture.png").is_file()
        capsys.readouterr()
        assert cli.main(["info", str(file)]) == 0
        said = capsys.readouterr().out
        assert "points" in said if name == "points.ply" else "watertight" in said
        assert "--close" not in options or "not watertight" not in said


@pytest.mark.slow
def test_a_mesh_is_coloured_from_photos_unless_they_cannot_be_had(trained_run, tmp_path, capsys, monkeypatch):
    trimesh = pytest.importorskip("trimesh")

    def exported(name: str, *options) -> str:
        assert cli.main(["export", str(trained_run), "-o", str(tmp_path / name), "--resolution", "24", "--faces", "500",
                         *options]) == 0
        return capsys.readouterr().err

    assert "photos of up to" in exported("photos.ply")
    assert "photos of up to" not in exported("field.ply", "--colours-from", "field")
    colours = [np.asarray(trimesh.load(tmp_path / name, process=False).visual.vertex_colors)[:, :3].astype(float)
               for name in ("photos.ply", "field.ply")]
    assert 0 < np.abs(colours[0] - colours[1]).mean() < 60

    def gone(*_, **__):
        raise UserError("the scene has moved")

    monkeypatch.setattr(RunFolder, "training_scene", gone)
    assert "coloured from the field, since its photos cannot be had: the scene has moved" in exported("gone.ply")
    said = cli.main(["export", str(trained_run), "-o", str(tmp_path / "x.ply"), "--colours-from", "photos"])
    assert said == 2 and "looking" not in (error := capsys.readouterr().err) and "the scene has moved" in error
    assert not (tmp_path / "x.ply").exists()


@pytest.fixture(scope="module")
def other_runs(scene_folder, tmp_path_factory):
    """A run of 3 steps of each other model, by its name."""
    field = "--model.field.width 8 --model.field.depth 2 --model.field.levels 3".split()
    settings = {
        "nerf": [*field, "--model.coarse-samples", "4", "--model.fine-samples", "4"],
        "mip-nerf": [*field, "--model.samples", "4"],
        "mip-nerf-360": ["--encoding", "hash", "--model.proposal-samples", "6", "4", "--model.samples", "4"],
    }
    folder = tmp_path_factory.mktemp("family")
    for name, options in settings.items():
        command = ["train", scene_folder, "--model", name, *options, "--batch.rays", "32", "--steps", "3"]
        command += ["--test-every", "4", "--orbit-frames", "2", "--threads", "1", "--output", folder / name]
        assert cli.main([str(part) for part in command]) == 0
    return {name: folder / name for name in settings}


@pytest.mark.slow
@pytest.mark.parametrize("options, codes, pages", [
    ((), {"appearance", "transient"}, {"lights.png", "uncertainty.png"}),
    (("--model.no-transient",), {"appearance"}, {"lights.png"}),
    (("--model.appearance", "0"), {"transient"}, {"uncertainty.png"})], ids=["NeRF-W", "NeRF-A", "NeRF-U"])
def test_a_run_of_nerf_w_shows_lights_and_where_it_is_unsure(scene_folder, tmp_path, options, codes, pages):
    """As far as it has either."""
    run = tmp_path / "wild"
    command = ["train", scene_folder, "--model", "nerf-w", *"--model.field.width 8 --model.field.depth 2".split(),
               *"--model.coarse-samples 4 --model.fine-samples 4 --model.transient-width 8 --batch.rays 32".split(),
               *options, "--steps", "3", "--orbit-frames", "0", "--threads", "1", "--output", run]
    assert cli.main([str(part) for part in command]) == 0
    weights = load_file(run / "model.safetensors")
    assert {name.split(".")[1] for name in weights if name.startswith("codes.")} == codes
    assert any(name.startswith("transient.") for name in weights) == ("transient" in codes)
    assert {path.name for path in run.glob("*.png")} == pages
    if "uncertainty.png" in pages:  # six photos, two in a row, each with three pictures of the model
        assert opened(run / "uncertainty.png").shape == (3 * 152, 8 * 132 + 28, 3)


@pytest.mark.parametrize("name", ["nerf", "mip-nerf", "mip-nerf-360"])
def test_every_model_goes_through_every_command(other_runs, name, tmp_path, capsys):
    run = other_runs[name]
    assert json.loads((run / "config.json").read_text())["run"]["model"]["kind"] == name
    trained = json.loads((run / "metrics.json").read_text())
    capsys.readouterr()
    assert cli.main(["eval", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] == trained["psnr"]
    output, whats = tmp_path / "pictures", ("colour", "depth", "normals")
    assert cli.main(["render", str(run), "--frames", "1", "--size", "9", "7", "--what", *whats, "-o", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == sorted(f"{what}_0000.png" for what in whats)
    capsys.readouterr()
    assert cli.main(["info", str(run)]) == 0
    assert f"run of {name} on" in capsys.readouterr().out
    assert cli.main(["train", "--resume", str(run), "--steps", "5", "--orbit-frames", "0"]) == 0
    assert json.loads((run / "metrics.json").read_text())["steps"] == 5
    assert "taichi is for instant-ngp, plenoctree alone" in refused(capsys, "render", run, "--renderer", "taichi")
    assert "taichi is for instant-ngp, plenoctree alone" in refused(capsys, "eval", run, "--renderer", "taichi")

@pytest.fixture(scope="module")
def trained_run(scene_folder, tmp_path_factory):
    """A run that shows something."""
    folder = tmp_path_factory.mktemp("trained") / "still"
    assert cli.main(["train", str(scene_folder), "--steps", "150", "--orbit-frames", "0", "-o", str(folder), *SMALL,
                     "--model.field.harmonics", "1"]) == 0
    return folder


@pytest.mark.slow
def test_an_octree_is_a_run_like_any_other(trained_run, tmp_path, capsys):
    made, file = tmp_path / "tree", tmp_path / "tree.npz"
    capsys.readouterr()
    assert cli.main(["octree", str(trained_run), "-o", str(made), "--depth", "6", "--threshold", "0.001",
                     "--seconds", "1000", "--steps", "40", "--npz", str(file)]) == 0
    said = capsys.readouterr()
    assert re.search(r"^its model has PSNR [\d.]+, SSIM [\d.]+$", said.out, re.MULTILINE)
    assert "leaves of depth 6 with harmonics of degree 1" in said.err and "views that were left out: " in said.err
    trained = json.loads((made / "metrics.json").read_text())
    assert trained["psnr"] > json.loads((trained_run / "metrics.json").read_text())["psnr"] - 1
    assert cli.main(["eval", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] == pytest.approx(trained["psnr"], abs=0.01)
    pictures = tmp_path / "pictures"
    assert cli.main(["render", str(made), "--frames", "1", "--size", "9", "7", "--what", "colour", "depth", "normals",
                     "-o", str(pictures)]) == 0
    assert len(list(pictures.iterdir())) == 3
    assert cli.main(["info", str(made)]) == 0
    assert "run of plenoctree on" in capsys.readouterr().out
    pages = [tmp_path / "of-run.html", tmp_path / "of-npz.html"]
    for source, page in zip((made, file), pages):
        assert cli.main(["page", str(source), "-o", str(page)]) == 0
    assert all("<canvas" in page.read_text() for page in pages)
    tree, found = checkpoint.load(made).field, read_svox(file)
    assert len(found.child) == len(tree.child) and found.coefficients.shape == tree.coefficients.shape
    assert "is made by taichi-nerf octree RUN already" in refused(capsys, "octree", made)
    assert "a run of plenoctree, is not trained on images alone" in refused(capsys, "train", "--resume", made)


@pytest.mark.slow
def test_a_stopped_octree_is_kept_and_says_how_to_score_it(trained_run, tmp_path, monkeypatch, capsys):
    """The signal comes after the first round of the fine-tuning."""
    made = tmp_path / "tree"

    def told(self, share, text):
        if text.startswith("step"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Progress, "show", told)
    assert cli.main(["octree", str(trained_run), "-o", str(made), "--depth", "5", "--threshold", "0.001",
                     "--steps", "40"]) == 130
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == ("taichi-nerf: stopped and saved after 4 steps of fine-tuning; score the "
                                         f"octree with: taichi-nerf eval {made}")
    assert said.out == "" and not (made / "metrics.json").exists()
    assert checkpoint.load_trained(made)[1]["steps"] == 4


@pytest.mark.parametrize("views, options, steps", [(6, ["--seconds", "0"], 0), (3, [], 0), (3, ["--steps", "2"], 2)])
def test_an_octree_without_fine_tuning_says_so(trained_run, tmp_path, monkeypatch, capsys, views, options, steps):
    """Nobody asked for any, or none of a few views can be left out, which would say when it is to end."""
    made, whole = tmp_path / "tree", RunFolder.training_scene

    def some(self, **more):
        scene = whole(self, **more)
        train = scene.splits["train"].subset(np.arange(views))
        return dataclasses.replace(scene, splits={"train": train})

    monkeypatch.setattr(RunFolder, "training_scene", some)
    capsys.readouterr()
    command = ["octree", str(trained_run), "-o", str(made), "--depth", "5", "--threshold", "0.001", *options]
    assert cli.main(command) == 0
    said = capsys.readouterr().err
    assert ("3 training images are too few to leave one out" in said) == (views == 3 and not options)
    assert re.search(r"^looking for cells: 100 %, \d:\d\d in all$", said, re.MULTILINE)
    training = RunFolder.open(made).config.training
    assert (training.steps, training.seconds) == (steps, None if steps == 0 else 120)
    assert checkpoint.load_trained(made)[1]["steps"] == steps


def test_an_octree_that_cannot_be_made_leaves_nothing(run, trained_run, tmp_path, capsys):
    made = tmp_path / "tree"
    for arguments, words in (([run], "the model is empty"),
                             ([trained_run, "--memory", "0.0001", "--depth", "6"], "--memory allows 0.0001;")):
        capsys.readouterr()
        assert cli.main(["octree", *map(str, arguments), "-o", str(made)]) == 2
        assert words in capsys.readouterr().err.splitlines()[-1]
    assert "is no run: it has no config" in refused(capsys, "octree", tmp_path, "-o", made)
    assert "is no run: there is no such folder" in refused(capsys, "octree", tmp_path / "nowhere", "-o", made)
    assert refused(capsys, "octree", trained_run, "-o", trained_run).endswith("is not empty; choose another --output")
    assert "npz must end in .npz" in refused(capsys, "octree", trained_run, "-o", made, "--npz", tmp_path / "a.zip")
    (tmp_path / "a.npz").touch()
    assert "exists; choose another --npz" in refused(capsys, "octree", trained_run, "-o", made, "--npz",
                                                     tmp_path / "a.npz")
    assert "exists and is not empty" in refused(capsys, "octree", trained_run, "-o", tmp_path)
    assert not made.exists()


LARGEST_TABLE = ("--model.field.hash-grid.levels 32 --model.field.hash-grid.features 8 "
                 "--model.field.hash-grid.log2-entries 24 --model.field.hash-grid.max-resolution 100000").split()


def test_what_a_scene_or_the_memory_does_not_allow_leaves_no_folder(scene_folder, tmp_path, monkeypatch, capsys):
    command = ["train", scene_folder, "--model", "nerf", "--model.ndc", "--output", tmp_path / "run"]
    assert "do not all face one way" in refused(capsys, *command)
    command = ["train", scene_folder, *LARGEST_TABLE, "--output", tmp_path / "run"]
    assert "fewer than 2^31 parameters, got" in refused(capsys, *command)
    monkeypatch.setattr(devices, "free_memory", lambda: 2**20)
    command = ["train", scene_folder, "--backend", "cpu", "--output", tmp_path / "run"]
    assert "the hash table with its gradient needs" in refused(capsys, *command)
    command = ["train", scene_folder, "--model", "nerf", "--model.range.far", "0.01", "--output", tmp_path / "run"]
    assert "far is 0.01, and rays of still begin at 0.05" in refused(capsys, *command)
    assert not (tmp_path / "run").exists()


def test_render_along_a_file_needs_no_scene(run, tmp_path, capsys):
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4]]
    path = tmp_path / "path.json"
    path.write_text(json.dumps({"size": [10, 8], "fov": 40, "frames": [{"camera_to_world": pose}] * 2}))
    assert cli.main(["render", str(run), "--path", str(path), "--output", str(tmp_path / "out")]) == 0
    assert opened(tmp_path / "out" / "colour_0001.png").shape == (8, 10, 3)
    assert "missing.json" in refused(capsys, "render", run, "--path", tmp_path / "missing.json")


def test_render_all_around_and_for_two_eyes(run, tmp_path, capsys):
    around = ["render", str(run), "--frames", "1", "--lens", "equirectangular", "--size", "16", "8"]
    assert cli.main([*around, "-o", str(tmp_path / "around")]) == 0
    assert read_panorama(tmp_path / "around" / "colour_0000_360.jpg")["FullPanoWidthPixels"] == "16"
    pair = ["render", str(run), "--frames", "1", "--stereo", "--size", "8", "6", "--convergence", "4"]
    assert cli.main([*pair, "-o", str(tmp_path / "pair.mp4")]) == 0
    assert re.search(r"eyes: [0-9.]+ units of the scene's file apart, a 30th of the nearest depth; --unit says",
                     capsys.readouterr().err)
    assert read_video_mark(tmp_path / "pair.mp4") == {"stereo": "left-right"}
    half = ["render", str(run), "--frames", "1", "--lens", "vr180", "--size", "8", "8", "--unit", "0.5", "--foveated"]
    assert cli.main([*half, "-o", str(tmp_path / "half")]) == 0
    said = capsys.readouterr().err
    assert "eyes: 0.063 m apart, which are 0.126 units" in said
    assert re.search(r"foveated: rays for \d+ % of the pixels", said)
    assert opened(tmp_path / "half" / "colour_0000_180_LR.png").shape == (8, 16, 3)


def test_render_moves_a_part_of_the_field(run, tmp_path):
    plain = ["render", str(run), "--frames", "2", "--size", "12", "12", "--what", "colour", "depth", "normals"]
    everything = ["-9", "-9", "-9", "9", "9", "9"]
    for name, options in (("without", []), ("nowhere", ["--move", *everything, "--move-by", "0", "0", "0"]),
                          ("away", ["--move", *everything, "--move-by", "0", "0", "-100"]),
                          ("turned", ["--move", *everything, "--move-by", "0", "0", "0", "--move-turn", "180"]),
                          ("hidden", ["--hide", *everything, "--move", *everything, "--move-by", "0", "0", "0"])):
        assert cli.main([*plain, *options, "-o", str(tmp_path / name)]) == 0
    pictures = {path.name: {where: opened(tmp_path / where / path.name).astype(int)
                            for where in ("without", "nowhere", "away", "turned", "hidden")}
                for path in (tmp_path / "without").iterdir()}
    assert len(pictures) == 6
    for found in pictures.values():
        assert np.abs(found["nowhere"] - found["without"]).mean() < 1
        assert (found["away"] == found["hidden"]).all()
    assert (pictures["colour_0001.png"]["hidden"] == 255).all()
    # an orbit of two frames looks from either side
    turned = pictures["colour_0000.png"]["turned"]
    this, that = (pictures[f"colour_000{frame}.png"]["without"] for frame in (0, 1))
    assert np.abs(turned - that).mean() < 0.6 * np.abs(turned - this).mean()


def red_box(trimesh, path):
    box = trimesh.creation.box((1, 1, 1))
    box.visual.vertex_colors = np.full((8, 4), (255, 0, 0, 255), np.uint8)
    box.export(path)
    return box


def test_render_puts_objects_into_the_field(run, tmp_path, capsys):
    red_box(pytest.importorskip("trimesh"), tmp_path / "box.ply")
    plain = ["render", str(run), "--frames", "1", "--size", "12", "12", "--what", "colour", "depth"]
    put = ["--insert", *[str(tmp_path / "box.ply")] * 2, "--at", "0", "0", "0", "0", "0", "9", "--scale", "0.8", "0.1"]
    for name, options in (("without", []), ("with", put), ("lit", [*put, "--light", "2", "-2", "4", "0.3"])):
        assert cli.main([*plain, *options, "-o", str(tmp_path / name)]) == 0
    told = capsys.readouterr().err
    assert told.count("--insert: object 2 is in none of the pictures; --at and --scale are in units of") == 2
    assert "object 1" not in told and "what the model can show lies between -1.5 -1.5 -1.5 and 1.5 1.5 1.5\n" in told
    everything = ["--hide", "-9", "-9", "-9", "9", "9", "9"]
    assert cli.main([*plain, *everything, "-o", str(tmp_path / "hidden")]) == 0
    assert (opened(tmp_path / "hidden" / "colour_0000.png") == 255).all()
    without, unlit, lit = (opened(tmp_path / name / "colour_0000.png")[6, 6].astype(int)
                           for name in ("without", "with", "lit"))
    assert unlit.tolist() != without.tolist() and unlit[0] > 150 and unlit[1] < 60 and 40 < lit[0] < unlit[0]
    assert not np.array_equal(*(opened(tmp_path / name / "depth_0000.png") for name in ("without", "with")))


def test_the_middle_of_a_picture_of_light_lies_level_towards_x_and_turns_to_the_left():
    from taichi_nerf.cli.render import _ahead

    up = np.array([0.0, 0.6, 0.8])
    assert np.allclose(_ahead(up, 0.0), (1, 0, 0)) and np.allclose(_ahead(up, 90.0), np.cross(up, (1, 0, 0)))
    tilted = _ahead(np.array([0.6, 0.0, 0.8]), 0.0)
    assert np.allclose(tilted, (0.8, 0, -0.6)), "x, as far as it is level"
    assert np.allclose(_ahead(np.array([-1.0, 0.0, 0.0]), 0.0), (0, 1, 0)), "y where x is up"


def test_render_sees_through_glass(run, tmp_path, capsys):
    """A box of red glass before what is white: pink, and where its alpha is 0 nothing, which is said."""
    trimesh = pytest.importorskip("trimesh")
    everything = ["--hide", "-9", "-9", "-9", "9", "9", "9"]
    for alpha in (0, 64, 255):
        box = trimesh.creation.box((1, 1, 1))
        box.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.PBRMaterial(
            baseColorFactor=[255, 0, 0, alpha], alphaMode="BLEND"))
        box.export(tmp_path / f"{alpha}.glb")
        assert cli.main(["render", str(run), "--frames", "1", "--size", "12", "12", *everything, "--insert",
                         str(tmp_path / f"{alpha}.glb"), "--at", "0", "0", "0", "-o", str(tmp_path / str(alpha))]) == 0
        told = f"{alpha}.glb lets all light pass, and is not to be seen" in capsys.readouterr().err
        assert told == (alpha == 0)
    nothing, glass, red = (opened(tmp_path / alpha / "colour_0000.png")[6, 6].tolist() for alpha in ("0", "64", "255"))
    assert nothing == [255] * 3 and red == [255, 0, 0]
    through = (1 - 64 / 255) ** 2  # its front and its back
    assert glass == pytest.approx([255, 255 * through, 255 * through], abs=1.5)
    assert cli.main(["info", str(tmp_path / "64.glb")]) == 0
    said = capsys.readouterr().out
    assert "with one colour\n12 of its triangles are glass, which lets 75 % of the light pass" in said
    box.visual.material.baseColorFactor, box.visual.material.name = [255, 128, 0, 255], "filter"
    box.visual.material.alphaMode = "OPAQUE"

    def transmits(tree):
        tree["materials"][0]["extensions"] = {"KHR_materials_transmission": {"transmissionFactor": 1.0}}

    trimesh.Scene(box).export(tmp_path / "filter.glb", tree_postprocessor=transmits)
    assert cli.main(["render", str(run), "--frames", "1", "--size", "12", "12", *everything, "--insert",
                     str(tmp_path / "filter.glb"), "--at", "0", "0", "0", "-o", str(tmp_path / "filter")]) == 0
    assert "is not to be seen" not in capsys.readouterr().err
    seen = opened(tmp_path / "filter" / "colour_0000.png")[6, 6].tolist()
    assert seen == pytest.approx([255, 255 * (128 / 255) ** 2, 0], abs=1.5)
    assert cli.main(["info", str(tmp_path / "filter.glb")]) == 0
    assert "glass, which lets 100 % of the light pass, tinted by its colour" in capsys.readouterr().out


def test_render_says_what_of_glass_is_not_seen(run, tmp_path, capsys):
    """Nine boxes of glass have eighteen sides; and the alpha of corners makes no glass."""
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box((1, 1, 1))
    box.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.PBRMaterial(
        baseColorFactor=[255, 0, 0, 20], alphaMode="BLEND"))
    box.export(tmp_path / "glass.glb")
    box.visual = trimesh.visual.ColorVisuals(vertex_colors=np.full((8, 4), (255, 0, 0, 20), np.uint8))
    box.export(tmp_path / "corners.ply")
    (tmp_path / "lost.obj").write_text("mtllib lost.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    command = ["render", str(run), "--frames", "1", "--size", "6", "6", "--hide", "-9", "-9", "-9", "9", "9", "9"]
    for name, count, sentence in (("lost.obj", 1, 'lost.obj: the file of its materials, "lost.mtl", is not in its'),
                                  ("glass.glb", 9, "some rays met more than 16 surfaces"),
                                  ("glass.glb", 8, None),
                                  ("corners.ply", 1, "the alpha of its corners' colours counts for nothing")):
        scales = [str(1 - 0.1 * k) for k in range(count)]
        assert cli.main([*command, "--insert", *[str(tmp_path / name)] * count, "--at", *["0"] * 3 * count, "--scale",
                         *scales, "-o", str(tmp_path / f"{name}-{count}")]) == 0
        said = capsys.readouterr().err
        assert sentence in said if sentence else "some rays met" not in said


def test_render_puts_points_into_the_field_and_lights_by_the_field(run, tmp_path, capsys):
    trimesh = pytest.importorskip("trimesh")
    place = red_box(trimesh, tmp_path / "box.ply").sample(2000, seed=0)
    trimesh.PointCloud(place, np.full((2000, 4), (255, 0, 0, 255), np.uint8)).export(tmp_path / "points.ply")
    plain = ["render", str(run), "--frames", "1", "--size", "12", "12", "--what", "colour", "normals"]
    box, points = (["--insert", str(tmp_path / name), "--at", "0", "0", "0", "--scale", "0.8"]
                   for name in ("box.ply", "points.ply"))
    bare = [*box, "--hide", "-9", "-9", "-9", "9", "9", "9"]
    for name, options in (("box", box), ("points", points), ("around", [*box, "--light", "field"]),
                          ("sheltered", [*bare, "--light", "field"])):
        assert cli.main([*plain, *options, "-o", str(tmp_path / name)]) == 0
    solid, discs, around, alone = (opened(tmp_path / name / "colour_0000.png").astype(int)
                                   for name in ("box", "points", "around", "sheltered"))
    assert np.abs(solid - discs).mean() < 8 and (solid[6, 6] == discs[6, 6]).all()
    assert 40 < around[6, 6, 0] < solid[6, 6, 0]
    assert np.abs(alone[6, 6] - (255, 0, 0)).max() <= 1, "what is hidden sheds no light: around is white"
    for name, grey in (("white", 255), ("dark", 20)):
        Image.fromarray(np.full((8, 16, 3), grey, np.uint8)).save(tmp_path / f"{name}.png")
        light = ["--light", str(tmp_path / f"{name}.png"), "--light-turn", "40"]
        assert cli.main([*plain, *bare, *light, "-o", str(tmp_path / name)]) == 0
    white, dark = (opened(tmp_path / name / "colour_0000.png").astype(int)[6, 6] for name in ("white", "dark"))
    assert np.abs(white - (255, 0, 0)).max() <= 1 and dark[0] < 30
    told = capsys.readouterr().err
    assert "dark.png is 0.007 in the mean, where 1 is white, so that objects become black" in told
    assert "if it is in other units, give --light-stops 6\n" in told
    head = (tmp_path / "points.ply").read_bytes()
    start, size = head.index(b"end_header\n") + 11, (len(head) - head.index(b"end_header\n") - 11) // 2000
    nowhere = np.full(3, np.nan, "<f4").tobytes()
    (tmp_path / "some.ply").write_bytes(head[:start] + nowhere + head[start + 12 : start + size] + head[start + size :])
    capsys.readouterr()
    assert cli.main([*plain, *points[:1], str(tmp_path / "some.ply"), *points[2:], "-o", str(tmp_path / "some")]) == 0
    assert "some.ply: left out, since their places are not finite: 1 of 2000 points" in capsys.readouterr().err
    assert cli.main(["info", str(tmp_path / "some.ply")]) == 0
    assert "not counted, since their values are not finite: 1 points" in capsys.readouterr().out
    assert "none of --insert is one; leave it out" in refused(
        capsys, *plain, *box, "--disc-radius", "0.1", "-o", tmp_path / "new")


@pytest.mark.parametrize(("options", "said"), [
    ("--insert no.glb", "--insert says what is put in, and not where; give --at X Y Z with it, for each object"),
    ("--insert no.glb --at 0 0 0 --light", "--light has no value, as of a variable of the shell that is not set"),
    ("--insert", "--insert has no value"),
    ("--hide --frames 1", "--hide has no value"),
    ("--insert no.glb --at 0 0 0 1", "3 for 1, got 4"),
    ("--insert no.glb --at 0 0 0 --scale 0", "scale must be above 0, got 0"),
    ("--insert no.glb --at 0 0 0 --disc-radius 0", "disc-radius must be above 0 and finite, got 0"),
    ("--disc-radius 1", "disc-radius is for points; give --insert with it, or leave it out"),
    ("--insert no.glb --at 0 0 nan", "at must be finite, got 0 0 nan"),
    ("--insert no.glb --at 0 0 0 --turn 1 2", "turn takes 1 number for each object of --insert, 1 for 1, got 2"),
    ("--insert no.glb --at 0 0 0 --light 1 2",
     "light must be field, a picture (.exr, .hdr, .png or .jpg), or three finite numbers and perhaps a radius of at "
     "least 0, got 1 2"),
    ("--insert no.glb --at 0 0 0 --light 1 2 3 -1", "perhaps a radius of at least 0, got 1 2 3 -1"),
    ("--insert no.glb --at 0 0 0 --light sun", "light must be field, a picture (.exr, .hdr, .png or .jpg), or three"),
    ("--insert no.glb --at 0 0 0 --light no.exr", "no.exr does not exist; check the path of the picture"),
    ("--insert no.glb --at 0 0 0 --light field --light-turn 9", "light-turn is of a picture that shines; give"),
    ("--insert no.glb --at 0 0 0 --light no.exr --light-stops nan", "light-stops must be from -30 to 30, got nan"),
    ("--insert no.glb --at 0 0 0 --light field --shadow 0.5", "shadow is the share of a lamp in all light"),
    ("--shadow 0.5", "give --insert and --light X Y Z with it, or leave it out"),
    ("--insert no.glb --at 0 0 0 --shadow 2", "shadow must be from 0 to 1, got 2"),
    ("--insert no.glb --at 0 0 0 --renderer taichi", "renderer taichi ends no rays at objects"),
    ("--hide 1 1 1 0 0 0", "hide must be two corners of each box, the first the lower one along each axis"),
    ("--lens equirectangular --size 101 33", "must be twice as wide as high"),
    ("--hide 0 0 0 1 1", "hide takes six numbers for each box, got 5"),
    ("--hide 0 0 0 1 1 inf", "hide must be finite numbers, got inf"),
    ("--hide 0 0 0 1 1 1 --renderer taichi", "renderer taichi ends no rays at boxes; use --renderer auto with --hide"),
    ("--move 0 0 0 1 1 1 --move-by 1 0 0 --renderer taichi", "use --renderer auto with --move"),
    ("--move 0 0 0 1 1 1", "move says what is moved, and not whereto; give --move-by DX DY DZ, or --move-turn DEGREES"),
    ("--move-by 1 0 0", "move-by is of the boxes of --move; give --move with it, or leave it out"),
    ("--move 0 0 0 1 1 1 --move-by 1 0", "move-by takes 3 for each box of --move, 3 for 1, got 2"),
    ("--move 0 0 0 1 1 1 --move-by 1 0 nan", "move-by must be finite numbers, got nan"),
    ("--move 0 0 0 1 1 1 --move-by 1 0 0 --move-turn 1 2", "move-turn takes 1 for each box of --move, 1 for 1, got 2"),
    ("--move 0 0 0 1 1", "move takes six numbers for each box, got 5"),
    ("--move 0 0 0 1 1 0 --move-by 1 0 0", "move must be two corners of each box, the first the lower one"),
    ("--light 1 2 3", "light shines on objects; give --insert with it, or leave it out"),
    ("--insert no.glb --at 0 0 0", "no.glb does not exist; check the path of the mesh"),
])
def test_objects_that_cannot_be_put_in_are_refused(run, tmp_path, capsys, options, said):
    assert said in refused(capsys, "render", run, *options.split(), "-o", tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options, said", [
    ("--hide 50 50 50 51 51 51", "--hide: box 1 has nothing of what the model can show, which lies between "),
    ("--move 0 0 0 1 1 1 --move-by 99 0 0", "--move: box 1 is moved out of what the model can show, which lies"),
    ("--move 0 0 0 1 1 1 --move-turn 90", ""),
])
def test_boxes_that_change_nothing_are_mentioned(run, tmp_path, capsys, options, said):
    assert cli.main(["render", str(run), *options.split(), "--path", "test", "--every", "99", "--size", "8", "8", "-o",
                     str(tmp_path / "new")]) == 0
    told = capsys.readouterr().err
    assert said in told and ("box 1" in told) == bool(said)



@pytest.mark.parametrize(("options", "said"), [
    ("--stereo --lens equirectangular", "got equirectangular; use --lens omnidirectional-stereo"),
    ("--stereo --lens vr180", "leave it out, it is a pair as it is"),
    ("--convergence 2", "convergence is of a perspective pair; give --stereo with it, or leave it out"),
    ("--eye-distance 0.1", "eye-distance and --unit are for pictures of two eyes; give --stereo, or --lens"),
    ("--stereo --eye-distance 0.1 --unit 1", "give one of them"),
    ("--stereo --unit 0", "unit must be how many metres a unit of the scene has, from 1e-06 to 1e+06, got 0"),
    ("--stereo --unit 1e-30", "unit must be how many metres a unit of the scene has, from 1e-06 to 1e+06, got 1e-30"),
    ("--stereo --eye-distance nan", "eye-distance must be above 0 and finite, got nan"),
    ("--lens cube-map --size 8 4", "the faces of a cube map are square, and --size is 8 4; give one number twice"),
])
def test_wide_pictures_that_cannot_be_are_refused(run, tmp_path, capsys, options, said):
    assert said in refused(capsys, "render", run, *options.split(), "-o", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_render_overwrites_nothing(run, tmp_path, capsys):
    (tmp_path / "old.mp4").write_text("old")
    (tmp_path / "orbit-depth.mp4").write_text("old")
    before = contents(tmp_path)
    assert "old.mp4 exists" in refused(capsys, "render", run, "--output", tmp_path / "old.mp4")
    output = tmp_path / "orbit.mp4"
    message = refused(capsys, "render", run, "--what", "colour", "depth", "--output", output)
    assert "orbit-depth.mp4 exists" in message
    assert "not empty" in refused(capsys, "render", run, "--output", tmp_path)
    assert "neither a video" in refused(capsys, "render", run, "--output", tmp_path / "new.gif")
    assert contents(tmp_path) == before


def test_a_picture_that_does_not_fit_into_the_memory_is_a_sentence(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "free_memory", lambda: 2**26)
    message = refused(capsys, "render", run, "--size", "16000", "16000", "--output", tmp_path / "new")
    assert "a picture of 16000 x 16000 pixels needs 19.1 GiB of memory, of which 0.1 GiB are free; use a" in message
    assert not list(tmp_path.iterdir())


def test_info_of_a_scene_and_of_a_run(run, scene_folder, tmp_path, capsys):
    assert cli.main(["info", str(scene_folder), "--json", "--picture", str(tmp_path / "frusta.png")]) == 0
    texts = [finding["text"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert any(text.startswith("train: 6 images of 18 x 18 pixels") for text in texts)
    assert opened(tmp_path / "frusta.png").shape[1] > 100
    assert "frusta.png exists" in refused(capsys, "info", scene_folder, "--picture", tmp_path / "frusta.png")
    assert cli.main(["info", str(run)]) == 0
    out = capsys.readouterr().out
    assert "the model has had 8 steps" in out and "PSNR" in out and "6 images" in out


def test_what_only_resume_needs_may_be_deleted_and_resume_then_begins_nothing_anew(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    size = (folder / "training_state.safetensors").stat().st_size
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert cli.main(["info", str(folder)]) == 0
    assert (f"{folder} takes {total / 1e6:.1f} MB on the disk, of which {size / 1e6:.1f} MB are "
            "training_state.safetensors: it may be deleted") in capsys.readouterr().out
    (folder / "training_state.safetensors").unlink()
    assert cli.main(["info", str(folder)]) == 0
    assert f"{folder} takes {(total - size) / 1e6:.1f} MB on the disk\n" in capsys.readouterr().out
    before = (folder / "model.safetensors").read_bytes()
    message = refused(capsys, "train", "--resume", folder, "--steps", "9")
    assert f"{folder} has no training_state.safetensors, without which its training cannot go on" in message
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("much, said", [(0, 1), (math.inf, 0)])
def test_a_training_says_what_it_leaves_for_resume_alone_where_that_is_much(run, tmp_path, monkeypatch, capsys, much,
                                                                            said):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    monkeypatch.setattr("taichi_nerf.cli.trained.MUCH", much)
    capsys.readouterr()
    assert cli.main(["train", "--resume", str(folder), "--steps", "9"]) == 0
    err = capsys.readouterr().err
    assert err.count(f"{folder} takes ") == err.count("training_state.safetensors: it may be deleted") == said


def test_what_a_run_takes_on_the_disk_is_said_in_words(tmp_path):
    assert disk_words(RunFolder(tmp_path, None, {}, {}), (1_690_000_000, 1_260_000_000)) == (
        f"{tmp_path} takes 1.7 GB on the disk, of which 1.3 GB are training_state.safetensors: it may be deleted when "
        "nobody goes on with train --resume, which alone needs it")


@pytest.mark.parametrize("text", ['{"psnr": "high", "ssim": 0.5, "images": 2}', '{"psnr": 9.0, "ssim": 0.5}', "{}", "[",
                                  "[" * 100_000, '{"psnr": ' + "9" * 400 + ', "ssim": 0.5, "images": 2}'])
def test_info_says_that_scores_are_damaged(run, capsys, text):
    before = (run / "metrics.json").read_bytes()
    (run / "metrics.json").write_text(text)
    try:
        assert cli.main(["info", str(run)]) == 0
    finally:
        (run / "metrics.json").write_bytes(before)
    out = capsys.readouterr().out
    assert f"warning: {run / 'metrics.json'} " in out and "8 steps" in out and "scores: " not in out


def test_info_says_what_is_suspicious_instead_of_refusing(scene_folder, tmp_path, capsys):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in scene_folder.glob("*.json"):
        (broken / file.name).write_text(file.read_text().replace("./", f"{scene_folder}/"))
    content = json.loads((broken / "transforms_train.json").read_text())
    content["frames"][0]["file_path"] = "./train/none"
    (broken / "transforms_train.json").write_text(json.dumps(content))
    assert cli.main(["info", str(broken)]) == 0
    assert "warning: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train /no/such/scene", "/no/such/scene does not exist"),
        ("train --steps -1", "steps must be from 0 to 2^31 - 1, got -1"),
        ("train --seconds 0", "seconds must be above 0 and at most 1000000000, got 0.0"),
        ("train --seconds inf", "seconds must be above 0 and at most 1000000000, got inf"),
        ("train --optimiser.learning-rate nan", "learning-rate must be above 0 and at most a million, got nan"),
        ("train --optimiser.learning-rate inf", "learning-rate must be above 0 and at most a million, got inf"),
        ("train --depth.weight -1", ": --depth.weight must be from 0 to a million, got -1.0"),
        ("train --model.widening=-1", ": --model.widening must be from 0 to a million, got -1.0"),
        ("train --depth.weight 1 --sparsity.weight -1", ": --depth.weight or --sparsity.weight must be from 0"),
        ("train --model.widening 1 --model.widths off", ": --model.widening needs widths level"),
        ("train --model.field.hash-grid.features 3", ": --model.field.hash-grid.features must be 1, 2, 4 or 8, got 3"),
        ("train --downscale 0", "downscale must be from 1 to 2^31 - 1, got 0"),
        ("train --test-every -2", "test-every must be from 0"),
        ("train --batch.samples 0", "samples must be from 16 to 16777216, got 0"),
        ("train --checkpoint-seconds -1", "checkpoint-seconds must be from 0"),
        ("train --model.field.hash-grid.levels 0", "levels must be from 1 to 32, got 0"),
        ("train --threads 0", "threads must be from 1 to 1024, got 0"),
        ("train --model nerf --batch.rays 0", "rays must be from 1 to 262144, got 0"),
        ("train --checkpoint-seconds nan", "checkpoint-seconds must be from 0 to 2^31 - 1, got nan"),
        ("train --checkpoint-seconds inf", "checkpoint-seconds must be from 0 to 2^31 - 1, got inf"),
        ("train --orbit-frames -1", "orbit-frames must be from 0"),
        ("train --model nerf --gradients explicit", "explicit is for instant-ngp alone"),
        ("train --model nerf --encoding hash --model.ndc", "ndc needs --encoding positional"),
        ("train --model mip-nerf --model.widths level", "widths needs --encoding hash"),
        ("train --model nerf --few-views", ": --few-views is not for nerf, which has no settings of its own"),
        ("train --model instant-ngp --encoding positional", "encoding positional is not for instant-ngp"),
        ("train --model mip-nerf-360 --model.range.near 3 --model.range.far 2", "far must be beyond near"),
        ("train --resume /no/such/run", "/no/such/run is no run"),
        ("eval /no/such/run", "/no/such/run is no run"),
        ("eval /no/such/run --every 0", "every must be from 1 to 2^31 - 1, got 0"),
        ("render /no/such/run", "/no/such/run is no run"),
        ("render /no/such/run --frames 0", "frames must be from 1 to 100000, got 0"),
        ("render /no/such/run --size 0 4", "size must be from 1"),
        ("render /no/such/run --fps 0", "fps must be from 0.001 to 1000, got 0"),
        ("render /no/such/run --appearance", "--appearance has no value"),
        ("render /no/such/run --time --fps 9", "--time has no value"),
        ("info /no/such/scene", "/no/such/scene does not exist"),
        ("doctor --timeout 0", "timeout must be above 0"),
        ("doctor --threads 0", "threads must be from 1 to 1024, got 0"),
        ("bench --seconds -1", "seconds must be above 0"),
        ("bench --backends", "backends must name at least one of cpu, cuda, vulkan"),
        ("doctor --backends --timeout 9", "backends must name at least one of cpu, cuda, vulkan"),
        ("bench --kernels nothing", "there is no kernel nothing"),
    ],
)
def test_bad_value_ends_in_one_sentence(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "init", refuse_threads(runtime.init))
    assert message in refused(capsys, *arguments.split())
    assert not list(tmp_path.iterdir())


def test_help_and_the_release_are_where_others_have_them(capsys, monkeypatch):
    for argv, said in ((["--version"], r"taichi-nerf \S+"), (["help"], "usage: taichi-nerf COMMAND"),
                       (["help", "help"], "usage: taichi-nerf COMMAND"), (["help", "info"], "usage: taichi-nerf info")):
        assert cli.main(argv) == 0
        captured = capsys.readouterr()
        assert re.match(said, captured.out) and captured.err == ""
    for argv in (["help", "inform"], ["inform", "--help"]):
        assert "inform is no command; there are" in refused(capsys, *argv)


def test_an_empty_argument_is_no_folder(capsys):
    for argv in (["train", ""], ["info", ""], ["train", "-o", ""]):
        assert "an argument is empty, as of a variable of the shell that is not set" in refused(capsys, *argv)


def test_a_folder_of_runs_names_them(capsys, tmp_path):
    for name in ("older", "newer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    os.utime(tmp_path / "older" / "config.json", (0, 0))
    os.utime(tmp_path / "older", (0, 0))
    for command in ("eval", "render", "export", "octree"):
        assert "it has no config.json; give one of the runs in it: newer, older" in refused(capsys, command, tmp_path)


@pytest.mark.parametrize("arguments, message", [
    ("train nowhere", "nowhere does not exist"), ("train builtin:moon", "there is no built-in scene 'moon'"),
    ("train builtin:satin --downscale 201", "are of 200 x 200 pixels, too small for --downscale 201; use a smaller"),
    ("train /dev/null", "/dev/null is neither a folder nor a file; give the folder of a scene"),
    ("train --model nerf --few-views", "taichi-nerf: --few-views is not for nerf"),
    ("train --regions 2 --model nerf", "taichi-nerf: --regions is for instant-ngp"),
    ("train {scene} --format colmap", "is no scene of the format colmap; it is blender"),
    ("train {scene}/transforms_train.json --format llff", "is a file, and a scene of the format llff is a folder"),
    ("train {run}", "is a run, not a scene; go on with it by taichi-nerf train --resume"),
    ("train --model plenoctree", "is not trained on images alone"), ("train {scene} -o {run}", "is not empty; choose"),
    ("train --threads 0", "--threads must be from 1 to 1024, got 0"), ("train --resume nowhere", "nowhere is no run"),
    ("train --resume {run} --seed 4", "--seed cannot be changed by --resume"),
    ("eval nowhere", "nowhere is no run"), ("eval {run} --pictures {run}", "exists and is not empty"),
    ("render {run} --path nowhere", "--path nowhere is no camera path"),
    ("render {run} --path nowhere.json", "nowhere.json does not exist"),
    ("render {run} --path test --frames 3", "--frames does not go with the poses of a split"),
    ("render {run} --time 0.5", "which knows no time"),
    ("render {run} -o {run}/config.json", "cannot be made"), ("render {run} -o a.gif", "neither a video"),
    ("render {run} --insert no.glb --at 0 0 0", "no.glb does not exist; check the path of the mesh"),
    ("render {run} --insert {run}/config.json --at 0 0 0 --light no.exr", "no.exr does not exist"),
    ("export {run} --time 0.5", "which knows no time"), ("export {run} -o a.fbx", "is no format of mesh"),
    ("export {run} --what depth --views nowhere", "--views nowhere is no camera path"),
    ("page nowhere", "nowhere is no run"), ("page a.npz --field", "is an octree; leave out --field"),
    ("locate {run} nowhere.png", "nowhere.png is no file"), ("octree nowhere", "nowhere is no run"),
    ("octree {run} --npz {run}/a.npz --scene nowhere", "nowhere, the scene of"),
    ("info nowhere", "nowhere does not exist"), ("info builtin:moon", "there is no built-in scene 'moon'"),
])
def test_what_can_be_told_at_once_is_told_before_pytorch_is_loaded(run, scene_folder, tmp_path, monkeypatch, capsys,
                                                                   arguments, message):
    imported = builtins.__import__

    def light(name, globals=None, locals=None, fromlist=(), level=0):
        heavy = name.split(".")[0] in ("torch", "taichi") or "runtime" in (name.split(".")[-1], *(fromlist or ()))
        assert not heavy or not (globals or {}).get("__name__", "").startswith("taichi_nerf.cli"), f"{name} is loaded"
        return imported(name, globals, locals, fromlist, level)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "__import__", light)
    assert message in refused(capsys, *(word.format(run=run, scene=scene_folder) for word in arguments.split()))
    assert not list(tmp_path.iterdir())


def refuse_threads(init):
    """`runtime.init` as it is where the number of threads is none."""

    def checked(backend="auto", *, threads=None, mlp="auto"):
        return ORIGINAL_INIT(backend, threads=threads) if threads == 0 else init(backend, threads=threads, mlp=mlp)

    return checked


ORIGINAL_INIT = runtime.init
THERE_ARE = "train, eval, render, view, octree, page, export, locate, process, info, doctor, bench"


@pytest.mark.parametrize(("arguments", "sentence"), [
    ("", f"the command is missing; there are {THERE_ARE}; see taichi-nerf --help"),
    ("trian", f"trian is no command; there are {THERE_ARE}; did you mean train? see taichi-nerf --help"),
    ("trian --help", f"trian is no command; there are {THERE_ARE}; did you mean train? see taichi-nerf --help"),
    ("help nowhere", f"nowhere is no command; there are {THERE_ARE}; see taichi-nerf --help"),
    ("train --stps 3", "--stps is no option of train; did you mean --steps? see taichi-nerf train --help"),
    ("train --log2-entries 3", "--log2-entries is no option of train; did you mean "
                               "--model.field.hash-grid.log2-entries? see taichi-nerf train --help"),
    ("train --no-video", "--no-video is no option of train; did you mean --orbit-frames 0? see taichi-nerf train "
                         "--help"),
    ("train --iterations 9", "--iterations is no option of train; did you mean --steps? see taichi-nerf train --help"),
    ("train --scale 2", "--scale is no option of train; did you mean --sparsity.scale or --scales? see taichi-nerf "
                        "train --help"),
    ("train --refine", "--refine is no option of train; did you mean --refine.poses, --refine.lenses or "
                       "--refine.precondition? see taichi-nerf train --help"),
    ("train --no-viewer", "--no-viewer is no option of train; did you mean --no-view? see taichi-nerf train --help"),
    ("train --quiet", "--quiet is no option of train; see taichi-nerf train --help"),
    ("train --data lego", "--data is no option of train; did you mean SCENE, without a name before it? see taichi-nerf "
                          "train --help"),
    ("eval --checkpoint run", "--checkpoint is no option of eval; did you mean RUN, without a name before it? see "
                              "taichi-nerf eval --help"),
    ("evaluate run", f"evaluate is no command; there are {THERE_ARE}; did you mean eval? see taichi-nerf --help"),
    ("train --model d-nerf --model.warp.codes 9",
     "--model.warp.codes is of nerfies and hypernerf, not of d-nerf; see taichi-nerf train --help"),
    ("train --model nerf --model.warp.no-codes-multiply",
     "--model.warp.no-codes-multiply is of nerfies and hypernerf, not of nerf; see taichi-nerf train --help"),
    ("train --batch.rays 9", "--batch.rays is of nerf, nerf-w, mip-nerf, mip-nerf-360 and block-nerf, not of "
                             "instant-ngp; did you mean --batch.samples? see taichi-nerf train --help"),
    ("train --model nerf --batch.samples 9",
     "--batch.samples is of instant-ngp, regions, t-nerf, d-nerf, nerfies and hypernerf, not of nerf; did you mean "
     "--batch.rays? see taichi-nerf train --help"),
    ("train --model.coarse-samples 9", "--model.coarse-samples is of nerf and nerf-w, not of instant-ngp; see "
                                       "taichi-nerf train --help"),
    ("train --model nerfies --model.warp.codes 2000000000",
     "--model.warp.codes must be from 2 to 1048576, got 2000000000; see taichi-nerf train --help"),
    ("train --steps many", "--steps takes a whole number, got many; see taichi-nerf train --help"),
    ("train --steps=1.5", "--steps takes a whole number, got 1.5; see taichi-nerf train --help"),
    ("train --seconds soon", "--seconds takes a number, got soon; see taichi-nerf train --help"),
    ("train --seconds", "--seconds takes a number, got none; see taichi-nerf train --help"),
    ("train --output --steps 3", "--output takes a value, got none; see taichi-nerf train --help"),
    ("train --backend gpu", "--backend takes one of auto, cpu, cuda, vulkan, got gpu; see taichi-nerf train --help"),
    ("train --model nerf --model.rays-per-pixel 5",
     "--model.rays-per-pixel takes one of 1, 4, 9, 16, got 5; see taichi-nerf train --help"),
    ("train --no-masks --axes up", "--axes takes one of opengl, opencv, got up; see taichi-nerf train --help"),
    ("train a b", "b is one argument too many: train takes SCENE; see taichi-nerf train --help"),
    ("train a --appearance codes", "codes is one argument too many: --appearance takes no value, and train takes "
                                   "SCENE; see taichi-nerf train --help"),
    ("train --robust a b", "b is one argument too many: train takes SCENE; see taichi-nerf train --help"),
    ("doctor cpu", "cpu is one argument too many: doctor takes no argument without a name; see taichi-nerf doctor "
                   "--help"),
    ("eval", "eval needs RUN; see taichi-nerf eval --help"),
    ("process photos", "process needs --output; see taichi-nerf process --help"),
    ("render run --size 3", "--size takes 2 whole numbers, got 3; see taichi-nerf render --help"),
    ("render run --time abc", "--time takes 1 or 2 numbers, got abc; see taichi-nerf render --help"),
    ("render run --time 0 0.5 1", "--time takes 1 or 2 numbers, got 0.0 0.5 1.0; see taichi-nerf render --help"),
    ("render run --what color", "--what takes any of colour, depth, opacity, normals, got color; see taichi-nerf "
                                "render --help"),
    ("info --picture a.jpg", "--picture must end in .png, which is what is written, got a.jpg; see taichi-nerf info "
                             "--help"),
])
def test_what_the_parser_refuses_is_a_sentence(capsys, arguments, sentence):
    assert refused(capsys, *arguments.split()) == f"taichi-nerf: {sentence}"


def test_what_others_call_an_option_is_said_of_options_that_there_are():
    commands = [_defaults(["train"]) if each.__name__ == "Train" else each for each in COMMANDS]
    commands.append(_defaults(["train", "--model", "nerf"]))  # whose batches are of rays
    names = {name.strip("[]") for command in commands for option in options_of(command) for name in option.names}
    assert {ours.partition(" ")[0] for ours in OTHERS_CALL_IT} <= names
    theirs = [name for names in OTHERS_CALL_IT.values() for name in names.split()]
    assert all(meant(f"--{name}", names) for name in theirs)
    assert meant("--num-glo-features", names) == ["--model.appearance"] and meant("--robustnerf", names) == ["--robust"]


@pytest.mark.parametrize("arguments", [
    "train --checkpoint-seconds nan", "train --checkpoint-seconds inf", "train --seconds nan", "train --exposure inf",
    "train --orbit-frames 2147483648", "train --model.field.hash-grid.levels 99999999999", "render r --fps nan",
    "render r --frames 99999999999", "render r --size 99999999999 1", "eval r --every 99999999999",
    "bench --seconds nan", "doctor --timeout inf", "process p -o s --max-images 99999999999",
])
def test_no_option_takes_a_number_that_is_none_or_without_end(capsys, arguments):
    assert "must be" in refused(capsys, *arguments.split())


@pytest.mark.parametrize("arguments", [["train", "--model", kind] for kind in SYSTEMS] + [
    [name] for name in ("eval", "render", "page", "process", "info", "doctor", "bench")], ids=" ".join)
def test_options_are_known_as_the_parser_has_them(capsys, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "100")
    command = {_name(each): each for each in COMMANDS}[arguments[0]]
    known = options_of(_defaults(arguments) if arguments[0] == "train" else command)
    assert cli.main([*arguments, "--help"]) == 0
    shown = re.findall(r"^  (?:-[a-z][^,]*, )?(--[a-z][a-z0-9.-]*)", capsys.readouterr().out, re.MULTILINE)
    assert {option.names[0] for option in known if not option.positional} | {"--help"} == set(shown)


def test_help_of_all_is_a_line_or_two_a_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for flag in ("-h", "--help"):
        assert cli.main([flag]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 7 + 2 * len(COMMANDS) and max(map(len, lines)) <= 80
        assert all(any(line.startswith(f"  {_name(command)} ") for line in lines) for command in COMMANDS)


@pytest.mark.parametrize("arguments", [[_name(each)] for each in COMMANDS] + [["train", "--model", "mip-nerf-360"]],
                         ids=" ".join)
def test_lines_of_help_end_where_the_next_word_has_no_room(capsys, monkeypatch, arguments):
    """And not where those of the source do; a command that may be copied stays whole."""
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([*arguments, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 or line.startswith("`") for line in lines)
    assert all(line.count("`") % 2 == 0 for line in lines)
    texts = [(len(line) - len(line.lstrip("│ ")), line.strip("│ ")) for line in lines]
    for (indent, text), (next_indent, following) in pairwise(texts):
        if 6 < indent == next_indent and following:  # of one option; what stands right of its name is among them
            assert indent + len(text) + 1 + len(following.split()[0]) > 78, f"{text} / {following}"


def narrow(encoding: str = "ascii") -> io.TextIOWrapper:
    """A terminal that can show little."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


class Refusing(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("stdout", "code"), [
    (narrow(), 0), (None, 0), (Refusing(errno.EPIPE), 141), (Refusing(errno.ENOSPC), 2)])
def test_a_training_is_not_lost_by_its_last_line(scene_folder, tmp_path, monkeypatch, stdout, code):
    folder = tmp_path / "\u00fcbung [/x] \x1b[31m \udce9"
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", narrow())
    command = ["train", str(scene_folder), "--steps", "2", "--test-every", "4", "--output", str(folder), *SMALL]
    assert cli.main([*command, "--orbit-frames", "0"]) == code
    assert (folder / "metrics.json").is_file() and (folder / "model.safetensors").is_file()
    said = sys.stderr.buffer.getvalue().decode("ascii")
    assert "\x1b" not in said and "\\xfcbung [/x] \\x1b[31m \\xe9" in said
    assert ("the results cannot be printed: no space left" in said) == (code == 2)


def test_an_interruption_while_modules_load_is_no_traceback():
    for seconds in (0.15, 0.3, 0.5):  # before that, Python itself begins
        process = start("info", "/no/such/scene")
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
        assert process.returncode in (130, -signal.SIGINT, 2), err
        assert "Traceback" not in err


@pytest.fixture
def interruption():
    """What the command line makes of SIGINT."""
    before = signal.signal(signal.SIGINT, Interruption())
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def interrupted_module(tmp_path, monkeypatch):
    """Name of a module that is interrupted while it loads, and takes whatever comes of that for another failure."""
    (tmp_path / "interrupted_while_it_loads.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\n    loaded = False\n"
        "except BaseException:\n    torn = True\nloaded = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "interrupted_while_it_loads"
    sys.modules.pop("interrupted_while_it_loads", None)


def test_an_interruption_is_one_at_once_where_nothing_loads(interruption):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_interruption_waits_until_a_module_has_loaded(interruption, interrupted_module):
    with pytest.raises(KeyboardInterrupt):
        __import__(interrupted_module)
        pytest.fail("it is forgotten")
    module = sys.modules[interrupted_module]
    assert module.loaded and not hasattr(module, "torn")


def test_a_second_interruption_does_not_wait(interruption, interrupted_module, tmp_path, monkeypatch):
    def end(code):
        raise SystemExit(code)

    file = tmp_path / f"{interrupted_module}.py"
    file.write_text(file.read_text().replace("False", "False\n    signal.raise_signal(signal.SIGINT)"))
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(KeyboardInterrupt):  # of the first, which the module does not see
        __import__(interrupted_module)
        pytest.fail("it is forgotten")
    assert sys.modules[interrupted_module].torn


@pytest.mark.skipif(os.name != "posix", reason="the shell")
@pytest.mark.parametrize(("redirection", "code"), [
    (">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0), ("> /dev/full", 2), ("2> /dev/full", 0)])
def test_streams_that_are_closed_or_full_are_no_traceback(redirection, code):
    command = [sys.executable, "-m", "taichi_nerf", "info", "--help"]
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *command], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr and "Exception" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    ["--help", *(f"{name} --help" for name in ("train", "eval", "render", "page", "process", "info", "doctor",
                                                  "bench")),
     "train --model nerf --help", "train --model=mip-nerf-360 --encoding hash --help"],
)
def test_help_teaches(capsys, arguments):
    assert cli.main(arguments.split()) == 0
    out = capsys.readouterr().out
    assert "usage: taichi-nerf" in out
    assert "taichi-nerf" in out and len(out) > 500


def test_existing_output_is_left_alone(scene_folder, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    message = refused(capsys, "train", scene_folder, "--output", tmp_path)
    assert f"{tmp_path} exists and is not empty" in message
    assert contents(tmp_path) == {tmp_path / "notes.txt": b"mine"}
    below = tmp_path / "notes.txt" / "run"
    assert "is no folder" in refused(capsys, "train", scene_folder, "--output", below)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_output_without_permission(scene_folder, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert "no permission" in refused(capsys, "train", scene_folder, "--output", tmp_path / "run")


def test_missing_backend_is_named(scene_folder, tmp_path, capsys):
    if runtime.why_missing("cuda") is None:
        pytest.skip("this machine has CUDA")
    message = refused(capsys, "train", scene_folder, "--backend", "cuda", "--output", tmp_path / "run")
    assert "backend cuda does not work on this machine" in message
    assert not (tmp_path / "run").exists()


def test_checkpoint_of_another_run_is_named(run, tmp_path, capsys):
    for path, content in contents(run).items():
        (tmp_path / path.relative_to(run)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.relative_to(run)).write_bytes(content)
    model = tmp_path / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1000])
    assert f"{model} is truncated or damaged" in refused(capsys, "eval", tmp_path)
    assert f"{model} is truncated or damaged" in refused(capsys, "render", tmp_path)
    state = tmp_path / "training_state.safetensors"
    state.write_bytes((run / "model.safetensors").read_bytes())
    before = contents(tmp_path)
    assert f"{state} holds model" in refused(capsys, "train", "--resume", tmp_path, "--steps", "99")
    assert contents(tmp_path) == before


def test_a_loss_that_is_not_finite_is_mentioned_at_first_and_whenever_it_doubles():
    notes, report = [], SimpleNamespace(as_json=dict, progress=0.5, skipped_steps=0, overflowed_entries=0, left_out=0.0)
    tell = _Reporter(SimpleNamespace(log=lambda line: None), SimpleNamespace(show=lambda *_: None, note=notes.append),
                     SimpleNamespace(tell=lambda *_: None))
    for step, loss in enumerate([0.1, math.nan, math.inf, 0.2, math.nan, -math.inf, math.nan]):
        report.step, report.loss = step, loss
        tell(report)
    said = "reports so far have a loss that is not finite; if that goes on, train anew with a smaller --optimiser.learn"
    assert [note.partition("ing-rate")[0] for note in notes] == [
        f"step {step}: {count} {said}" for step, count in ((1, 1), (2, 2), (5, 4))]


def test_a_robust_loss_that_leaves_out_most_is_mentioned():
    notes, report = [], SimpleNamespace(as_json=dict, progress=0.5, skipped_steps=0, overflowed_entries=0, loss=0.1)
    tell = _Reporter(SimpleNamespace(log=lambda line: None), SimpleNamespace(show=lambda *_: None, note=notes.append),
                     SimpleNamespace(tell=lambda *_: None))
    for step, left_out in enumerate([0.1, 0.4, 0.9, 0.2]):
        report.step, report.left_out = step, left_out
        tell(report)
    assert notes == ["step 2: 1 reports so far left out more than half of the pixels; a --trim.quantile nearer to 1 "
                     "leaves out fewer"]


@pytest.mark.parametrize("quantile", ["0.8", "1e-6"])
@pytest.mark.slow
def test_a_robust_training_is_kept_by_its_run_and_says_where_it_cannot_help(scene_folder, tmp_path, capsys, quantile,
                                                                            monkeypatch):
    """Two photos are too few; and a quantile that would leave everything out leaves nothing out."""
    folder, waits = tmp_path / "robust", []
    monkeypatch.setattr(Progress, "wait", lambda line, text: waits.append(f"{line.title}: {text}"))
    command = ["train", scene_folder, "--robust", "--trim.patch", "4", "--trim.quantile", quantile, "--trim.views",
               "99" if quantile == "0.8" else "0", "--steps", "3", "-o", folder, *SMALL]
    assert cli.main([str(part) for part in command]) == 0
    assert ("--robust leaves out nothing, as no part of" in capsys.readouterr().err) == (quantile == "0.8")
    assert cli.main(["train", "--resume", str(folder), "--steps", "5", "--orbit-frames", "0"]) == 0
    assert json.loads((folder / "config.json").read_text())["run"]["training"]["robust"] is True
    assert waits.count("compiling: what is new of the kernels; Ctrl-C is heard when one is done") == 2
    assert opened(folder / "masks.png").shape == (2 * 260, 4 * 240 + 12, 3)
    capsys.readouterr()
    assert cli.main(["info", str(folder)]) == 0
    assert "downscale 1, with --robust, for 5 steps" in capsys.readouterr().out
    assert "from 1 to 64, got 0" in refused(capsys, *command[:3], "--trim.patch", "0")


@pytest.mark.slow
@pytest.mark.parametrize("kept, said", [
    ([0, 3], ("2 photos are too few to tell whether their light differs", "--robust leaves out nothing, as no")),
    ([2] * 6, ("photos of neighbouring cameras differ by 0.00 stops", "all 6 cameras stand at one place"))],
    ids=["two photos", "all alike"])
def test_photos_that_can_tell_nothing_are_trained_on_with_a_warning(scene_folder, tmp_path, capsys, kept, said):
    folder = tmp_path / "few"
    shutil.copytree(scene_folder, folder)
    cameras = json.loads((folder / "transforms_train.json").read_text())
    frames = [dict(cameras["frames"][n], file_path=f"./train/x_{place}") for place, n in enumerate(kept)]
    for place, n in enumerate(kept):
        shutil.copy(folder / "train" / f"r_{n}.png", folder / "train" / f"x_{place}.png")
    (folder / "transforms_train.json").write_text(json.dumps({**cameras, "frames": frames}))
    command = ["train", folder, "--robust", "--appearance", "--steps", "3", "-o", tmp_path / "run", *SMALL]
    assert cli.main([str(part) for part in command]) == 0
    heard = capsys.readouterr().err
    assert all(sentence in heard for sentence in said), heard
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 3


@pytest.mark.parametrize("count, far, named", [
    (6, [2], "r_2: the model comes far less near to it than to the other photos"),
    (30, [4, 3], "r_4, r_3: the model comes far less near to them than"),
    (30, range(10), "r_0, r_1, r_2, r_3, r_4, r_5, r_6, r_7 and 2 more: the model comes far less near to them"),
    (6, [], None)])
def test_photos_that_the_training_did_not_come_near_to_are_named(monkeypatch, capsys, count, far, named):
    errors = np.full(count, 1e-3)
    errors[list(far)] = 0.5 - 0.01 * np.arange(len(far))
    split = SimpleNamespace(images=SimpleNamespace(names=[f"r_{n}" for n in range(count)]))
    monkeypatch.setattr("taichi_nerf.training.strangers.photo_errors", lambda trainer, split: errors)
    _name_strangers(SimpleNamespace(splits={"train": split}), None)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {named}") if named else said == ""
    assert not named or said.endswith("look, and leave out what does not belong\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["cameras.json", "model.safetensors", "path.json"])
def test_a_pipe_in_the_place_of_a_file_of_a_run_is_not_waited_for(run, tmp_path, capsys, name):
    for path in ("config.json", "cameras.json", "model.safetensors"):
        (tmp_path / path).write_bytes((run / path).read_bytes())
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    path = ["--path", tmp_path / name] if name == "path.json" else []
    assert "is a pipe or a device" in refused(capsys, "render", tmp_path, *path)


def test_a_run_is_no_scene_and_goes_on_with_resume(run, capsys):
    assert f"{run} is a run, not a scene; go on with it by taichi-nerf train --resume {run}" in refused(
        capsys, "train", run)


def test_a_word_without_end_is_cut(capsys):
    assert len(refused(capsys, "info", "x" * 100_000)) < 400


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "the memory does not suffice"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "the memory does not suffice",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), "the memory does not suffice"),
        (
            OSError(28, "No space left on device", "a.png"),
            "a.png cannot be written or read: the disk is full",
        ),
        (PermissionError(13, "Permission denied", "b"), "b cannot be written or read: permission denied"),
    ],
)
def test_lack_of_memory_or_disk_is_a_sentence(error, message):
    assert message in cli.sentence_for(error)


def test_mistakes_of_the_program_are_not_hidden():
    for error in (ValueError("x"), RuntimeError("x"), KeyError("x"), OSError(5, "I/O error")):
        assert cli.sentence_for(error) is None


def test_debug_shows_where_an_error_came_from(tmp_path):
    with pytest.raises(UserError):
        cli.main(["eval", str(tmp_path), "--debug"])


def start(*argv) -> subprocess.Popen:
    command = [sys.executable, "-m", "taichi_nerf", *map(str, argv)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen, condition, seconds: float = 300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def logged(folder: Path) -> list[int]:
    path = folder / "log.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.slow
def test_killed_run_is_resumed_and_an_interrupted_one_is_saved(scene_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    options = ["--seconds", "600", "--checkpoint-seconds", "0.2", "--test-every", "4", *SMALL]
    process = start("train", scene_folder, "--output", folder, *options)
    wait_for(process, lambda: (folder / "model.safetensors").is_file())
    process.kill()
    process.communicate()

    process = start("train", "--resume", folder, "--checkpoint-seconds", "1000")
    before = logged(folder)
    wait_for(process, lambda: len(logged(folder)) > len(before) + 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out == ""
    sentence = err.strip().splitlines()[-1]
    assert f"go on with: taichi-nerf train --resume {folder}" in sentence
    assert "Traceback" not in err
    steps = logged(folder)
    assert steps == sorted(set(steps))
    assert f"saved at step {steps[-1]};" in sentence

    capsys.readouterr()
    command = ["train", "--resume", str(folder), "--steps", str(steps[-1] + 2), "--orbit-frames", "0"]
    assert cli.main(command) == 0
    assert f"trained {steps[-1] + 2} steps" in capsys.readouterr().out


def test_stdout_is_one_json_object_and_the_compiler_says_nothing(run):
    process = start("eval", run, "--json", "--threads", "1")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert {"psnr", "ssim", "images", "seconds"} <= json.loads(out).keys()
    assert "[W " not in err


def test_every_picture_that_is_read_can_shine_and_asking_for_one_starts_no_compiler():
    """Taichi says that it is in a graphical shell where it is imported while the parser's words are kept back."""
    from taichi_nerf.cli.render import SHINING
    from taichi_nerf.data.opening import ENDINGS

    assert set(SHINING) == {ending.lower() for ending in ENDINGS}
    code = ("import sys; from pathlib import Path; from taichi_nerf.cli.render import Render; "
            "Render(run=Path('run'), insert=(Path('ball.glb'),), at=(0, 0, 0), light=('sky.exr',)); "
            "sys.exit('taichi' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_import_of_the_package_loads_neither_torch_nor_taichi():
    code = "import sys, taichi_nerf; sys.exit(bool({'torch', 'taichi', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_exists():
    import taichi_nerf

    for name in taichi_nerf.__all__:
        assert getattr(taichi_nerf, name) is not None
    with pytest.raises(AttributeError):
        taichi_nerf.nothing  # noqa: B018


@pytest.mark.parametrize(("learned", "coded", "shared", "told"), [
    (False, False, False, False), (True, False, False, True), (False, True, False, True), (False, True, True, False)])
def test_scores_of_photos_in_unknown_light_say_so(learned, coded, shared, told):
    """Where exposures are learned, or codes that the scored photos do not share with training photos."""
    from taichi_nerf.cli.scores import unknown_light

    split = SimpleNamespace(ids={"appearance": np.zeros(2, np.int32)}, time=None, exposure=None)
    training = SimpleNamespace(exposure=SimpleNamespace(learned=learned))
    run = SimpleNamespace(config=SimpleNamespace(training=training))
    model = SimpleNamespace(codes={"appearance": None} if coded else {}, shares=lambda name, ids: shared)
    assert ["taichi-nerf eval --half-image" in line for line in unknown_light(run, model, split)] == [True] * told


@pytest.mark.slow
def test_corrections_are_trained_exported_and_scored_by_halves(capsys, scene_folder, tmp_path):
    """Poses, lenses and exposures, in a run that goes on; its refined cameras are a scene of their own."""
    folder = tmp_path / "refined"
    corrections = ("--refine.poses", "--refine.lenses", "--refine.precondition", "--refine.start-step", 1,
                   "--exposure.learned", "--model.appearance", 3)
    command = ("train", scene_folder, "--steps", 4, "--test-every", 2, "--output", folder, *corrections, *SMALL)
    assert cli.main([str(part) for part in command]) == 0
    said = capsys.readouterr().out
    assert "fitted to the test images: nothing" in said and "taichi-nerf eval --half-image" in said
    assert cli.main(["train", "--resume", str(folder), "--steps", "6"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 6
    refined = load_scene(folder / "refined_transforms.json", test_every=0).splits["train"].cameras
    original = load_scene(scene_folder, splits=["train"]).splits["train"].cameras
    assert 0 < np.abs(refined.camera_to_world - original.camera_to_world).max() < 0.2
    assert not np.array_equal(refined.focal, original.focal)
    shown = RunFolder.open(folder).split("train", every=2)[0].splits["train"].cameras
    np.testing.assert_allclose(shown.camera_to_world, refined.camera_to_world[::2], atol=1e-6)
    told = json.loads((folder / "metrics.json").read_text())["protocol"]["cameras"]
    assert told.startswith(("carried along with the training cameras", "as the scene has them, since"))
    capsys.readouterr()
    assert cli.main(["eval", str(folder), "--half-image", "--json"]) == 0
    protocol = json.loads(capsys.readouterr().out)["protocol"]
    assert protocol["scored"] == "right halves" and protocol["cameras"] == told
    assert protocol["fitted_to_test_images"] == "pose and exposure and appearance, to the left halves"


@pytest.fixture
def lit_run(scene_folder, tmp_path, monkeypatch):
    """A run of 2 steps whose photos have codes of appearance that are far apart from the start."""
    monkeypatch.setattr("taichi_nerf.fields.codes.DEVIATION", 3.0)
    run = str(tmp_path / "run")
    assert cli.main(["train", str(scene_folder), "--steps", "2", "--test-every", "4", "--output", run,
                     "--model.appearance", "2", *SMALL, "--orbit-frames", "0"]) == 0
    return run


@pytest.mark.slow
def test_from_one_light_to_another_the_ends_are_those_of_each_photo_alone(lit_run, tmp_path):
    """The first frame is in the light of the first photo, the last in that of the last."""
    def frames(name: str, *photos: str) -> list[np.ndarray]:
        assert cli.main(["render", lit_run, "--appearance", *photos, "--frames", "2", "--size", "8", "8", "-o",
                         str(tmp_path / name)]) == 0
        return [opened(path) for path in sorted((tmp_path / name).glob("*.png"))]

    first, last = frames("first", "r_0"), frames("last", "r_3")
    shown = frames("both", "r_0", "r_3")
    assert len(shown) == 2
    np.testing.assert_array_equal(shown[0], first[0])
    np.testing.assert_array_equal(shown[1], last[1])
    assert all(np.abs(one.astype(int) - other).max() > 8 for one, other in zip(first, last))


@pytest.mark.slow
def test_fitting_the_light_of_a_photo_says_how_long_it_takes(capsys, scene_folder, lit_run, tmp_path):
    run = lit_run
    assert len(np.unique(opened(tmp_path / "run" / "lights.png").reshape(-1, 3), axis=0)) > 100
    capsys.readouterr()
    photo = load_scene(scene_folder, test_every=4).splits["test"].images.names[0]
    assert cli.main(["render", run, "--appearance", f"test/{photo}", "--frames", "1", "--size", "8", "8", "-o",
                     str(tmp_path / "frames")]) == 0
    said = capsys.readouterr().err
    assert re.search(r"fitting the light: 0 %, 1 of 200 steps, \d+:\d\d left\n", said)
    assert re.search(r"fitting the light: 100 %, 200 of 200 steps, \d+:\d\d in all\n", said)


def test_pixels_of_a_light_that_are_no_numbers_are_named(capsys, tmp_path):
    picture = np.ones((2, 4, 3), np.float32)
    picture[0, 0] = np.inf
    lit = _panorama(SimpleNamespace(light_stops=-10.0, picture=write_exr(tmp_path / "sun.exr", picture)))
    assert lit[0, 0] == pytest.approx(np.full(3, 65504 / 2**10)) and lit[1, 1] == pytest.approx(np.full(3, 2**-10))
    said = capsys.readouterr().err
    assert f"{tmp_path / 'sun.exr'} has 1 of 8 pixels that are infinite or no number" in said
    assert "--light-stops" not in said  # though the sun makes up nearly all of the light


def test_corrections_that_cannot_be_are_refused_in_a_sentence(capsys, scene_folder, tmp_path):
    given = ("train", scene_folder, "--output", tmp_path / "no")
    assert "use autograd or auto" in refused(capsys, *given, "--refine.poses", "--gradients", "explicit")
    assert "knows no distances" in refused(capsys, *given, "--depth.weight", "0.1")
    assert "of images needs a weight" in refused(capsys, *given, "--depth.of", "images")
    assert not (tmp_path / "no").exists()


def test_points_of_structure_from_motion_count_unless_they_are_to_be_left_out(capsys, tmp_path):
    model = ColmapModel(models=("SIMPLE_PINHOLE",))
    model.see(lambda camera, local: (24 + 50 * local[0] / local[2], 16 + 50 * local[1] / local[2]))
    model.write_text(tmp_path / "arc/sparse/0")
    write_images(tmp_path / "arc/images", model.names)
    said = ("40 points of structure from motion, seen 400 times, count in the training with the weight 0.1, which "
            "falls to 0 in the first 50% of the training; without them: --depth.weight 0")
    for options, counted in (((), True), (("--depth.weight", "0"), False)):
        run = tmp_path / f"run-{counted}"
        command = ("train", tmp_path / "arc", "--steps", 2, "--output", run, *SMALL, *options)
        assert cli.main([str(part) for part in command]) == 0
        assert (said in capsys.readouterr().err) == counted
        depth = RunFolder.open(run).config.training.depth
        assert (depth.weight, depth.final, depth.of) == ((0.1, 0.0, "points") if counted else (0.0, 1.0, "points"))


@pytest.fixture
def begun(scene_folder, tmp_path, monkeypatch, capsys):
    """`begun(options)`: the settings of a run of a scene with 6 training views, before its first step, and what was
    said."""
    module = sys.modules["taichi_nerf.cli.train"]

    def begin(*options: str, scene: Path = scene_folder):
        found = []
        monkeypatch.setattr(module, "_run", lambda command, run, *others: found.append(run) or 0)
        output = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        command = ["train", str(scene), "--steps", "0", "--output", str(output), *SMALL, *options]
        assert cli.main(command) == 0
        assert RunFolder.open(output).config == found[-1].config
        return found[-1].config, capsys.readouterr().err

    return begin


def test_a_pull_towards_empty_space_is_said_where_images_of_what_moves_have_no_alpha(begun, scene_folder, tmp_path):
    scene, moves = shutil.copytree(scene_folder, tmp_path / "moves"), ("--model", "t-nerf")
    for path in scene.glob("transforms_*.json"):
        content = json.loads(path.read_text())
        for n, frame in enumerate(content["frames"]):
            frame["time"] = n / max(len(content["frames"]) - 1, 1)
        path.write_text(json.dumps(content))
    config, said = begun(*moves, scene=scene)
    assert config.training.sparsity.weight == 0 and "deny fog" not in said
    for path in scene.glob("train/*.png"):
        Image.open(path).convert("RGB").save(path)
    config, said = begun(*moves, scene=scene)
    assert config.training.sparsity.weight > 0 and "training.sparsity.weight" not in preset_of(config)[1]
    assert "have no alpha, so that few deny fog of the background's colour" in said
    for options in ((*moves, "--sparsity.weight", "0"), ()):
        config, said = begun(*options, scene=scene)
        assert config.training.sparsity.weight == 0 and "deny fog" not in said


def test_settings_for_few_views_are_said_and_recorded_and_what_is_given_stays(begun):
    plain, said = begun()
    settings = few_view_settings(plain)
    assert not plain.few_views and "few-view" not in said
    config, said = begun("--few-views")
    changed = {name: value for name, value in flattened(config).items() if value != flattened(plain)[name]}
    assert changed == {**settings, "few_views": True}
    assert "6 training views: few-view settings are on: --near-camera.weight 0.1" in said
    config, said = begun("--few-views", "--model.field.direction-degree", "4")  # which is its default
    assert config.few_views and config.model.field.direction_degree == 4 and config.training.near_camera.weight > 0
    assert "few-view settings are on: --near-camera.weight 0.1; as given: --model.field.direction-degree 4" in said
    said = begun("--few-views", "--model.field.direction-degree", "4", "--near-camera.weight", "0")[1]
    assert "changes nothing, as --near-camera.weight 0 and --model.field.direction-degree 4 are given" in said


@pytest.mark.parametrize("differing, settings", [
    (None, {}), ("codes", {"model.appearance": 16}), ("exposure", {"training.exposure.learned": True})])
def test_one_flag_allows_for_light_as_photos_call_for_it_and_says_why(begun, monkeypatch, differing, settings):
    plain, said = begun()
    assert plain.appearance is None and "--appearance" not in said
    monkeypatch.setattr("taichi_nerf.data.photometry.judge_light", lambda split: Light(differing, "for a reason"))
    config, said = begun("--appearance")
    changed = {name: value for name, value in flattened(config).items() if value != flattened(plain)[name]}
    assert changed == {**settings, "appearance": config.appearance} and "for a reason" in config.appearance
    assert f"--appearance: {config.appearance}" in said


def test_resume_remembers_how_long_the_video_is(begun, tmp_path, capsys):
    config, said = begun("--orbit-frames", "0")
    assert config.orbit_frames == 0 and "nothing is left to train" not in said
    (folder,) = tmp_path.iterdir()
    for options, frames in (([], 0), (["--orbit-frames", "7"], 7), ([], 7)):
        assert cli.main(["train", "--resume", str(folder), "--steps", "0", *options]) == 0
        assert RunFolder.open(folder).config.orbit_frames == frames
        assert "nothing is left to train, by the number of steps" in capsys.readouterr().err


def test_info_lists_the_photos_of_a_run_that_knows_their_light(begun, tmp_path, capsys):
    begun("--model.appearance", "2", "--appearance")
    (folder,) = tmp_path.iterdir()
    assert cli.main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "photos for render --appearance: r_0, r_1, r_2, r_3, r_4, r_5, test/r_0" in said
    assert "with --appearance, for 0 steps" in said and "--appearance: codes of 2 numbers a photo, as the" in said
    assert "warning: train" not in said


def test_info_says_what_a_run_was_trained_with(begun, tmp_path, capsys):
    begun("--downscale", "2", "--refine.poses", "--robust", "--seed", "7", "--refine.no-carry-along")
    (folder,) = tmp_path.iterdir()
    assert cli.main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("run of instant-ngp on ")
    assert ", downscale 2, with --robust --refine.poses, for 0 steps, on cpu with 1 thread\n" in said
    # autograd, as cameras are corrected
    assert "\npreset small, encoding hash (a hash grid), gradients by autograd\n" in said
    (others,) = (line for line in said.splitlines() if line.startswith("settings other than its preset's: "))
    assert others.endswith(f"--refine.no-carry-along; all are in {folder / 'config.json'}")
    assert "--seed 7, --batch.samples 512" in others and "--robust" not in others and "downscale" not in others
    assert "train: 6 images of 9 x 9 pixels" in said
    assert "the model works in the model box, +-0.5, by an occupancy grid of 1 cascade, from" in said


@pytest.mark.parametrize("kind, change, said", [
    ("mip-nerf-360", {"contraction": False}, "--model.contraction False"),  # which has no --no
    ("mip-nerf-360", {"single_jitter": False}, "--model.no-single-jitter"),
    ("nerf", {"range": RangeConfig(near=0.5, far=3.0)}, "--model.range.near 0.5, --model.range.far 3")])
def test_settings_that_are_not_the_presets_are_said_as_they_are_given(tmp_path, kind, change, said):
    found = recipe(kind)
    config = RunConfig(scene=SceneConfig(path="lego"), model=dataclasses.replace(found.model, **change),
                       training=TrainingConfig(batch=found.batch, optimiser=found.optimiser, steps=3))
    *_, others = trained_words(RunFolder(tmp_path, config, {}, {"backend": "cpu", "threads": 1}))
    assert others.startswith(f"settings other than its preset's: {said}; all are in ")


@pytest.mark.parametrize("options, message", [
    ("--model t-nerf", "no image of still has a time"),
    ("--robust --trim.patch 32", "--trim.patch is 32, and an image of still has 18 x 18 pixels"),
    ("--depth.weight 0.1", "still knows no distances: it has no points of structure from motion"),
    ("--block 9 9 9 0.5", "no training image of still is within 0.5 of 9, 9, 9"),
    ("--scales 6", "images of 18 pixels are too small for --scales 6"),
    ("--blocks 7", "its 6 training images are from 6 places; give at most 6 --blocks"),
])
def test_what_poses_sizes_and_times_tell_is_refused_before_images_are_decoded(scene_folder, tmp_path, monkeypatch,
                                                                             capsys, options, message):
    def decoded(*arguments, **settings):
        raise AssertionError("images were decoded")

    monkeypatch.setattr("taichi_nerf.data.splits.read_images", decoded)
    assert message in refused(capsys, "train", scene_folder, *options.split(), "-o", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options, expected", [
    ("", (False, 6)), ("--block 0 0 0 9", (True, 6)), ("--scales 2", (True, 12))])
def test_what_a_scene_can_be_trained_as_is_asked_once(begun, monkeypatch, options, expected):
    """Before its images are decoded, but for views that are made of decoded ones."""
    asked, module = [], sys.modules["taichi_nerf.cli.train"]
    check = module._check

    def asks(command, config, scene):
        images = scene.splits["train"].images
        asked.append((bool(images.pixels.any()), len(images)))
        check(command, config, scene)

    monkeypatch.setattr(module, "_check", asks)
    begun(*options.split())
    assert asked == [expected]


def test_other_photos_than_those_of_a_run_are_told_by_their_names(begun, scene_folder, tmp_path, monkeypatch, capsys):
    begun()
    (folder,) = tmp_path.iterdir()
    fewer = tmp_path / "fewer"
    shutil.copytree(scene_folder, fewer)
    content = json.loads((fewer / "transforms_train.json").read_text())
    (fewer / "transforms_train.json").write_text(json.dumps({**content, "frames": content["frames"][1:]}))
    monkeypatch.setattr("taichi_nerf.data.splits.read_images", lambda *_, **__: pytest.fail("images were decoded"))
    assert f"{fewer} has other training images than when" in refused(
        capsys, "train", "--resume", folder, "--scene", fewer)


def test_options_that_change_nothing_are_named(begun):
    assert "--depth.final changes nothing: no distances count, as" in begun("--depth.final", "0.5")[1]
    assert "--depth.final and --depth.rays change nothing" in begun("--depth.final", "0.5", "--depth.rays", "0.1")[1]
    assert "change" not in begun("--depth.weight", "0")[1]
    said = begun("--trim.most", "0.2", "--refine.pull", "0.1", "--exposure.learning-rate", "0.1")[1]
    for option, reason in (("--trim.most", "nothing is left out without --robust"),
                           ("--refine.pull", "no camera is corrected without --refine.poses or --refine.lenses"),
                           ("--exposure.learning-rate", "none is learned without --exposure.learned")):
        assert f"{option} changes nothing: {reason}" in said
    said = begun("--sparsity.scale", "0.1", "--near-camera.reach", "0.2")[1]
    for option, reason in (("--sparsity.scale", "nothing is pulled towards empty space without --sparsity.weight"),
                           ("--near-camera.reach", "nothing is pulled towards empty space there without --near-cam")):
        assert f"{option} changes nothing: {reason}" in said
    assert "change" not in begun("--few-views", "--near-camera.reach", "0.2", "--sparsity.weight", "0")[1]


def test_a_training_that_ends_before_cameras_are_corrected_says_so(begun):
    options = ("--refine.poses", "--steps", "60")
    assert "no camera is corrected, as that begins with step 100, and the training has 60" in begun(*options)[1]
    assert "no camera is corrected" not in begun(*options, "--refine.start-step", "20")[1]


@pytest.mark.parametrize("given, final, said", [
    ({}, 0.0, ""), ({"weight": 0.1, "final": 0.0}, 0.0, ""),
    ({"weight": 0.1}, 1.0, "a weight that --depth.weight gives stays to the end; with --depth.final 0 it falls to"),
    ({"weight": 0.1, "final": 1.0}, 1.0, "a weight with --depth.final 1 stays to the end; with --depth.final 0 it")])
def test_the_end_of_a_fall_changes_nothing_of_a_weight_that_stays(capsys, given, final, said):
    command = _defaults([])
    depth = DepthConfig(until=0.3, **given)
    command = dataclasses.replace(command, training=dataclasses.replace(command.training, depth=depth),
                                  given=frozenset(f"training.depth.{name}" for name in ("until", *given)))
    settled = dataclasses.replace(command.training, depth=dataclasses.replace(depth, weight=0.1, final=final),
                                  sparsity=SparsityConfig(weight=0.0))
    _tell_idle(command, settled, SimpleNamespace(name="arc"))
    told = capsys.readouterr().err
    assert told.startswith("--depth.until changes nothing: ") and said in told if said else told == ""


def test_without_its_library_the_viewer_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)

    def absent(name, *others):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr("builtins.__import__", _instead_of("viser", absent))
    for command in (["view", str(tmp_path)], ["train", "--view", "-o", str(tmp_path / "run")]):
        assert cli.main(command) == 2
        assert "pip install 'taichi-nerf[view]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def _instead_of(module, replacement):
    """An `__import__` that has `replacement` for one module."""
    original = __import__
    return lambda name, *others: (replacement if name == module else original)(name, *others)


def test_a_viewer_of_no_run_or_on_a_taken_port_ends_in_a_sentence(tmp_path, scene_folder, capsys):
    pytest.importorskip("viser")
    assert cli.main(["view", str(tmp_path)]) == 2 and "is no run" in capsys.readouterr().err
    assert cli.main(["view", str(tmp_path), "--port", "0"]) == 2 and "port" in capsys.readouterr().err
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = ["train", str(scene_folder), "--steps", "2", "--test-every", "0", "-o", str(tmp_path / "run"), *SMALL,
                   "--orbit-frames", "0", "--view", "--port", str(port)]
        assert cli.main(command) == 2 and not (tmp_path / "run").exists()
        assert f"port {port} of 127.0.0.1 is taken" in capsys.readouterr().err


def test_a_run_that_has_come_to_no_checkpoint_is_waited_for(monkeypatch, capsys):
    class Run:
        path, awaits = Path("runs/mine"), iter([True, True, True, False])
        awaits_model = property(lambda self: next(self.awaits))

    slept = []
    monkeypatch.setattr("taichi_nerf.cli.view.time.sleep", slept.append)
    _wait_for_model(Run())
    assert len(slept) == 2
    assert capsys.readouterr().err.startswith("runs/mine has come to no checkpoint yet: the first is waited for;")


@pytest.mark.slow
def test_a_training_that_nobody_looks_at_ends_by_itself(tmp_path, scene_folder, capsys):
    pytest.importorskip("viser")
    command = ["train", str(scene_folder), "--steps", "2", "--test-every", "0", "-o", str(tmp_path / "run"), *SMALL,
               "--orbit-frames", "0", "--view"]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert "look at it: http://127.0.0.1:" in said.err and "viser" not in said.out + said.err


@pytest.mark.slow
def test_splats_of_a_run_are_fitted_scored_and_written(trained_run, tmp_path, capsys):
    from taichi_nerf.export.splat_files import read_splats

    command = ["export", str(trained_run), "--what", "splats", "--count", "300", "--degree", "1"]
    file = tmp_path / "new" / "still.ply"
    capsys.readouterr()
    assert cli.main([*command, "-o", str(file), "--steps", "12"]) == 0
    said = capsys.readouterr()
    found = re.search(r"(\d+) Gaussians, .* test views ([\d.]+) dB before fitting, ([\d.]+) dB after", said.out)
    assert "at most 300 Gaussians" in said.err and "fitted to 6 photos in 12 steps" in said.err
    assert float(found[3]) > float(found[2])
    splats = read_splats(file)
    assert len(splats) == int(found[1]) <= 300 and splats.harmonics.shape[2] == 4
    assert (file.parent / "still-picture.png").is_file() and str(file) in said.out
    # in metres
    assert cli.main([*command, "-o", str(tmp_path / "metres.ply"), "--steps", "0", "--unit", "10"]) == 0
    assert "dB before fitting: " in capsys.readouterr().out
    larger = read_splats(tmp_path / "metres.ply")
    assert np.ptp(larger.means, axis=0).max() > 5 * np.ptp(splats.means, axis=0).max()
    # nothing is overwritten, and a file has its ending
    assert cli.main([*command, "-o", str(file)]) != 0
    assert f"{file} exists; choose another --output" in capsys.readouterr().err
    assert cli.main([*command, "-o", str(tmp_path / "a.glb")]) != 0
    assert "is no format of splats, which have .ply" in capsys.readouterr().err


@pytest.mark.parametrize("appearance, exposed, robust, said", [
    (0, False, False, ""),
    (16, False, False, "have lights or exposures of their own, to which splats are fitted as well; --steps 0 leaves"),
    (0, True, True, "have lights or exposures of their own and what --robust left out of them, to which"),
    (None, False, True, "have what --robust left out of them, to which"),
])
def test_what_photos_have_and_the_field_has_not_is_said_of_splats(capsys, appearance, exposed, robust, said):
    model = SimpleNamespace() if appearance is None else SimpleNamespace(appearance=appearance)
    training = SimpleNamespace(exposure=SimpleNamespace(learned=exposed), robust=robust)
    _say_what_photos_show(SimpleNamespace(path="mine", config=SimpleNamespace(model=model, training=training)))
    told = capsys.readouterr().err
    assert said in told and bool(told) == bool(said)


def test_splats_of_a_moment_have_no_score_of_other_ones(capsys):
    assert _test_photos(SimpleNamespace(path="mine"), needed=False, time=0.25) is None
    assert "the test views of mine are of other times than --time 0.25: nothing is scored" in capsys.readouterr().err


@pytest.mark.slow
def test_splats_that_are_interrupted_are_kept(trained_run, tmp_path, capsys, monkeypatch):
    from taichi_nerf.training import splats

    fitted = splats.fine_tune

    def interrupted(*arguments, on_step, **settings):
        return fitted(*arguments, **settings, on_step=lambda step, share: step == 2 and signal.raise_signal(
            signal.SIGINT))

    monkeypatch.setattr(splats, "fine_tune", interrupted)
    file = tmp_path / "still.ply"
    assert cli.main(["export", str(trained_run), "--what", "splats", "--count", "300", "-o", str(file)]) == 0
    said = capsys.readouterr()
    assert "stopped after 2 steps; what was learned is kept" in said.err and file.is_file()


@pytest.mark.parametrize("bounded", [True, False])
def test_a_turn_is_for_objects_that_stand_alone_and_a_room_is_seen_from_where_photos_were_taken(
        bounded, tmp_path, monkeypatch, on_cpu):
    from taichi_nerf.cli import export
    from taichi_nerf.export import preview, surface

    scene, looked = dataclasses.replace(make_scene(make_cameras(ring(6))), bounded=bounded), []
    monkeypatch.setattr(surface, "surface_views", lambda field, cameras, **more: looked.append(cameras) or iter(()))
    field, command = SimpleNamespace(scene=scene), export.Export(run=tmp_path, resolution=16)
    export._views(command, field, np.array([[-0.5] * 3, [0.5] * 3]))
    photos = scene.splits["train"].cameras
    assert len(looked[0]) == len(photos) + (export.TURN if bounded else 0)
    drawn = []
    blank = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(preview, "picture_of_points", lambda camera: drawn.append(camera) or blank)
    export._picture(tmp_path / "points.ply", lambda camera, draw: draw.picture_of_points(camera), field)
    beside = np.abs(photos.position - drawn[0].position).max(axis=1)
    assert drawn[0].size.max() == export.PICTURE and (beside.min() < 1e-6) == (not bounded)
