"""Every benchmark can be started and says what it measures; the plan for a GPU goes through whatever its jobs do."""

import argparse
import dataclasses
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from taichi_nerf import cli
from taichi_nerf.data.scene import Cameras

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # as for a script there

import blocks  # noqa: E402
import defaults  # noqa: E402
import experiments  # noqa: E402
import page  # noqa: E402
import stages  # noqa: E402
import streets  # noqa: E402
from _gpu import boxes, figures, jobs, session, summary  # noqa: E402
from _gpu.jobs import JOBS, Job, Row  # noqa: E402
from _hand import hand_pixels  # noqa: E402
from _measure import kept_figures  # noqa: E402

HERE = session.Machine(missing={"cpu": None, "cuda": "no card", "vulkan": None}, versions={"engine": "taichi 0"},
                       devices={"cpu": "a processor", "cuda": None, "vulkan": "a card"},
                       small={"cpu": True, "cuda": False, "vulkan": False})


class Photo:
    """A split of one photo of 9 x 8 pixels, whose last row is transparent; something stands before its upper left."""

    occluded = (np.logical_and.outer(np.arange(9) < 4, np.arange(8) < 4),)
    picture = np.full((9, 8, 4), 255, np.uint8)
    picture[7:, :, 3] = 0
    images = SimpleNamespace(image=lambda n: Photo.picture)

    def __len__(self):
        return 1


def test_masks_are_scored_by_what_they_leave_out_over_all_thresholds(monkeypatch):
    scene = SimpleNamespace(splits={"train": Photo()})
    error = np.random.default_rng(0).uniform(0.001, 0.002, (9, 8))
    for high, area, static in ((1.0, 1.0, 0.0), (0.0, 0.0, 0.0)):
        error[:4, :4] = high
        monkeypatch.setattr(experiments, "photo_errors", lambda model, scene: [error])
        found = experiments.mask_scores(None, scene)
        assert found["AUC"] == pytest.approx(area, abs=0.01) and found["static left out, %"] == static
    error[4:7, 6:] = 1.0  # each of which is all that there is in its cell of so small a photo
    assert experiments.mask_scores(None, scene)["static left out, %"] == pytest.approx(100 * 6 / 40)


def test_what_errs_is_among_errors_where_they_fill_a_cell_or_one_beside_it():
    """Of a photo whose 16 x 16 cells have 2 x 3 pixels each."""
    errs = np.zeros((32, 48), bool)
    assert not experiments.among_errors(errs, 0.67).any()
    errs[4:6, 6:9] = errs[30, 45:] = True  # all of cell (2, 2), half of (15, 15)
    found = np.zeros((32, 48), bool)
    found[2:8, 3:12] = True
    assert np.array_equal(experiments.among_errors(errs, 0.67), found)
    found[28:, 42:] = True
    assert np.array_equal(experiments.among_errors(errs, 0.4), found)


def test_a_photo_of_another_place_is_found_by_its_errors(monkeypatch):
    """The limit is 8 times the median of what is shown and not as good as exact, here 0.024."""
    photos = SimpleNamespace(images=SimpleNamespace(image=lambda n: Photo.picture))
    errors = [np.where(Photo.picture[..., 3] > 0, 3e-3, 0.0) for _ in range(20)]
    monkeypatch.setattr(experiments, "photo_errors", lambda model, scene: errors)
    for value, named, left in ((0.5, 1.0, 50.0), (0.023, 1.0, 0.0), (1e-3, 0.0, 0.0)):
        errors[experiments.STRANGER] = np.full((9, 8), value)
        errors[experiments.STRANGER][::2] = min(value, 0.018)
        found = experiments.strangers_found(None, SimpleNamespace(splits={"train": photos}))
        assert found["named alone"] == named and found["of the others, %"] == 0
        assert found["left out of it, %"] == pytest.approx(100 * 4 / 9 if left else 0)
        assert found["times the median"] == pytest.approx(errors[experiments.STRANGER].mean() / np.mean(errors[0]))


def test_figures_of_another_experiment_are_not_lost(tmp_path):
    file, about = tmp_path / "figures.json", {"experiment": "wild", "scene": None, "seconds": 120.0}
    assert kept_figures(None, about) == {} == kept_figures(file, about)
    file.write_text(json.dumps({"about": about, "seeds": {"0": {"NeRF, both": {"PSNR": 20.0}}}}))
    assert kept_figures(file, about) == {"0": {"NeRF, both": {"PSNR": 20.0}}}
    with pytest.raises(SystemExit, match=r"has figures of .*120\.0.*, which would be lost; give another --output"):
        kept_figures(file, about | {"seconds": 360.0})


@pytest.mark.parametrize("experiment", experiments.EXPERIMENTS.values(), ids=experiments.EXPERIMENTS)
def test_an_experiment_speaks_of_arms_that_it_has(experiment):
    named = {bar.better for bar in experiment.bars} | {bar.worse for bar in experiment.bars} - {None}
    assert named | experiment.training.keys() | experiment.seen.keys() <= experiment.arms.keys()


def test_distances_from_measured_points_are_those_of_the_nearest_both_ways():
    pytest.importorskip("trimesh", reason="the library of meshes is not installed: pip install 'taichi-nerf[geometry]'")
    import measured

    reference = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), [0.0]), axis=-1).reshape(-1, 3)
    found = np.concatenate([reference[:80] + (0.0, 0.0, 0.03), reference[:20] + (0.0, 0.4, 0.3)])
    scores = measured.compare(found, reference)
    assert scores["median, cm"] == pytest.approx(3) and scores["90 %, cm"] == pytest.approx(50)
    assert scores["far, %"] == pytest.approx(20) and scores["back, cm"] == pytest.approx(3) and scores["points"] == 100
    box = np.array([[0.0, 0.0, -1.0], [3.0, 3.0, 0.1]])
    assert len(measured.within(found, box)) == 16 and len(measured.within(reference, box)) == 16


def test_pixels_are_taken_square_by_square():
    image = np.arange(5 * 6).reshape(5, 6)
    assert experiments.patches(image, 2).tolist() == [
        0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, 12, 13, 18, 19, 14, 15, 20, 21, 16, 17, 22, 23]


def test_a_bar_is_of_two_arms_or_of_one():
    scores = {"a": {"AUC": 0.95, "left": 2.0, "depth error": 3.0}, "b": {"AUC": 0.5, "left": 1.0, "depth error": 2.0}}
    for bar, gap in (({"worse": "b", "score": "AUC", "least": 0.1}, 0.45), ({"score": "AUC", "least": 0.9}, 0.95),
                     ({"score": "left", "least": -3.0}, -2.0),
                     ({"worse": "b", "score": "times its depth error", "least": -1.2}, -1.5)):
        assert experiments.gap(experiments.Bar(better="a", **bar), scores) == pytest.approx(gap)


def test_steps_of_several_trainers_are_timed_in_turn():
    taken = []
    trainers = [SimpleNamespace(step=partial(taken.append, name), totals=lambda: None) for name in "ab"]
    assert stages.in_turn(trainers, 2 * stages.TURN, clock=lambda: 0.0).shape == (2, 2)
    assert "".join(taken) == 2 * ("a" * stages.TURN + "b" * stages.TURN)


def test_turns_are_as_long_and_timed_as_is_said():
    clock, taken = iter(range(100)), []
    trainers = [SimpleNamespace(step=partial(taken.append, name), totals=lambda: None) for name in "ab"]
    assert stages.in_turn(trainers, 7, 3, partial(next, clock)) == pytest.approx(np.full((2, 2), 1e3 / 3))
    assert "".join(taken) == 2 * "aaabbb"


def test_the_hand_is_the_largest_patch_of_skin_in_the_upper_part():
    photo = np.full((100, 80, 3), (60, 60, 70), np.uint8)  # a wall
    hand, wood = np.zeros((100, 80), bool), np.zeros((100, 80), bool)
    hand[10:40, 20:50] = wood[70:100] = True
    photo[hand | wood], photo[20:24, 30:34] = (110, 65, 60), (255, 255, 255)  # a ring on it
    photo[10:30, 60:75], photo[50:55, 5:10] = (150, 20, 30), (110, 65, 60)  # a red book, and a smaller patch of skin
    found = hand_pixels(photo)
    assert (found != hand).sum() <= 130, "a pixel along its edges"
    assert found[22, 32] and not found[70:].any() and not found[10:30, 60:75].any() and not found[50:55].any()
    assert not hand_pixels(photo[:, :1] * 0).any()


def test_what_moves_and_the_rest_are_scored_apart(monkeypatch, tmp_path):
    truth = np.full((2, 8, 8, 3), 100, np.uint8)
    images = type("Photos", (), {"__len__": lambda self: 2, "image": lambda self, n: truth[n]})()
    monkeypatch.setattr(defaults, "load_scene", lambda path, splits: SimpleNamespace(
        splits={"test": SimpleNamespace(images=images)}))
    (tmp_path / "test").mkdir()
    for n, off in enumerate((10, 20)):
        shown = truth[n].copy()
        shown[:4] += off  # of what moves
        shown[4:] += 1
        defaults.Image.fromarray(shown).save(tmp_path / "test" / f"{n:03d}_photo_render.png")
    found = defaults.scores_by_mask(tmp_path, "a scene", lambda photo: np.arange(8)[:, None].repeat(8, axis=1) < 4)
    decibels = [20 * np.log10(255 / off) for off in (10, 20, 1)]
    assert found["psnr_moving"] == pytest.approx(np.mean(decibels[:2]))
    assert found["psnr_still"] == pytest.approx(decibels[2])


def test_of_a_race_the_smallest_lead_of_the_best_arm_counts():
    arms = dict.fromkeys(("static", "a", "b"), ())
    race = defaults.Race(scenes=("lego",), arms=arms, seconds=1, least={"psnr": 3.0, "psnr_moving": 1.0})
    scores = {"lego/0/static": 20.0, "lego/1/static": 21.0, "lego/0/a": 26.0, "lego/1/a": 23.0, "lego/0/b": 23.5,
              "lego/1/b": 24.25}
    said = defaults.race_report(race, ["lego"], {"psnr": scores})
    assert "| lego | psnr | 20.50 | 24.50 | 23.88 | b: +3.50, +3.25 | reached: +3.0 |" in said
    assert "| lego | psnr_moving | not complete |" in said
    outright = dataclasses.replace(race, outright=True, least={"psnr": 23.6})
    said = defaults.race_report(outright, ["lego"], {"psnr": scores})
    assert "b: +23.50, +24.25 | missed: +23.6 |" in said


def test_a_race_trains_each_arm_and_scores_what_it_asks_for(monkeypatch, capsys, tmp_path):
    trained = []

    def measure(scene, options, output, processor):
        trained.append((str(scene), options[: options.index("--threads")]))
        output.mkdir()
        (output / "metrics.json").write_text(json.dumps({"psnr_moving": 20.0 + len(trained)}))
        return {"psnr": 30.0, "ssim": 0.9, "steps": 5}

    monkeypatch.setattr(defaults, "measure", measure)
    monkeypatch.setattr(defaults, "scores_again", lambda run, *options: {"psnr": 25.0} if "val" in options else {})
    monkeypatch.setattr(sys, "argv", ["defaults.py", "moving-balls", "moving-lego", "--data", str(tmp_path),
                                      "--processor", "--output", str(tmp_path / "kept.json")])
    defaults.main()
    models = ["instant-ngp", "t-nerf", "d-nerf", "nerfies"]
    assert trained == [(scene, ["--model", model]) for scene in (
        "builtin:moving", str(tmp_path / "dnerf/lego_100")) for model in models]
    said = capsys.readouterr().out
    assert "| moving balls | psnr | 30.00 | 30.00 | 30.00 | 30.00 | t-nerf: +30.00 | reached: +28.0 |" in said
    # of the arm that is best by the first score
    assert "| moving balls | psnr_moving | 21.00 | 22.00 | 23.00 | 24.00 | t-nerf: +22.00 |  |" in said
    assert "| moving lego | psnr | 25.00 | 25.00 | 25.00 | 25.00 | t-nerf: +0.00 | missed: +3.0 |" in said


def test_frames_of_several_trainers_are_timed_in_turn(monkeypatch):
    """After one of each, which compiles."""
    taken, seconds = [], iter(range(100))
    monkeypatch.setattr(stages, "render_view", lambda model, *_, **__: taken.append(model))
    trainers = [SimpleNamespace(averaged=partial(nullcontext, name)) for name in "ab"]
    scene = SimpleNamespace(model_cameras=lambda split: None)
    times = stages.frames_in_turn(trainers, scene, lambda: next(seconds))
    assert times.shape == (stages.FRAMES, 2) and (times == 1e3).all()
    assert "".join(taken) == "ab" + stages.FRAMES * "ab"


def test_rows_of_blocks_have_the_same_total_of_steps():
    assert blocks.options_of("blocks", 4, 600, 16) == ["--blocks", "4", "--steps", "600"]
    assert blocks.options_of("long", 4, 600, 16) == ["--steps", "2400"]
    assert blocks.options_of("large", 4, 600, 16) == ["--steps", "2400", blocks.TABLE, "18"], "four times the table"


def test_the_area_under_the_curve_is_the_part_of_pairs_in_the_right_order(rng):
    value, true = torch.rand(50, generator=rng).numpy(), (torch.rand(50, generator=rng) < 0.3).numpy()
    assert streets.area(value, true) == pytest.approx((value[true][:, None] > value[~true]).mean())
    assert streets.area(true + 0.1 * value, true) == 1 and streets.area(0.1 * value - true, true) == 0


def test_a_camera_sees_what_is_in_its_picture_and_not_behind_something():
    """It looks along -z, at a wall 3 away."""
    camera = SimpleNamespace(camera_to_world=np.eye(4)[None, :3], focal=np.full((1, 2), 4.0),
                             principal=np.full((1, 2), 4.0), size=np.full((1, 2), 8))
    points = np.array([(0.1, 0.1, -2.9), (0.1, 0.1, -3.2), (9.0, 0.0, -3.0), (0.0, 0.0, 3.0)])
    framed, seen = streets.sees(camera, 0, np.full((8, 8), 3.0), points)
    assert framed.tolist() == [True, True, False, False] and seen.tolist() == [True, False, False, False]


@pytest.mark.parametrize(("command", "said"), [
    ("blocks.py nowhere", "nowhere does not exist; give the folder of a scene"),
    ("blocks.py builtin:street --steps 0", "--steps, --seeds and --downscale must be at least 1"),
    ("defaults.py objects --data nowhere", "nowhere is no folder; give the one of the scenes"),
    ("experiments.py moving --scene nowhere", "nowhere does not exist; give the folder of a scene"),
    ("experiments.py moving --steps 0", "--steps, --rays and --threads must be at least 1"),
    ("experiments.py wild --steps 9 --seconds 9", "--seconds must be more than 0, stands in the place of --steps"),
    ("measured.py --data . --runs depth=nowhere", "there is no run nowhere"),
])
def test_a_benchmark_that_cannot_begin_says_why(monkeypatch, capsys, command, said):
    script, *options = command.split()
    monkeypatch.setattr(sys, "argv", [script, *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_rays_are_not_traced_twice_without_what_trimesh_needs_for_it(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rtree" else found(name))
    monkeypatch.setattr(sys, "argv", ["ray_mesh.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / "ray_mesh.py"), run_name="__main__")
    assert ended.value.code == 2 and "needs rtree to trace rays" in capsys.readouterr().err


def test_a_page_is_looked_at_as_its_cameras_see_along_the_shorter_side():
    cameras = Cameras(camera_to_world=np.eye(4)[None, :3].repeat(2, axis=0), focal=[[100.0, 100.0], [50.0, 40.0]],
                      principal=[[90.0, 50.0], [20.0, 40.0]], distortion=np.full((2, 6), 0.1), lens=[0, 0],
                      size=[[200, 100], [40, 80]])
    seen = page.as_pages_see(cameras, (120, 60))
    assert page.fields_of_view(seen) == pytest.approx(2 * np.arctan([0.5, 0.4]))
    assert seen.focal == pytest.approx(np.array([[60.0, 60.0], [75.0, 75.0]])) and not seen.distortion.any()
    assert seen.principal.tolist() == [[60, 30], [60, 30]] and seen.size.tolist() == [[120, 60], [120, 60]]


def test_poses_of_a_page_are_spread_over_the_test_or_the_training(tmp_path):
    poses = np.eye(4)[None, :3].repeat(9, axis=0)
    poses[:, 0, 3] = np.arange(9)
    cameras = Cameras(camera_to_world=poses, focal=np.ones((9, 2)), principal=np.ones((9, 2)),
                      distortion=np.zeros((9, 6)), lens=np.zeros(9), size=np.full((9, 2), 2))
    for split in ("test", "train"):
        scene = SimpleNamespace(splits={"train": None, split: None}, model_cameras={split: cameras}.__getitem__)
        run = SimpleNamespace(cameras_scene=lambda scene=scene: scene)
        assert page.some_poses(run, 3, (4, 4)).position[:, 0].tolist() == [0, 4, 8]
        assert len(page.some_poses(run, 20, (4, 4))) == 9


@pytest.mark.parametrize("lacks, sentence", [("playwright", "pip install playwright"),
                                             ("chromium", "there is no browser")])
def test_a_page_is_not_measured_without_a_browser(lacks, sentence, monkeypatch):
    if lacks == "playwright":
        monkeypatch.setitem(sys.modules, "playwright", None)
    else:
        monkeypatch.setitem(sys.modules, "playwright", SimpleNamespace(sync_api=None))
        monkeypatch.setattr(page.shutil, "which", lambda program: None)
    with pytest.raises(SystemExit, match=sentence):
        page.found_browser()


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_benchmark_explains_itself_and_each_of_its_options(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr("sys.argv", [str(script), "--help"])
    printed, explained = argparse.ArgumentParser.print_help, []

    def noted(parser, *arguments):
        explained.extend((action.dest, action.help) for action in parser._actions)
        printed(parser, *arguments)

    monkeypatch.setattr(argparse.ArgumentParser, "print_help", noted)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == 0
    assert f"python benchmarks/{script.name}" in capsys.readouterr().out
    assert explained and not [name for name, what in explained if not what]


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """`gpu(programs, *arguments)` runs the command with jobs of the given Python programs, on a machine like HERE."""
    monkeypatch.setattr(session.Machine, "asked", lambda environment: HERE)
    monkeypatch.setattr(boxes, "GRACE", 0.5)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(programs: dict[str, str] | None, *arguments, seconds: float = 60.0, needs: float = 0.0) -> int:
        if programs is not None:
            monkeypatch.setattr(jobs, "JOBS", tuple(job_of(name, text) for name, text in programs.items()))
        monkeypatch.setattr(jobs, "SMALL_MOST", seconds)
        monkeypatch.setattr(jobs, "SMALL_LEAST", needs)
        monkeypatch.setattr("sys.argv", ["gpu.py", "--backends", "cpu", *map(str, arguments)])
        return runpy.run_path(str(BENCHMARKS / "gpu.py"), run_name="gpu")["main"]()

    def job_of(name: str, text: str) -> Job:
        program = tmp_path / f"{name}.py"
        program.write_text(text)
        return Job(name=name, what=f"what {name} does", worth="", backends=("cpu",), command=f"{program} {{work}}",
                   card="", small="", least=1, most=60,
                   reads=lambda work, log: figures.Found(sentence=log.strip() or "nothing"))

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}-cpu.json").read_text())


def is_alive(pid: int) -> bool:
    """Whether it still does something: one that has ended may wait for a parent that never asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_list_names_every_job_on_every_backend(gpu, capsys):
    assert gpu(None, "--list", "--backends", "cuda", "vulkan", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    names = [f"{job.name}-{backend}" for job in JOBS for backend in job.backends]
    assert [line.split()[:2] for line in lines] == [[str(number), name] for number, name in enumerate(names, 1)]
    assert all(job.what in line and job.worth in line for job in JOBS for line in lines if f" {job.name}-cpu " in line)


def test_only_picks_a_job_on_all_backends_or_on_one(gpu, capsys):
    gpu(None, "--list", "--backends", "cuda", "vulkan", "--only", "render", "lego-vulkan")
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "lego-vulkan", "render-cuda", "render-vulkan"]


@pytest.mark.parametrize("arguments, sentence", [
    (["--only", "colour"], "there is no job colour; there are tests-kernels, step, "),
    (["--only", "step", "--backends", "vulkan"], "no job of --only is for vulkan"),
    (["--minutes", "0", "--output", "x"], "--minutes must be above 0"),
    ([], "--output DIR is needed"),
    (["--output", "x", "--data", "absent"], "--data absent is no folder"),
    (["--output", __file__], "is a file; give a folder"),
    (["--backends", "metal"], "invalid choice: 'metal'"),
])
def test_bad_arguments_end_in_one_sentence(gpu, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as end:
        gpu(None, *arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert sentence in said and said.startswith("gpu.py: ") and said.count("\n") == 1


@pytest.mark.slow
def test_a_job_that_runs_over_is_killed_with_its_children(gpu, tmp_path):
    child = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
    parent = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
    folder, start = tmp_path / "results", time.monotonic()
    assert gpu({"slow": parent, "next": "print('fine')"}, "--output", folder, seconds=8.0) == 1
    came = result(folder, "slow")
    assert came["status"] == "out of time" and came["exit_code"] is None
    assert not is_alive(int(came["found"].split()[0]))
    assert time.monotonic() - start < 60
    assert result(folder, "next")["status"] == "done"


def test_a_job_whose_child_outlives_it_leaves_nothing(gpu, tmp_path):
    program = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    assert gpu({"parent": program}, "--output", tmp_path / "results") == 0
    assert not is_alive(int(result(tmp_path / "results", "parent")["found"]))


def test_a_job_that_fails_stops_nothing(gpu, tmp_path, capsys):
    programs = {"wrong": "raise ValueError('no such thing')", "crashes": "import os; os.abort()",
                "right": "print('fine')"}
    assert gpu(programs, "--output", tmp_path) == 1
    assert [result(tmp_path, name)["status"] for name in programs] == ["failed", "failed", "done"]
    assert "exit code 1: ValueError: no such thing" in result(tmp_path, "wrong")["found"]
    assert result(tmp_path, "crashes")["exit_code"] == -signal.SIGABRT
    table = (tmp_path / "summary.md").read_text()
    assert all(f"| `{name}-cpu` | what {name} does | " in table for name in programs)
    assert "1 of 3 jobs passed, not wrong-cpu, crashes-cpu" in capsys.readouterr().err


def test_a_job_whose_figures_cannot_be_read_has_failed(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "Found", None)
    assert gpu({"odd": "", "next": ""}, "--output", tmp_path) == 1
    assert "its figures cannot be read" in result(tmp_path, "odd")["found"]


def test_the_same_folder_goes_on_with_what_is_not_done(gpu, tmp_path, capsys):
    count = "import sys; name = {!r}; open(name, 'a').write('x'); sys.exit({})"
    good, bad = tmp_path / "good", tmp_path / "bad"
    programs = {"good": count.format(str(good), 0), "bad": count.format(str(bad), 1)}
    for _ in range(2):
        assert gpu(programs, "--output", tmp_path / "results") == 1
    assert (good.read_text(), bad.read_text()) == ("x", "xx")
    assert "done already, on a processor" in capsys.readouterr().err
    assert gpu(programs, "--output", tmp_path / "results", "--only", "good", "--again") == 0
    assert good.read_text() == "xx"


def test_what_has_too_little_time_left_is_left_out_and_said(gpu, tmp_path, capsys):
    assert gpu({"long": ""}, "--output", tmp_path, "--minutes", "0.5", needs=31.0) == 1
    assert result(tmp_path, "long")["status"] == "left out"
    assert "it needs 31 s, and 30 s are left" in capsys.readouterr().err
    assert "it needs 31 s" in (tmp_path / "summary.md").read_text()


def test_to_be_left_out_takes_no_result_away(gpu, tmp_path):
    assert gpu({"job": "raise SystemExit(3)"}, "--output", tmp_path) == 1
    assert gpu({"job": ""}, "--output", tmp_path, "--minutes", "0.5", needs=31.0) == 1
    assert result(tmp_path, "job")["exit_code"] == 3


def test_ctrl_c_keeps_what_is_there(gpu, tmp_path, capsys):
    stop = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(600)"
    assert gpu({"first": "print('fine')", "stops": stop, "never": ""}, "--output", tmp_path) == 130
    assert result(tmp_path, "first")["found"] == "fine"
    assert not (tmp_path / "never-cpu.json").exists()
    assert "`first-cpu`" in (tmp_path / "summary.md").read_text()
    assert capsys.readouterr().err.splitlines()[-1].startswith("gpu.py: stopped; ")


def test_a_result_says_what_was_run_where(gpu, tmp_path):
    gpu({"job": "print('fine')"}, "--output", tmp_path / "a folder")
    came = result(tmp_path / "a folder", "job")
    assert came["command"] == [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "a folder/runs/job-cpu")]
    assert came["device"] == "a processor" and came["versions"] == HERE.versions and came["small"]
    assert came.keys() >= {"status", "seconds", "figures", "date", "commit"}
    plan = json.loads((tmp_path / "a folder/plan.json").read_text())
    assert [job["name"] for job in plan["jobs"]] == ["job-cpu"]


def test_jobs_are_left_out_where_backend_or_data_are_missing(gpu, tmp_path):
    assert gpu(None, "--output", tmp_path, "--backends", "cuda", "--only", "step") == 1
    assert json.loads((tmp_path / "step-cuda.json").read_text())["found"] == "no card"
    assert gpu(None, "--output", tmp_path, "--only", "lego-rays-15", "render") == 1
    assert result(tmp_path, "lego-rays-15")["found"] == "needs --data DIR with nerf_synthetic/lego"
    assert result(tmp_path, "render")["found"] == "needs the run of lego-cpu, which is not there"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A session on a machine like HERE, with an hour."""
    monkeypatch.setattr(session.Machine, "asked", lambda environment: HERE)
    return session.Session(tmp_path, None, 3600.0, set())


@pytest.mark.parametrize("minutes", [5, 20, 60, 240])
def test_boxes_lie_within_what_jobs_need_and_sum_to_no_more_than_there_is(here, monkeypatch, minutes):
    rows, clock = [Row(job=job, backend="vulkan") for job in JOBS], 0.0
    monkeypatch.setattr(session.time, "monotonic", lambda: clock)
    here.deadline = 60.0 * minutes
    for number, row in enumerate(rows, 1):
        box = here.box(row, rows[number:])
        if box is not None:
            assert row.job.least <= box <= row.job.most
            clock += box
    assert clock <= 60 * minutes
    assert minutes < 240 or clock == sum(row.job.most for row in rows)


def test_what_grows_leaves_the_others_what_they_need(here, monkeypatch):
    monkeypatch.setattr(session.time, "monotonic", lambda: 0.0)
    grows, fixed = (dataclasses.replace(JOBS[0], grows=grows, least=10, most=100) for grows in (True, False))
    row, other = (Row(job=job, backend="vulkan") for job in (grows, fixed))
    here.deadline = 90.0
    assert here.box(row, [other, row]) == 40.0
    assert here.box(other, [row, row]) == 90.0


def test_training_gets_what_its_box_leaves():
    nerf = next(job for job in JOBS if job.name == "nerf")
    words = Row(job=nerf, backend="cuda").words(False, 350.0, {"scene": "a scene", "work": "x"})
    assert words[words.index("--seconds") + 1] == f"{350 - nerf.besides:.0f}"
    assert "a scene" in words


def test_times_to_the_target_are_tried_only_where_they_are_undecided(here):
    def scored(seconds: int, psnr: float):
        (here.folder / f"lego-rays-{seconds}-cpu.json").write_text(json.dumps({"figures": {"psnr": psnr}}))

    rows = {job.trained: Row(job=job, backend="cpu") for job in JOBS if job.way == "rays"}
    others = [Row(job=job, backend="cpu") for job in JOBS if job.way == "widths"]
    assert not any(here.why_not_now(row) for row in (*rows.values(), *others))
    scored(15, 35.2)
    assert len(others) == 3 and not any(here.why_not_now(row) for row in others)
    assert [seconds for seconds, row in rows.items() if here.why_not_now(row)] == [20]
    scored(10, 34.8)
    assert {seconds for seconds, row in rows.items() if here.why_not_now(row)} == {8, 20}
    here.stale = {row.name for row in rows.values()}
    assert not any(here.why_not_now(row) for row in rows.values())


def test_the_time_to_the_target_is_the_shortest_run_that_came_to_it():
    results = [{"name": f"lego-{way}-{seconds}-cuda", "small": False, "figures": {"psnr": psnr}}
               for way, seconds, psnr in (("rays", 15, 35.6), ("rays", 10, 34.9), ("rays", 12, 35.1), ("rays", 8, None),
                                          ("widths", 15, 34.2))]
    assert summary.time_to_target(results) == [
        "", "35 dB on lego, four rays a pixel: reached after 12 s of training (10 s 34.90 dB, 12 s 35.10 dB, 15 s "
        "35.60 dB).", "", "35 dB on lego, widths: not reached (15 s 34.20 dB)."]
    assert "not reached" in summary.time_to_target(results[1:2])[1]
    assert summary.time_to_target([]) == []


def test_a_rehearsal_is_done_anew_where_more_can_be_had(here):
    row = Row(job=JOBS[0], backend="vulkan")
    (here.folder / f"{row.name}.json").write_text(json.dumps({"status": "done", "small": True}))
    assert not here.is_done(row)
    (here.folder / f"{row.name}.json").write_text(json.dumps({"status": "done", "small": False}))
    assert here.is_done(row)


def test_jobs_have_the_code_of_this_checkout_and_a_place_for_kernels(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "/packages")
    monkeypatch.delenv("CUDA_CACHE_PATH", raising=False)
    monkeypatch.setenv("TI_OFFLINE_CACHE_FILE_PATH", "/mine")
    monkeypatch.setattr(session.os, "access", lambda path, mode: False)
    environment = session.environment_for(tmp_path, Path("/data"))
    root = BENCHMARKS.parent
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(root), str(root / "kernels"), "/packages"]
    assert environment["TAICHI_NERF_DATA"] == "/data"
    assert environment["TI_OFFLINE_CACHE_FILE_PATH"] == "/mine"
    assert environment["CUDA_CACHE_PATH"] == str(tmp_path / "cache")


LOG = """collecting ... collected 9 items / 3 deselected / 6 selected

tests/ops/test_a.py::test_one[cuda-f32] PASSED                           [ 16%]
tests/ops/test_a.py::test_two[cuda-f32-a b] FAILED                       [ 33%]
tests/ops/test_a.py::test_three[cuda-f32] SKIPPED (not here)             [ 50%]
tests/ops/test_a.py::test_four[cuda-f32] """


@pytest.mark.parametrize("end", ["", "Fatal Python error: Segmentation fault\n"])
def test_of_tests_that_were_cut_off_the_rest_and_the_culprit_are_known(end):
    found = figures.tests(Path(), LOG + end)
    assert found.figures == {"passed": 1, "failed": 1, "skipped": 1, "not_reached": 3,
                             "failures": ["tests/ops/test_a.py::test_two[cuda-f32-a b]"],
                             "running": "tests/ops/test_a.py::test_four[cuda-f32]"}
    assert found.sentence == ("1 passed, 1 failed, 1 skipped, 3 not reached, ended in "
                              "tests/ops/test_a.py::test_four[cuda-f32]")


def test_of_tests_that_came_to_their_end_none_was_running():
    found = figures.tests(Path(), LOG + "PASSED [ 66%]\n" + "".join(
        f"tests/ops/test_b.py::test_{n} PASSED\n" for n in range(2)) + "==== 4 passed ====\n")
    assert found.sentence == "4 passed, 1 failed, 1 skipped"
    assert figures.tests(Path(), "ImportError: no pytest").sentence == "0 passed, 0 failed, 0 skipped, none reached"


def test_of_a_training_that_was_cut_off_its_speed_is_known(tmp_path):
    line = {"seconds": 2.0, "psnr": 20.5, "rays_per_second": 1e6, "samples_per_ray": 20.0}
    (tmp_path / "log.jsonl").write_text(json.dumps({**line, "step": 500}) + "\n" + '{"step": 7')
    found = figures.training(tmp_path, "the first step begins after 18.5 s\n")
    assert found.sentence == "not scored; 500 steps in 2.0 s, 20 M samples/s, first step after 18.5 s"
    assert found.figures["steps_per_second"] == 250.0 and found.figures["training_psnr"] == 20.5


TRAININGS = [pytest.param(job, small, id=f"{job.name}{'-small' if small else ''}")
             for job in JOBS if " train " in job.command for small in (True, False)]


@pytest.mark.parametrize("job, small", TRAININGS)
def test_the_trainings_of_the_plan_have_settings_that_there_are(job, small, tmp_path, capsys):
    """All that is refused is the scene."""
    places = {"scene": str(tmp_path / "absent"), "work": str(tmp_path / "run")}
    words = Row(job=job, backend="cpu").words(small, 100.0, places)
    assert words[:2] == ["-m", "taichi_nerf"]
    assert cli.main(words[2:]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"taichi-nerf: {tmp_path / 'absent'}")


@pytest.mark.parametrize("job", [job for job in JOBS if "pytest" in job.command], ids=lambda job: job.name)
def test_the_tests_of_the_plan_are_there(job):
    places = [word for word in f"{job.card} {job.small}".split() if word.startswith("tests/")]
    assert places and all((BENCHMARKS.parent / place).exists() for place in places)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_terminated_series_of_kills_leaves_nothing_running(tmp_path):
    """In place of torchrun there is something that says who it is and stays."""
    (tmp_path / "stays.sh").write_text('echo $$ > "$0.id"; exec sleep 600')
    program = (f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); sys.argv[1:] = []; import kills\n"
               f"kills.command = lambda *_: ['sh', {str(tmp_path / 'stays.sh')!r}]; kills.main()")
    process = subprocess.Popen([sys.executable, "-c", program])
    told, end = tmp_path / "stays.sh.id", time.monotonic() + 60
    while not (told.is_file() and told.read_text().strip()):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def rehearse(folder: Path, *names: str) -> tuple[int, dict[str, dict]]:
    command = [sys.executable, BENCHMARKS / "gpu.py", "--backends", "cpu", "--output", folder, "--only", *names]
    code = subprocess.run(command, capture_output=True, text=True, timeout=580).returncode
    return code, {name: result(folder, name) for name in names}


@pytest.mark.slow
def test_a_rehearsal_on_the_cpu(tmp_path):
    """Without data the built-in scene is trained."""
    code, results = rehearse(tmp_path, "lego")
    assert code == 0, results
    assert results["lego"]["figures"]["steps"] == 5 and results["lego"]["figures"]["psnr"] > 0
    assert results["lego"]["what"].endswith("on builtin:still-life instead")
    assert not list(tmp_path.glob(".*"))


def test_of_an_octree_its_size_its_scores_and_its_frame_are_read(tmp_path):
    assert figures.octree(tmp_path, "extracting: 40 %\n") == figures.octree_frame(tmp_path, "") == figures.Found()
    said = "runs/octree: an octree of 1234 nodes; look at it with: taichi-nerf view runs/octree\n"
    assert figures.octree(tmp_path, said).sentence == "1234 nodes, not scored"
    (tmp_path / "metrics.json").write_text(json.dumps({"psnr": 30.126, "images": 8}))
    assert figures.octree(tmp_path, said) == figures.Found(
        figures={"nodes": 1234, "psnr": 30.126}, sentence="1234 nodes, 30.13 dB, test views: 8")
    numbers = {"size": [800, 600], "frame_seconds": 0.00281, "full_leaves": 99, "full_leaves_a_ray": 6.27}
    (tmp_path / "figures").write_text(json.dumps(numbers))
    assert figures.octree_frame(tmp_path, "").sentence == "2.81 ms for 800 x 600; 99 full leaves, 6.3 on a ray"


@pytest.mark.slow
def test_a_rehearsal_of_the_frame_of_an_octree(tmp_path):
    code, results = rehearse(tmp_path, "octree-made-up")
    assert code == 0, results
    found = results["octree-made-up"]["figures"]
    assert found["size"] == [8, 8] and found["frame_seconds"] > 0 and found["full_leaves"] > 0


@pytest.mark.slow
def test_a_rehearsal_of_what_is_measured(tmp_path):
    code, results = rehearse(tmp_path, "step", "lego", "render", "bench", "doctor", "tests-kernels")
    assert code == 0, results
    assert results["step"]["figures"]["step_seconds"] > 0 and len(results["step"]["table"]) > 4
    assert results["render"]["figures"]["frame_seconds"].keys() == {"taichi", "torch"}
    assert results["bench"]["figures"]["cpu"]["speeds"].keys() == {"ray_aabb"}
    assert results["doctor"]["found"] == "1 of 1 kernels passed"
    assert results["tests-kernels"]["figures"]["not_reached"] == 0
    assert "| ray_aabb |" in (tmp_path / "summary.md").read_text()


def test_streets_go_on_with_the_seeds_that_are_kept_and_with_no_other_settings(monkeypatch, tmp_path, capsys):
    measured, file = [], tmp_path / "streets.json"
    monkeypatch.setattr(streets.runtime, "init", lambda backend, threads: None)
    monkeypatch.setattr(streets, "builtin_scene", lambda name, **settings: SimpleNamespace(name=name))
    monkeypatch.setattr(streets, "measured", lambda scene, settings, seed: measured.append(seed) or {"PSNR": 20 + seed})

    def run(*options: str):
        monkeypatch.setattr(sys, "argv", ["streets.py", "--threads", "1", "--output", str(file), *options])
        streets.main()
        return capsys.readouterr().out

    run("--seeds", "1")
    assert "| PSNR | 20.00 | 21.00 |" in run("--seeds", "2") and measured == [0, 1]
    with pytest.raises(SystemExit, match="would be lost; give another --output"):
        run("--seeds", "2", "--steps", "7")
    assert measured == [0, 1]
