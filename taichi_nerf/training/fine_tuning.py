"""Training that goes on until views that it does not see stop gaining: what an octree is given after its extraction.

It is `trainer_for` on the model that was made, and a loop around its steps.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from ..data.scene import Scene
from ..models.model import Model
from .evaluate import evaluate
from .trainer import Trainer

__all__ = ["fine_tune", "leaves_out", "without_validation"]

HELD, FEWEST = 16, 4  # of so many training views one is left out; of fewer than so many none
MOST_HELD = 8  # and of these so many at the most are looked at
ROUNDS = 10  # in which the views that were left out are looked at
PATIENCE = 2  # rounds without a gain after which it ends


def leaves_out(scene: Scene) -> bool:
    """Whether `without_validation` leaves any view out. Otherwise nothing tells when an octree gains on its training
    views alone, which is soon where they are few."""
    return len(scene.splits["train"]) >= FEWEST


def without_validation(scene: Scene) -> tuple[Scene, Scene | None]:
    """`scene` with fewer training views, and a scene whose `val` are those left out; None of so few that it has all."""
    split = scene.splits["train"]
    if not leaves_out(scene):
        return scene, None
    count = max(1, len(split) // HELD)
    held = ((np.arange(count) + 0.5) * len(split) / count).astype(int)
    kept = np.setdiff1d(np.arange(len(split)), held)
    some = held[np.unique(np.linspace(0, len(held) - 1, MOST_HELD).round().astype(int))]
    left = dataclasses.replace(split.subset(some), name="val")
    return (dataclasses.replace(scene, splits={**scene.splits, "train": split.subset(kept)}),
            dataclasses.replace(scene, splits={"val": left}))


def fine_tune(trainer: Trainer, validation: Scene | None, *, told: Callable[[float, str], None],
              stopped: Callable[[], bool] = lambda: False) -> tuple[float, float]:
    """Take steps until the budget is spent or the views of `validation` stop gaining, and leave the model with the
    weights that showed them best; return their PSNR before and after, NaN without such views.

    `told` is told which part of the budget is spent, and how it goes.
    """
    def score(model: Model) -> float:
        return float("nan") if validation is None else evaluate(model, validation, split="val").mean_psnr

    first = best = score(trainer.model)
    weights, waited, rounds = _copied(trainer.model), 0, 0
    while trainer.progress < 1 and waited <= PATIENCE and not stopped():
        trainer.step()
        if trainer.progress < 1 and trainer.progress * ROUNDS < rounds + 1:
            continue
        rounds = int(trainer.progress * ROUNDS)
        with trainer.averaged() as model:
            now = score(model)
            waited = 0 if validation is None or now > best else waited + 1
            if waited == 0:
                best, weights = now, _copied(model)
        told(trainer.progress, f"step {trainer.steps_done}" + ("" if validation is None else f", {now:.2f} dB"))
    with torch.no_grad():
        for parameter, value in zip(trainer.model.parameters(), weights):
            parameter.copy_(value)
    return first, best


def _copied(model: Model) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]
