"""What the times of photos say of a scene, and what is suspicious about them."""

from collections.abc import Iterator

import numpy as np

from ..config import SYSTEMS
from .scene import Cameras, Scene, Split

__all__ = ["for_times", "has_times", "time_suspicions"]

ONE_PLACE = 1e-4  # model units between cameras that stand at one


def has_times(scene: Scene) -> bool:
    """Whether the training photos are of several times."""
    split = scene.splits.get("train")
    return split is not None and split.time is not None and len(split) > 0 and np.ptp(split.time) > 0


def for_times() -> str:
    """The options of the models that know the time, in words."""
    return " or ".join(f"--model {kind}" for kind, system in SYSTEMS.items() if system.moves)


def time_suspicions(split: Split, cameras: Cameras) -> Iterator[str]:
    """Of the training views, whose `cameras` are in model space."""
    if split.time is None or len(split) < 2:
        return
    if np.ptp(split.time) == 0:
        yield f"{split.name}: all images have the time {split.time[0]:g}: to models that move this scene stands still"
        return
    if split.time.min() > 0:
        yield (f"{split.name}: the first time is {split.time.min():.3g}, not 0, and d-nerf begins with how things "
               "were at 0, which no image shows: subtract it from all times, and divide them by the last")
    if np.ptp(cameras.position, axis=0).max() < ONE_PLACE:
        yield (f"{split.name}: one camera that does not move sees each time once: nothing tells how far away a thing "
               "that moves is; its pictures from elsewhere are guessed")
