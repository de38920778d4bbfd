"""A run that is still being written: the newest sound checkpoint is shown."""

import os

import pytest

from taichi_nerf.data.blocks import Block
from taichi_nerf.errors import UserError
from taichi_nerf.training import checkpoint
from taichi_nerf.training.blocks import BlockOnDisk, write_blocks
from taichi_nerf.viewer.following import EVERY_SECONDS, Following


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run whose model file is text, and whose model is that text."""

    def load_trained(folder):
        text = (folder / checkpoint.MODEL_FILE).read_text()
        if text == "damaged":
            raise UserError("damaged")
        return text, {"steps": int(text), "seconds": 2.0}

    monkeypatch.setattr(checkpoint, "load_trained", load_trained)
    write(tmp_path, "1")
    return tmp_path


def write(run, text):
    """Replaced as a whole, as checkpoints are."""
    aside = run / "aside"
    aside.write_text(text)
    os.replace(aside, run / checkpoint.MODEL_FILE)


def test_a_newer_checkpoint_is_loaded_once_and_a_bad_one_never(run):
    now = [0.0]
    following = Following(run, moments=lambda: now[0])
    assert following.model == "1" and str(following) == "step 1, after 2 s of training"

    def newer():
        now[0] += 2 * EVERY_SECONDS
        return following.newer()

    assert newer() is None
    write(run, "22")
    assert following.newer() is None  # it has just looked
    assert newer() == "22" and newer() is None
    write(run, "damaged")
    assert newer() is None and following.model == "22"
    (run / checkpoint.MODEL_FILE).unlink()
    assert newer() is None
    write(run, "333")
    assert newer() == "333"


def test_it_is_known_that_a_checkpoint_is_newer_before_it_is_loaded(run):
    now = [0.0]
    following = Following(run, moments=lambda: now[0])
    write(run, "22")
    assert not following.changed()  # it has just looked
    now[0] += 2 * EVERY_SECONDS
    assert following.changed() and following.changed() and following.model == "1"
    assert following.newer() == "22" and not following.changed()
    now[0] += 2 * EVERY_SECONDS
    assert not following.changed()
    write(run, "damaged")
    assert not following.changed()  # it has just looked
    now[0] += 2 * EVERY_SECONDS
    assert following.changed() and following.newer() is None  # and is not tried again and again
    now[0] += 2 * EVERY_SECONDS
    assert not following.changed()


def test_blocks_are_shown_as_one_when_all_are_trained(tmp_path, monkeypatch):
    blocks, now = [BlockOnDisk(block=Block(centre=(0.0, 0.0, 0.0), radius=1.0))], [0.0]
    write_blocks(tmp_path, blocks)
    with pytest.raises(UserError, match="0 of 1 blocks are trained; go on with: taichi-nerf train --resume"):
        Following(tmp_path)
    loaded = iter(["one", "another"])
    monkeypatch.setattr("taichi_nerf.viewer.following.load_any", lambda run: (next(loaded), {"steps": 8, "seconds": 3}))
    following = Following(tmp_path, moments=lambda: now[0])
    assert following.model == "one" and str(following) == "step 8, after 3 s of training"
    now[0] += 2 * EVERY_SECONDS
    assert following.newer() is None
    write_blocks(tmp_path, blocks)  # as after a block that was trained again
    now[0] += 2 * EVERY_SECONDS
    assert following.newer() == "another"
