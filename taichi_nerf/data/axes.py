"""Poses that are probably not what their file was read as.

Where cameras stand around something, their optical axes meet in front of them. Read with the wrong axes, or the wrong
way round, they meet behind, or nowhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .frames import Frame
from .placement import nearest_to_axes
from .poses import PoseReader
from .splits import Request

_FEWEST = 4
_NEAR = 0.1  # of their distance to the cameras: how far from the axes they still meet
_IN_FRONT, _BEHIND = 0.75, 0.25  # shares of the cameras
_READINGS = {
    "--axes opencv": PoseReader(axes="opencv"),
    "--world-to-camera": PoseReader(world_to_camera=True),
    "--world-to-camera --axes opencv": PoseReader(axes="opencv", world_to_camera=True),
}


class _Meeting(NamedTuple):
    """Where optical axes come nearest to each other."""

    in_front: float
    """Share of the cameras that see it."""
    off: float
    """Median distance of the axes from it, as a part of that of the cameras."""


def likely_mistake(frames: Sequence[Frame], request: Request) -> list[str]:
    """What the poses of a file were probably meant to be, and the option that reads them so; nothing if all is well."""
    if len(frames) < _FEWEST or request.axes != "opengl" or request.world_to_camera:
        return []
    poses = np.array([frame.camera_to_world for frame in frames])
    stated = _meeting(poses)
    if stated is not None and stated.in_front > _IN_FRONT and stated.off < 1:
        return []
    behind = stated is not None and stated.in_front < _BEHIND and stated.off < _NEAR
    read = {option: np.array([reader.turned(pose) for pose in poses]) for option, reader in _READINGS.items()}
    found = {option: _meeting(others) for option, others in read.items()}
    found = {option: m for option, m in found.items() if m is not None and m.in_front > 1 - _NEAR and m.off < _NEAR}
    if not found:
        return []
    option = min(found, key=lambda name: found[name].off)
    if behind and "--axes opencv" in found:
        return ["the optical axes meet behind the cameras, as they do where OpenCV's axes (right, down, forward) are "
                "taken for OpenGL's: --axes opencv reads them so; if the cameras look outwards, all is well"]
    return ["the optical axes do not meet in front of the cameras, but they do if the file's matrices are read with "
            f"{option}"]


def _meeting(poses: np.ndarray) -> _Meeting | None:
    position, forward = poses[:, :, 3], -poses[:, :, 2]
    point = nearest_to_axes(position, forward)
    if point is None:
        return None
    away = point - position
    along = np.einsum("ni,ni->n", forward, away)
    distance = float(np.median(np.linalg.norm(away, axis=1)))
    off = float(np.median(np.linalg.norm(away - along[:, None] * forward, axis=1)))
    return _Meeting(float((along > 0).mean()), off / distance if distance > 1e-9 else np.inf)
