"""A frame is an image with its pose and lens, checked; here, those in the `frames` of a transforms file.

A value that a frame states itself wins over the file's. What the keys mean:

    fl_x fl_y cx cy w h                 pixels
    camera_angle_x camera_angle_y       field of view in radians, used where no focal length is stated
    k1 k2 k3 k4 p1 p2                   distortion, OpenCV's sense
    camera_model, is_fisheye            the lens
    transform_matrix                    camera to world, OpenGL axes, 3 x 4 or 4 x 4
    file_path                           relative to the file, with or without ending
    time                                from 0 to 1, of a scene that moves (D-NeRF)
    mask_path, object_mask_path         relative to the file: what is black is neither trained on nor scored
"""

import json
import math
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from .images import ENDINGS, Mask, image_size
from .scene import FISHEYE, PERSPECTIVE, Cameras, Sightings

PERSPECTIVE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
FISHEYE_MODELS = ("OPENCV_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_RADIAL_FISHEYE")
UNSUPPORTED_LENSES = ("ftheta_p0", "latlong", "equirectangular", "orthographic", "fov")
MASK_KEYS = ("mask_path", "object_mask_path")
_ROTATION_TOLERANCE = 2e-3
_FARTHEST = 1e6


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image with its camera."""

    where: str
    """For messages: file, number of the frame, image."""
    path: Path
    """The image file."""
    camera_to_world: np.ndarray
    """[3, 4] float64."""
    focal: tuple[float, float]
    principal: tuple[float, float]
    distortion: tuple[float, float, float, float, float, float]
    lens: int
    size: tuple[int, int]
    """Width, height: of the camera and of the image file."""
    time: float | None = None
    """In [0, 1], of a scene that moves."""
    ids: Mapping[str, int] = field(default_factory=dict)
    """As of `Split.ids`."""
    bounds: tuple[float, float] | None = None
    """As of `Split.bounds`."""
    sightings: Sightings | None = None
    """Of the scene's points, in pixels of the image file."""
    masks: tuple[Mask, ...] = ()
    """That the scene states for the image."""


class Problems:
    """Errors on the way: the first is raised, or (not strict) all are collected and their frames left out."""

    def __init__(self, strict: bool):
        self.strict = strict
        self.found: list[str] = []

    def add(self, error: UserError):
        if self.strict:
            raise error
        self.found.append(str(error))


def read_json(path: Path):
    """What the JSON file `path` holds. Raises UserError."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({(error.strerror or str(error)).lower()}); check the path"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; export it again") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            "correct that line or export the file again"
        ) from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path} is not valid JSON ({type(error).__name__}); export it again") from None


def read_object(path: Path) -> dict:
    """The JSON object in `path`. Raises UserError."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; export it again or pick another file")
    return content


def read_transforms(path: Path) -> dict:
    """The JSON object in `path`, its `frames` checked to be a list of objects. Raises UserError."""
    content = read_object(path)
    frames = content.get("frames")
    if not isinstance(frames, list):
        raise UserError(f"{path} has no list 'frames'; export it again or pick another file")
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise UserError(
                f"{path}: frame {number} is {_short(frame)}, not an object; correct it or take it out"
            )
    return content


def parse_frame(path: Path, content: dict, number: int) -> Frame:
    """Frame `number` of the transforms file `path`. Raises UserError naming the file and the frame."""
    own = content["frames"][number]
    where = f"{path}: frame {number} ({_short(own.get('file_path'))})"
    image = image_path(path, own)
    if image is None:
        stated = _file_path(path, number, own)
        raise UserError(
            f"{where}: the image {path.parent / stated} does not exist; "
            "put it there or take the frame out of the list"
        )
    keys = ChainMap(own, {key: value for key, value in content.items() if key != "frames"})
    size = _size(keys, image, where)
    lens = _lens(keys, where)
    focal = _focal(own, content, size, lens, where)
    principal = (number_of(keys, "cx", 0.5 * size[0], where), number_of(keys, "cy", 0.5 * size[1], where))
    distortion = tuple(number_of(keys, key, 0.0, where) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    check_intrinsics(focal, principal, distortion, lens, size, where)
    return Frame(
        where=where,
        path=image,
        camera_to_world=_pose(own, where),
        focal=focal,
        principal=principal,
        distortion=distortion,
        lens=lens,
        size=size,
        time=_time(own, where),
        masks=_masks(path, own, where),
    )


def parse_frames(path: Path, content: dict, numbers: Sequence[int], problems: Problems) -> dict[int, Frame]:
    """The frames `numbers` of the file, those left out that have a problem."""
    frames = {}
    for number in numbers:
        try:
            frames[number] = parse_frame(path, content, number)
        except UserError as error:
            problems.add(error)
    return frames


def fill_times(contents: Sequence[dict]):
    """Where some frames state a `time`, give the frames i of N that do not the time i / (N - 1), as D-NeRF does."""
    if not any("time" in frame for content in contents for frame in content["frames"]):
        return
    for content in contents:
        last = max(len(content["frames"]) - 1, 1)
        for number, frame in enumerate(content["frames"]):
            frame.setdefault("time", number / last)


def image_path(path: Path, frame: Mapping) -> Path | None:
    """The image file of a frame of the transforms file `path`, ending added if need be; None if missing."""
    stated = frame.get("file_path")
    if not isinstance(stated, str) or not stated.strip() or "\0" in stated:
        return None
    for spelling in dict.fromkeys((stated, stated.replace("\\", "/"))):
        for ending in ("", *ENDINGS):
            candidate = path.parent / (spelling + ending)
            try:
                if candidate.is_file():
                    return candidate
            except OSError:  # a name that is too long
                return None
    return None


def stack_cameras(frames: Sequence[Frame]) -> Cameras:
    """The cameras of the frames, in their order."""
    return Cameras(
        camera_to_world=np.array([f.camera_to_world for f in frames], dtype=np.float64).reshape(-1, 3, 4),
        focal=np.array([f.focal for f in frames]).reshape(-1, 2),
        principal=np.array([f.principal for f in frames]).reshape(-1, 2),
        distortion=np.array([f.distortion for f in frames]).reshape(-1, 6),
        lens=np.array([f.lens for f in frames]),
        size=np.array([f.size for f in frames]).reshape(-1, 2),
    )


def number_of(keys: Mapping, key: str, default: float | None, where: str) -> float:
    """The finite number under `key`, or the default. Raises UserError."""
    value = keys.get(key, default)
    if value is None and key not in keys:
        raise UserError(f"{where}: '{key}' is missing; add it")
    return finite(value, f"{where}: '{key}'")


def finite(value, what: str) -> float:
    """`value` as a float that single precision can hold. Raises UserError starting with `what`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{what} is {_short(value)}, not a number; correct it")
    if abs(value) > 1e30 or not math.isfinite(value):
        raise UserError(f"{what} is {_short(value)}, not a finite number; correct it")
    return float(value)


def _file_path(path: Path, number: int, frame: Mapping) -> str:
    stated = frame.get("file_path")
    if stated is None:
        raise UserError(f"{path}: frame {number} has no 'file_path'; add the path of its image")
    if not isinstance(stated, str) or not stated.strip() or "\0" in stated:
        raise UserError(f"{path}: frame {number}: 'file_path' is {_short(stated)}, not a path; correct it")
    return stated if len(stated) < 300 else stated[:300] + "..."


def _masks(path: Path, frame: Mapping, where: str) -> tuple[Mask, ...]:
    """The masks that a frame states; a mask for several purposes excludes what any of them excludes."""
    masks = []
    for key in MASK_KEYS:
        stated = frame.get(key)
        if stated is None:
            continue
        if not isinstance(stated, str) or not stated.strip() or "\0" in stated:
            raise UserError(f"{where}: '{key}' is {_short(stated)}, not a path; correct it or take it out")
        masks.append(Mask(path.parent / stated.replace("\\", "/")))
    return tuple(masks)


def _size(keys: Mapping, image: Path, where: str) -> tuple[int, int]:
    """Size of the image file, which must be the size of the camera where that is stated."""
    actual = image_size(image)
    stated = tuple(number_of(keys, key, default, where) for key, default in zip(("w", "h"), actual))
    if min(stated) < 1 or any(s != int(s) for s in stated):
        raise UserError(
            f"{where}: 'w' and 'h' are {stated[0]:g} and {stated[1]:g}, no image size; correct them"
        )
    if stated == actual:
        return actual
    message = (
        f"{where}: the image {image} is {actual[0]} x {actual[1]} pixels and its camera "
        f"{stated[0]:g} x {stated[1]:g}"
    )
    if stated == actual[::-1]:
        raise UserError(f"{message}, turned by 90 degrees; store the image as its camera saw it")
    if stated[0] * actual[1] == stated[1] * actual[0]:
        raise UserError(
            f"{message}, another size of the same picture; scale w, h, fl_x, fl_y, cx and cy with it, "
            "or use the images in full size and --downscale N"
        )
    raise UserError(f"{message}; use the image that the camera was calibrated with")


def _lens(keys: Mapping, where: str) -> int:
    for key in UNSUPPORTED_LENSES:
        if keys.get(key):
            raise UserError(
                f"{where}: lenses of type '{key}' are not supported; undistort the images to a "
                f"perspective lens"
            )
    model = keys.get("camera_model", "OPENCV")
    if not isinstance(model, str) or model.upper() not in PERSPECTIVE_MODELS + FISHEYE_MODELS:
        raise UserError(
            f"{where}: 'camera_model' is {_short(model)}, which is not supported; undistort the images, "
            f"or use one of {', '.join(PERSPECTIVE_MODELS + FISHEYE_MODELS)}"
        )
    fisheye = keys.get("is_fisheye", False)
    if not isinstance(fisheye, (bool, int)):
        raise UserError(f"{where}: 'is_fisheye' is {_short(fisheye)}; set it to true or false")
    return FISHEYE if fisheye or model.upper() in FISHEYE_MODELS else PERSPECTIVE


def _focal(
    own: Mapping, content: Mapping, size: tuple[int, int], lens: int, where: str
) -> tuple[float, float]:
    """Focal lengths in pixels: the frame's own, else the file's; where only one is stated it is both."""
    for scope in (own, content):
        focal = tuple(_focal_along(scope, axis, size[k], lens, where) for k, axis in enumerate("xy"))
        if focal != (None, None):
            return (focal[0] or focal[1], focal[1] or focal[0])
    raise UserError(
        f"{where}: neither 'fl_x' nor 'camera_angle_x' is stated; add the focal length in pixels as fl_x"
    )


def _focal_along(scope: Mapping, axis: str, length: int, lens: int, where: str) -> float | None:
    if f"fl_{axis}" in scope:
        focal = number_of(scope, f"fl_{axis}", None, where)
        if focal <= 0:
            raise UserError(
                f"{where}: 'fl_{axis}' is {focal:g}; a focal length in pixels is positive, correct it"
            )
        return focal
    key = f"camera_angle_{axis}"
    if key not in scope or (axis == "y" and "fl_x" in scope):
        return None
    angle = number_of(scope, key, None, where)
    if not 0 < angle < math.pi:
        raise UserError(
            f"{where}: '{key}' is {angle:g}; a field of view lies between 0 and pi radians, "
            "convert it if it is in degrees"
        )
    if lens == FISHEYE:
        return length / angle  # equidistant: radius = focal * angle from the axis
    return 0.5 * length / math.tan(0.5 * angle)


def check_intrinsics(focal, principal, distortion, lens: int, size, where: str):
    """Raises UserError where no camera has such a lens; arguments as of Frame."""
    for name, f, length in zip(("fl_x", "fl_y"), focal, size):
        half = 0.5 * length / f
        view = math.degrees(2 * (half if lens == FISHEYE else math.atan(half)))
        if not 0.1 <= view <= (400 if lens == FISHEYE else 175):
            raise UserError(
                f"{where}: a focal length of {f:g} pixels ({name}) means a field of view of "
                f"{view:.3g} degrees over {length} pixels; correct it"
            )
    if any(abs(c - 0.5 * length) > 10 * length for c, length in zip(principal, size)):
        raise UserError(
            f"{where}: the principal point ({principal[0]:g}, {principal[1]:g}) lies far outside "
            f"the image of "
            f"{size[0]} x {size[1]} pixels; correct cx and cy"
        )
    if max(map(abs, distortion)) > 1e3:
        raise UserError(
            f"{where}: a distortion of {max(distortion, key=abs):g} is no lens; correct k1, k2, k3, "
            f"k4, p1, p2"
        )
    if lens == PERSPECTIVE and distortion[3] != 0:
        raise UserError(
            f"{where}: 'k4' belongs to a fisheye lens; set camera_model to OPENCV_FISHEYE or take k4 out"
        )


def _time(frame: Mapping, where: str) -> float | None:
    if "time" not in frame:
        return None
    time = number_of(frame, "time", None, where)
    if not 0 <= time <= 1:
        raise UserError(f"{where}: 'time' is {time:g}; times lie between 0 and 1, divide all by the last")
    return time


def _pose(frame: Mapping, where: str) -> np.ndarray:
    """[3, 4] float64: `transform_matrix`, checked to be a rotation and a translation."""
    if "transform_matrix" not in frame:
        raise UserError(f"{where}: 'transform_matrix' is missing; add the camera-to-world matrix")
    rows = frame["transform_matrix"]
    if (
        not isinstance(rows, list)
        or len(rows) not in (3, 4)
        or any(not isinstance(r, list) or len(r) != 4 for r in rows)
    ):
        raise UserError(
            f"{where}: 'transform_matrix' is not a list of 3 or 4 rows of 4 numbers; export it again"
        )
    matrix = np.array(
        [
            [finite(v, f"{where}: 'transform_matrix' entry ({i}, {j})") for j, v in enumerate(row)]
            for i, row in enumerate(rows)
        ]
    )
    if len(rows) == 4 and np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-5:
        raise UserError(
            f"{where}: the last row of 'transform_matrix' is {matrix[3].tolist()}, not [0, 0, 0, 1]; "
            "a transposed or projective matrix is not a pose, export it again"
        )
    check_pose(matrix[:3], where)
    return matrix[:3]


def check_pose(pose: np.ndarray, where: str):
    """Raises UserError unless `pose` [3, 4] is a rotation and a position that single precision can hold."""
    _check_rotation(pose[:, :3], where)
    if np.abs(pose[:, 3]).max() > _FARTHEST:
        raise UserError(
            f"{where}: the camera is {np.abs(pose[:, 3]).max():.3g} units from the origin, too far for single "
            "precision; move the scene to the origin"
        )


def _check_rotation(rotation: np.ndarray, where: str):
    bounded = np.clip(rotation, -10, 10)  # whose product does not overflow
    deviation = np.abs(bounded.T @ bounded - np.eye(3)).max()
    if not deviation <= _ROTATION_TOLERANCE:
        raise UserError(
            f"{where}: the pose is not a rotation (R^T R differs from the identity by "
            f"{deviation:.2g}); export the poses again without scale or shear"
        )
    if np.linalg.det(rotation) < 0:
        raise UserError(
            f"{where}: the pose mirrors (determinant -1); export the poses again with "
            "right-handed axes"
        )


def _short(value) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
