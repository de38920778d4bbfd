"""Pictures between the steps of a training change no step, and nobody looking cost nothing."""

import dataclasses

import pytest
import torch

from taichi_nerf.training.run import train
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import Shown
from taichi_nerf.viewer.sharing import Sharing
from taichi_nerf.viewer.studio import Studio

from ..viewer.test_pace import look

STEPS = 12
WINDOW = (24, 16)


@pytest.fixture(params=["autograd", "explicit"])
def trainer(request, make_trainer):
    """`trainer()`: a new one, always the same."""
    return lambda: make_trainer(steps=STEPS, gradients=request.param)


def shared(trainer, **settings):
    studio = Studio(Door(trainer.model), Shown(), max_side=800)
    return studio, Sharing(studio, trainer, **settings)


def assert_same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a["tensors"].keys() == b["tensors"].keys()
    for name, value in a["tensors"].items():
        assert torch.equal(value, b["tensors"][name]), name
    a, b = ({**each["numbers"], "seconds": 0} for each in (a, b))
    assert a == b


def test_nobody_looking_changes_no_bit_and_renders_nothing(trainer, monkeypatch):
    without, watched = trainer(), trainer()
    train(without)
    _, sharing = shared(watched)
    monkeypatch.setattr(Door, "picture", None)
    monkeypatch.setattr(watched, "averaged", None)
    train(watched, between=sharing)
    monkeypatch.undo()
    assert_same(watched, without)


def test_somebody_looking_changes_no_bit(trainer):
    without, watched = trainer(), trainer()
    train(without)
    studio, sharing = shared(watched)
    sharing.share = 0.99
    pictures = []
    studio.enter("a", lambda picture, order: pictures.append(picture.image))

    def between():
        studio.go("a", look(0.01 * watched.steps_done, WINDOW))
        studio.show(Shown(what=("colour", "depth", "normals")[watched.steps_done % 3],
                          crop=((-0.4,) * 3, (0.4,) * 3) if watched.steps_done % 2 else None))
        sharing()

    train(watched, between=between)
    assert len(pictures) >= STEPS // 2
    assert_same(watched, without)


def test_a_pause_takes_no_steps_and_ends_when_nobody_looks_any_more(make_trainer):
    trainer = make_trainer(steps=STEPS)
    studio, sharing = shared(trainer)
    studio.enter("a", lambda picture, order: seen.append(trainer.steps_done))
    studio.go("a", look(0.0, WINDOW))
    seen, sharing.paused = [], True
    studio.idle = lambda: bool(studio.leave("a")) if len(seen) >= 2 else False
    train(trainer, between=sharing)
    assert trainer.steps_done == STEPS and set(seen) == {1} and not sharing.paused


def test_a_pause_ends_when_the_training_is_to_stop(make_trainer):
    trainer = make_trainer(steps=STEPS)
    studio, sharing = shared(trainer, stopped=lambda: True)
    studio.enter("a", lambda picture, order: None)
    sharing.paused = True
    assert not train(trainer, between=sharing, stopped=lambda: trainer.steps_done >= 2)
    assert trainer.steps_done == 2


def test_pictures_take_their_share_of_the_time(make_trainer):
    now = [0.0]
    trainer = make_trainer(steps=STEPS)
    studio, sharing = shared(trainer, moments=lambda: now[0])
    sharing.share = 0.25
    spent = {"pictures": 0.0, "steps": 0.0}

    def picture():
        now[0] += 0.3
        spent["pictures"] += 0.3
        return True

    studio.enter("a", lambda picture, order: None)
    studio.waiting, studio.serve = (lambda: True), picture
    for _ in range(1000):
        now[0] += 0.01
        spent["steps"] += 0.01
        sharing()
    assert spent["pictures"] / sum(spent.values()) == pytest.approx(0.25, abs=0.03)


def test_the_picture_is_of_the_averaged_weights(make_trainer):
    trainer = make_trainer(steps=STEPS)
    train(trainer)
    studio, sharing = shared(trainer)
    shown = []
    studio.serve = lambda: shown.append([value.clone() for value in trainer.model.parameters()])
    studio.enter("a", lambda picture, order: None)
    studio.go("a", dataclasses.replace(look(), window=WINDOW))
    sharing()
    for value, average in zip(shown[0], trainer.average.values):
        assert torch.equal(value, average)
