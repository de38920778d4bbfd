"""A video around the scene, in smaller and fewer frames where those of training images would keep its user waiting."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import paths
from ..data.scene import Scene
from ..models.views import render_view
from ..types import UNKNOWN, Shot
from .pictures import Team, render_pictures

__all__ = ["Orbit", "affordable", "frame_size", "orbit_video", "planned"]

VIDEO_SIDE, LEAST_VIDEO_SIDE = 512, 128  # pixels of the longer side of the orbit video
LEAST_FRAMES = 12
FRAMES_A_SECOND = 30.0  # of a video of all frames; fewer are shown longer
VIDEO_SECONDS = 60.0  # it may take, or as long as the training: a field that is fog still takes many times as long
PROBE = 4  # times as small on each side is the frame whose rendering says how long the video will take


@dataclass(frozen=True)
class Orbit:
    """A turn around the scene as a video."""

    size: tuple[int, int]
    """Width and height."""
    frames: int
    frames_a_second: float = FRAMES_A_SECOND


def orbit_video(
    model, scene: Scene, file: Path, orbit: Orbit, *, background: float,
    on_view: Callable[[int, int], None] | None = None,
    on_part: Callable[[float, int], None] | None = None, team: Team | None = None,
) -> None:
    """Write a turn around `scene` as a video; of a model that knows the time, from the first to the last.

    `background` is the grey value behind what is transparent; `on_view` is told how many frames are done and how many
    there are, and `on_part` the same within those that take long. The ranks of a `team` share them. However small the
    frames are, a pixel has no more rays than one of a photo: whoever has just trained waits for it.
    """
    shots = Shot(time=torch.linspace(0, 1, orbit.frames)) if getattr(model, "moves", False) else UNKNOWN
    render_pictures(model, paths.orbit(scene, orbit.frames, size=orbit.size), background, {"colour": file},
                    fps=orbit.frames_a_second, on_view=on_view, on_part=on_part, shots=shots, team=team,
                    supersample=False)


def planned(
    model, scene: Scene, full: tuple[int, int], frames: int, *, background: float, trained: float
) -> tuple[Orbit, float]:
    """An orbit that does not keep the user waiting: so many frames of the `full` size, or smaller ones, or fewer.

    `trained` are the seconds that the model was trained for.

    Returns:
        The orbit, and the seconds that all frames of the full size would take.
    """
    small = (max(1, full[0] // PROBE), max(1, full[1] // PROBE))
    for _ in range(2):  # kernels may compile at the first
        start = time.perf_counter()
        render_view(model, paths.orbit(scene, 1, size=small), 0, background=background, supersample=False)
    seconds = (time.perf_counter() - start) * full[0] * full[1] / (small[0] * small[1]) * frames
    return affordable(Orbit(full, frames), seconds, max(VIDEO_SECONDS, trained)), seconds


def affordable(orbit: Orbit, seconds: float, allowed: float) -> Orbit:
    """One that takes the seconds that are `allowed`, where `orbit` takes `seconds`.

    Frames become smaller first, and keep their shape and a longer side of LEAST_VIDEO_SIDE pixels, or what they have;
    then fewer, of which LEAST_FRAMES are left, or what there are.
    """
    width, height = orbit.size
    least = min(1.0, LEAST_VIDEO_SIDE / max(orbit.size))
    ratio = min(1.0, max(least, (allowed / max(seconds, 1e-9)) ** 0.5))
    part = min(1.0, allowed / max(seconds * ratio**2, 1e-9))
    frames = max(min(LEAST_FRAMES, orbit.frames), int(orbit.frames * part))
    return Orbit((max(1, round(width * ratio)), max(1, round(height * ratio))), frames,
                 orbit.frames_a_second * frames / orbit.frames)


def frame_size(scene: Scene) -> tuple[int, int]:
    """Width and height of the first training image, or smaller."""
    width, height = (int(side) for side in scene.splits["train"].cameras.size[0])
    ratio = min(1.0, VIDEO_SIDE / max(width, height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))
