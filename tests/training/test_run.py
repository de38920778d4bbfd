"""A run: compiling first, reports, budgets, and the folder that is left behind."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from taichi_nerf.config import RunConfig, SceneConfig, TrainingConfig, from_dict
from taichi_nerf.errors import UserError
from taichi_nerf.training import run
from taichi_nerf.training.folder import RunFolder, check_output, load_training_scene
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


def test_settings_of_the_first_version_are_read(run_folder):
    path = run_folder.path / "config.json"
    content = json.loads(path.read_text())
    content["version"], settings = 1, content["run"]
    del settings["model"]["kind"], settings["model"]["rays_per_pixel"], settings["training"]["batch"]["one_ray"]
    settings["training"]["batch"]["huber"] = settings["model"].pop("huber")
    for name in ("warmup_steps", "beta2", "epsilon", "clip_norm"):
        del settings["training"]["optimiser"][name]
    path.write_text(json.dumps(content))
    assert RunFolder.open(run_folder.path).config == run_folder.config
    del settings["training"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="lacks 'training'"):
        RunFolder.open(run_folder.path)


def test_settings_of_the_second_version_are_read(run_folder):
    path = run_folder.path / "config.json"
    content = json.loads(path.read_text())
    content["version"] = 2
    del content["run"]["model"]["rays_per_pixel"], content["run"]["training"]["batch"]["one_ray"]
    path.write_text(json.dumps(content))
    assert RunFolder.open(run_folder.path).config == run_folder.config


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_settings_that_are_no_json_are_named(run_folder, text):
    (run_folder.path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.json"):
        RunFolder.open(run_folder.path)


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
