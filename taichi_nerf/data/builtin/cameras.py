"""Where the cameras of the built-in scenes stand: world positions, z up, all upright and free of distortion."""

import numpy as np

from ..scene import PERSPECTIVE, Cameras

__all__ = ["FIELD_OF_VIEW", "hemisphere_cameras", "looking", "ring_cameras"]

DISTANCE = 4.0  # of the cameras on the hemisphere from the origin, world units
FIELD_OF_VIEW = 0.61  # radians across
LOWEST, HIGHEST = 0.06, 0.97  # sine of the cameras' elevation
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
RING_RADIUS, RING_FIELD_OF_VIEW = 1.0, 1.15  # of the cameras in the open field
RING_LOWEST, RING_HIGHEST = 0.25, 0.75  # above the ground
RING_TARGET = (0.0, 0.0, 0.3)


def hemisphere_cameras(count: int, resolution: int, turn: float = 0.0, offset: float = 0.5) -> Cameras:
    """Cameras spread evenly over the upper hemisphere (a Fibonacci spiral), looking at the origin.

    `turn` rotates them about the vertical axis, in radians; `offset` in (0, 1) shifts them along the spiral.
    """
    height = LOWEST + (HIGHEST - LOWEST) * (np.arange(count) + offset) / max(count, 1)
    angle = GOLDEN_ANGLE * np.arange(count) + turn
    radius = np.sqrt(1 - height**2)
    back = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)  # [N, 3]
    return looking(DISTANCE * back, np.zeros(3), resolution, FIELD_OF_VIEW)


def ring_cameras(count: int, resolution: int, turn: float = 0.0, offset: float = 0.5) -> Cameras:
    """Cameras on a ring of unit radius at changing height, looking across its middle.

    `turn` rotates them about the vertical axis, in radians; `offset` in (0, 1) shifts their heights.
    """
    angle = 2 * np.pi * (np.arange(count) + offset) / max(count, 1) + turn
    height = RING_LOWEST + (RING_HIGHEST - RING_LOWEST) * ((np.arange(count) * GOLDEN_ANGLE / (2 * np.pi) + offset) % 1)
    position = np.stack([RING_RADIUS * np.cos(angle), RING_RADIUS * np.sin(angle), height], axis=1)
    return looking(position, np.array(RING_TARGET), resolution, RING_FIELD_OF_VIEW)


def looking(position: np.ndarray, target: np.ndarray, resolution: int, field_of_view: float) -> Cameras:
    """Cameras at `position` [N, 3], upright, looking at `target` [3] or [N, 3], `field_of_view` radians across."""
    count = len(position)
    back = position - target
    back /= np.linalg.norm(back, axis=1, keepdims=True)
    right = np.stack([-back[:, 1], back[:, 0], 0 * back[:, 0]], axis=1) / np.hypot(back[:, :1], back[:, 1:2])
    pose = np.stack([right, np.cross(back, right), back, position], axis=2)
    focal = 0.5 * resolution / np.tan(0.5 * field_of_view)
    return Cameras(camera_to_world=pose, focal=np.full((count, 2), focal),
                   principal=np.full((count, 2), 0.5 * resolution), distortion=np.zeros((count, 6)),
                   lens=np.full(count, PERSPECTIVE), size=np.full((count, 2), resolution))
