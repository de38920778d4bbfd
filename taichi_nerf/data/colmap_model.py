"""A sparse model of COLMAP: where it lies, its views and its points. Binary files are read by pycolmap, text here.

Poses are world to camera with OpenCV's axes (right, down, forward). Pixel centres lie at +0.5, as here. A world whose
cameras stand so far from zero that single precision would lose them (UTM) is moved, as poses.py says.
"""

import contextlib
import signal
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from .colmap_files import Camera, Image, Point, Sparse, check_binary_model
from .colmap_text import image_lines, read_text_model
from .folders import reason
from .poses import OPENGL_FROM_OPENCV, far_origin
from .scene import FISHEYE, PERSPECTIVE, Points, Sightings
from .splits import natural

# Where a model lies below a folder; of the numbered ones in a folder, the one with most images.
PLACES = ("sparse/*", "sparse", "colmap/sparse/*", "colmap/sparse", ".")
# The parameters of the camera models by name; f is both focal lengths, k4 to k6 of FULL_OPENCV are called d4 to d6.
MODELS = {
    "SIMPLE_PINHOLE": (PERSPECTIVE, ("f", "cx", "cy")),
    "PINHOLE": (PERSPECTIVE, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (PERSPECTIVE, ("f", "cx", "cy", "k1")),
    "RADIAL": (PERSPECTIVE, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (PERSPECTIVE, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "FULL_OPENCV": (
        PERSPECTIVE,
        ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "d4", "d5", "d6"),
    ),
    "OPENCV_FISHEYE": (FISHEYE, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    "SIMPLE_RADIAL_FISHEYE": (FISHEYE, ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (FISHEYE, ("f", "cx", "cy", "k1", "k2")),
    "SIMPLE_FISHEYE": (FISHEYE, ("f", "cx", "cy")),
    "FISHEYE": (FISHEYE, ("fx", "fy", "cx", "cy")),
}
_FARTHEST_POINT = 1e6
# What COLMAP's reader raises for files that contradict themselves.
_DAMAGED = (ValueError, IndexError, KeyError, RuntimeError, TypeError, OverflowError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class View:
    """A registered image of a model."""

    name: str
    """Path below the folder of the images."""
    image_id: int
    camera_id: int
    pose: np.ndarray
    """[3, 4]: camera to world, OpenGL axes."""
    camera_model: str
    parameters: np.ndarray
    """[...]: as MODELS names them."""
    size: tuple[int, int]
    """Width, height of the camera."""
    sightings: Sightings | None
    """In pixels of the camera; None where the model has points without tracks."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A sparse model: its views in the natural order of their names, and its points."""

    path: Path
    views: Sequence[View]
    points: Points
    lost: int = 0
    """Points that it has beside these, at no place or out of reach."""
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """[3]: what was taken from all positions."""


def find_model(folder: Path) -> Path | None:
    """The folder below `folder` that holds a sparse model, the largest of several; None without."""
    for place in PLACES:
        if not place.endswith("/*"):
            if is_model(folder / place):
                return folder / place
        elif numbered := models_in(folder / place.removesuffix("/*")):
            return max(numbered, key=count_images)
    return None


def models_in(folder: Path) -> list[Path]:
    """The models in `0`, `1`, ... of a folder, by number."""
    try:
        found = [path for path in folder.iterdir() if path.name.isdecimal() and is_model(path)]
    except OSError:
        return []
    return sorted(found, key=lambda path: int(path.name))


def is_model(folder: Path) -> bool:
    """Whether the folder holds the files of a model."""
    return any(all((folder / f"{stem}{e}").is_file() for stem in ("cameras", "images")) for e in (".bin", ".txt"))


def is_binary(folder: Path) -> bool:
    """COLMAP takes the binary files where both are there."""
    return all((folder / f"{stem}.bin").is_file() for stem in ("cameras", "images"))


def count_images(folder: Path) -> int:
    """How many images a model says to have; 0 where it cannot be read."""
    try:
        if is_binary(folder):
            with (folder / "images.bin").open("rb") as file:
                return struct.unpack("<Q", file.read(8))[0]
        return sum(1 for _ in image_lines(folder / "images.txt"))
    except (OSError, struct.error, UserError):
        return 0


def read_model(path: Path) -> Model:
    """The sparse model in the folder `path`. Raises UserError where it is damaged, or pycolmap is missing."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused with its image, or left out with its point
            return _converted(path, _read_binary(path) if is_binary(path) else read_text_model(path))
    except _DAMAGED as error:
        raise UserError(f"{path} is a damaged COLMAP model ({reason(error)}); export it again") from None


def load_pycolmap():
    """The module. Raises ImportError where it is not installed.

    It brings along a handler of SIGTERM, which prints a stack trace where somebody stops the program: ours stays.
    """
    before = signal.getsignal(signal.SIGTERM)
    import pycolmap

    with contextlib.suppress(ValueError, TypeError):  # only the main thread may; None: not set by Python
        signal.signal(signal.SIGTERM, before)
    return pycolmap


def _read_binary(path: Path) -> Sparse:
    try:
        pycolmap = load_pycolmap()
    except ImportError:
        raise UserError(
            f"{path} is a COLMAP model, which is read with pycolmap; install it: pip install 'taichi-nerf[colmap]'"
        ) from None
    if not (path / "points3D.bin").is_file():
        raise UserError(f"{path} lacks points3D.bin; copy the whole model")
    check_binary_model(path)
    read = pycolmap.Reconstruction(str(path))
    cameras = {n: Camera(c.model.name, np.array(c.params, np.float64), (int(c.width), int(c.height)))
               for n, c in read.cameras.items()}
    images = [Image(image.name, int(image.image_id), int(image.camera_id), image.cam_from_world().matrix(),
                    [(p.point3D_id, *p.xy) for p in image.points2D])
              for image in read.images.values() if image.has_pose]
    points = {n: Point(p.xyz, p.color, p.error, p.track.length()) for n, p in read.points3D.items()}
    return Sparse(cameras, images, points)


def _converted(path: Path, sparse: Sparse) -> Model:
    centres = [-image.from_world[:, :3].T @ image.from_world[:, 3] for image in sparse.images]
    origin = far_origin(np.array(centres).reshape(-1, 3))
    points, index = _points(sparse, origin)
    tracked = points.views is not None
    images = sorted(sparse.images, key=lambda image: natural(image.name))
    views = [_view(sparse, image, index if tracked else None, origin) for image in images]
    return Model(path=path, views=views, points=points, lost=len(sparse.points) - len(points), origin=origin)


def _points(sparse: Sparse, origin: np.ndarray) -> tuple[Points, dict[int, int]]:
    """The points within reach, and their numbers by COLMAP's ids."""
    found = sorted(sparse.points.items())
    position = np.array([point.position for _, point in found]).reshape(-1, 3) - origin
    kept = np.flatnonzero((np.abs(position) < _FARTHEST_POINT).all(axis=1))  # not where it is no number
    views = np.array([found[n][1].views for n in kept], dtype=np.int32)
    error = np.array([found[n][1].error for n in kept], dtype=np.float64)
    points = Points(
        position=position[kept],
        colour=np.array([found[n][1].colour for n in kept], dtype=np.uint8).reshape(-1, 3),
        error=_known_errors(error),
        views=views if len(kept) and views.any() else None,
    )
    return points, {found[n][0]: k for k, n in enumerate(kept)}


def _known_errors(error: np.ndarray) -> np.ndarray | None:
    """[P]: with the median in place of those that are not known, as of points since the last adjustment, which COLMAP
    writes as -1; None where none is."""
    known = (error >= 0) & (error < _FARTHEST_POINT)  # nor is NaN
    return np.where(known, error, np.median(error[known])) if known.any() else None


def _view(sparse: Sparse, image: Image, index: Mapping[int, int] | None, origin: np.ndarray) -> View:
    camera = sparse.cameras[image.camera_id]
    axes = image.from_world[:, :3].T
    seen = []
    if index is not None:
        seen = [(index[point], x, y) for point, x, y in image.seen if point in index]
    seen = np.array(seen).reshape(-1, 3)
    seen = seen[np.isfinite(seen).all(axis=1)]
    sightings = None if index is None else Sightings(point=seen[:, 0], pixel=np.clip(seen[:, 1:], -1e6, 1e6))
    centre = -axes @ image.from_world[:, 3:] - origin[:, None]
    return View(
        name=image.name,
        image_id=image.image_id,
        camera_id=image.camera_id,
        pose=np.concatenate([axes @ OPENGL_FROM_OPENCV, centre], axis=1),
        camera_model=camera.model,
        parameters=camera.parameters,
        size=camera.size,
        sightings=sightings,
    )
