"""A video around the scene, in smaller frames where those of the training images would keep its user waiting."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from .. import paths
from ..data.scene import Scene
from ..models.views import render_view
from ..types import UNKNOWN, Shot
from .pictures import Team, render_pictures

__all__ = ["affordable_size", "frame_size", "orbit_size", "orbit_video"]

VIDEO_SIDE, LEAST_VIDEO_SIDE = 512, 128  # pixels of the longer side of the orbit video
VIDEO_SECONDS = 60.0  # it may take, or as long as the training: a field that is fog still takes many times as long
PROBE = 4  # times as small on each side is the frame whose rendering says how long the video will take


def orbit_video(
    model, scene: Scene, file: Path, frames: int, *, size: tuple[int, int], background: float,
    on_view: Callable[[int, int], None] | None = None, team: Team | None = None,
) -> None:
    """Write a turn around `scene` as a video of `frames` frames of `size`, width and height; of a model that knows the
    time, from the first to the last.

    `background` is the grey value behind what is transparent; `on_view` is told how many frames are done and how many
    there are. The ranks of a `team` share them.
    """
    shots = Shot(time=torch.linspace(0, 1, frames)) if getattr(model, "moves", False) else UNKNOWN
    render_pictures(model, paths.orbit(scene, frames, size=size), background, {"colour": file}, on_view=on_view,
                    shots=shots, team=team)


def orbit_size(
    model, scene: Scene, full: tuple[int, int], frames: int, *, background: float, trained: float
) -> tuple[tuple[int, int], float]:
    """Width and height of the frames of an orbit that does not keep the user waiting: `full`, or smaller.

    `trained` are the seconds that the model was trained for.

    Returns:
        The size, and the seconds that frames of the full one would take; 0 where those are small in any case.
    """
    if max(full) <= LEAST_VIDEO_SIDE:
        return full, 0.0
    small = (max(1, full[0] // PROBE), max(1, full[1] // PROBE))
    start = time.perf_counter()
    render_view(model, paths.orbit(scene, 1, size=small), 0, background=background)
    seconds = (time.perf_counter() - start) * full[0] * full[1] / (small[0] * small[1]) * frames
    return affordable_size(full, seconds, max(VIDEO_SECONDS, trained)), seconds


def affordable_size(size: tuple[int, int], seconds: float, allowed: float) -> tuple[int, int]:
    """Width and height of frames that take the seconds that are `allowed` where those of `size` take `seconds`.

    They keep their shape, and a longer side of LEAST_VIDEO_SIDE pixels, or what they have.
    """
    least = min(1.0, LEAST_VIDEO_SIDE / max(size))
    ratio = min(1.0, max(least, (allowed / max(seconds, 1e-9)) ** 0.5))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def frame_size(scene: Scene) -> tuple[int, int]:
    """Width and height of the first training image, or smaller."""
    width, height = (int(side) for side in scene.splits["train"].cameras.size[0])
    ratio = min(1.0, VIDEO_SIDE / max(width, height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))
