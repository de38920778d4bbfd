"""What somebody wants to see, and when, in model space: camera to model, OpenGL axes (x right, y up, z back)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..data.scene import PERSPECTIVE, Cameras

__all__ = ["WHATS", "Look", "Shown", "perspective_cameras"]

What = Literal["colour", "depth", "opacity", "normals"]
WHATS: tuple[What, ...] = ("colour", "depth", "opacity", "normals")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is shown, whoever looks."""

    what: What = "colour"
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """sRGB behind what is transparent."""
    crop: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    """Lower and upper corner of the box of which alone something is seen, in model units; None: all is."""
    distances: bool = False
    """Whether a picture brings the distance of each pixel along the optical axis, for what is drawn among it."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One camera, the window that it fills, and the time that it looks at."""

    pose: tuple[tuple[float, ...], ...]
    """[3][4] camera to model."""
    fov: float
    """Vertical, in radians."""
    window: tuple[int, int]
    """Width and height in pixels."""
    time: float | None = None
    """From 0 to 1, of a model that knows the time."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.window[0] / self.window[1]


def perspective_cameras(poses: np.ndarray, fov: np.ndarray, size: tuple[int, int]) -> Cameras:
    """Cameras of `poses` [N, 3, 4] with vertical fields of view [N] in radians, all of one size."""
    count, half = len(poses), 0.5 * np.array(size)
    focal = half[1] / np.tan(0.5 * np.asarray(fov, np.float64))
    return Cameras(camera_to_world=poses, focal=np.stack([focal, focal], axis=1), principal=np.tile(half, (count, 1)),
                   distortion=np.zeros((count, 6)), lens=np.full(count, PERSPECTIVE), size=np.tile(size, (count, 1)))
