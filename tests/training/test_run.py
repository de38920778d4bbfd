"""A run: compiling first, reports, budgets, and the folder that is left behind."""

import base64
import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from PIL import Image

from taichi_nerf.config import RunConfig, SceneConfig, TrainingConfig, from_dict
from taichi_nerf.data import load_scene
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.locks import holding
from taichi_nerf.data.multiscale import with_scales
from taichi_nerf.data.scene import Images, every_view
from taichi_nerf.errors import UserError
from taichi_nerf.training import run
from taichi_nerf.training.cameras_file import changes, training_values
from taichi_nerf.training.folder import (
    LOCK_FILE,
    RunFolder,
    check_new,
    check_output,
    load_training_scene,
    make_folder,
    writing,
)
from taichi_nerf.training.trainer import trainer_for

from .conftest import BATCH, SMALL
from .test_checkpoint import assert_same


def test_warm_up_leaves_the_trainer_exactly_as_it_was(make_trainer):
    warm, cold = make_trainer(), make_trainer()
    run.warm_up(warm)
    assert_same(warm, cold)
    assert warm.seconds == 0
    for _ in range(6):
        warm.step()
        cold.step()
    assert_same(warm, cold)
    run.warm_up(warm)
    warm.step()
    cold.step()
    assert_same(warm, cold)


@pytest.mark.parametrize("gradients", ["autograd", "explicit"])
def test_a_pixel_has_one_ray_at_first_and_all_of_them_later(make_trainer, gradients):
    model, batch = dataclasses.replace(SMALL, rays_per_pixel=4), dataclasses.replace(BATCH, one_ray=0.5)
    trainer, seen = make_trainer(model, batch=batch, gradients=gradients, steps=4), []
    while trainer.progress < 1:
        seen.append(trainer.batches.rays_per_pixel(trainer.clock.standing))
        before = trainer.totals()
        trainer.step()
        assert (trainer.totals() - before).rays % 4 == 0
    assert seen == [1, 1, 4, 4]


def test_steps_bound_a_run(make_trainer):
    trainer, saves = make_trainer(steps=7), []
    assert run.train(trainer, save=lambda: saves.append(trainer.steps_done))
    assert trainer.steps_done == 7
    assert saves == [7]


def test_seconds_bound_a_run(make_trainer):
    trainer = make_trainer(steps=None, seconds=0.2)
    run.warm_up(trainer)
    assert run.train(trainer)
    assert 0.2 <= trainer.seconds < 1


def test_no_steps_are_a_valid_budget(make_trainer):
    trainer, reports = make_trainer(steps=0), []
    assert run.train(trainer, on_report=reports.append)
    assert trainer.steps_done == 0
    assert reports == []


def test_default_budget_is_time_on_the_cpu():
    config = run.with_budget(TrainingConfig())
    assert (config.steps, config.seconds) == (None, 90)
    assert run.with_budget(TrainingConfig(steps=3)) == TrainingConfig(steps=3)


def test_reports_cover_every_step_once(make_trainer):
    trainer, reports = make_trainer(steps=9), []
    run.train(trainer, on_report=reports.append, report_seconds=0.0)
    assert [report.step for report in reports] == list(range(1, 10))
    assert reports[-1].progress == 1
    assert reports[-1].seconds_left == 0
    for report in reports:
        assert np.isfinite([report.loss, report.psnr, report.rays_per_second, report.samples_per_ray]).all()
        json.dumps(report.as_json(), allow_nan=False)
        assert "rays/s" in str(report)


def test_report_is_the_mean_over_its_steps(make_trainer):
    alone, together = make_trainer(steps=4), make_trainer(steps=4)
    steps = []
    for _ in range(4):
        before = alone.totals()
        alone.step()
        steps.append(alone.totals() - before)
    reports = []
    run.train(together, on_report=reports.append, report_seconds=1e9)
    (report,) = reports
    assert report.loss == pytest.approx(np.mean([step.loss for step in steps]))
    assert report.psnr == pytest.approx(-10 * np.log10(np.mean([step.squared_error for step in steps])))
    assert report.samples_per_ray == pytest.approx(sum(s.samples for s in steps) / sum(s.rays for s in steps))


def test_stopping_saves_and_says_that_the_budget_is_not_spent(make_trainer):
    trainer, saves = make_trainer(steps=100), []
    done = run.train(
        trainer, save=lambda: saves.append(trainer.steps_done), stopped=lambda: trainer.steps_done >= 3
    )
    assert not done
    assert saves == [3]


def test_checkpoints_come_at_their_interval(make_trainer):
    trainer, saves = make_trainer(steps=5), []
    run.train(trainer, save=lambda: saves.append(trainer.steps_done), checkpoint_seconds=0.0)
    assert saves == [1, 2, 3, 4, 5, 5]


def test_steps_without_any_sample_are_skipped_and_counted(make_trainer):
    trainer, reports = make_trainer(steps=3, gradients="autograd"), []
    trainer.model.grid.bits.zero_()
    before = trainer.model.field.table.detach().clone()
    run.train(trainer, on_report=reports.append)
    assert reports[-1].skipped_steps == 3
    assert torch.equal(trainer.model.field.table, before)
    assert np.isfinite(reports[-1].loss)


def test_overflowing_gradients_are_counted_and_training_goes_on(make_trainer):
    trainer, reports = make_trainer(steps=3, gradients="autograd"), []
    trainer.model.field.table_gradient[5, 0] = 1e30  # its square is no float32
    run.train(trainer, on_report=reports.append, report_seconds=0.0)
    assert [report.overflowed_entries for report in reports] == [1, 1, 1]
    assert torch.isfinite(trainer.model.field.table).all()


def test_fit_leaves_a_model_that_is_nearer_to_the_images(small_scene):
    model = run.make_model(small_scene, SMALL)
    trainer = trainer_for(model, small_scene, TrainingConfig(steps=1, batch=BATCH))
    trainer.step()
    model = run.make_model(small_scene, SMALL)
    reports = []
    last = run.fit(model, small_scene, TrainingConfig(steps=60, batch=BATCH), on_report=reports.append)
    assert last == reports[-1]
    assert last.step == 60
    assert last.loss < 0.7 * trainer.totals().loss


@pytest.fixture
def run_folder(small_scene, tmp_path):
    return RunFolder.create(
        tmp_path / "run", RunConfig(scene=SceneConfig(downscale=12), model=SMALL), small_scene
    )


def test_run_folder_opens_as_what_was_created(run_folder):
    opened = RunFolder.open(run_folder.path)
    assert opened.config == run_folder.config
    assert opened.facts == run_folder.facts
    assert opened.runtime["backend"] == "cpu"


def test_cameras_come_back_without_the_images(run_folder, small_scene):
    scene = run_folder.cameras_scene()
    for name, split in small_scene.splits.items():
        for field in dataclasses.fields(split.cameras):
            expected = getattr(small_scene.model_cameras(name), field.name)
            np.testing.assert_array_equal(getattr(scene.model_cameras(name), field.name), expected)


def test_settings_survive_json_exactly():
    config = RunConfig(model=SMALL, training=TrainingConfig(seconds=0.1, seed=7))
    assert from_dict(RunConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("scene"), "damaged"),
        (lambda content: content["scene"].update(scale="wide"), "damaged"),
        (lambda content: content["scene"].update(scale=-1), "scale must be positive"),
        (lambda content: content["run"]["training"].update(steps=2.5), "steps"),
        (lambda content: content["run"]["training"].update(seed=-1), "seed"),
        (lambda content: content["run"].update(command="rm"), "unknown entry 'command'"),
        (lambda content: content["run"]["model"].pop("field"), "lacks 'field'"),
        (lambda content: content.update(version=99), "version"),
        (lambda content: content.update(runtime=None), "damaged"),
    ],
)
def test_damaged_settings_are_named(run_folder, change, message):
    path = run_folder.path / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        RunFolder.open(run_folder.path)
    assert str(path) in str(error.value)


def of_one_ray(config):
    """As all were that did not know of several for a pixel."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, rays_per_pixel=1))


def test_settings_of_the_first_version_are_read(run_folder):
    path = run_folder.path / "config.json"
    content = json.loads(path.read_text())
    content["version"], settings = 1, content["run"]
    del settings["model"]["kind"], settings["model"]["rays_per_pixel"], settings["training"]["batch"]["one_ray"]
    settings["training"]["batch"]["huber"] = settings["model"].pop("huber")
    for name in ("warmup_steps", "beta2", "epsilon", "clip_norm"):
        del settings["training"]["optimiser"][name]
    path.write_text(json.dumps(content))
    assert RunFolder.open(run_folder.path).config == of_one_ray(run_folder.config)
    del settings["training"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="lacks 'training'"):
        RunFolder.open(run_folder.path)


def test_codes_of_early_runs_are_those_of_their_images_whatever_the_file_says(run_folder, small_scene, monkeypatch):
    train = small_scene.splits["train"]
    told = dataclasses.replace(train, ids={"appearance": np.full(len(train), 7)})
    scene = dataclasses.replace(small_scene, splits={"train": told})
    monkeypatch.setattr("taichi_nerf.training.folder.load_scene", lambda *_, **__: scene)
    assert (run_folder.split("train")[0].splits["train"].ids["appearance"] == 7).all()
    facts = {**run_folder.facts, "ids_by_image": True}
    early = RunFolder(run_folder.path, run_folder.config, facts, run_folder.runtime)
    assert early.split("train")[0].splits["train"].ids["appearance"].tolist() == list(range(len(train)))


def test_settings_of_the_second_version_are_read(run_folder):
    path = run_folder.path / "config.json"
    content = json.loads(path.read_text())
    content["version"] = 2
    del content["run"]["model"]["rays_per_pixel"], content["run"]["training"]["batch"]["one_ray"]
    path.write_text(json.dumps(content))
    assert RunFolder.open(run_folder.path).config == of_one_ray(run_folder.config)


ODD = ["x", None, 1e308, -1, True, {}, [[1, 2], [3]], "HUGE", "NaN", "DEEP"]


def in_it(values, at=()):
    """Where something is in nested values: of a list the first entry stands for all."""
    yield at
    inside = values.items() if isinstance(values, dict) else enumerate(values[:1]) if isinstance(values, list) else ()
    for key, value in inside:
        yield from in_it(value, (*at, key))


def with_odd(values, at: tuple, odd) -> str:
    """JSON of nested values with something else at one place."""
    def put(values, at):
        if not at:
            return odd
        copied = values.copy()
        copied[at[0]] = put(values[at[0]], at[1:])
        return copied

    text = json.dumps(put(values, at))
    return text.replace('"HUGE"', "9" * 400).replace('"NaN"', "NaN").replace('"DEEP"', "[" * 3000)


@pytest.mark.parametrize("name", ["config.json", "cameras.json"])
def test_whatever_is_edited_is_read_or_refused_in_a_sentence(run_folder, small_scene, monkeypatch, name):
    """Without the digest of the cameras, which would find any of it."""
    monkeypatch.setattr("taichi_nerf.training.folder.load_training_scene", lambda settings, **_: small_scene)
    run_folder.write_refined(small_scene, small_scene.model_cameras("train"))
    settings = json.loads((run_folder.path / "config.json").read_text())
    del settings["scene"]["cameras_digest"]
    (run_folder.path / "config.json").write_text(json.dumps(settings))
    content, refused = json.loads((run_folder.path / name).read_text()), 0
    content.get("refined", {}).pop("digest", None)
    for at in (at for at in in_it(content) if at[:1] not in (("val",), ("test",))):  # which are as the others
        for odd in ODD:
            (run_folder.path / name).write_text(with_odd(content, at, odd))
            try:
                found = RunFolder.open(run_folder.path)
                found.training_scene()
                found.cameras_scene().model_cameras("train")
            except UserError as error:
                assert ";" in str(error) and "\n" not in str(error), error
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_settings_that_are_no_json_are_named(run_folder, text):
    (run_folder.path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.json"):
        RunFolder.open(run_folder.path)


def edit(path, change):
    """Let `change` edit what is in a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def forget(run_folder):
    """Make it a run of an earlier release."""
    edit(run_folder.path / "config.json", lambda content: content["scene"].pop("cameras_digest"))
    edit(run_folder.path / "cameras.json", lambda content: content["train"].pop("pixels"))
    return RunFolder.open(run_folder.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda train: train["camera_to_world"][1][0].__setitem__(3, float("nan")), "number NaN"),
        (lambda train: train["camera_to_world"][1][0].__setitem__(3, 1e308), "camera_to_world is not finite"),
        (lambda train: train["camera_to_world"][1].__setitem__(0, [1.0, 1.0, 0.0, 0.0]), "pose of .* is not a rotat"),
        (lambda train: train["focal"].__setitem__(2, [-1.0, 20.0]), "a focal length or a size is not positive"),
        (lambda train: train["size"].__setitem__(2, [0, 16]), "a focal length or a size is not positive"),
        (lambda train: train["size"].__setitem__(2, [16.5, 16]), "no whole number"),
        (lambda train: train["lens"].__setitem__(2, 7), "a lens is of no known kind"),
        (lambda train: train["names"].pop(), "names are not those of 6 images"),
        (lambda train: train["principal"].__setitem__(0, "middle"), "principal is not made of numbers"),
    ],
)
def test_cameras_that_cannot_be_are_refused(run_folder, change, message):
    opened = forget(run_folder)
    opened.cameras_scene()
    edit(run_folder.path / "cameras.json", lambda content: change(content["train"]))
    with pytest.raises(UserError, match=rf"cameras\.json .*{message}.*; restore it or train again"):
        opened.cameras_scene()


@pytest.mark.parametrize("which", ["train", "val", "test", "refined"])
def test_a_changed_digit_of_the_cameras_is_noticed_but_for_older_runs(run_folder, small_scene, which):
    run_folder.write_refined(small_scene, small_scene.model_cameras("train"))
    RunFolder.open(run_folder.path).cameras_scene()
    edit(run_folder.path / "cameras.json", lambda content: content[which]["principal"][0].__setitem__(0, 8.25))
    with pytest.raises(UserError, match=r"cameras\.json is damaged \(its digest is another.*; restore it or train"):
        RunFolder.open(run_folder.path).cameras_scene()
    edit(run_folder.path / "cameras.json", lambda content: content["refined"].pop("digest"))
    forget(run_folder).cameras_scene()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"train": 3}', '{"train": {}}', '{"train": {"names": []}}', '{"train": {"names": ["a"]}}']
)
def test_cameras_that_are_none_are_named(run_folder, small_scene, monkeypatch, text):
    monkeypatch.setattr("taichi_nerf.training.folder.load_training_scene", lambda settings, **_: small_scene)
    (run_folder.path / "cameras.json").write_text(text)
    for read in (run_folder.cameras_scene, run_folder.training_scene):
        with pytest.raises(UserError, match=r"cameras\.json .*; restore it or train again"):
            read()


def test_log_that_cannot_be_written_is_named_with_what_helps(run_folder):
    (run_folder.path / "log.jsonl").mkdir()
    with pytest.raises(UserError, match=r"log\.jsonl cannot be written: is a directory; .*go on with --resume"):
        run_folder.log({"step": 1})


def test_log_keeps_what_was_before_the_checkpoint(run_folder):
    for step in (10, 20, 30):
        run_folder.log({"step": step})
    with (run_folder.path / "log.jsonl").open("a") as file:
        file.write('{"step": 4')  # killed in the middle of a line
    run_folder.cut_log(20)
    assert run_folder.read_log() == [{"step": 10}, {"step": 20}]


def test_log_lines_that_are_damaged_keep_no_run_from_going_on(run_folder):
    run_folder.log({"step": 10})
    with (run_folder.path / "log.jsonl").open("ab") as file:
        for line in (b'{"step": "a"}', b'{"step": null}', b'{"step": 1e999}', b'{"step": NaN}', b"[10]", b"\xff",
                     b'{"step": ' + b"9" * 5000 + b"}", b"[" * 100_000):
            file.write(line + b"\n")
    run_folder.log({"step": 20})
    run_folder.cut_log(20)
    assert [json.loads(line)["step"] for line in (run_folder.path / "log.jsonl").read_text().splitlines()] == [10, 20]


def test_log_is_as_it_was_when_cutting_it_is_broken_off(run_folder, monkeypatch):
    def killed(*paths):
        raise KeyboardInterrupt

    run_folder.log({"step": 10})
    before = (run_folder.path / "log.jsonl").read_bytes()
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_folder.cut_log(5)
    assert (run_folder.path / "log.jsonl").read_bytes() == before


@contextlib.contextmanager
def full_disk(size: int):
    """No file may grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def contents(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_whatever_a_run_writes_a_full_disk_is_a_sentence_and_nothing_is_lost(run_folder, small_scene, tmp_path):
    for step in range(20):
        run_folder.log({"step": step})
    before = contents(run_folder.path)
    for write in (run_folder.write_config, lambda: run_folder.cut_log(15), lambda: run_folder.log({"step": 20}),
                  lambda: run_folder.write_refined(small_scene, small_scene.model_cameras("train")),
                  lambda: RunFolder.create(tmp_path / "new", run_folder.config, small_scene)):
        with full_disk(100), pytest.raises(UserError, match=r"not be written: file too large.*; raise the limit"):
            write()
        assert contents(run_folder.path) == before
    RunFolder.create(tmp_path / "new", run_folder.config, small_scene)  # what was begun there is no obstacle


HOLDER = """
import sys, time
from pathlib import Path
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.locks import holding
from taichi_nerf.data.multiscale import with_scales
with holding(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_one_process_writes_and_those_that_read_never_wait(run_folder):
    pytest.importorskip("fcntl", reason="this system has no locks")
    path = run_folder.path
    left = [path / ".taichi-nerf-aside-1" / ".tmp2", path / ".orbit-3.mp4", path / "test" / ".a.png.4"]
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.write_text("half")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path / LOCK_FILE)], stdout=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as holder:
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(UserError, match=f"another process trains in {path}; wait for its end, or train in an"):
            with writing(path):
                pass
        assert len(RunFolder.open(path).cameras_scene().splits) == 3 and run_folder.awaits_model
        (path / "blocks.json").touch()
        assert not run_folder.awaits_model  # of one that is cut into blocks each has its own
        (path / "blocks.json").unlink()
        assert all(file.is_file() for file in left)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not run_folder.awaits_model  # nobody writes any more
    with writing(path):
        assert not any(file.exists() for file in left)
        assert (path / LOCK_FILE).is_file()
        with pytest.raises(UserError, match="another process"), writing(path):
            pass
    assert sorted(file.name for file in path.iterdir()) == ["cameras.json", "config.json", "test"]


def test_a_lock_is_let_go_even_if_ctrl_c_comes_while_its_file_is_removed(tmp_path, monkeypatch):
    pytest.importorskip("fcntl", reason="this system has no locks")

    def interrupted(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), holding(tmp_path / "lock"):
        patch.setattr(type(tmp_path), "unlink", interrupted)
    with holding(tmp_path / "lock") as alone:
        assert alone


def test_without_locks_everyone_goes_on(run_folder, monkeypatch):
    monkeypatch.setattr("taichi_nerf.data.locks.fcntl", None)
    (run_folder.path / ".taichi-nerf-aside-1").mkdir()
    with writing(run_folder.path), writing(run_folder.path):
        run_folder.write_config()
    assert sorted(file.name for file in run_folder.path.iterdir()) == [
        ".taichi-nerf-aside-1", "cameras.json", "config.json"]  # it may be somebody's


@pytest.mark.parametrize("there", [False, True])
def test_of_those_that_begin_a_run_in_one_folder_one_does(run_folder, small_scene, tmp_path, there):
    path, begin = tmp_path / "new", Barrier(4)
    if there:
        path.mkdir()

    def begun(_) -> str | None:
        check_new(path)
        begin.wait()
        try:
            make_folder(path, exist_ok=there)
            with writing(path):
                RunFolder.create(path, run_folder.config, small_scene)
        except (FileExistsError, UserError) as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        said = [text for text in pool.map(begun, range(4)) if text is not None]
    assert len(said) == 3
    assert sorted(file.name for file in path.iterdir()) == ["cameras.json", "config.json"]


def test_a_run_begins_in_what_a_killed_beginning_left_and_in_nothing_else(run_folder, small_scene, tmp_path):
    new = tmp_path / "new"
    (new / ".taichi-nerf-aside-1").mkdir(parents=True)
    (new / "cameras.json").write_text("{")
    with pytest.raises(UserError, match="is not empty"):
        check_new(new)
    (new / LOCK_FILE).touch()
    check_new(new)
    with pytest.raises(UserError, match="has no config"):
        RunFolder.open(new)
    with writing(new):
        RunFolder.create(new, run_folder.config, small_scene)
    assert RunFolder.open(new).cameras_scene().splits.keys() == small_scene.splits.keys()
    (new / LOCK_FILE).touch()
    with pytest.raises(UserError, match=r"is not empty; .* or go on with --resume"):
        check_new(new)


def test_settings_appear_last_so_that_they_stand_for_a_whole_run(run_folder, small_scene, tmp_path, monkeypatch):
    def killed(self):
        assert (self.path / "cameras.json").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_config", killed)
    with pytest.raises(KeyboardInterrupt):
        RunFolder.create(tmp_path / "new", run_folder.config, small_scene)
    assert list((tmp_path / "new").iterdir()) == []


def test_output_must_be_new_or_empty(tmp_path):
    check_output(tmp_path)
    check_output(tmp_path / "new" / "deep")
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=str(path)):
            check_output(path)
    with pytest.raises(UserError, match="--pictures"):
        check_output(tmp_path, option="--pictures")
    with pytest.raises(UserError, match="cannot be used"):
        check_output(tmp_path / ("x" * 5000))


def test_run_on_other_images_is_not_continued(run_folder, small_scene, monkeypatch):
    def found(split):
        scene = dataclasses.replace(small_scene, splits={"train": split}, near=0.3)
        monkeypatch.setattr("taichi_nerf.training.folder.load_training_scene", lambda settings, **_: scene)
        return run_folder.training_scene()

    assert found(small_scene.splits["train"]).near == small_scene.near
    with pytest.raises(UserError, match="the built-in scene has other training images than when"):
        found(small_scene.splits["train"].subset([0, 1, 2]))


@pytest.fixture
def resumed_on(run_folder, small_scene, monkeypatch):
    """`resumed_on(change)`: go on where `change` was done to pixels [N, H, W, 4] and cameras of the training images."""

    def resume(change, folder=run_folder):
        split = small_scene.splits["train"]
        pixels = split.images.pixels.reshape(6, 16, 16, 4).copy()
        cameras = dataclasses.replace(split.cameras, camera_to_world=split.cameras.camera_to_world.copy(),
                                      focal=split.cameras.focal.copy(), distortion=split.cameras.distortion.copy())
        change(pixels, cameras)
        split = dataclasses.replace(split, cameras=cameras, images=Images.from_list(pixels, split.images.names))
        scene = dataclasses.replace(small_scene, splits={"train": split})
        monkeypatch.setattr("taichi_nerf.training.folder.load_training_scene", lambda settings, **_: scene)
        return folder.training_scene()

    return resume


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pixels, cameras: np.bitwise_xor(pixels[3, ..., :3], 255, out=pixels[3, ..., :3]),
         "image 0003 has other pixels"),
        (lambda pixels, cameras: pixels[3, 4:8, 4:8].fill(90), "image 0003 has other pixels"),
        (lambda pixels, cameras: pixels[3:5].fill(90),
         "image 0003 has other pixels than when .* was begun, and 1 more are not what"),
        (lambda pixels, cameras: cameras.camera_to_world[2, :, 3].__iadd__(1e-3), "image 0002 has another pose"),
        (lambda pixels, cameras: cameras.camera_to_world[:2].__setitem__(slice(None), cameras.camera_to_world[1::-1]),
         "image 0000 has another pose"),
        (lambda pixels, cameras: cameras.focal[5].__imul__(1.01), "image 0005 has another lens"),
        (lambda pixels, cameras: cameras.distortion[5].__iadd__(0.01), "image 0005 has another lens"),
    ],
)
def test_a_run_whose_training_images_have_changed_does_not_go_on(resumed_on, change, message):
    with pytest.raises(UserError, match=f"the built-in scene has changed: {message} .*; restore what was there, or tr"):
        resumed_on(change)


def test_a_run_whose_photos_have_other_times_does_not_go_on(small_scene):
    still = small_scene.splits["train"]
    timed = dataclasses.replace(still, time=np.arange(6) / 5)
    before = json.loads(json.dumps(training_values(timed)))
    assert changes(before, timed, np.zeros(3)) == {}
    later = dataclasses.replace(still, time=np.minimum(timed.time + [0, 0, 0, 0.1, 0, 0], 1))
    assert changes(before, later, np.zeros(3)) == {3: "another time"}
    assert changes(before, still, np.zeros(3)) == dict.fromkeys(range(6), "another time")  # they have lost them
    assert changes(training_values(still), timed, np.zeros(3)) == {}
    with pytest.raises(ValueError, match="its time is not finite"):
        changes({**before, "time": [float("nan")] * 6}, timed, np.zeros(3))


def test_what_another_library_makes_of_the_same_files_is_no_change(resumed_on):
    def decoded_otherwise(pixels, cameras):
        noise = np.random.default_rng(0).integers(-2, 3, pixels.shape)
        pixels[:] = (pixels.astype(int) + noise).clip(0, 255)
        for values in (cameras.camera_to_world, cameras.focal):
            values *= 1 + 2e-7

    resumed_on(lambda pixels, cameras: None)
    resumed_on(decoded_otherwise)


def test_older_runs_go_on_without_their_images_being_known(run_folder, resumed_on):
    resumed_on(lambda pixels, cameras: pixels.fill(90), folder=forget(run_folder))


def test_what_is_kept_of_an_image_is_a_grid_of_its_pixels_without_those_under_a_mask(small_scene):
    from taichi_nerf.training.cameras_file import GRID

    split, kept = small_scene.splits["train"], np.ones((16, 16), bool)
    kept[:8] = False
    pictures = [split.images.image(n) for n in range(6)]
    masked = dataclasses.replace(split, images=Images.from_list(pictures, split.images.names, [kept] * 6))
    middle = ((np.arange(GRID) + 0.5) / GRID * 16).astype(int)
    for values, mask in ((training_values(split), np.ones_like(kept)), (training_values(masked), kept)):
        stored = np.frombuffer(base64.b64decode(values["pixels"][4]), np.uint8).reshape(GRID, GRID, 4)
        assert np.array_equal(stored, (pictures[4] * mask[..., None])[np.ix_(middle, middle)])


def test_test_every_thins_the_test_views_of_the_built_in_scene():
    scene = load_training_scene(SceneConfig(downscale=50, test_every=8, background="black"))
    assert {name: len(split) for name, split in scene.splits.items()} == {"train": 60, "test": 2}
    assert scene.background == "black"
    scene = load_training_scene(SceneConfig(downscale=50, test_every=0))
    assert list(scene.splits) == ["train"]


def test_refined_cameras_are_shown_and_written_for_other_programs(run_folder, small_scene):
    cameras = small_scene.model_cameras("train")
    moved = dataclasses.replace(cameras, focal=cameras.focal * 1.5)
    moved.camera_to_world[:, 2, 3] += 0.25
    for _ in range(2):  # what was written before is replaced
        run_folder.write_refined(small_scene, moved)
    scene = run_folder.cameras_scene()
    assert list(scene.splits) == list(small_scene.splits)
    np.testing.assert_allclose(scene.model_cameras("train").camera_to_world, moved.camera_to_world, atol=1e-6)
    np.testing.assert_array_equal(scene.model_cameras("train").focal, moved.focal)
    content = json.loads((run_folder.path / "refined_transforms.json").read_text())
    first = content["frames"][0]
    assert len(content["frames"]) == 6 and first["fl_x"] == pytest.approx(float(moved.focal[0, 0]))
    raised = small_scene.splits["train"].cameras.camera_to_world[0].copy()
    raised[2, 3] += 0.25 / small_scene.scale
    np.testing.assert_allclose(np.array(first["transform_matrix"])[:3], raised, atol=1e-5)


def test_refined_cameras_of_photos_in_several_sizes(run_folder, small_scene):
    scene = with_scales(small_scene, 2)
    cameras = scene.model_cameras("train")
    moved = dataclasses.replace(cameras, focal=cameras.focal * 1.5)
    run_folder.write_refined(scene, moved)
    frames = json.loads((run_folder.path / "refined_transforms.json").read_text())["frames"]
    assert [frame["w"] for frame in frames] == [16] * 6  # a photo is a scene's once
    split = scene.splits["train"]
    some = split.subset(every_view(split.scale, len(split), 3))
    found = run_folder._with_refined(with_split(scene, some), 3).splits["train"].cameras
    np.testing.assert_allclose(found.focal, some.cameras.focal * 1.5, rtol=1e-6)


def test_refined_cameras_are_written_for_the_sizes_of_their_files(run_folder, small_scene, tmp_path):
    """Of which the training may have taken smaller ones."""
    split, paths = small_scene.splits["train"], [tmp_path / f"{n}.png" for n in range(6)]
    for path in paths:
        Image.new("RGB", (33, 48)).save(path)
    scene = with_split(small_scene, dataclasses.replace(split, paths=tuple(paths)))
    run_folder.write_refined(scene, scene.model_cameras("train"))
    read = load_scene(run_folder.path / "refined_transforms.json", test_every=0, downscale=3).splits["train"].cameras
    assert read.size.tolist() == [[11, 16]] * 6
    np.testing.assert_allclose(read.focal / read.size, split.cameras.focal / split.cameras.size, rtol=1e-6)
    gone = tuple(tmp_path / "gone" / path.name for path in paths)
    scene = with_split(small_scene, dataclasses.replace(split, paths=gone))
    run_folder.write_refined(scene, scene.model_cameras("train"))  # nothing is lost by it


def test_test_cameras_are_carried_along_with_refined_ones_unless_they_are_told_to_stay(run_folder, small_scene):
    cameras = small_scene.model_cameras("train")
    moved = dataclasses.replace(cameras, focal=cameras.focal * 1.5)
    moved.camera_to_world[:, 2, 3] += 0.25
    run_folder.write_refined(small_scene, moved)
    stood = small_scene.model_cameras("test")
    found = run_folder.cameras_scene()
    assert found.splits["test"].carried > 0.9
    np.testing.assert_allclose(found.model_cameras("test").camera_to_world[:, :, 3] - stood.camera_to_world[:, :, 3],
                               np.broadcast_to([0, 0, 0.25], (2, 3)), atol=0.02)
    np.testing.assert_array_equal(found.model_cameras("test").focal, stood.focal * 1.5)
    config = run_folder.config
    refine = dataclasses.replace(config.training.refine, carry_along=False)
    run_folder.config = dataclasses.replace(config, training=dataclasses.replace(config.training, refine=refine))
    found = run_folder.cameras_scene()
    assert found.splits["test"].carried is None
    np.testing.assert_allclose(found.model_cameras("test").camera_to_world, stood.camera_to_world, atol=1e-6)


def test_refined_cameras_of_other_images_are_refused(run_folder, small_scene):
    run_folder.write_refined(small_scene, small_scene.model_cameras("train"))  # 6, where the run's own scene has 60
    with pytest.raises(UserError, match="has other training images than those whose cameras"):
        run_folder.split("train")


def test_asking_twice_how_it_went_takes_no_time_of_training(make_trainer):
    trainer = make_trainer()
    trainer.step()
    trainer.totals()
    seconds = trainer.seconds
    trainer.totals()
    trainer.state_dict()
    assert trainer.seconds == seconds
