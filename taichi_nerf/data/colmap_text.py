"""COLMAP's models as text, as COLMAP and many other programs write them.

    cameras.txt     ID MODEL WIDTH HEIGHT PARAMETERS...
    images.txt      ID QW QX QY QZ TX TY TZ CAMERA NAME     NAME is the rest of the line: it may have spaces
                    X Y POINT X Y POINT ...                 often empty; other programs leave the line out
    points3D.txt    ID X Y Z R G B ERROR IMAGE INDEX ...    other programs leave the file out

Lines that begin with # are comments. COLMAP's own reader takes every second line of images.txt for one of pixels,
whatever it holds, and ends a name at its first space.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError
from .colmap_files import Camera, Image, Point, Sparse
from .folders import read_text

_MOST_BYTES = 2**32
_HEAD_WORDS = 10  # of the line of an image


def read_text_model(path: Path) -> Sparse:
    """What the text files in the folder `path` hold. Raises UserError naming the file and the line."""
    cameras = dict(_camera(where, line) for where, line in _lines(path / "cameras.txt") if line.strip())
    points = path / "points3D.txt"
    points = dict(_point(where, line) for where, line in _lines(points) if line.strip()) if points.is_file() else {}
    images = [_image(where, head, pixels) for where, head, pixels in image_lines(path / "images.txt")]
    for image in images:
        if image.camera_id not in cameras:
            raise UserError(f"{path / 'images.txt'}: {image.name[:200]} has the camera {image.camera_id}, which "
                            "cameras.txt lacks; copy the whole model")
    return Sparse(cameras, images, points)


def image_lines(path: Path) -> Iterator[tuple[str, str, str]]:
    """Where, and the two lines of each image; the second is empty where it is left out. Raises UserError."""
    lines = list(_lines(path))
    n = 0
    while n < len(lines):
        where, head = lines[n]
        n += 1
        if not head.strip():
            continue
        pixels = ""
        if n < len(lines) and _is_pixels(lines[n][1]):
            pixels = lines[n][1]
            n += 1
        yield where, head, pixels


def _is_pixels(line: str) -> bool:
    """Whether a line holds nothing but pixels with their points."""
    try:
        return len([float(word) for word in line.split()]) % 3 == 0
    except ValueError:
        return False


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(path, _MOST_BYTES).splitlines(), 1):
        if not line.lstrip().startswith("#"):
            yield f"{path}: line {number}", line


def _camera(where: str, line: str) -> tuple[int, Camera]:
    words = line.split()
    try:
        number, model, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
        parameters = np.array([float(word) for word in words[4:]])
    except (ValueError, IndexError, OverflowError):
        raise UserError(f"{where} is no camera (id, model, size, parameters); export the model again") from None
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise UserError(f"{where}: a camera of {width} x {height} pixels; copy the file again")
    return number, Camera(model, parameters, (width, height))


def _image(where: str, head: str, pixels: str) -> Image:
    words = head.split(maxsplit=_HEAD_WORDS - 1)
    try:
        number, camera = int(words[0]), int(words[8])
        w, x, y, z, *translation = (float(word) for word in words[1:8])
        name = words[9].strip()
        seen = [float(word) for word in pixels.split()]
    except (ValueError, IndexError, OverflowError):
        raise UserError(f"{where} is no image (id, rotation as 4 numbers, translation, camera, name); export the model "
                        "again") from None
    from_world = np.concatenate([_rotation(w, x, y, z), np.array(translation)[:, None]], axis=1)
    points = [int(point) if np.isfinite(point) else -1 for point in seen[2::3]]
    return Image(name, number, camera, from_world, list(zip(points, seen[0::3], seen[1::3])))


def _rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """[3, 3] of a quaternion, whatever its length."""
    w, x, y, z = np.array([w, x, y, z]) / np.linalg.norm([w, x, y, z])
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])


def _point(where: str, line: str) -> tuple[int, Point]:
    words = line.split()
    try:
        number, position = int(words[0]), [float(word) for word in words[1:4]]
        colour, error = [int(word) for word in words[4:7]], float(words[7])
        if len(position) < 3 or not all(0 <= value <= 255 for value in colour):
            raise ValueError
    except (ValueError, IndexError, OverflowError):
        raise UserError(f"{where} is no point (id, position, colour, error, track); export the model again") from None
    return number, Point(position, colour, error, (len(words) - 8) // 2)
