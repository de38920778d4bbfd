"""What COLMAP's files hold, and the layout of the binary ones, checked before a library reads them.

COLMAP's own reader trusts the counts in its files: a file that is cut off or damaged makes it loop over, or ask for
memory for, billions of entries. Here each count is held to the size of the file. Little-endian, without padding:

    cameras.bin     n u64; each: id u32, model i32, width u64, height u64, parameters f64 [as the model has]
    images.bin      n u64; each: id u32, quaternion f64 [4], translation f64 [3], camera u32, name, 0 u8,
                    k u64, k times: x f64, y f64, point u64
    points3D.bin    n u64; each: id u64, position f64 [3], colour u8 [3], error f64,
                    k u64, k times: image u32, index u32
    rigs.bin        n u64; each: id u32, k u32; if k: type i32, id u32; k - 1 times: type i32, id u32, has u8,
                    if has: pose f64 [7]
    frames.bin      n u64; each: id u32, rig u32, pose f64 [7], k u32, k times: type i32, sensor u32, data u64
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .opening import check_regular

# By model number: SIMPLE_PINHOLE, PINHOLE, ... SIMPLE_FISHEYE, FISHEYE
PARAMETERS = (3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12, 16, 4, 5, 3, 4)
_MOST_PIXELS = 2**32


class Camera(NamedTuple):
    """As a file has it."""

    model: str
    parameters: np.ndarray
    size: tuple[int, int]


class Image(NamedTuple):
    """As a file has it."""

    name: str
    image_id: int
    camera_id: int
    from_world: np.ndarray
    """[3, 4] float64: world to camera, OpenCV's axes."""
    seen: Sequence[tuple[int, float, float]]
    """Id of a point, and the pixel where it was seen."""


class Point(NamedTuple):
    """As a file has it."""

    position: Sequence[float]
    colour: Sequence[int]
    error: float
    views: int


class Sparse(NamedTuple):
    """What the files of a model hold, by COLMAP's ids."""

    cameras: Mapping[int, Camera]
    images: Sequence[Image]
    points: Mapping[int, Point]


class _Cursor:
    """A place in the bytes of a file that never leaves them."""

    def __init__(self, path: Path):
        check_regular(path)
        self.path, self.content, self.at = path, path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from(f"<{layout}", self.content, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def count(self, layout: str, least: int) -> int:
        """A number of entries of at least `least` bytes each, which must fit into the rest of the file."""
        (count,) = self.take(layout)
        if count * least > len(self.content) - self.at:
            raise struct.error
        return count

    def skip(self, size: int):
        self.at += size
        if self.at > len(self.content):
            raise struct.error

    def skip_text(self):
        self.at = self.content.find(b"\0", self.at) + 1
        if self.at == 0:
            raise struct.error


def check_binary_model(folder: Path):
    """Raises UserError where one of the model's binary files is cut off, or its counts do not fit its size."""
    for name, check in _CHECKS.items():
        path = folder / name
        if not path.exists():
            continue
        try:
            cursor = _Cursor(path)
            for _ in range(cursor.count("Q", 8)):
                check(cursor)
        except struct.error:
            raise UserError(f"{path} is cut off or damaged: its counts do not fit its size; copy it again") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); check it") from None


def _camera(cursor: _Cursor):
    _, model, width, height = cursor.take("IiQQ")
    if not 0 <= model < len(PARAMETERS):
        raise UserError(
            f"{cursor.path} has a camera of model {model}, which is not supported; undistort the images with COLMAP"
        )
    if not (0 < width < _MOST_PIXELS and 0 < height < _MOST_PIXELS):
        raise UserError(f"{cursor.path} has a camera of {width} x {height} pixels; copy it again")
    cursor.skip(8 * PARAMETERS[model])


def _image(cursor: _Cursor):
    cursor.skip(4 + 7 * 8 + 4)
    cursor.skip_text()
    cursor.skip(24 * cursor.count("Q", 24))


def _point(cursor: _Cursor):
    cursor.skip(8 + 3 * 8 + 3 + 8)
    cursor.skip(8 * cursor.count("Q", 8))


def _rig(cursor: _Cursor):
    _, sensors = cursor.take("II")
    if sensors * 8 > len(cursor.content):
        raise struct.error
    for number in range(sensors):
        cursor.skip(8)
        if number and cursor.take("B")[0]:
            cursor.skip(7 * 8)


def _frame(cursor: _Cursor):
    cursor.skip(4 + 4 + 7 * 8)
    cursor.skip(16 * cursor.count("I", 16))


_CHECKS: dict[str, Callable[[_Cursor], None]] = {
    "cameras.bin": _camera,
    "images.bin": _image,
    "points3D.bin": _point,
    "rigs.bin": _rig,
    "frames.bin": _frame,
}
