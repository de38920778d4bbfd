"""Checkpoints: exact, whole, and checked before they are believed."""

import dataclasses
import errno
import json
import os
import resource
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from taichi_nerf.data.aside import MARK
from taichi_nerf.errors import UserError
from taichi_nerf.training import checkpoint, files
from taichi_nerf.types import Rays

from .conftest import SMALL

MODEL, STATE = checkpoint.MODEL_FILE, checkpoint.STATE_FILE


@pytest.fixture
def saved(make_trainer, tmp_path):
    """A trainer after 5 steps, and the folder with its checkpoint."""
    trainer = make_trainer()
    for _ in range(5):
        trainer.step()
    checkpoint.save(tmp_path, trainer)
    return trainer, tmp_path


def assert_same(one, other):
    a, b = one.state_dict(), other.state_dict()
    assert {k: v for k, v in a["numbers"].items() if k != "seconds"} == {
        k: v for k, v in b["numbers"].items() if k != "seconds"
    }
    assert a["tensors"].keys() == b["tensors"].keys()
    for name, value in a["tensors"].items():
        assert torch.equal(value, b["tensors"][name]), name


def test_steps_before_and_after_a_checkpoint_equal_steps_without_one_bit_for_bit(make_trainer, tmp_path):
    straight, first, second = make_trainer(), make_trainer(), make_trainer()
    for _ in range(20):
        straight.step()
    for _ in range(10):
        first.step()
    checkpoint.save(tmp_path, first)
    checkpoint.load_training(tmp_path, second)
    for _ in range(10):
        second.step()
    assert_same(straight, second)
    assert straight.progress == second.progress == 1


def test_saving_changes_nothing(make_trainer, tmp_path):
    one, other = make_trainer(), make_trainer()
    for _ in range(3):
        one.step()
        checkpoint.save(tmp_path, one)
        other.step()
    assert_same(one, other)


def test_checkpoint_before_the_first_step_is_loaded(make_trainer, tmp_path):
    checkpoint.save(tmp_path, make_trainer())
    used, fresh = make_trainer(), make_trainer()
    used.step()
    checkpoint.load_training(tmp_path, used)
    assert_same(used, fresh)
    used.step()
    fresh.step()
    assert_same(used, fresh)


def test_the_gradient_buffer_of_the_table_is_zero_between_steps(saved):
    assert not saved[0].model.field.table_gradient.any()


def test_loaded_model_renders_what_the_averaged_model_renders(saved):
    trainer, folder = saved
    model = checkpoint.load(folder)
    origins = torch.tensor([[0.0, 0.0, 1.5], [0.3, 0.2, 1.5]])
    rays = Rays(origins, torch.tensor([[0.0, 0.0, -1.0]] * 2))
    with torch.no_grad(), trainer.averaged() as averaged:
        expected = averaged.render(rays)
    with torch.no_grad():
        rendered = model.render(rays)
    assert torch.equal(rendered.colour, expected.colour)
    assert checkpoint.describe(folder)["about"]["steps"] == 5


def test_nothing_else_lies_in_the_folder(saved):
    assert sorted(path.name for path in saved[1].iterdir()) == [MODEL, STATE]


def test_the_whole_checkpoint_is_tensors_and_json(saved):
    for name in (MODEL, STATE):
        content = (saved[1] / name).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        assert json.loads(header["__metadata__"]["header"])["format"] == "taichi-nerf"


@pytest.mark.parametrize("name", [MODEL, STATE])
def test_truncated_file_is_refused(saved, make_trainer, name):
    folder = saved[1]
    path = folder / name
    os.truncate(path, path.stat().st_size * 2 // 3)
    with pytest.raises(UserError, match=rf"{name} is truncated or damaged") as error:
        read(folder, name, make_trainer())
    assert str(path) in str(error.value)
    os.truncate(path, 3)
    with pytest.raises(UserError, match="truncated or damaged"):
        read(folder, name, make_trainer())


@pytest.mark.parametrize("name", [MODEL, STATE])
def test_flipped_bit_is_found(saved, make_trainer, name):
    path = saved[1] / name
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is not as it was written"):
        read(saved[1], name, make_trainer())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"kind": "other-model"}, "other-model"),
        ({"content": "pancake"}, "holds pancake"),
        ({"format": "other"}, "was not written by taichi-nerf"),
        ({"model": {"field": 3}}, "does not fit"),
        ({"model": None}, "does not fit"),
        ({"box": {"aabb_scale": "wide", "near": 0.0, "bounded": True}}, "wrong kind"),
        ({"counts": None}, "counts of ids"),
        ({"counts": {"appearance": -1}}, "counts of ids"),
    ],
)
def test_header_of_something_else_is_refused(saved, change, message):
    rewrite(saved[1] / MODEL, header=change)
    with pytest.raises(UserError, match=message):
        checkpoint.load(saved[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("field.table"), "'field.table' is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), "'extra' is unknown"),
        (lambda tensors: tensors.update({"field.table": torch.zeros(3, 2)}), "must have shape"),
        (
            lambda tensors: tensors.update({"field.table": tensors["field.table"].double()}),
            "type torch.float32",
        ),
        (lambda tensors: tensors["field.table"].view(-1)[5:6].fill_(float("nan")), "not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_though_the_digest_is_right(saved, change, message):
    rewrite(saved[1] / MODEL, tensors=change)
    with pytest.raises(UserError, match=message):
        checkpoint.load(saved[1])


def test_a_training_that_has_diverged_leaves_the_checkpoint_from_before(make_trainer, tmp_path):
    trainer, folder = make_trainer(gradients="autograd"), tmp_path
    checkpoint.save(folder, trainer)
    before = {name: (folder / name).read_bytes() for name in (MODEL, STATE)}
    with torch.no_grad():
        trainer.model.field.table.view(-1)[5] = float("inf")
    with pytest.raises(UserError, match=r"'.*field.table' that are not finite; the checkpoint from before stays"):
        checkpoint.save(folder, trainer)
    assert before == {name: (folder / name).read_bytes() for name in (MODEL, STATE)}


def test_files_of_the_first_version_are_read(saved, make_trainer):
    """They knew Instant-NGP alone: no kind, no loss among the settings of the model, and less of the box."""
    trainer, folder = saved
    box = {"aabb_scale": trainer.model.box.aabb_scale, "near": trainer.model.box.near}
    model = {name: dataclasses.asdict(SMALL)[name] for name in ("field", "sampling")}
    rewrite(folder / MODEL, header={"version": 1, "model": model, "box": box})
    rewrite(folder / STATE, header={"version": 1, "box": box})
    loaded, resumed = checkpoint.load(folder), make_trainer()
    assert loaded.config == dataclasses.replace(SMALL, widths="off", rays_per_pixel=1)
    checkpoint.load_training(folder, resumed)
    assert_same(resumed, trainer)


def test_files_of_the_second_version_are_read(saved, make_trainer):
    """They knew one ray for each pixel."""
    trainer, folder = saved
    model = dataclasses.asdict(SMALL)
    del model["rays_per_pixel"]
    rewrite(folder / MODEL, header={"version": 2, "model": model})
    rewrite(folder / STATE, header={"version": 2})
    resumed = make_trainer()
    assert checkpoint.load(folder).config == dataclasses.replace(SMALL, rays_per_pixel=1)
    checkpoint.load_training(folder, resumed)
    assert_same(resumed, trainer)


@pytest.mark.parametrize("version", [4, 5])
def test_files_of_the_fourth_and_fifth_version_are_read(saved, make_trainer, version):
    """They knew no harmonics, and the fourth no widths."""
    trainer, folder = saved
    model = dataclasses.asdict(SMALL)
    del model["field"]["harmonics"]
    for name in ("widths", "widening") if version == 4 else ():
        del model[name]
    rewrite(folder / MODEL, header={"version": version, "model": model})
    rewrite(folder / STATE, header={"version": version})
    resumed = make_trainer()
    assert checkpoint.load(folder).config == dataclasses.replace(SMALL, widths="off" if version == 4 else None)
    checkpoint.load_training(folder, resumed)
    assert_same(resumed, trainer)


def test_files_of_the_sixth_version_are_read(saved, make_trainer):
    """They did not say how sharp the photos were, which is not known then."""
    trainer, folder = saved
    rewrite(folder / MODEL, header={"version": 6}, tensors=lambda tensors: tensors.pop("sharpest"))
    rewrite(folder / STATE, header={"version": 6}, tensors=lambda tensors: tensors.pop("model.sharpest"))
    assert trainer.model.sharpest.all()
    assert not checkpoint.load(folder).sharpest.any()
    resumed = make_trainer()
    checkpoint.load_training(folder, resumed)
    assert not resumed.model.sharpest.any()
    resumed.model.sharpest.copy_(trainer.model.sharpest)
    assert_same(resumed, trainer)


@pytest.mark.parametrize("numbers", [None, {"steps_done": -1}, {"steps_done": "x"}, {"steps_done": 5}])
def test_numbers_that_are_none_are_refused(saved, make_trainer, numbers):
    rewrite(saved[1] / STATE, header={"numbers": numbers})
    trainer, fresh = make_trainer(), make_trainer()
    with pytest.raises(UserError, match=STATE):
        checkpoint.load_training(saved[1], trainer)
    assert_same(trainer, fresh)


def test_checkpoint_of_another_model_is_refused_and_changes_nothing(saved, make_trainer):
    other = dataclasses.replace(SMALL, field=dataclasses.replace(SMALL.field, density_width=32))
    trainer, fresh = make_trainer(other), make_trainer(other)
    with pytest.raises(UserError, match="is the checkpoint of another model"):
        checkpoint.load_training(saved[1], trainer)
    assert_same(trainer, fresh)


def test_missing_checkpoint_is_named(tmp_path, make_trainer):
    for name in (MODEL, STATE):
        with pytest.raises(UserError, match=f"{tmp_path / name} does not exist"):
            read(tmp_path, name, make_trainer())


def test_pickle_is_not_read(saved):
    torch.save({"weights": torch.zeros(3)}, saved[1] / MODEL)
    with pytest.raises(UserError, match="truncated or damaged"):
        checkpoint.load(saved[1])


def test_run_killed_between_the_two_renames_leaves_both_files_whole(saved, make_trainer, monkeypatch):
    trainer, folder = saved
    trainer.step()
    replace, calls = os.replace, []

    def killed(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(folder, trainer)
    monkeypatch.undo()
    resumed = make_trainer()
    checkpoint.load_training(folder, resumed)
    assert_same(resumed, trainer)
    assert checkpoint.describe(folder)["about"]["steps"] == 5
    checkpoint.load(folder)


def test_what_a_killed_process_left_of_a_write_is_removed_by_the_next(saved):
    """Of safetensors, too, which has a file of its own beside the one that it writes."""
    pytest.importorskip("fcntl", reason="this system has no locks")
    trainer, folder = saved
    left = folder / f"{files.ASIDE}abc"
    left.mkdir()
    for name in (MARK, MODEL, ".tmp123"):
        (left / name).write_text("")
    checkpoint.save(folder, trainer)
    assert sorted(path.name for path in folder.iterdir()) == [MODEL, STATE]


def test_two_writers_and_a_reader_of_one_file_do_not_meet(tmp_path):
    path, contents = tmp_path / "a.json", [{"of": [n] * 1000} for n in range(2)]
    files.write_json(path, contents[0])
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(lambda content: [files.write_json(path, content) for _ in range(30)], content)
                   for content in contents]
        while not all(writer.done() for writer in writers):
            assert files.read_json(path) in contents
    for writer in writers:
        writer.result()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_stays_gone(tmp_path):
    with pytest.raises(UserError, match="could not be written: no such file or directory"):
        files.write_json(tmp_path / "gone" / "a.json", {})
    assert not (tmp_path / "gone").exists()


def test_a_model_and_what_is_said_of_its_training_are_of_one_file(saved):
    model, about = checkpoint.load_trained(saved[1])
    assert about["steps"] == 5 and set(model.state_dict()) == set(checkpoint.load(saved[1]).state_dict())


@pytest.mark.parametrize("text", ["[" * 100_000, f'{{"a": {"9" * 400}}}', '{"a": 1e999}', '{"a": NaN}', "[]", "\xff"])
def test_json_that_nobody_wrote_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.json .*; restore it or train again"):
        files.read_json(tmp_path / "a.json")


def test_disk_without_room_leaves_the_checkpoint_from_before(saved, make_trainer):
    trainer, folder = saved
    trainer.step()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # no file may grow beyond 4 KiB
    try:
        with pytest.raises(
            UserError, match="could not be written: file too large; the one from before is as it"
        ):
            checkpoint.save(folder, trainer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in folder.iterdir()) == [MODEL, STATE]
    resumed = make_trainer()
    checkpoint.load_training(folder, resumed)
    assert resumed.steps_done == 5


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; make room in {}, or write to another folder"),
        (errno.EDQUOT, "the disk is full; make room in {}, or write to another folder"),
        (errno.EACCES, "permission denied; see to it that you may write into {}, or write to another folder"),
        (errno.EROFS, "read-only file system; see to it that you may write into {}, or write to another folder"),
        (errno.EFBIG, "file too large; raise the limit on the size of files (ulimit -f), or write to another folder"),
        (errno.EIO, "input/output error; mend that, or write to another folder"),
    ],
)
@pytest.mark.parametrize("of_safetensors", [False, True])
def test_what_kept_a_file_from_being_written_is_named_with_what_helps(
    tmp_path, monkeypatch, number, message, of_safetensors
):
    def refuse(descriptor):
        if of_safetensors:
            raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError) as error:
        files.write_json(tmp_path / "a.json", {})
    assert str(error.value) == f"{tmp_path / 'a.json'} could not be written: {message.format(tmp_path)}"
    assert not list(tmp_path.iterdir())


def read(folder, name, trainer):
    return checkpoint.load(folder) if name == MODEL else checkpoint.load_training(folder, trainer)


def rewrite(path, *, header=None, tensors=None):
    """Change a file the way that someone would who knows the format: with the right digest."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    values = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["header"])
    stored = {name: value.clone() for name, value in load_file(path).items()}
    if tensors is not None:
        tensors(stored)
    text = json.dumps({**values, **(header or {})})
    save_file(stored, path, metadata={"header": text, "digest": checkpoint._digest(stored, text)})
