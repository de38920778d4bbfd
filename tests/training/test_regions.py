"""Regions that are trained as one model: the same on one rank and on several, and one region is the plain model."""

import dataclasses
import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from taichi_nerf import cli, runtime
from taichi_nerf.cli import regions as words
from taichi_nerf.config import (
    BatchConfig,
    DepthConfig,
    ExposureConfig,
    NearCameraConfig,
    NeRFConfig,
    OptimiserConfig,
    RayBatchConfig,
    RefineConfig,
    RegionsConfig,
    RunConfig,
    SceneConfig,
    SettingError,
    SparsityConfig,
    TrainingConfig,
    TrimConfig,
    with_regions,
)
from taichi_nerf.data.export import write_blender
from taichi_nerf.errors import UserError
from taichi_nerf.fields import mlp
from taichi_nerf.models.views import render_view
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.training.run import make_model, warm_up
from taichi_nerf.training.shared import check_ranks
from taichi_nerf.training.team import ALONE, Team
from taichi_nerf.training.trainer import trainer_for

from .conftest import BATCH, SMALL, with_points
from .test_team import at_once, done, over_gloo, torchrun

CONFIG = TrainingConfig(steps=20, batch=BATCH, optimiser=OptimiserConfig(average_every=4), gradients="autograd")
STEPS = 6  # after which the grids have been updated once
WITH_CODES = dataclasses.replace(SMALL, appearance=3)
pytestmark = pytest.mark.usefixtures("products_in_single")


def regions(count: int, model=SMALL) -> RegionsConfig:
    return with_regions(RunConfig(model=model), count).model


def trainer_of(scene, model, team=ALONE, **settings):
    return trainer_for(make_model(scene, model, team=team), scene, dataclasses.replace(CONFIG, **settings), team)


def picture_of(trainer, scene) -> torch.Tensor:
    with trainer.averaged() as model:
        return torch.from_numpy(render_view(model, scene.model_cameras("test"), 0, background=1.0).colour)


def gradients_of(trainer) -> dict[str, torch.Tensor]:
    """Those of the next step, which is not taken."""
    found, take = {}, trainer.optimisers.step
    trainer.optimisers.step = lambda standing: found.update(
        {f"{group.name}.{n}": parameter.grad.clone() for group in trainer.optimisers.groups.values()
         for n, parameter in enumerate(group.parameters)})
    trainer.step()
    trainer.optimisers.step = take
    return found


def outcome(trainer, scene):
    """The losses of some steps, the gradients of one more, and a picture."""
    losses = []
    for _ in range(STEPS):
        trainer.step()
        losses.append(trainer.totals().loss)
    return losses, gradients_of(trainer), picture_of(trainer, scene)


def assert_close(outcome, expected):
    """Losses and gradients to 1e-5, pictures to 1e-4."""
    (losses, gradients, picture), (wanted, expected_gradients, expected_picture) = outcome, expected
    assert losses == pytest.approx(wanted, rel=1e-5)
    for name, gradient in gradients.items():
        largest = max(float(expected_gradients[name].abs().max()), 1e-6)
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=0, atol=1e-5 * largest, msg=name)
    torch.testing.assert_close(picture, expected_picture, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", [SMALL, WITH_CODES])
def test_one_region_is_the_plain_model(small_scene, model):
    plain = trainer_of(small_scene, model)
    losses, gradients, picture = outcome(plain, small_scene)
    of_region = {name if name.startswith("codes") else f"parts.0.{name}": gradient
                 for name, gradient in gradients.items()}
    assert_close(outcome(trainer_of(small_scene, regions(1, model)), small_scene), (losses, of_region, picture))


@pytest.mark.parametrize("count, world", [
    (2, 2), (3, 3), *(pytest.param(count, world, marks=pytest.mark.slow) for count, world in ((3, 2), (4, 2), (4, 3)))])
def test_regions_on_several_ranks_are_those_on_one(small_scene, count, world):
    alone = outcome(trainer_of(small_scene, regions(count)), small_scene)
    ranks = at_once(lambda team: outcome(trainer_of(small_scene, regions(count), team), small_scene), world)
    assert_ranks_are(alone, ranks, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 4])
def test_a_process_for_each_of_several_regions_is_one_process_for_all(small_scene, tmp_path, count):
    model = regions(count, WITH_CODES)
    alone = outcome(trainer_of(small_scene, model), small_scene)
    assert_ranks_are(alone, over_gloo(partial(outcome_in_single, small_scene, model), tmp_path, count), count)


def outcome_in_single(scene, model, team):
    """The outcome in a process of its own, as of `products_in_single`."""
    mlp.fastest_precision = lambda device: torch.float32
    return outcome(trainer_of(scene, model, team), scene)


def assert_ranks_are(alone, ranks, count: int):
    """What came of each rank is what came of one, and there is nothing of other regions."""
    assert len([name for name in alone[1] if name.endswith("table.0")]) == count
    for rank, found in enumerate(ranks):
        assert_close(found, alone)
        of_rank = {int(name.split(".")[1]) for name in found[1] if name.startswith("parts")}
        assert of_rank == set(range(rank, count, len(ranks)))


@pytest.mark.parametrize("terms", [
    {"depth": DepthConfig(weight=0.5, of="points"), "sparsity": SparsityConfig(weight=0.1, points=64)},
    pytest.param({"near_camera": NearCameraConfig(weight=0.5), "exposure": ExposureConfig(learned=True)},
                 marks=pytest.mark.slow),
    pytest.param({"refine": RefineConfig(poses=True, start_step=0, learning_rate=0.005)}, marks=pytest.mark.slow),
    pytest.param({"robust": True, "trim": TrimConfig(views=0, warm_in=0.01, margin=1.0, around=0.01)},
                 marks=pytest.mark.slow),
])
def test_every_term_of_the_loss_is_that_of_one_rank(small_scene, terms):
    """Also those that look at single samples, or at points, of which a rank knows its own alone."""
    scene = with_points(small_scene)
    alone = outcome(trainer_of(scene, regions(2), **terms), scene)
    plain = outcome(trainer_of(scene, regions(2)), scene)
    assert abs(alone[0][-1] / plain[0][-1] - 1) > 1e-3  # and it is there
    for found in at_once(lambda team: outcome(trainer_of(scene, regions(2), team, **terms), scene)):
        assert_close(found, alone)


def test_codes_of_appearance_are_those_of_all_regions(small_scene):
    """A code learns of each region that its photo sees, on whichever rank that is, and is the same on all of them."""
    def work(team=ALONE):
        trainer = trainer_of(small_scene, regions(2, WITH_CODES), team)
        return outcome(trainer, small_scene), trainer.model.codes["appearance"].table.detach()

    alone, codes = work()
    assert alone[1]["codes.appearance.0"].abs().sum(dim=1).min() > 0
    assert not any("codes" in name for part in make_model(small_scene, regions(2, WITH_CODES)).parts
                   for name, _ in part.named_parameters())
    (found, first), (other, second) = at_once(work)
    assert_close(found, alone)
    assert_close(other, alone)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, codes, rtol=0, atol=1e-5)


def test_codes_take_their_step_whatever_becomes_of_a_network(make_trainer):
    """Which is on one rank alone, that would else go another way with what it has in common with the others."""
    trainer = make_trainer(WITH_CODES, gradients="autograd")
    network = trainer.model.field.colour_network.weights[0]
    network.register_hook(lambda gradient: gradient * float("inf"))
    before = [tensor.detach().clone() for tensor in (network, trainer.model.codes["appearance"].table)]
    trainer.step()
    assert torch.equal(network, before[0]) and not torch.equal(trainer.model.codes["appearance"].table, before[1])


@pytest.mark.parametrize("plain", [WITH_CODES, pytest.param(SMALL, marks=pytest.mark.slow)])
def test_a_checkpoint_of_ranks_is_whole_and_goes_on_with_any_number_of_them(small_scene, tmp_path, plain):
    def work(team, folder, before=None):
        trainer = trainer_of(small_scene, regions(3, plain), team)
        warm_up(trainer)  # which leaves it as it was
        if before is not None:
            checkpoint.load_training(before, trainer)
        for _ in range(3):
            trainer.step()
        checkpoint.save(folder, trainer)
        return trainer

    folders = [tmp_path / name for name in ("alone", "ranks", "alone after ranks", "ranks after alone")]
    for folder in folders:
        folder.mkdir()
    work(ALONE, folders[0])
    trainers = at_once(lambda team: work(team, folders[1]))
    for rank, trainer in enumerate(trainers):
        assert [next(part.parameters()).is_meta for part in trainer.model.parts] == [
            number % 2 != rank for number in range(3)]
    work(ALONE, folders[2], folders[1])
    at_once(lambda team: work(team, folders[3], folders[0]))
    for one, other in (folders[:2], folders[2:]):
        for file in (checkpoint.MODEL_FILE, checkpoint.STATE_FILE):
            first, second = load_file(one / file), load_file(other / file)
            assert first.keys() == second.keys()
            for name, value in first.items():
                torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-5, msg=name)
    loaded = checkpoint.load(folders[3])
    assert loaded.config.count == 3 and loaded.own == [0, 1, 2] and not any(p.is_meta for p in loaded.parameters())


def test_a_rank_makes_its_own_regions_alone(small_scene):
    """With the weights that they have where all are made."""
    whole = make_model(small_scene, regions(3))
    for rank, model in enumerate(at_once(lambda team: make_model(small_scene, regions(3), team=team))):
        assert model.own == list(range(rank, 3, 2))
        for number, (part, same) in enumerate(zip(model.parts, whole.parts)):
            for parameter, expected in zip(part.parameters(), same.parameters()):
                assert torch.equal(parameter, expected) if number in model.own else parameter.is_meta


def test_a_step_of_several_regions_keeps_no_more_than_one_of_as_many_samples(small_scene):
    """Each region keeps what its own samples need for the way back, so that in one process the weights alone grow."""
    def bytes_a_sample(count):
        trainer = trainer_of(small_scene, regions(count), batch=BatchConfig(samples=4096, marched=16384, max_rays=512))
        kept = {}

        def pack(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        for _ in range(2):  # the first of which finds out how many samples a ray has
            trainer.step()
        before, apart = trainer.totals().samples, {tensor.data_ptr() for tensor in trainer.model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.step()
        samples = trainer.totals().samples - before
        assert samples > 2000
        return sum(size for place, size in kept.items() if place not in apart) / samples

    one = bytes_a_sample(1)
    assert one > 100  # of a sample: positions, features, hidden layers
    assert bytes_a_sample(4) < 1.15 * one


def test_what_ranks_cannot_share_is_refused(small_scene):
    def work(team):
        return trainer_of(small_scene, regions(1), team)  # one region is not shared: each rank has all of it

    assert all(trainer.optimisers.team.world == 2 for trainer in at_once(work))
    team = Team()
    team.world = 3
    with pytest.raises(UserError, match="3 ranks cannot share 2 regions; start at most 2, or give more --regions"):
        check_ranks(regions(2), team)
    check_ranks(regions(3), team)
    check_ranks(SMALL, team)


def test_models_without_an_occupancy_grid_have_no_regions():
    with pytest.raises(SettingError, match="regions is for instant-ngp, whose samples can be cut at a border, and not"):
        with_regions(RunConfig(model=NeRFConfig(), training=TrainingConfig(batch=RayBatchConfig())), 2)


@pytest.mark.parametrize("arguments, sentence", [
    ("--regions 0", "regions must be from 1 to 256, got 0"),
    ("--regions 2 --blocks 2", "regions are parts of one model, and blocks are models of their own; give one of them"),
    ("--regions 2 --model nerf", "regions is for instant-ngp, whose samples can be cut at a border, and not for nerf"),
    ("--regions 3 --model regions", "the number of regions is --model.count"),
    ("--regions 2 --gradients explicit", "gradients explicit is for instant-ngp alone"),
])
def test_the_command_line_refuses_what_regions_have_not(capsys, tmp_path, arguments, sentence):
    command = ["train", "--steps", "3", "--output", str(tmp_path / "run"), *arguments.split()]
    assert cli.main(command) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "run").exists()


def test_info_says_where_regions_are_when_kernels_are_ready(small_scene, tmp_path, monkeypatch, capsys):
    ready = []
    monkeypatch.setattr(runtime, "init", lambda *_, **__: ready.append(True))
    monkeypatch.setattr(words, "region_words", lambda *_: f"ready: {bool(ready)}")
    folder = write_blender(small_scene, tmp_path / "scene")
    config = RunConfig(scene=SceneConfig(path=str(folder)), model=RegionsConfig(count=2))
    (tmp_path / "run").mkdir()
    RunFolder.create(tmp_path / "run", config, small_scene)
    assert cli.main(["info", str(tmp_path / "run")]) == 0
    assert "ready: True" in capsys.readouterr().out


@pytest.mark.slow
def test_regions_go_through_every_command(tmp_path, capsys):
    """Of one process and of two, which score alike."""
    small = ("--model.field.hash-grid.levels 4 --model.sampling.grid-resolution 16 --model.sampling.steps 64 "
             "--model.appearance 4").split()
    command = ["train", "builtin:street", "--downscale", "8", "--regions", "2", "--backend", "cpu", "--threads", "1",
               "--steps", "8", "--orbit-frames", "2", *small, "--output"]
    alone, ranks = tmp_path / "alone", tmp_path / "ranks"
    assert cli.main([*command, str(alone)]) == 0
    said = capsys.readouterr().err
    assert "its regions are cut by where its cameras are" in said and "2 regions; of the rays of the photos" in said
    code, _, err = done(torchrun(*command, ranks))
    assert code == 0 and "meet them, dealt to 2 ranks" in err, err
    photos = RunFolder.open(ranks).cameras_scene().splits["train"].images.names[:2]
    scores = [json.loads((run / "metrics.json").read_text())["psnr"] for run in (alone, ranks)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    for again in (["info", ranks], ["eval", ranks], ["train", "--resume", ranks, "--steps", "10"],
                  ["render", ranks, "--frames", "2", "--size", "16", "12", "--what", "colour", "normals", "--output",
                   tmp_path / "frames"], ["render", ranks, "--frames", "2", "--size", "16", "12", "--appearance",
                   *photos, "--output", tmp_path / "lights"]):
        assert cli.main([*map(str, again)]) == 0, again
    out = capsys.readouterr().out
    assert "run of regions on builtin:street" in out and "meet them" in out and "trained 10 steps" in out
