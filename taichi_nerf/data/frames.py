"""A frame is an image with its pose and lens, checked; here, those in the `frames` of a transforms file.

A value that a frame states itself wins over the file's. What the keys mean, beside those of the lens (intrinsics.py)
and of the pose (poses.py):

    file_path                           relative to the file, with or without ending
    time                                from 0 to 1, of a scene that moves (D-NeRF)
    exposure                            shutter time times gain, in any unit that all frames share (Block-NeRF)
    mask_path, object_mask_path         relative to the file: what is black is neither trained on nor scored
    depth_file_path, depth_path         relative to the file: distances along the optical axis
    fisheye_crop_radius                 pixels from the middle of the picture: what is further away is left out
    white_transparent, black_transparent    of the file: pixels of this colour show nothing
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from .images import Mask
from .intrinsics import camera_size, lens_of, merged
from .json_files import finite as finite
from .json_files import flag_of, number_of, short
from .json_files import read_json as read_json
from .json_files import read_object as read_object
from .keys import FRAME, HEAD, check_geometry
from .lenses import Lens
from .names import find_file, usable
from .opening import ENDINGS
from .poses import PoseReader
from .scene import Cameras, Sightings

MASK_KEYS = ("mask_path", "object_mask_path")
SIZES = (1, 2, 4, 8, 16)  # by which copies in `images_2`, `images_4`, ... are smaller
MILLIMETRE = 0.001
FEW_MISSING = 0.2  # of the images


@dataclass(frozen=True, kw_only=True)
class Depth:
    """An image of distances along the optical axis."""

    path: Path
    unit: float
    """World units of a step of its values; 0 is unknown."""


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
    exposure: float | None = None
    """Shutter time times gain, above 0, in a unit that all frames share."""
    ids: Mapping[str, int] = field(default_factory=dict)
    """As of `Split.ids`."""
    bounds: tuple[float, float] | None = None
    """As of `Split.bounds`."""
    sightings: Sightings | None = None
    """Of the scene's points, in pixels of the image file."""
    masks: tuple[Mask, ...] = ()
    """That the scene states for the image."""
    depth: Depth | None = None
    clear: tuple[int, ...] = ()
    """As of `Decoding.clear`."""
    crop_radius: float | None = None
    """Pixels from the middle of the picture beyond which nothing counts."""
    smaller: int = 1
    """How many times smaller the image file is than what the scene names."""
    guesses: tuple[str, ...] = ()
    """What had to be guessed of it, in words."""

    @property
    def optics(self) -> Lens:
        """The lens by itself."""
        return Lens(self.focal, self.principal, self.distortion, self.lens, self.size)


class MissingImage(UserError):
    """The image of a frame is not there."""

    def __init__(self, where: str, image: Path, remedy: str):
        super().__init__(f"{where}: the image {image} does not exist; {remedy}, or leave out what is missing with "
                         "--skip-missing")
        self.image = image


class Problems:
    """Errors on the way: the first is raised, or (not strict) all are collected and their frames left out.

    Images that are missing are left out as well if `skip_missing` says so; None: as long as they are few. `warnings`
    are what the user should know although all goes on.
    """

    def __init__(self, strict: bool, skip_missing: bool | None = False):
        self.strict, self.skip_missing = strict, skip_missing
        self.found: list[str] = []
        self.warnings: list[str] = []

    def add(self, error: UserError):
        if self.strict and self.skip_missing and isinstance(error, MissingImage):
            self.warn(str(error))
        elif self.strict:
            raise error
        else:
            self.found.append(str(error))

    def add_missing(self, errors: Sequence[MissingImage], total: int):
        """Images that are not there, of `total`."""
        few = self.skip_missing is None and len(errors) <= FEW_MISSING * total
        if errors and self.strict and (self.skip_missing or few):
            names = ", ".join(str(error.image) for error in errors[:3])
            more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
            self.warn(f"{len(errors)} of {total} images are missing and left out: {names}{more}")
            return
        for error in errors:
            self.add(error)

    def warn(self, *texts: str):
        """Tell each of them, once."""
        self.warnings += [text for text in dict.fromkeys(texts) if text not in self.warnings]


def read_transforms(path: Path) -> dict:
    """The JSON object in `path`, its `frames` checked to be a list of objects. Raises UserError."""
    content = read_object(path)
    check_frames(path, content.get("frames"), "frames")
    check_geometry(content, HEAD, str(path))
    return content


def check_frames(path: Path, frames, key: str):
    """Raises UserError unless `frames` is a list of objects."""
    if not isinstance(frames, list):
        raise UserError(f"{path} has no list '{key}'; export it again or pick another file")
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise UserError(
                f"{path}: frame {number} is {short(frame)}, not an object; correct it or take it out"
            )


def parse_frame(path: Path, content: dict, number: int, poses: PoseReader) -> Frame:
    """Frame `number` of the transforms file `path`. Raises UserError naming the file and the frame."""
    own = content["frames"][number]
    where = f"{path}: frame {number} ({short(own.get('file_path'))})"
    found = find_copy(path.parent, own.get("file_path"), ENDINGS)
    if found is None:
        stated = _file_path(path, number, own)
        raise MissingImage(where, path.parent / stated, "put it there, take the frame out of the list")
    check_geometry(own, FRAME, where)
    image, smaller = found
    keys = merged(own, content)
    of_camera, size = camera_size(keys, image, smaller, where)
    lens, guesses = lens_of(own, content, of_camera, where)
    depth, depth_guesses = _depth(path, own, content, smaller, where)
    exposure, exposure_guesses = _exposure(own, where)
    ratio = (1.0, 1.0) if of_camera == size else tuple(np.divide(size, of_camera).tolist())
    return Frame(
        where=where,
        path=image,
        camera_to_world=poses.read(keys, where),
        focal=tuple(f * r for f, r in zip(lens.focal, ratio)),
        principal=tuple(c * r for c, r in zip(lens.principal, ratio)),
        distortion=lens.distortion,
        lens=lens.kind,
        size=size,
        time=_time(own, where),
        exposure=exposure,
        masks=_masks(path, own, smaller, where),
        depth=depth,
        clear=clear_colours(content, path),
        crop_radius=_crop_radius(keys, ratio[0], where),
        smaller=smaller,
        guesses=(*guesses, *depth_guesses, *exposure_guesses),
    )


def parse_frames(path: Path, content: dict, numbers: Sequence[int], problems: Problems,
                 poses: PoseReader) -> dict[int, Frame]:
    """The frames `numbers` of the file, those left out that have a problem."""
    frames, missing = {}, []
    for number in numbers:
        try:
            frames[number] = parse_frame(path, content, number, poses)
        except MissingImage as error:
            missing.append(error)
        except UserError as error:
            problems.add(error)
    problems.add_missing(missing, len(numbers))
    return frames


def fill_times(contents: Mapping[Path, dict]) -> list[str]:
    """Where some frames state a `time`, give the frames i of N that do not the time i / (N - 1), as D-NeRF does; which
    files have such frames, in words."""
    filled = []
    if not any("time" in frame for content in contents.values() for frame in content["frames"]):
        return filled
    for path, content in contents.items():
        frames = content["frames"]
        without = [number for number, frame in enumerate(frames) if "time" not in frame]
        for number in without:
            frames[number]["time"] = number / max(len(frames) - 1, 1)
        if without:
            filled.append(f"{len(without)} of {len(frames)} frames of {path.name} state no time; they are taken as "
                          "evenly spaced")
    return filled


def image_path(path: Path, frame: Mapping) -> Path | None:
    """The image file of a frame of the transforms file `path`, in whatever spelling; None if missing."""
    found = find_copy(path.parent, frame.get("file_path"), ENDINGS)
    return found and found[0]


def find_copy(folder: Path, name, endings: Sequence[str] = ()) -> tuple[Path, int] | None:
    """The file called `name`, or the largest of its smaller copies in `images_2`, `images_4`, ...; how much smaller."""
    if not usable(name):
        return None
    if (found := find_file(folder, name, endings)) is not None:
        return found, 1
    parent, _, last = name.replace("\\", "/").rpartition("/")
    if not parent.strip("./"):
        return None
    copies = ((size, find_file(folder, f"{parent}_{size}/{last}", endings)) for size in SIZES[1:])
    return next(((file, size) for size, file in copies if file is not None), None)


def clear_colours(content: Mapping, path: Path) -> tuple[int, ...]:
    """Greys that the file says to be transparent."""
    stated = (("white_transparent", 255), ("black_transparent", 0))
    return tuple(grey for key, grey in stated if flag_of(content, key, False, str(path)))


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


def _file_path(path: Path, number: int, frame: Mapping) -> str:
    stated = frame.get("file_path")
    if stated is None:
        raise UserError(f"{path}: frame {number} has no 'file_path'; add the path of its image")
    if not isinstance(stated, str) or not stated.strip() or "\0" in stated:
        raise UserError(f"{path}: frame {number}: 'file_path' is {short(stated)}, not a path; correct it")
    return stated if len(stated) < 300 else stated[:300] + "..."


def _stated_file(path: Path, frame: Mapping, key: str, smaller: int, where: str) -> Path | None:
    """The file that a frame states under `key`, found or not; None where it states none."""
    stated = frame.get(key)
    if stated is None:
        return None
    if not isinstance(stated, str) or not stated.strip() or "\0" in stated:
        raise UserError(f"{where}: '{key}' is {short(stated)}, not a path; correct it or take it out")
    spelled = stated.replace("\\", "/")
    if smaller > 1 and "/" in spelled:
        folder, name = spelled.rsplit("/", 1)
        if (copy := find_file(path.parent, f"{folder}_{smaller}/{name}")) is not None:
            return copy
    found = find_file(path.parent, stated)
    return path.parent / spelled if found is None else found


def _masks(path: Path, frame: Mapping, smaller: int, where: str) -> tuple[Mask, ...]:
    """The masks that a frame states; a mask for several purposes excludes what any of them excludes."""
    files = (_stated_file(path, frame, key, smaller, where) for key in MASK_KEYS)
    return tuple(Mask(file) for file in files if file is not None)


def _depth(path: Path, own: Mapping, content: Mapping, smaller: int,
           where: str) -> tuple[Depth | None, tuple[str, ...]]:
    """nerfstudio's depth_file_path, in millimetres unless the file says otherwise, or instant-ngp's depth_path, of
    which the file must say the unit; and in words why it is not used."""
    keys = merged(own, content)
    if (file := _stated_file(path, own, "depth_file_path", smaller, where)) is not None:
        return Depth(path=file, unit=_positive(keys, "depth_unit_scale_factor", MILLIMETRE, where)), ()
    file = _stated_file(path, own, "depth_path", smaller, where)
    if file is None or not flag_of(keys, "enable_depth_loading", True, where):
        return None, ()
    unit = number_of(keys, "integer_depth_scale", -1.0, where)
    if unit > 0:
        return Depth(path=file, unit=unit), ()
    return None, ("depth images ('depth_path') are not used: the file states no integer_depth_scale",)


def _crop_radius(keys: Mapping, ratio: float, where: str) -> float | None:
    if keys.get("fisheye_crop_radius") is None:
        return None
    return ratio * _positive(keys, "fisheye_crop_radius", None, where)


def _positive(keys: Mapping, key: str, default: float | None, where: str) -> float:
    value = number_of(keys, key, default, where)
    if not value > 0:
        raise UserError(f"{where}: '{key}' is {value:g}; it must be positive, correct it")
    return value


def _exposure(frame: Mapping, where: str) -> tuple[float | None, tuple[str, ...]]:
    """Shutter time times gain, and what is said where it cannot be that: other programs may mean something else."""
    if "exposure" not in frame:
        return None, ()
    exposure = number_of(frame, "exposure", None, where)
    if exposure > 0:
        return exposure, ()
    return None, ("an 'exposure' is not above 0, which shutter time times gain would be: exposures are not used",)


def _time(frame: Mapping, where: str) -> float | None:
    if "time" not in frame:
        return None
    time = number_of(frame, "time", None, where)
    if not 0 <= time <= 1:
        raise UserError(f"{where}: 'time' is {time:g}; times lie between 0 and 1, "
                        "shift and divide all so that the first is 0 and the last 1")
    return time
