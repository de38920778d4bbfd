"""A camera path that grows key by key, and its files: those that `taichi-nerf render --path` takes.

They lie beside the run, in its folder `camera-paths`; a name that is taken gets a number.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import paths
from ..data.scene import Cameras, Scene
from ..errors import UserError
from .look import perspective_cameras

__all__ = ["FOLDER", "KeyFrames"]

FOLDER = "camera-paths"
_NOT_OF_A_NAME = re.compile(r"[^\w.-]+")


class _Key(NamedTuple):
    pose: np.ndarray  # [3, 4]
    fov: float
    time: float | None


class KeyFrames:
    """Cameras in model space of `scene`, in the order in which they were added, each with its time where that `moves`.
    """

    def __init__(self, scene: Scene, size: tuple[int, int], *, moves: bool = False):
        """`size` of the pictures that the files ask for."""
        self.scene, self.size, self.moves = scene, size, moves
        self._keys: list[_Key] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, pose, fov: float, time: float | None = None) -> None:
        """A camera of `pose` [3, 4], camera to model, with a vertical field of view in radians, and the time that it
        looks at, of what moves."""
        self._keys.append(_Key(np.asarray(pose, np.float64), fov, time))

    def drop(self) -> None:
        """The last one, if there is any."""
        del self._keys[-1:]

    def clear(self) -> None:
        self._keys.clear()

    def between(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Poses [frames, 3, 4] and vertical fields of view [frames] in radians along the path, of one key or more."""
        cameras = self._cameras()
        poses, focal = paths.interpolate(cameras.camera_to_world.astype(np.float64),
                                         cameras.focal[:, 1].astype(np.float64), frames)
        return poses, 2 * np.arctan(0.5 * self.size[1] / focal)

    def times_between(self, frames: int) -> np.ndarray | None:
        """[frames] the times along the path; None of what stands still."""
        return paths.interpolate_times(self._times(), frames) if self.moves else None

    def save(self, run: Path, name: str) -> Path:
        """Write the path beside a run, into a new file, and return that. Raises UserError where it cannot be."""
        if not self._keys:
            raise UserError("a camera path needs at least one key frame; add one where the camera is")
        folder, stem = run / FOLDER, _NOT_OF_A_NAME.sub("-", name).strip("-.")[:100] or "path"
        text = paths.to_json(self._cameras(), self.scene, self._times() if self.moves else None)
        try:
            folder.mkdir(exist_ok=True)
            return _written(folder, stem, text)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {(error.strerror or str(error)).lower()}; mend that and save "
                            "the path again") from None

    def load(self, file: Path) -> None:
        """Take over the cameras of a camera-path file, which without times goes through all of the time, as it does
        when it is rendered. Raises UserError where it is none; nothing has changed then."""
        cameras, times = paths.from_json(file, self.scene), paths.times_from_json(file)
        fov = 2 * np.arctan(0.5 * cameras.size[:, 1] / cameras.focal[:, 1])
        times = np.linspace(0, 1, len(cameras)) if times is None else times
        self._keys = [_Key(pose.astype(np.float64), float(each), float(time) if self.moves else None)
                      for pose, each, time in zip(cameras.camera_to_world, fov, times)]

    def _cameras(self) -> Cameras:
        return perspective_cameras(np.array([key.pose for key in self._keys]),
                                   np.array([key.fov for key in self._keys]), self.size)

    def _times(self) -> np.ndarray:
        return np.array([key.time for key in self._keys])


def files(run: Path) -> list[str]:
    """Names of the camera paths beside a run."""
    return sorted(file.name for file in (run / FOLDER).glob("*.json"))


def _written(folder: Path, stem: str, text: str) -> Path:
    """The first of `stem.json`, `stem_2.json`, .. that is not there yet."""
    number = 1
    while True:
        file = folder / f"{stem}{'' if number == 1 else f'_{number}'}.json"
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
            return file
        except FileExistsError:
            number += 1
