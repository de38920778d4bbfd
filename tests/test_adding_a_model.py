"""A system from outside of the package: a field, a term of the loss, settings, a line in the registry are enough."""

import dataclasses
import json

import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.cli import main
from taichi_nerf.config import SYSTEMS, TrainingConfig, recipe, register
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.training import checkpoint
from taichi_nerf.training.run import make_model
from taichi_nerf.training.trainer import trainer_for

from .blobs import SYSTEM, Blobs

COMMON = ["--downscale", "8", "--backend", "cpu", "--threads", "1"]


@pytest.fixture
def blobs():
    before = runtime.current()
    register(SYSTEM)
    yield
    del SYSTEMS["blobs"]
    runtime.init(before.backend, before.dtype, threads=before.threads)


def test_it_trains_saves_goes_on_is_scored_and_rendered(blobs, tmp_path, capsys):
    run = tmp_path / "run"
    train = ["train", "--model", "blobs", "--model.balls", "8", *COMMON, "--orbit-frames", "0", "--output", str(run)]
    assert main([*train, "--steps", "3"]) == 0
    first = json.loads((run / "metrics.json").read_text())["psnr"]
    assert main(["train", "--resume", str(run), "--steps", "150", "--orbit-frames", "0"]) == 0
    assert json.loads((run / "metrics.json").read_text())["psnr"] > first + 2

    model = checkpoint.load(run)
    assert isinstance(model, Blobs) and model.config.balls == 8 and recipe("blobs").model.balls == 12
    assert main(["eval", str(run), "--every", "4", "--json", *COMMON[2:]]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scores["psnr"] > first + 2 and scores["protocol"]["every"] == 4
    pictures = tmp_path / "pictures"
    assert main(["render", str(run), "--frames", "2", "--size", "20", "16", "--what", "colour", "depth", "normals",
                 "--output", str(pictures), *COMMON[2:]]) == 0
    assert len(list(pictures.glob("*.png"))) == 6


def test_steps_before_and_after_its_checkpoint_are_those_without_one(blobs, tmp_path):
    runs = [tmp_path / name for name in ("whole", "halves")]
    for run, steps in zip(runs, ("8", "4")):
        assert main(["train", "--model", "blobs", *COMMON, "--orbit-frames", "0", "--test-every", "0", "--steps", steps,
                     "--optimiser.decay-start", "0.9", "--output", str(run)]) == 0
    assert main(["train", "--resume", str(runs[1]), "--steps", "8", "--orbit-frames", "0"]) == 0
    whole, halves = (checkpoint.load(run).state_dict() for run in runs)
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())


def test_a_parameter_that_nothing_trains_is_named(blobs, monkeypatch):
    scene, groups = builtin_scene(resolution=8, views=(3, 0, 1), samples_per_pixel=1), Blobs.parameter_groups
    monkeypatch.setattr(Blobs, "parameter_groups", lambda model: [
        dataclasses.replace(group, parameters=group.parameters[1:]) for group in groups(model)])
    found = recipe("blobs")
    with pytest.raises(ValueError, match=r"'field\.centre' of Blobs is in no group"):
        trainer_for(make_model(scene, found.model), scene, TrainingConfig(batch=found.batch, steps=1))


def test_it_is_offered_and_its_settings_are_shown(blobs, capsys):
    assert main(["train", "--model", "blobs", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--model.balls" in text and "blobs" in text and "--model.sampling" not in text
