"""Cameras as viser has them, in the axes of OpenCV, and as they are here, in those of OpenGL."""

import numpy as np
import viser
import viser.transforms

from ...data.scene import FISHEYE, Cameras
from ..look import Look

__all__ = ["fov_of", "look_of", "quaternion_of", "tuples"]

OPENGL = np.diag((1.0, -1.0, -1.0))  # axes of OpenGL in those of OpenCV, and the other way round
WIDEST = np.radians(100)  # that is drawn of a fisheye lens


def look_of(camera: viser.CameraHandle) -> Look:
    """What somebody's camera sees."""
    rotation = viser.transforms.SO3(camera.wxyz).as_matrix() @ OPENGL
    pose = np.concatenate([rotation, np.asarray(camera.position)[:, None]], axis=1)
    return Look(pose=tuples(pose), fov=float(camera.fov),
                window=(max(1, camera.image_width), max(1, camera.image_height)))


def tuples(pose: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Of a pose [3, 4]."""
    return tuple(tuple(float(value) for value in row) for row in pose)


def quaternion_of(pose: np.ndarray) -> np.ndarray:
    """[4] w, x, y, z in the axes of OpenCV of a pose [3, 4]."""
    return viser.transforms.SO3.from_matrix(pose[:, :3].astype(np.float64) @ OPENGL).wxyz


def fov_of(cameras: Cameras) -> float:
    """Vertical, of the first, in radians; of a fisheye lens as much as can be drawn of it."""
    half = 0.5 * float(cameras.size[0, 1] / cameras.focal[0, 1])
    return min(2 * half, WIDEST) if cameras.lens[0] == FISHEYE else 2 * float(np.arctan(half))
