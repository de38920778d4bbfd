"""Photos that do not belong to the others, by what a trained model makes of them: a photo of another place, or with a
pose of its own, stays wrong while the others become right."""

import numpy as np
import torch

from ..data.scene import Split
from .squares import rendered, squares_of
from .trainer import Trainer

__all__ = ["photo_errors", "strangers"]

MOST, LEAST, RAYS = 12, 4, 2**14  # pixels along the longer side of a photo that are looked at, and of all photos
FAR, WRONG = 8.0, 0.01  # times the squared error of the median photo, and a squared error, that are both exceeded
FEWEST = 5  # photos, of which one can be said to differ from the others


@torch.no_grad()
def photo_errors(trainer: Trainer, split: Split) -> np.ndarray:
    """[N] mean squared errors of the training images `split`, as pictures have them, at pixels evenly spread over each
    that no mask covers; 0 where one covers all. The trainer has its averaged weights."""
    errors, across = np.zeros(len(split)), int(np.clip((RAYS / max(len(split), 1)) ** 0.5, LEAST, MOST))
    for number in range(len(split)):
        squares = squares_of(trainer, split, number, across, side=1)
        pixels = rendered(trainer, squares.batch, None)
        error = (pixels.over(squares.batch.background) - squares.batch.target).square().mean(dim=1)  # [P]
        errors[number] = float((error * squares.allowed).sum() / squares.allowed.sum().clamp_min(1))
    return errors


def strangers(errors: np.ndarray) -> np.ndarray:
    """Numbers of the photos whose errors [N] are far above those of the others, the farthest first."""
    if len(errors) < FEWEST:
        return np.zeros(0, np.int64)
    order = np.argsort(-errors)
    return order[(errors > max(WRONG, FAR * np.median(errors)))[order]]
