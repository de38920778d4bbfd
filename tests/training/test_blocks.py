"""A run that is cut into blocks: its folder, how its blocks are matched, and the whole way by the command line."""

import contextlib
import dataclasses
import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from taichi_nerf import cli, runtime
from taichi_nerf.cli import blocks as command
from taichi_nerf.cli.info import _run_facts
from taichi_nerf.cli.trained import disk_of, tell_disk
from taichi_nerf.config import RunConfig, SceneConfig, TrainingConfig
from taichi_nerf.data.blocks import Block, blocks_of, within_block
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.errors import UserError
from taichi_nerf.models.views import rays_of_pixel, render_view
from taichi_nerf.training import blocks as cut
from taichi_nerf.training import extraction
from taichi_nerf.training.files import MODEL_FILE, STATE_FILE
from taichi_nerf.training.folder import RunFolder, block_folder, check_new, is_cut
from taichi_nerf.training.run import make_model
from taichi_nerf.training.team import ALONE
from taichi_nerf.types import Shot
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.following import Following
from taichi_nerf.viewer.look import Look, Shown

from .test_lights import CONFIG


@pytest.fixture(scope="module")
def scene():
    return builtin_scene("street-1", resolution=12, views=(8, 0, 2), samples_per_pixel=1)


def model_of(scene, shift=0.0):
    """A model with random weights, whose codes are `shift` away from others."""
    model = make_model(scene, CONFIG, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for table, *_ in model.field.tables():
            table.normal_(generator=generator)
        model.codes["appearance"].table.normal_(generator=generator).add_(shift)
    return model


@pytest.mark.parametrize("interrupted, said", [
    (0, "stopped; 0 of 3 blocks are done; go on with: taichi-nerf train --resume {}"),
    (1, "stopped; 1 of 3 blocks is done; go on with: taichi-nerf train --resume {}"),
    (3, "stopped after the training of all blocks; score and render with: taichi-nerf train --resume {}")])
def test_an_interruption_between_two_blocks_says_what_is_done_and_the_rest_follows(tmp_path, monkeypatch, capsys,
                                                                                    interrupted, said):
    begun, interrupt = [], [interrupted]

    def train_or_stop(run, scene, number, *others):
        begun.append(number)
        if interrupt == [number]:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(command, "_train_block", train_or_stop)
    monkeypatch.setattr(command, "_finish", lambda run, scene, blocks: train_or_stop(run, scene, 3))
    monkeypatch.setattr(command, "_is_there", lambda path, number: True)
    written = []
    run = SimpleNamespace(path=tmp_path, write_config=lambda: written.append(True))
    cut.write_blocks(tmp_path, [cut.BlockOnDisk(block=Block(centre=(0.0, 0.0, 0.0), radius=1.0))] * 3)

    def train() -> int:
        return command.train_blocks(run, None, None, ALONE)

    assert train() == 130 and begun == list(range(interrupted + 1)) and written == [True]
    assert capsys.readouterr().err.splitlines()[-1] == f"taichi-nerf: {said.format(tmp_path)}"
    begun.clear()
    interrupt.clear()
    assert train() == 0 and begun == list(range(interrupted, 4))
    assert written == [True] * (2 if interrupted < 3 else 1)  # the settings, whose end may be another, of what goes on
    assert ("all blocks are trained, and stay as they are" in capsys.readouterr().err) is (interrupted == 3)


def test_a_block_without_its_state_does_not_begin_anew_over_its_model(tmp_path, scene):
    block = blocks_of(scene, 2)[1]
    whole = RunFolder(tmp_path, RunConfig(model=CONFIG, training=TrainingConfig(steps=3)), {}, {})
    path = block_folder(tmp_path, 1)
    RunFolder.create(path, dataclasses.replace(whole.config, scene=SceneConfig(path="street")),
                     within_block(scene, block))
    begun = []

    def train() -> int:
        return command._train_block(whole, scene, 1, cut.BlockOnDisk(block=block),
                                    lambda run, part, goes_on, share: begun.append(goes_on) or 0, None)

    assert train() == 0 and begun == [True]  # it was stopped before its first checkpoint
    (path / MODEL_FILE).write_bytes(b"trained")
    with pytest.raises(UserError, match=r"01 has no training_state\.safetensors, without which its training cannot go "
                                        r"on; restore it, or move .*01 away, and the block is trained anew"):
        train()
    (path / STATE_FILE).write_bytes(b"state")
    assert train() == 0 and begun == [True, True]
    (path / "config.json").unlink()
    with pytest.raises(UserError, match=r"01 is in the place of a block, and no run: restore its config\.json, or "):
        train()
    shutil.rmtree(path)
    path.write_text("a file")
    with pytest.raises(UserError, match="01 is in the place of a block, and no run"):
        train()
    path.unlink()
    path.mkdir()
    (path / ".taichi-nerf-lock").touch()  # of a process that was killed before the block had begun
    assert train() == 0 and begun == [True, True, False]


def test_a_block_is_trained_as_long_as_its_run_and_its_model_are_there(tmp_path):
    path = block_folder(tmp_path, 0)
    path.mkdir(parents=True)
    (path / "config.json").touch()
    assert not command._is_there(tmp_path, 0)
    (path / MODEL_FILE).touch()
    assert command._is_there(tmp_path, 0)


def test_a_folder_whose_blocks_are_known_no_more_is_no_run_of_one_model(tmp_path):
    block_folder(tmp_path, 0).mkdir(parents=True)
    assert is_cut(tmp_path)
    with pytest.raises(UserError, match=r"blocks\.json is missing, which says where the blocks of .* restore it"):
        cut.read_blocks(tmp_path)


def test_blocks_are_known_before_a_run_has_begun_and_those_of_a_killed_beginning_are_not_taken(tmp_path, monkeypatch,
                                                                                              scene):
    train, known = sys.modules["taichi_nerf.cli.train"], []

    def stopped(run):
        known.append(is_cut(run.path) and [each.block for each in cut.read_blocks(run.path)])
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_config", stopped)
    config = RunConfig(model=CONFIG, training=TrainingConfig(steps=3))
    monkeypatch.setattr(train, "_settled", lambda command: (config, scene, tmp_path.is_dir()))
    for count in (2, 3, 0):
        begun = dataclasses.replace(train.train_defaults("cpu"), output=tmp_path, blocks=count)
        with pytest.raises(KeyboardInterrupt), contextlib.ExitStack() as held:
            train._begun(begun, held, ALONE)
        assert not any(tmp_path.iterdir())
        (tmp_path / ".taichi-nerf-lock").touch()  # and what one leaves behind that is killed instead
        (tmp_path / "blocks.json").write_text("{}")
        check_new(tmp_path)
    assert known == [blocks_of(scene, 2), blocks_of(scene, 3), False]


def test_the_state_of_a_block_that_is_not_trained_is_not_said_to_be_deletable(tmp_path, monkeypatch, capsys):
    blocks = [cut.BlockOnDisk(block=Block(centre=(x, 0.0, 0.0), radius=1.0), trained=x == 0) for x in range(2)]
    cut.write_blocks(tmp_path, blocks)
    for number in range(2):
        block_folder(tmp_path, number).mkdir(parents=True)
        (block_folder(tmp_path, number) / STATE_FILE).write_bytes(bytes(1000 * (number + 1)))
    run = RunFolder(tmp_path, None, {}, {})
    size = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert disk_of(run) == (size, 1000) and run.disk() == (size, 3000)
    tell_disk(run)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("taichi_nerf.cli.trained.MUCH", 999)
    tell_disk(run)
    assert f"{tmp_path} takes 0.0 MB on the disk, of which 0.0 MB are {STATE_FILE}: it may" in capsys.readouterr().err


@pytest.mark.parametrize("share", [None, command.Share(Path("whole"), "block 1 of 2", 1)], ids=["alone", "block"])
def test_an_interruption_of_what_follows_a_training_is_not_the_end_of_a_whole(monkeypatch, capsys, tmp_path, share):
    train = sys.modules["taichi_nerf.cli.train"]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("taichi_nerf.training.run.train", lambda *_, **__: True)
    monkeypatch.setattr(train, "_finish", interrupted)
    trainer = SimpleNamespace(team=SimpleNamespace(first=False), averaged=contextlib.nullcontext)

    def run():
        with train.nobody() as shown:
            return train._run(SimpleNamespace(checkpoint_seconds=1.0), SimpleNamespace(path=tmp_path), None, trainer,
                              shown, share)

    if share is None:
        assert run() == 130
        assert f"stopped after the training; score and render with: taichi-nerf train --resume {tmp_path}" in (
            capsys.readouterr().err)
    else:
        with pytest.raises(KeyboardInterrupt):
            run()
        assert "stopped" not in capsys.readouterr().err


def test_info_of_a_whole_says_how_many_blocks_are_trained_and_misses_no_model(tmp_path):
    block = cut.BlockOnDisk(block=Block(centre=(0.0, 0.0, 0.0), radius=1.0), trained=True)
    cut.write_blocks(tmp_path, [block, dataclasses.replace(block, trained=False)])
    run = SimpleNamespace(path=tmp_path, config=RunConfig(training=TrainingConfig(steps=3)),
                          runtime={"backend": "cpu", "threads": 1},
                          disk=lambda untrained: (2_000_000, len(untrained) - 1))
    first, *others = _run_facts(run)
    assert first.text.endswith("for 3 steps, on cpu with 1 thread")
    assert [fact.text for fact in others][-2:] == ["cut into 2 blocks, of which 1 are trained",
                                                   f"{tmp_path} takes 2.0 MB on the disk"]
    assert {fact.severity for fact in (first, *others)} == {"info"}


def test_what_a_file_says_of_blocks_is_read_back(tmp_path):
    block = Block(centre=(1.0, -2.0, 5e6), radius=3.5)
    written = [cut.BlockOnDisk(block=block), cut.BlockOnDisk(block=block, trained=True, code=(0.5, -1.0),
                                                            seen=((0.0, 1.0, 2.0),))]
    cut.write_blocks(tmp_path, written)
    assert is_cut(tmp_path) and cut.read_blocks(tmp_path) == written


@pytest.mark.parametrize("change, said", [
    ({"version": 9}, "is not of version 1"), ({"blocks": []}, "lists no block"),
    ({"blocks": [{"centre": [0, 0], "radius": 1, "trained": True, "code": [], "seen": []}]}, "is not 3 numbers"),
    ({"blocks": [{"centre": [0, 0, 0], "radius": -1, "trained": True, "code": [], "seen": []}]}, "a radius is -1"),
    ({"blocks": [{"centre": [0, 0, 0], "radius": 0, "trained": True, "code": [], "seen": []}]}, "a radius is 0"),
    ({"blocks": [{"centre": [1e300, 0, 0], "radius": 1, "trained": True, "code": [], "seen": []}]}, "is not 3 numbers"),
    ({"blocks": [{"centre": [0, 0, 0]}]}, "no object with centre, radius, trained"), ({"blocks": ["one"]}, "no object"),
    ({"blocks": [{"centre": [0, 0, 0], "radius": 1, "trained": "no", "code": [], "seen": []}]}, "neither true nor"),
    ({"blocks": 3}, "lists no block"), ({"blocks": None}, "lists no block")])
def test_a_damaged_file_is_said(tmp_path, change, said):
    cut.write_blocks(tmp_path, [])
    file = tmp_path / "blocks.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError, match=said):
        cut.read_blocks(tmp_path)


def test_a_model_in_a_space_of_its_own_shows_what_it_shows(scene):
    """One block, whose model lies elsewhere and is larger."""
    (block,) = blocks_of(scene, 1)
    place = dataclasses.replace(scene, centre=np.array((0.4, -0.1, 0.2)), scale=1.7 * scene.scale)
    model = model_of(place)
    whole = cut.as_one(scene, [cut.BlockOnDisk(block=block)], [model], [place])
    for split in ("train", "test"):
        found = render_view(whole, scene.model_cameras(split), 1, background=1.0)
        expected = render_view(model, place.model_cameras(split), 1, background=1.0)
        np.testing.assert_allclose(found.colour, expected.colour, atol=2e-4)
        np.testing.assert_allclose(found.depth, expected.depth / 1.7, atol=2e-4)


def test_pixels_of_a_whole_have_as_many_rays_as_photos_have_pixels_there(scene):
    (block,) = blocks_of(scene, 1)
    place, cameras = dataclasses.replace(scene, scale=1.7 * scene.scale), scene.model_cameras("train")
    model = model_of(place)
    whole = cut.as_one(scene, [cut.BlockOnDisk(block=block)], [model], [place])
    assert rays_of_pixel(whole, cameras.resized(cameras.size // 3), 0) == 1, "of a run that did not know its photos"
    model.before_training(place.model_cameras("train"))
    whole = cut.as_one(scene, [cut.BlockOnDisk(block=block)], [model], [place])
    assert [rays_of_pixel(whole, cameras.resized(cameras.size // times), 0) for times in (1, 3)] == [1, 9]


def test_points_seen_lie_on_what_the_views_show(scene):
    model = model_of(scene)
    points = cut.points_seen(model, scene)
    assert len(points) > 10 and points.shape[1] == 3 and (points.abs() <= 0.51).all()


def test_the_way_from_the_root_goes_by_the_nearest():
    blocks = [Block(centre=(x, 0.0, 0.0), radius=1.0) for x in (0.0, 3.0, 1.0, 2.1)]
    assert cut._ways(blocks, 0) == [(0, 2), (2, 3), (3, 1)]
    assert cut._ways(blocks, 1) == [(1, 3), (3, 2), (2, 0)]


def test_matching_tells_each_step_of_all_fits(monkeypatch):
    """Each takes a minute or more: nobody knew of it until it was done."""
    codes = {"appearance": SimpleNamespace(mean=torch.zeros(2))}

    def fit(*_, on_step, **__):
        for done in (1, 2):
            on_step(done, 2)
        return SimpleNamespace(shots=SimpleNamespace(codes={"appearance": torch.ones(3, 2)}))

    monkeypatch.setattr(cut, "fit_left_halves", fit)
    monkeypatch.setattr(cut, "_as_shown", lambda *_: None)
    blocks, told = [Block(centre=(x, 0.0, 0.0), radius=1.0) for x in (0.0, 1.0, 2.0)], []
    found = cut.codes_of_neighbours(blocks, [SimpleNamespace(codes=codes)] * 3, [None] * 3,
                                    on_step=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)] and [code.tolist() for code in found] == [[0, 0], [1, 1], [1, 1]]


@pytest.mark.slow
def test_neighbours_are_matched_in_colour(scene):
    """The second block has the weights of the first and other codes: a cast, of which at most 40 % is left."""
    blocks = blocks_of(scene, 2)
    scenes = [within_block(scene, block) for block in blocks]
    models = [model_of(scene), model_of(scene, shift=torch.tensor([3.0, -3.0, 2.0]))]
    codes = cut.codes_of_neighbours(blocks, models, scenes)

    def apart(*of_blocks):
        shown = [render_view(model, scene.model_cameras("test"), 0, background=1.0,
                             shot=Shot(codes={"appearance": code[None]})).colour
                 for model, code in zip(models, of_blocks)]
        return np.abs(shown[0] - shown[1]).mean()

    before = apart(*(model.codes["appearance"].mean.detach() for model in models))
    assert before > 0.02 and apart(*codes) < 0.4 * before


SMALL = ["--model.field.hash-grid.levels", "4", "--model.field.hash-grid.log2-entries", "10",
         "--model.field.density-width", "16", "--model.field.colour-width", "16", "--model.samples", "8"]


@pytest.mark.slow
def test_a_street_is_trained_block_after_block_and_is_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "init", lambda *_, **__: runtime.current())
    run = tmp_path / "street"
    assert cli.main(["train", "builtin:street-1", "--downscale", "12", "--model", "block-nerf", "--encoding", "hash",
                     "--blocks", "2", "--steps", "3", "--orbit-frames", "2", "-o", str(run), *SMALL]) == 0
    assert {"blocks.json", "config.json", "metrics.json", "orbit.mp4"} <= {path.name for path in run.iterdir()}
    assert "block 1 of 2 is trained; those left take about 0:" in capsys.readouterr().err
    blocks = cut.read_blocks(run)
    assert [each.trained for each in blocks] == [True, True] and all(each.code and each.seen for each in blocks)
    capsys.readouterr()

    # the whole, and a block, are runs
    for folder in (run, run / "blocks" / "01"):
        assert cli.main(["eval", str(folder), "--json"]) == 0
        assert np.isfinite(json.loads(capsys.readouterr().out)["psnr"])
    assert cli.main(["render", str(run), "--path", "test", "--size", "8", "8", "-o", str(tmp_path / "frames")]) == 0
    capsys.readouterr()
    assert cli.main(["info", str(run)]) == 0
    assert "cut into 2 blocks, of which 2 are trained" in capsys.readouterr().out

    # the viewer shows the whole
    following = Following(run)
    look = Look(pose=tuple(map(tuple, np.eye(4)[:3].tolist())), fov=1.0, window=(8, 6))
    picture = Door(following.model).picture(look, Shown(), (8, 6), lambda: False).image
    assert picture.shape == (6, 8, 3) and str(following).startswith("step 6, after ")

    # what shows one model wants one of them, and takes what it asks for
    page = ["page", str(run), "-o", str(tmp_path / "page.html")]
    assert cli.main(page) == 2
    asked = re.search(r"is cut into blocks; make an octree of one of them with taichi-nerf (\w+) (\S+), and give the "
                      "run that comes out", capsys.readouterr().err)
    monkeypatch.setattr(extraction, "OPAQUE", 0.0)  # three steps make mist
    assert cli.main([*asked.groups(), "--threshold", "1e-6", "--depth", "4", "--steps", "1"]) == 0
    made = re.search("taichi-nerf view (.*)", capsys.readouterr().out)[1]
    assert cli.main(["page", made, *page[2:]]) == 0 and (tmp_path / "page.html").is_file()
    assert cli.main(["octree", str(run)]) == 2
    assert "is cut into blocks, which only eval, render, view and info take as one; give" in capsys.readouterr().err

    # a block is trained again alone, and the other one stays as it is
    kept = (run / "blocks" / "00" / "model.safetensors").read_bytes()
    before = (run / "blocks" / "01" / "model.safetensors").read_bytes()
    cut.write_blocks(run, [blocks[0], dataclasses.replace(blocks[1], trained=False)])
    assert cli.main(["eval", str(run)]) == 2
    assert "1 of 2 blocks are trained; go on with: taichi-nerf train --resume" in capsys.readouterr().err
    assert cli.main(["train", "--resume", str(run), "--steps", "5"]) == 0
    assert (run / "blocks" / "00" / "model.safetensors").read_bytes() == kept
    assert (run / "blocks" / "01" / "model.safetensors").read_bytes() != before
    assert all(each.trained for each in cut.read_blocks(run))


@pytest.mark.slow
def test_any_model_can_be_cut_and_a_block_that_is_gone_is_trained_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "init", lambda *_, **__: runtime.current())
    monkeypatch.setattr("taichi_nerf.cli.trained.MUCH", 0)
    run = tmp_path / "street"
    assert cli.main(["train", "builtin:street-1", "--downscale", "12", "--blocks", "2", "--steps", "2",
                     "--orbit-frames", "0", "-o", str(run), *SMALL[:4]]) == 0
    assert re.findall("(.*) takes .* on the disk", capsys.readouterr().err) == [str(run)]  # the whole, and no block
    shutil.rmtree(run / "blocks" / "01")
    capsys.readouterr()
    assert cli.main(["eval", str(run)]) == 2
    assert "01 is missing or no run; restore it, or train it again with: taichi-nerf train --resume" in (
        capsys.readouterr().err)
    assert cli.main(["train", "--resume", str(run)]) == 0
    assert cli.main(["eval", str(run), "--json"]) == 0
    assert np.isfinite(json.loads(capsys.readouterr().out.splitlines()[-1])["psnr"])


def test_blocks_that_are_trained_at_one_time_are_all_noted(tmp_path):
    """By processes that share them: each reads the file, and writes it."""
    cut.write_blocks(tmp_path, [cut.BlockOnDisk(block=Block(centre=(x, 0.0, 0.0), radius=1.0)) for x in range(24)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: cut.note_trained(tmp_path, number), range(24)))
    assert all(each.trained for each in cut.read_blocks(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.json"]
