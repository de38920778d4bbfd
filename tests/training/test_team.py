"""Ranks that train one model together: their gradient is that of one rank with all the rays, and so are their weights.

Most tests are two threads with a baton: one computes while the other waits at the next exchange, in which both hand
over what they have. The slow ones are processes that meet over gloo.
"""

import copy
import dataclasses
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from taichi_nerf import cli, devices, output, runtime
from taichi_nerf.cli.blocks import train_blocks
from taichi_nerf.cli.train import _check_same, _going_on, train_defaults
from taichi_nerf.config import SYSTEMS, OptimiserConfig, RayBatchConfig, RunConfig, SceneConfig, TrainingConfig
from taichi_nerf.data.blocks import Block
from taichi_nerf.data.scene import Images
from taichi_nerf.errors import UserError
from taichi_nerf.export.pictures import render_pictures
from taichi_nerf.samplers import coarse_to_fine
from taichi_nerf.training import run
from taichi_nerf.training import trainer as trainer_module
from taichi_nerf.training.blocks import BlockOnDisk, write_blocks
from taichi_nerf.training.evaluate import evaluate
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.training.run import make_model
from taichi_nerf.training.step import AutogradStep
from taichi_nerf.training.team import ALONE, Ranks, Team, part_of, team_of
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.training.trimming import MEMORY
from taichi_nerf.types import Batch, Rays, Seeds, Shot, Standing
from taichi_nerf.viewer.port import free_port
from taichi_nerf_kernels.random import uniform_forward

from .. import blobs
from .conftest import BATCH, SMALL

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # as for a script there

from kills import lines_of, rank_of, wait_until

WORLD = 2


class Baton:
    """What `torch.distributed` is to a rank, between threads of which one runs at a time."""

    def __init__(self, world: int):
        self.turn, self.met, self.slots = threading.Lock(), threading.Barrier(world), [None] * world

    def exchange(self, rank: int, value) -> list:
        self.slots[rank] = value
        self._meet()
        values = list(self.slots)
        self._meet()
        return values

    def _meet(self):
        self.turn.release()
        try:
            self.met.wait(timeout=120)
        finally:
            self.turn.acquire()


class Wire:
    """The baton in the hand of one rank."""

    def __init__(self, baton: Baton, rank: int):
        self.baton, self.rank = baton, rank

    def all_reduce(self, tensor, group=None):
        tensor.copy_(sum(self.baton.exchange(self.rank, tensor.clone())))

    def broadcast(self, tensor, src, group=None):
        tensor.copy_(self.baton.exchange(self.rank, tensor.clone())[src])

    def broadcast_object_list(self, values, src, group=None):
        values[:] = self.baton.exchange(self.rank, list(values))[src]

    def all_gather(self, values, value, group=None):
        for each, of_rank in zip(values, self.baton.exchange(self.rank, value.clone())):
            each.copy_(of_rank)

    def all_gather_object(self, values, value, group=None):
        values[:] = self.baton.exchange(self.rank, copy.deepcopy(value))

    def gather_object(self, value, values, dst, group=None):
        of_ranks = self.baton.exchange(self.rank, copy.deepcopy(value))
        if self.rank == dst:
            values[:] = of_ranks


def at_once(work, world: int = WORLD) -> list:
    """What `work(team)` returns on each of so many ranks, or raises."""
    baton, found = Baton(world), [None] * world

    def body(rank):
        with baton.turn:
            try:
                found[rank] = work(Ranks(Wire(baton, rank), rank, world))
            except BaseException as error:
                found[rank] = error
                if not isinstance(error, UserError):
                    baton.met.abort()

    uniform_forward(0, 0, torch.empty(1))  # the first launch of a runtime has to be that of the main thread
    threads = [threading.Thread(target=body, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in found:
        if isinstance(error, Exception) and not isinstance(error, UserError | threading.BrokenBarrierError):
            raise error
    return found


@pytest.fixture
def blobs_trainer(small_scene, monkeypatch):
    """`blobs_trainer(team)`: a trainer of soft balls by 64 rays a step, whose samples stand still."""
    monkeypatch.setattr(coarse_to_fine, "seed_of", lambda standing, purpose: None)
    monkeypatch.setitem(SYSTEMS, "blobs", blobs.SYSTEM)

    return partial(soft_balls, small_scene)


def soft_balls(scene, team: Team = ALONE, **settings):
    config = TrainingConfig(**{"steps": 20, "batch": RayBatchConfig(rays=64),
                               "optimiser": OptimiserConfig(average_every=4), **settings})
    return trainer_for(make_model(scene, blobs.BlobsConfig()), scene, config, team)


class Together:
    """Batches made of what each rank of a team draws."""

    def __init__(self, of_ranks):
        self.of_ranks = of_ranks

    def draw(self, standing) -> Batch:
        drawn = []
        for rank, batches in enumerate(self.of_ranks):
            team = Team()
            team.rank = rank
            drawn.append(batches.draw(team.own(standing)))
        rays = [batch.rays for batch in drawn]
        together = Rays(*(torch.cat([getattr(each, name) for each in rays]) for name in ("origins", "directions")),
                        shot=Shot(image=torch.cat([each.shot.image for each in rays])))
        names = ("rgba", "background", "image_index", "pixel_index")
        return Batch(rays=together, **{name: torch.cat([getattr(batch, name) for batch in drawn]) for name in names})

    def adapt(self, rays, marched, visible):
        pass


STANDING = Standing(step=5, progress=0.5, seeds=Seeds(rays=11, jitter=12, background=13))


def trained(trainer, steps: int):
    for _ in range(steps):
        trainer.step()
    return trainer


def outcome(trainer) -> tuple[dict, dict]:
    """What all ranks must have in common: tensors by name, and numbers. Every rank asks for it."""
    state, totals = trainer.state_dict(), trainer.totals()
    return ({name: value.clone() for name, value in state["tensors"].items()},
            {**vars(totals), **state["numbers"], "seconds": 0})


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_are_one_with_all_their_rays(blobs_trainer, world):
    ranks = at_once(lambda team: outcome(trained(blobs_trainer(team), 20)), world)
    for other in ranks[1:]:
        assert_equal(ranks[0], other)
    team, whole = Team(), blobs_trainer()
    team.world = world
    part = blobs_trainer(team).batches
    whole.taker.batches = Together([part] * world)
    tensors, numbers = outcome(trained(whole, 20))
    assert numbers["rays"] == ranks[0][1]["rays"] == 20 * 64 and len(part.draw(STANDING)) == 64 // world
    assert ranks[0][1]["loss"] == pytest.approx(numbers["loss"], rel=1e-6)
    for name, value in tensors.items():
        torch.testing.assert_close(ranks[0][0][name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))


@pytest.mark.slow
def test_ranks_have_the_same_weights_over_gloo(small_scene, blobs_trainer, tmp_path):
    """Two processes as two threads, to the last bit."""
    found = over_gloo(partial(still_balls, small_scene), tmp_path)
    assert_equal(*found)
    assert_equal(found[0], at_once(lambda team: outcome(trained(blobs_trainer(team), 20)))[0])


def still_balls(scene, team: Team) -> tuple[dict, dict]:
    """What `blobs_trainer` comes to, in a process of its own."""
    SYSTEMS["blobs"] = blobs.SYSTEM
    coarse_to_fine.seed_of = lambda standing, purpose: None
    return outcome(trained(soft_balls(scene, team), 20))


def over_gloo(work, folder: Path, world: int = WORLD) -> list:
    """What `work(team)`, a function of a module, returns on each of so many ranks that are processes."""
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=in_process, args=(rank, world, folder, work)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120 * world)
    assert [process.exitcode for process in ranks] == [0] * world
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def in_process(rank: int, world: int, folder: Path, work):
    """Work as a process of its own, and leave what came out."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/met", rank=rank, world_size=world)
    runtime.init("cpu", torch.float32, threads=1)
    torch.save(work(Ranks(torch.distributed, rank, world)), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def assert_equal(one, other):
    (tensors, numbers), (others, also) = one, other
    assert numbers == also and tensors.keys() == others.keys()
    for name, value in tensors.items():
        assert torch.equal(value, others[name]), name


def test_a_rank_alone_draws_and_steps_as_without_a_team(make_trainer):
    """To the bit: the same random numbers, and nothing is divided."""
    standing = make_trainer().clock.standing
    assert ALONE.own(standing) is standing and part_of(BATCH, ALONE) is BATCH
    assert ALONE.mine([1, 2, 3]) == [1, 2, 3] and ALONE.gathered(4) == [4]


@pytest.mark.parametrize("gradients", ["autograd", "explicit"])
def test_ranks_have_the_same_weights_grid_and_pace(small_scene, gradients):
    """Though each has rays of its own."""
    config = TrainingConfig(steps=20, batch=dataclasses.replace(BATCH, samples=1024, max_rays=256), gradients=gradients,
                            optimiser=OptimiserConfig(average_every=4))

    def work(team):
        return outcome(trained(trainer_for(make_model(small_scene, SMALL), small_scene, config, team), 10))

    first, second = at_once(work)
    assert_equal(first, second)
    assert first[1]["samples"] > 0 and first[0]["model.grid.updates"] > 0


def test_the_explicit_step_takes_the_mean_of_the_gradients(small_scene):
    config = TrainingConfig(steps=20, batch=dataclasses.replace(BATCH, samples=1024, max_rays=256))

    def work(team):
        step = trainer_for(make_model(small_scene, SMALL), small_scene, config, team).taker
        step.differentiate(team.own(STANDING))
        before = [moved.gradient.clone() for moved, _ in step.moved]
        samples = int(step.density.count)
        step._exchange()
        return before, [moved.gradient for moved, _ in step.moved], samples, int(step.density.count)

    (one, mean, few, all_of), (other, same, more, _) = at_once(work)
    assert few + more == all_of and few != more
    for a, b, both, also in zip(one, other, mean, same):
        assert torch.equal(both, also) and not torch.equal(a, b)
        torch.testing.assert_close(both, (a + b) / 2)


@pytest.mark.parametrize("gradients", ["autograd", "explicit"])
def test_ranks_remember_where_the_pixels_of_all_of_them_are(small_scene, gradients):
    """As one rank with all of their rays does; in the first step nobody knows yet what is usual."""
    config = TrainingConfig(steps=20, batch=dataclasses.replace(BATCH, samples=1024, max_rays=256), gradients=gradients,
                            robust=True)

    def work(team):
        trainer = trained(trainer_for(make_model(small_scene, SMALL), small_scene, config, team), 1)
        before = trainer.totals().rays
        trained(trainer, 2).taker.pull()
        return trainer.totals().rays - before, trainer.trimming.drawn.clone()

    (rays, drawn), (_, same) = at_once(work)
    assert torch.equal(drawn, same) and 0 < drawn.max() < MEMORY  # nothing has been forgotten
    assert float(drawn.sum()) == rays


def test_a_gradient_that_one_rank_lacks_counts_as_zero_and_one_that_all_lack_stays_none():
    def work(team):
        first, second = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
        if team.first:
            first.grad = torch.tensor([2.0, 4.0, 6.0])
        team.average_gradients([first, second])
        return first.grad, second.grad

    for gradient, none in at_once(work):
        assert gradient.tolist() == [1, 2, 3] and none is None


@pytest.mark.parametrize("rows", [3, 200])
def test_rows_of_a_table_are_averaged_however_many_there_are(rows):
    def work(team):
        table = torch.zeros(400, 2)
        generator = torch.Generator().manual_seed(team.rank)
        table[torch.randperm(400, generator=generator)[:rows]] = 1.0 + team.rank
        before, team.apart = table.clone(), True
        team.average_rows(table)
        return before, table

    (one, mean), (other, same) = at_once(work)
    assert torch.equal(mean, same) and torch.equal(mean, (one + other) / 2)


def test_the_clock_of_rank_0_is_everybodys(blobs_trainer):
    def work(team):
        trainer, reports, saves = blobs_trainer(team, steps=None, seconds=0.05), [], []
        wanted = 0.0 if team.first else 1e9  # what the others want does not count
        assert run.train(trainer, on_report=reports.append, report_seconds=wanted, checkpoint_seconds=wanted,
                         save=lambda: saves.append(trainer.steps_done))
        return trainer.steps_done, trainer.seconds, [report.loss for report in reports], saves

    one, other = at_once(work)
    assert one == other


def test_views_are_shared_and_scored_as_by_one(small_scene, blobs_trainer, tmp_path):
    def work(team):
        model = blobs_trainer(team).model
        return evaluate(model, small_scene, folder=tmp_path / "shared", team=team)

    shared, other = at_once(work)
    alone = evaluate(blobs_trainer().model, small_scene, folder=tmp_path / "alone")
    assert (shared.names, shared.psnr, shared.ssim) == (alone.names, alone.psnr, alone.ssim) == (
        other.names, other.psnr, other.ssim)
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == sorted(
        path.name for path in (tmp_path / "alone").iterdir())


def test_frames_are_shared_and_written_as_by_one(small_scene, blobs_trainer, tmp_path):
    cameras = small_scene.model_cameras("test")
    assert len(cameras) % WORLD == 0
    for count in (len(cameras), len(cameras) - 1):  # in the last round one rank has nothing to do
        folders = [tmp_path / f"{name}-{count}" for name in ("alone", "shared")]

        def written(folder, team=None, count=count):
            folder.mkdir(exist_ok=True)
            render_pictures(blobs_trainer().model, cameras.subset(slice(count)), 1.0,
                            {"colour": folder, "depth": folder}, team=team)

        written(folders[0])
        at_once(partial(written, folders[1]))
        alone, shared = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
        assert len(alone) == 2 * count and alone == shared


def test_a_trouble_of_one_rank_is_everybodys():
    def work(team):
        with team.together():
            if not team.first:
                raise UserError("lego does not exist; give a scene")

    assert [str(error) for error in at_once(work)] == [
        "rank 1 of 2: lego does not exist; give a scene", "lego does not exist; give a scene"]


def test_ranks_that_differ_are_told_apart():
    first, second = at_once(lambda team: team.check_same("the settings", f"those of {team.rank}"))
    assert isinstance(first, UserError) and str(first) == str(second)
    assert "the settings of rank 1 are not those of rank 0" in str(first)
    assert at_once(lambda team: team.check_same("the scene", "the same")) == [None, None]


def test_a_batch_that_cannot_be_divided_is_refused():
    team = Team()
    team.world = 3
    with pytest.raises(UserError, match=r"--batch.rays 64 cannot be divided among 3 ranks; give a multiple of 3"):
        part_of(RayBatchConfig(rays=64), team)
    with pytest.raises(UserError, match="too small for 3 ranks"):
        part_of(dataclasses.replace(BATCH, max_rays=16), team)
    assert part_of(RayBatchConfig(rays=66), team).rays == 22


@pytest.mark.parametrize("variables, sentence", [
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE 2"),
    ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', which is no number"),
    ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK is 0 and WORLD_SIZE 0"),
])
def test_a_wrong_number_of_ranks_is_refused(variables, sentence):
    with pytest.raises(UserError, match=sentence), team_of({**variables, "MASTER_ADDR": "x", "MASTER_PORT": "1"}):
        pass


@pytest.mark.parametrize("variables, sentence", [
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE 2, whose ranks are 0 to 1; start the ranks by"),
    ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK is 0 and WORLD_SIZE 0, whose ranks are"),
    ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', which is no number; start the ranks by torchrun"),
    ({"RANK": "1", "WORLD_SIZE": "2.5"}, "WORLD_SIZE is '2.5', which is no number; start the ranks by torchrun"),
])
@pytest.mark.parametrize("command", [["train"], ["eval", "none"], ["render", "none"]], ids=lambda words: words[0])
def test_a_rank_whose_number_is_wrong_says_so_itself(monkeypatch, capsys, command, variables, sentence):
    """No other rank can: it finds none."""
    for name, value in {**variables, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(output, "_hushed", False)
    assert cli.main(command) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"taichi-nerf: {sentence}") and err.count("\n") == 1


def test_ranks_whose_photos_differ_are_told_apart(small_scene):
    """Of one folder, say, that is not the same on two machines."""
    split, config = small_scene.splits["train"], RunConfig(scene=SceneConfig())
    images = [split.images.image(n).copy() for n in range(len(split))]
    images[-1][0, 0, 0] ^= 1
    other = dataclasses.replace(split, images=Images.from_list(images, split.images.names))
    scenes = [small_scene, dataclasses.replace(small_scene, splits={**small_scene.splits, "train": other})]
    told = at_once(lambda team: _check_same(team, config, scenes[team.rank]))
    assert len({*map(str, told)}) == 1
    assert str(told[0]).startswith("the scene of rank 1 is not that of rank 0; start all ranks with the same")
    assert at_once(lambda team: _check_same(team, config, small_scene)) == [None, None]


@pytest.mark.parametrize("known, sentence", [("{}", "is not of version 1"), ("", "is not valid JSON"),
                                             (None, "is missing")])
def test_blocks_that_cannot_be_end_all_ranks_before_one_is_trained(small_scene, tmp_path, known, sentence):
    if known is not None:
        (tmp_path / "blocks.json").write_text(known)
    run = SimpleNamespace(path=tmp_path)
    told = at_once(lambda team: train_blocks(run, small_scene, pytest.fail, team))
    assert all(isinstance(error, UserError) and sentence in str(error) for error in told), told
    assert str(told[1]) == f"rank 0 of 2: {told[0]}"


def test_ranks_that_cannot_exchange_arrays_step_by_autograd(make_trainer, monkeypatch):
    monkeypatch.setattr(trainer_module, "can_exchange", lambda team: False)
    assert isinstance(make_trainer().taker, AutogradStep)
    with pytest.raises(UserError, match="--gradients explicit keeps its arrays on a Vulkan device"):
        make_trainer(gradients="explicit")


def test_ranks_that_are_started_again_go_on_with_their_run(tmp_path, capsys):
    team, command = Team(), dataclasses.replace(train_defaults("cpu"), output=tmp_path, backend="cpu", threads=3)
    assert _going_on(command, team) is command
    team.remembered = lambda: str(tmp_path)
    assert _going_on(command, team) is command  # they were killed before it had begun
    (tmp_path / "config.json").write_text("{}")
    again = _going_on(command, team)
    assert (again.resume, again.output, again.backend, again.threads) == (tmp_path, None, "cpu", 3)
    assert f"started again, and go on with {tmp_path}" in capsys.readouterr().err
    resumed = dataclasses.replace(train_defaults("cpu"), resume=tmp_path / "other")
    assert _going_on(resumed, team) is resumed


def test_without_torchrun_there_is_one_rank():
    with team_of({"RANK": "1", "WORLD_SIZE": "2"}) as team:  # of something else
        assert team is ALONE


def test_a_rank_sees_one_device_and_its_share_of_the_processors(monkeypatch):
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "x",
                        "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,6")
    monkeypatch.delenv("TI_VISIBLE_DEVICE", raising=False)
    devices.take_own_device()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6" and os.environ["TI_VISIBLE_DEVICE"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    devices.take_own_device()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert devices.ranks_here() == 4


def test_who_is_hushed_prints_nothing(capsys, monkeypatch):
    monkeypatch.setattr(output, "_hushed", False)
    output.hush()
    output.say("one")
    output.result("two")
    assert capsys.readouterr() == ("", "")


TRAIN = ["train", "--downscale", "8", "--backend", "cpu", "--threads", "1", "--orbit-frames", "0"]


def torchrun(*arguments, restarts: int = 0, ranks: int = 2) -> subprocess.Popen:
    """The command line in so many processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
               "--max-restarts", str(restarts), "-m", "taichi_nerf", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def done(process: subprocess.Popen, seconds: float = 240) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.mark.slow
def test_torchrun_trains_one_model_that_one_process_goes_on_with_and_scores(tmp_path):
    folder = tmp_path / "run"
    code, out, err = done(torchrun(*TRAIN, "--steps", "20", "--output", folder))
    assert code == 0, err
    assert out.count(": trained 20 steps") == 1 and err.count("on 2 ranks, each cpu with 1 thread") == 1
    code, shared, err = done(torchrun("eval", folder, "--json", *TRAIN[3:7]))
    assert code == 0, err
    alone = subprocess.run([sys.executable, "-m", "taichi_nerf", "eval", folder, "--json", *TRAIN[3:7]],
                           capture_output=True, text=True)
    shared, alone = (json.loads(text) for text in (shared, alone.stdout))
    assert [view["psnr"] for view in shared["per_image"]] == [view["psnr"] for view in alone["per_image"]]
    code, out, err = done(torchrun("render", folder, "--frames", "3", "--size", "24", "16", "--output", tmp_path / "x",
                                   *TRAIN[3:7]))
    assert code == 0 and len(list((tmp_path / "x").glob("*.png"))) == 3, err
    code, out, err = done(torchrun("train", "--resume", folder, "--steps", "30", ranks=1))
    assert code == 0 and "stands at step 20" in err and "trained 30 steps" in out


@pytest.mark.slow
def test_ranks_share_the_blocks_and_those_of_a_dead_one_are_gone_on_with(tmp_path):
    folder, small = tmp_path / "street", ["--model.field.hash-grid.levels", "4"]
    street = ["train", "builtin:street-1", *TRAIN[1:], "--blocks", "3", *small, "--output", folder]
    process = torchrun(*street, "--steps", "300", "--checkpoint-seconds", "0.3")
    wait_until(process, (folder / "blocks" / "01" / "training_state.safetensors").is_file)
    os.kill(rank_of(process, 1), signal.SIGKILL)
    assert done(process, 60)[0] != 0
    whole = [json.loads((folder / "blocks.json").read_text())["blocks"][n]["trained"] for n in range(3)]
    assert not whole[1]

    # the first of those that are left is rank 0's, and so on
    code, out, err = done(torchrun("train", "--resume", folder, *TRAIN[3:7], "--steps", "300"))
    assert code == 0, err
    assert f"{3 - sum(whole)} of 3 blocks are to be trained" in err and out.count(": trained 3 blocks") == 1
    assert {path.name for path in (folder / "blocks").iterdir()} == {"00", "01", "02"}
    code, scores, err = done(torchrun("eval", folder, "--json", *TRAIN[3:7]))
    assert code == 0 and len(json.loads(scores)["per_image"]) > 0, err


@pytest.mark.slow
def test_bad_input_is_one_sentence_and_code_2_on_all_ranks(tmp_path):
    train = ["train", "--backend", "cpu", "--downscale", "8"]
    for arguments, sentence in (([*train, tmp_path / "none"], "does not exist"),
                                ([*train, "--model", "nerf", "--batch.rays", "1023"], "cannot be divided"),
                                (["info", tmp_path], "info is for one process")):
        code, out, err = done(torchrun(*arguments))
        assert code != 0 and out == "" and err.count(sentence) == 1
        assert set(re.findall(r"exitcode *: (\d+)", err)) == {"2"}, err


@pytest.mark.slow
def test_blocks_that_are_missing_are_one_sentence_and_code_2_on_all_ranks(tmp_path, small_scene):
    run = RunFolder.create(tmp_path, RunConfig(scene=SceneConfig()), small_scene)
    write_blocks(run.path, [BlockOnDisk(block=Block(centre=(x, 0.0, 0.0), radius=1.0), trained=True) for x in (0, 1)])
    code, out, err = done(torchrun("eval", run.path))
    assert code != 0 and out == ""
    assert err.count(f"{tmp_path / 'blocks' / '00'} is missing or no run; restore it, or train it again with") == 1
    assert set(re.findall(r"exitcode *: (\d+)", err)) == {"2"}, err


@pytest.mark.slow
def test_ranks_with_other_settings_end_before_there_is_a_run(tmp_path):
    """Started by hand, each with a command of its own."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port("127.0.0.1", None)), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "taichi_nerf", *TRAIN, "--output", str(tmp_path / "run"), "--seed"]
    ranks = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, **place, "RANK": str(rank), "LOCAL_WORLD_SIZE": "2"})
             for rank in range(WORLD)]
    (code, _, err), (other, _, silence) = map(done, ranks)
    assert (code, other, silence) == (2, 2, "")
    assert err.startswith("taichi-nerf: the settings of rank 1 are not those of rank 0; start all ranks with the same")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_job_with_a_sentence(tmp_path):
    folder = tmp_path / "run"
    process = torchrun(*TRAIN, "--steps", "100000", "--checkpoint-seconds", "0.5", "--output", folder)
    wait_until(process, (folder / "training_state.safetensors").is_file)
    os.kill(rank_of(process, 1), signal.SIGKILL)
    began = time.monotonic()
    code, _, err = done(process, 60)
    assert code != 0 and time.monotonic() - began < 45
    assert "one of the 2 ranks has gone" in err and f"go on with: taichi-nerf train --resume {folder}" in err


@pytest.mark.slow
def test_ranks_that_are_killed_and_started_again_lose_a_checkpoint_interval_at_the_most(tmp_path, monkeypatch):
    """Each of the two once, at a random moment; the folder has the name that rank 0 gave it at first."""
    monkeypatch.chdir(tmp_path)
    interval, reported, before = 1.5, 1.0, []  # seconds
    process = torchrun(*TRAIN, "--seconds", "10", "--checkpoint-seconds", interval, restarts=2)
    wait_until(process, lambda: list(tmp_path.glob("runs/*/training_state.safetensors")))
    (folder,) = tmp_path.glob("runs/*")
    for rank in (1, 0):
        time.sleep(random.uniform(0, 2 * interval))
        first = rank_of(process, 0)
        os.kill(rank_of(process, rank), signal.SIGKILL)
        before.append(lines_of(folder)[-1]["seconds"])
        wait_until(process, lambda first=first: rank_of(process, 0) not in (0, first))
        began = time.time()  # of those in their place; the first ones may have saved when they were told to end
        wait_until(process, lambda began=began: (folder / "training_state.safetensors").stat().st_mtime > began)
    code, out, err = done(process)
    assert code == 0 and out.count(": trained ") == 1, err
    assert list(tmp_path.glob("runs/*")) == [folder]
    stood = [float(seconds) for seconds in re.findall(r"stands at step \d+, after ([0-9.]+) s", err)]
    assert len(stood) == 2
    for kept, had in zip(stood, before):
        assert had - kept < interval + reported
