"""What the formats that are folders share: images in several sizes, cameras that follow their image, arrays, text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .arrays import DAMAGED_ARRAY, load_array
from .frames import SIZES, Frame
from .ground import Ground
from .images import ENDINGS, image_size
from .intrinsics import check_intrinsics
from .names import find_file, usable
from .opening import check_regular
from .poses import OPENGL_FROM_OPENCV as OPENGL_FROM_OPENCV
from .poses import check_pose
from .scene import Sightings
from .splits import Request, check_counts, check_disjoint, read_split


def image_folders(folder: Path) -> dict[int, Path]:
    """`images`, `images_2`, `images_4`, ... of a folder, as far as they exist, by how much smaller they are."""
    candidates = {size: folder / ("images" if size == 1 else f"images_{size}") for size in SIZES}
    return {size: path for size, path in candidates.items() if path.is_dir()}


def pick_size(folders: Mapping[int, Path], downscale: int) -> tuple[int, int]:
    """Which of the `folders` to read for images smaller by `downscale`, and by how much to make its images smaller.

    The smallest images that are still to be made smaller by a whole number, or not at all; where there are none, the
    largest, as near to what was asked for as whole numbers come.
    """
    for size in sorted(folders, reverse=True):
        if downscale % size == 0:
            return size, downscale // size
    largest = min(folders)
    return largest, max(1, downscale // largest)


def size_note(folder: Path, left: int) -> list[str]:
    """Where images come from that are not of the folder `images` as it is."""
    if folder.name in ("images", "1x"):
        return []
    return [f"images of {folder.name}" + (f", made smaller by {left}" if left > 1 else "")]


def find_image(folder: Path, name: str, *, tails: bool = True) -> Path | None:
    """The image `name` of a folder, or one that differs in the ending: smaller copies are often stored otherwise.

    It may be spelled as another machine did; `tails` off: the end of the path alone is not enough.
    """
    if not usable(name):
        return None
    path = folder / name
    try:
        if path.is_file():
            return path
        other = next((p for ending in ENDINGS if (p := path.with_suffix(ending)).is_file()), None)
        return other or find_file(folder, name, tails=tails)
    except (OSError, ValueError):  # a name that no file can have
        return None


def make_frame(
    where: str,
    image: Path,
    *,
    pose: np.ndarray,
    focal: Sequence[float],
    principal: Sequence[float],
    size: Sequence[int],
    lens: int,
    distortion: Sequence[float] = (0, 0, 0, 0, 0, 0),
    sightings: Sightings | None = None,
    **known,
) -> Frame:
    """A checked frame from an image and a camera of `size`, which follows the image if that is another size of it.

    Raises UserError where the camera is none, or the image is not of the camera's shape.
    """
    if not all(np.isfinite(values).all() for values in (pose, focal, principal, distortion)):
        raise UserError(f"{where}: its camera has a value that is not a finite number; export it again")
    if min(focal) < 1e-6 or min(size) < 1:
        raise UserError(f"{where}: a focal length or a side of the image is not positive; export the camera again")
    check_pose(pose, where)
    check_intrinsics(focal, principal, distortion, lens, size, where)
    actual = image_size(image)
    ratio = np.array(actual) / np.array(size, dtype=np.float64)
    if abs(ratio[0] - ratio[1]) * min(max(size), max(actual)) > 2:
        raise UserError(
            f"{where}: the image {image} is {actual[0]} x {actual[1]} pixels and its camera "
            f"{size[0]:g} x {size[1]:g}; use the image that the camera was calibrated with, or a smaller copy of it"
        )
    return Frame(
        where=where,
        path=image,
        camera_to_world=pose,
        focal=tuple(focal * ratio),
        principal=tuple(principal * ratio),
        distortion=tuple(distortion),
        lens=lens,
        size=actual,
        sightings=sightings and replace(sightings, pixel=sightings.pixel * ratio),
        **known,
    )


def make_splits(
    where: Path, members: Mapping[str, Sequence[Frame]], request: Request, left: int, ground: Ground, held_out: bool
) -> dict:
    """The splits asked for, their images made smaller by `left`. Raises UserError where one has too few images."""
    request.check_present(where, list(members))
    for name, frames in members.items():
        if request.wants(name):
            check_counts(where, name, len(frames))
    if "train" in members and "test" in members:
        check_disjoint(where, *([frame.path for frame in members[name]] for name in ("train", "test")))
    splits, request = {}, replace(request, downscale=left)
    for name, frames in members.items():
        if request.wants(name):
            frames = frames[:: 1 if held_out else request.every.get(name, 1)]
            splits[name] = read_split(name, frames, request, masks_alpha=ground.masks_alpha)
            check_counts(where, name, len(splits[name]))
    return splits


def read_array(path: Path) -> np.ndarray:
    """The array in the .npy file, real numbers alone. Raises UserError."""
    try:
        return load_array(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; put it there") from None
    except DAMAGED_ARRAY as error:
        raise UserError(f"{path} is not an array as numpy saves it ({reason(error)}); export it again") from None


def read_rows(path: Path, most: int = 2**20) -> list[list[float]]:
    """The numbers of a text file, line by line, without empty lines. Raises UserError."""
    rows = []
    for number, line in enumerate(read_text(path, most).splitlines(), 1):
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            raise UserError(f"{path}: line {number} is not all numbers; export it again") from None
        if not np.isfinite(row).all():
            raise UserError(f"{path}: line {number} has a number that is not finite; export it again")
        if row:
            rows.append(row)
    return rows


def read_text(path: Path, most: int) -> str:
    """The text of a file of at most `most` bytes. Raises UserError."""
    try:
        check_regular(path)
        if path.stat().st_size > most:
            raise UserError(f"{path} is too long for what it should be ({most} bytes); export it again")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; put it there") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); check the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; export it again") from None


def reason(error: Exception) -> str:
    """One line about an error of another library."""
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())[:200]
