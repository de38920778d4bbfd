"""The poses of a file: camera to world, OpenGL axes, near enough to the origin for single precision.

A file states a matrix [A | t] for each frame. What all of them have in common is found before any of them is checked:

    A = s R         a scale s that all rotations were multiplied with, as by a similarity of the world
    origin          a point amidst the cameras, where they stand so far from zero that single precision would lose them
                    (UTM coordinates): it is taken from all positions, in double precision

What the user says of them: their axes are OpenCV's (right, down, forward); they are world to camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .json_files import finite, flag_of

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0])
_OPENGL_FROM_MITSUBA = np.diag([-1.0, 1.0, -1.0])
AXES = ("opengl", "opencv")
_ROTATION_TOLERANCE = 2e-3
_FARTHEST = 1e6
_SAME_SCALE = 1e-3
_FAR, _FAR_IN_SPREADS, _TOO_FAR = 1e3, 1e3, 1e5  # units; of the cameras' median distance from their middle; units


@dataclass(frozen=True, kw_only=True)
class PoseReader:
    """How the matrices of a file become poses."""

    axes: str = "opengl"
    world_to_camera: bool = False
    mitsuba: bool = False
    """x left, y up, z forward: Mitsuba's axes, as instant-ngp reads them where the file says so."""
    scale: float = 1.0
    """That all rotations of the file have in common."""
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """[3]: what is taken from all positions."""

    def read(self, keys: Mapping, where: str) -> np.ndarray:
        """[3, 4] float64: the checked pose of a frame and its file with these keys. Raises UserError."""
        matrix = stated_matrix(keys, where)
        _check_shutter(keys, matrix, where)
        matrix[:, :3] = nearest_rotation(matrix[:, :3], self.scale)
        check_rotation(matrix[:, :3], where)
        pose = self.turned(matrix)
        pose[:, 3] -= self.origin
        check_distance(pose, where)
        return pose

    def turned(self, matrix: np.ndarray) -> np.ndarray:
        """[3, 4]: camera to world with OpenGL's axes, of a matrix with a rotation."""
        rotation, translation = matrix[:, :3], matrix[:, 3]
        if self.world_to_camera:
            rotation, translation = rotation.T, -rotation.T @ translation / self.scale
        if self.mitsuba:
            rotation = rotation @ _OPENGL_FROM_MITSUBA
        if self.axes == "opencv":
            rotation = rotation @ OPENGL_FROM_OPENCV
        return np.concatenate([rotation, translation[:, None]], axis=1)

    @property
    def notes(self) -> list[str]:
        """What was found, in words."""
        found = []
        if self.scale != 1:
            found.append(f"all rotations are multiplied with {self.scale:.4g}, which is taken out")
        return found + far_note(self.origin)


def pose_reader(contents: Mapping[Path, Mapping], *, axes: str, world_to_camera: bool) -> PoseReader:
    """What the frames of several files, by path, have in common. Raises UserError."""
    mitsuba = any(flag_of(content, "from_mitsuba", "normal_mts_args" in content, str(path))
                  for path, content in contents.items())
    reader = PoseReader(axes=axes, world_to_camera=world_to_camera, mitsuba=mitsuba)
    frames = [frame for content in contents.values() for frame in content["frames"]]
    stacked = np.array([found for frame in frames if (found := _plain_matrix(frame)) is not None])
    if not len(stacked):
        return reader
    reader = replace(reader, scale=_common_scale(stacked))
    for matrix in stacked:
        matrix[:, :3] = nearest_rotation(matrix[:, :3], reader.scale)
    return replace(reader, origin=far_origin(np.array([reader.turned(matrix)[:, 3] for matrix in stacked])))


def stated_matrix(frame: Mapping, where: str) -> np.ndarray:
    """[3, 4] float64: what a frame states, checked to be numbers; as in instant-ngp a start wins. Raises UserError."""
    key = "transform_matrix_start" if "transform_matrix_start" in frame else "transform_matrix"
    if key not in frame:
        raise UserError(f"{where}: 'transform_matrix' is missing; add the camera-to-world matrix")
    return _matrix(frame[key], key, where)


def _check_shutter(keys: Mapping, start: np.ndarray, where: str):
    """Raises UserError for a camera that moves while the shutter is open."""
    rolling = keys.get("rolling_shutter")
    if "transform_matrix_end" not in keys or not isinstance(rolling, list) or not any(rolling):
        return
    end = _matrix(keys["transform_matrix_end"], "transform_matrix_end", where)
    if np.abs(end - start).max() > 1e-6 * max(1.0, np.abs(start).max()):
        raise UserError(f"{where}: 'rolling_shutter' and 'transform_matrix_end' state a camera that moves during the "
                        "exposure, which is not supported; state one transform_matrix")


def _matrix(rows, key: str, where: str) -> np.ndarray:
    if (
        not isinstance(rows, list)
        or len(rows) not in (3, 4)
        or any(not isinstance(r, list) or len(r) != 4 for r in rows)
    ):
        raise UserError(
            f"{where}: '{key}' is not a list of 3 or 4 rows of 4 numbers; export it again"
        )
    matrix = np.array(
        [[finite(v, f"{where}: '{key}' entry ({i}, {j})") for j, v in enumerate(row)] for i, row in enumerate(rows)]
    )
    if len(rows) == 4 and np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-5:
        raise UserError(
            f"{where}: the last row of '{key}' is {matrix[3].tolist()}, not [0, 0, 0, 1]; "
            "a transposed or projective matrix is not a pose, export it again"
        )
    return matrix[:3]


def _plain_matrix(frame: Mapping) -> np.ndarray | None:
    """[3, 4] of a frame; None where it states none, which whoever reads it will say."""
    try:
        return stated_matrix(frame, "")
    except UserError:
        return None


def _common_scale(matrices: np.ndarray) -> float:
    """What the rotations of nine in ten of the matrices [N, 3, 4] are multiplied with; 1 where they are rotations."""
    with np.errstate(all="ignore"):
        sizes = np.cbrt(np.abs(np.linalg.det(matrices[:, :, :3])))
    sizes = np.where(np.isfinite(sizes), sizes, 0.0)
    scale = float(np.median(sizes))
    if abs(scale - 1) <= _SAME_SCALE or not 1e-9 < scale < 1e9:
        return 1.0
    return scale if np.mean(np.abs(sizes / scale - 1) < _SAME_SCALE) >= 0.9 else 1.0


def nearest_rotation(matrix: np.ndarray, scale: float) -> np.ndarray:
    """[3, 3]: the matrix without the scale; the nearest rotation where that or rounding explain that it is none."""
    unscaled = matrix / scale if scale != 1 else matrix
    off = deviation(unscaled)
    rounded = np.abs(100 * matrix - np.round(100 * matrix)).max() < 1e-6
    if (off <= _ROTATION_TOLERANCE and scale == 1) or not off < (0.02 if rounded else _ROTATION_TOLERANCE):
        return unscaled
    u, _, vt = np.linalg.svd(unscaled)
    return u @ vt


def deviation(rotation: np.ndarray) -> float:
    """The largest entry of R^T R - 1."""
    bounded = np.clip(rotation, -10, 10)  # whose product does not overflow
    return float(np.abs(bounded.T @ bounded - np.eye(3)).max())


def far_origin(position: np.ndarray) -> np.ndarray:
    """[3]: a whole-numbered point amidst positions [N, 3] that single precision would lose; zero where it does not."""
    position = position[(np.abs(position) < 1e30).all(axis=1)]  # and finite
    if not len(position):
        return np.zeros(3)
    middle = np.median(position, axis=0)
    away, spread = np.linalg.norm(middle), np.median(np.linalg.norm(position - middle, axis=1))
    return np.round(middle) if away > _TOO_FAR or (away > _FAR and away > _FAR_IN_SPREADS * spread) else np.zeros(3)


def far_note(origin: np.ndarray) -> list[str]:
    """What was done, in words, if anything."""
    if not origin.any():
        return []
    point = ", ".join(f"{value:.0f}" for value in origin)
    return [f"({point}) is taken from all positions, which single precision would lose"]


def check_pose(pose: np.ndarray, where: str):
    """Raises UserError unless `pose` [3, 4] is a rotation and a position that single precision can hold."""
    check_rotation(pose[:, :3], where)
    check_distance(pose, where)


def check_distance(pose: np.ndarray, where: str):
    """Raises UserError where single precision cannot hold the position."""
    if np.abs(pose[:, 3]).max() > _FARTHEST:
        raise UserError(
            f"{where}: the camera is {np.abs(pose[:, 3]).max():.3g} units from the origin, too far for single "
            "precision; move the scene to the origin"
        )


def check_rotation(rotation: np.ndarray, where: str):
    """Raises UserError unless `rotation` [3, 3] is one."""
    off = deviation(rotation)
    if not off <= _ROTATION_TOLERANCE:
        raise UserError(
            f"{where}: the pose is not a rotation (R^T R differs from the identity by "
            f"{off:.2g}); export the poses again without scale or shear"
        )
    if np.linalg.det(rotation) < 0:
        raise UserError(
            f"{where}: the pose mirrors (determinant -1); export the poses again with "
            "right-handed axes"
        )
