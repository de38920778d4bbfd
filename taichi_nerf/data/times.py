"""What the times of photos say of a scene, and what is suspicious about them."""

from collections.abc import Iterator

import numpy as np

from ..config import SYSTEMS
from .placement import focus_point
from .scene import Cameras, Scene, Split

__all__ = ["for_times", "has_times", "jump_facts", "range_suspicions", "time_suspicions"]

FAR_JUMP = 3.0  # degrees between neighbouring times, beyond which a camera is no longer one that somebody carries
ONE_PLACE = 1e-4  # model units between cameras that stand at one
NEAR_STEPS = 1.5  # from one training time to the next: what is as near to the first or last is hardly guessed


def has_times(scene: Scene) -> bool:
    """Whether the training photos are of several times."""
    split = scene.splits.get("train")
    return split is not None and split.time is not None and len(split) > 0 and np.ptp(split.time) > 0


def for_times() -> str:
    """The options of the models that know the time, in words."""
    *kinds, last = (kind for kind, system in SYSTEMS.items() if system.moves)
    return f"--model {', '.join(kinds)} or {last}"


def jump_facts(split: Split, cameras: Cameras) -> Iterator[str]:
    """By how much the camera teleports, of training views whose `cameras` are in model space: the mean angle between
    neighbouring times about what all look at, DyCheck's angular multi-view factor (Gao et al. 2022, section 3) with the
    step from one image to the next in place of a second, of which times from 0 to 1 know nothing.
    """
    if split.time is None or len(split) < 2 or np.ptp(split.time) == 0:
        return
    order = np.argsort(split.time, kind="stable")
    together = len(split) - len(np.unique(split.time))
    if together:
        yield (f"{split.name}: {together} of {len(split)} images are of a time that another image has, too: several "
               "cameras at once show what moves from several sides")
    if _stands(cameras):
        return
    position, view = (values.astype(np.float64)[order] for values in (cameras.position, cameras.view_direction))
    focus = focus_point(position, view)
    outward = position - (np.zeros(3) if focus is None else focus)  # where they hardly converge, the model's middle
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
    angles = np.degrees(np.arccos(np.clip((outward[1:] * outward[:-1]).sum(axis=1), -1, 1)))
    fact = (f"{split.name}: from one time to the next the camera turns by {angles.mean():.2g} degrees about what it "
            "looks at")
    if angles.mean() > FAR_JUMP:
        yield (f"{fact} (an effective multi-view factor): one that jumps so sees the thing from many sides, and scores "
               "do not transfer to a hand-held video")
    else:
        yield f"{fact}, as one that somebody carries"


def time_suspicions(split: Split, cameras: Cameras) -> Iterator[str]:
    """Of the training views, whose `cameras` are in model space."""
    if split.time is None or len(split) < 2:
        return
    if np.ptp(split.time) == 0:
        yield f"{split.name}: all images have the time {split.time[0]:g}: to models that move this scene stands still"
        return
    if _stands(cameras):
        yield (f"{split.name}: one camera that does not move sees each time once: nothing tells how far away a thing "
               "that moves is; its pictures from elsewhere are guessed")


def _stands(cameras: Cameras) -> bool:
    """Whether they all stand at one place."""
    return bool(np.ptp(cameras.position, axis=0).max() < ONE_PLACE)


def range_suspicions(scene: Scene) -> Iterator[str]:
    """Of what part of 0 to 1 no image shows, and of views of times before the first training image, or after the last,
    by more than about a step from one training image to the next: where every 8th image is held out, the first is."""
    if not has_times(scene):
        return
    known = scene.splits["train"].time
    near = NEAR_STEPS * np.ptp(known) / (len(np.unique(known)) - 1)
    timed = {name: split for name, split in scene.splits.items() if split.time is not None and len(split)}
    first, last = min(split.time.min() for split in timed.values()), max(split.time.max() for split in timed.values())
    if first > near:
        yield (f"the first time is {first:.3g}, not 0, and how things were at 0 no image shows: subtract it from all "
               "times, and divide them by the last")
    elif last < 1 - near:
        yield (f"the last time is {last:.3g}, not 1, and how things were after it no image shows: divide all times by "
               "it")
    for name, split in timed.items():
        if split.time.min() < known.min() - near or split.time.max() > known.max() + near:
            yield (f"{name}: times from {split.time.min():.3g} to {split.time.max():.3g}, and training images from "
                   f"{known.min():.3g} to {known.max():.3g}: what is before or after those is guessed")
