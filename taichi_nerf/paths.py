"""Where a virtual camera goes: around the scene, past it, along a file's poses, or to a split's cameras.

Every function but `to_json` gives `Cameras` in MODEL space (camera to world, OpenGL axes: x right, y up, z back),
perspective and without distortion but for `of_split`.

The file of a camera path is a JSON object:

    {"size": [1280, 720],                                   optional
     "fov": 40,                                             degrees, from the lower to the upper edge
     "frames": [{"camera_to_world": [[...], [...], [...]]}, 3 x 4 or 4 x 4, in the world of the scene's file
                {"camera_to_world": ..., "fov": 35}]}       what a frame states wins

A frame may state a `time` from 0 to 1 as well, if all do (`times_from_json`).

`focal` in pixels of `size` may stand in place of `fov`. nerfstudio's `camera_path.json` is read as well; its
poses are taken to be in the world of the scene's file, too. So is a transforms file: its poses, sizes and fields of
view.
"""

import json
import math
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .data.intrinsics import lens_of
from .data.json_files import finite
from .data.keys import LENS
from .data.opening import check_regular, reason_of
from .data.placement import up_axis
from .data.scene import FISHEYE, PERSPECTIVE, Cameras, Scene, Split, every_view
from .errors import UserError

WIDEST = math.radians(100)  # a wider lens would show a stretched picture
HIGHEST = math.radians(55)  # elevation of an orbit
OPEN_ARC = math.radians(110)  # a gap between cameras from which on an orbit turns back
LONGEST_SIDE = 16384
_OF_TRANSFORMS = ("fl_x", "fl_y", "x_fov", "y_fov", "camera_angle_x", "camera_angle_y")


def orbit(scene: Scene, frames: int, *, size: tuple[int, int] | None = None) -> Cameras:
    """One turn around what the training cameras look at, at their height and distance.

    The axis is the one around which the cameras stand upright. Where they leave a wide gap, from which
    nothing was seen, the path swings to and fro beside it instead. The first frame follows on the last. Where
    the cameras look outwards from the middle, so does the path.

    Args:
        frames: number of cameras.
        size: width and height of the pictures; those of the first training camera by default. What that
            camera sees across and along stays in the picture.

    Raises:
        UserError: no frames, a size that is none, or a scene without cameras.
    """
    _check_frames(frames)
    cameras = _known_cameras(scene)
    focus, up = point_of_interest(cameras), up_axis(cameras.camera_to_world)
    across, deep = _plane(up)
    offset = cameras.position.astype(np.float64) - focus
    distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-6)
    azimuth = np.arctan2(offset @ deep, offset @ across)
    elevation = np.arcsin(np.clip(offset @ up / distance, -1, 1))
    angle = _azimuths(azimuth, frames)
    # nearby cameras say how high and how far; the wide window makes it a smooth curve
    weight = np.exp((np.cos(angle[:, None] - azimuth) - 1) / (2 * math.radians(40) ** 2)) + 1e-9
    weight /= weight.sum(axis=1, keepdims=True)
    height = np.clip(weight @ elevation, -HIGHEST, HIGHEST)
    radius = np.exp(weight @ np.log(distance))
    outward = (
        np.cos(height)[:, None] * (np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * deep)
        + np.sin(height)[:, None] * up
    )
    back = outward if _look_inwards(cameras, focus) else -outward
    return _perspective(_upright(focus + radius[:, None] * outward, back, up), _lens(cameras, size))


def spiral(scene: Scene, frames: int, *, size: tuple[int, int] | None = None) -> Cameras:
    """Two turns of a spiral about the mean training camera: for captures that face one way.

    It looks at what the cameras look at, and fills the room that they took up, as in Local Light Field Fusion
    (Mildenhall et al. 2019). The first frame follows on the last. Arguments and errors as of `orbit`.
    """
    _check_frames(frames)
    cameras = _known_cameras(scene)
    focus, up = point_of_interest(cameras), up_axis(cameras.camera_to_world)
    centre = cameras.position.astype(np.float64).mean(axis=0)
    view = cameras.view_direction.astype(np.float64).mean(axis=0)
    if np.linalg.norm(view) < 0.5:
        raise UserError(
            f"the cameras of {scene.name} look into all directions; a spiral is for cameras that face one "
            "way, choose an orbit"
        )
    pose = _upright(centre[None], -view[None], up)[0]
    reach = np.percentile(np.abs((cameras.position - centre) @ pose[:, :3]), 80, axis=0)  # [3]
    angle = 4 * np.pi * np.arange(frames) / frames
    local = np.stack([np.cos(angle), -np.sin(angle), -np.sin(0.5 * angle)], axis=1) * reach * (1, 1, 0.5)
    position = centre + local @ pose[:, :3].T
    distance = max(float((focus - centre) @ (view / np.linalg.norm(view))), 1e-3)
    target = centre - distance * pose[:, 2]
    return _perspective(_upright(position, position - target, up), _lens(cameras, size))


def of_split(scene: Scene, split: str, every: int = 1, *, size: tuple[int, int] | None = None) -> Cameras:
    """The cameras of every `every`-th view of a split, with their lenses; `size` resamples the same picture, of which
    a view that has several sizes gives one.

    Raises:
        UserError: the scene has no such split, or no camera in it.
    """
    if split not in scene.splits or len(scene.splits[split]) == 0:
        raise UserError(
            f"{scene.name} has no cameras in a split '{split}'; it has {', '.join(scene.splits) or 'none'}"
        )
    if every < 1:
        raise UserError(f"every must be at least 1, got {every}")
    cameras = scene.model_cameras(split).subset(_chosen(scene.splits[split], every, size))
    return cameras if size is None else cameras.resized(_checked_size(size))


def times_of_split(scene: Scene, split: str, every: int = 1, *,
                   size: tuple[int, int] | None = None) -> np.ndarray | None:
    """[N] when the views that `of_split` gives were taken, in [0, 1]; None of a scene that does not move."""
    time = scene.splits[split].time
    return None if time is None else time[_chosen(scene.splits[split], every, size)]


def _chosen(split: Split, every: int, size: tuple[int, int] | None) -> np.ndarray:
    """Numbers of every `every`-th view with all its images, or with a `size` of one image of each."""
    chosen = every_view(split.scale, len(split), every)
    if size is not None and split.scale is not None:
        chosen = chosen[split.scale[chosen] == split.scale[chosen].min()]
    return chosen


def from_json(
    path: Path | str, scene: Scene, *, size: tuple[int, int] | None = None, frames: int | None = None
) -> Cameras:
    """The cameras of a camera-path file, whose format the module describes.

    Args:
        size: width and height of the pictures in place of what the file says; the vertical field of view
            stays.
        frames: take the file's poses as key frames and interpolate that many from the first to the last:
            positions and lenses along a Catmull-Rom spline, rotations along the shortest turn.

    Raises:
        UserError: the file is missing, is no JSON, or a frame of it is not a camera.
    """
    path = Path(path).expanduser()
    content = _read_json(path)
    entries, shared, key = _entries(path, content)
    default = size or shared.get("size")
    if default is None:
        default = tuple(_known_cameras(scene).size[0].tolist())
    poses, focal, sizes = [], [], []
    for number, entry in enumerate(entries):
        where = f"{path}: {key} {number}"
        if not isinstance(entry, dict):
            raise UserError(f"{where} is {_short(entry)}, not an object; correct it or take it out")
        if "w" in entry and "h" in entry:
            entry = {"size": [entry["w"], entry["h"]], **entry}
        values = ChainMap(entry, shared)
        own = _checked_size(size or values.get("size") or default, where)
        poses.append(_pose(entry, where))
        focal.append(_focal(entry, shared, own, where))
        sizes.append(own)
    poses, focal, sizes = np.array(poses), np.array(focal), np.array(sizes)
    poses[:, :, 3] -= scene.origin
    if frames is not None:
        _check_frames(frames)
        poses, focal = interpolate(poses, focal, frames)
        sizes = np.repeat(sizes[:1], frames, axis=0)
    count = len(poses)
    return scene.model_cameras(
        Cameras(
            camera_to_world=poses,
            focal=np.stack([focal, focal], 1),
            principal=0.5 * sizes,
            distortion=np.zeros((count, 6)),
            lens=np.full(count, PERSPECTIVE),
            size=sizes,
        )
    )


def times_from_json(path: Path | str, frames: int | None = None) -> np.ndarray | None:
    """[N] the times that the frames of a camera-path file state, or of so many `frames` between them; None where none
    does.

    Raises:
        UserError: as `from_json`; a time that is not from 0 to 1, or some frames that have none.
    """
    path = Path(path).expanduser()
    entries, _, key = _entries(path, _read_json(path))
    stated = [entry.get("time") if isinstance(entry, dict) else None for entry in entries]
    if all(time is None for time in stated):
        return None
    if any(time is None for time in stated):
        raise UserError(f"{path}: {key} {stated.index(None)} has no 'time', which others have; give each one, or none")
    times = np.array([finite(time, f"{path}: {key} {number}: 'time'") for number, time in enumerate(stated)])
    if times.min() < 0 or times.max() > 1:
        raise UserError(f"{path}: a 'time' is {times[(times < 0) | (times > 1)][0]:g}; times lie between 0 and 1, "
                        "shift and divide all so that the first is 0 and the last 1")
    if frames is not None:
        times = interpolate_times(times, frames)
    return times.astype(np.float32)


def to_json(cameras: Cameras, scene: Scene, times: np.ndarray | None = None) -> str:
    """The camera-path file of perspective `cameras` in model space, centred and with square pixels, and of their
    `times` [N] where they have some: what `from_json` and `times_from_json` read back."""
    world = scene.world_cameras(cameras)
    frames = []
    for n, (width, height) in enumerate(cameras.size.tolist()):
        pose = world.camera_to_world[n].astype(np.float64)
        pose[:, 3] += scene.origin
        fov = math.degrees(2 * math.atan(0.5 * height / float(cameras.focal[n, 1])))
        time = {} if times is None else {"time": round(float(times[n]), 6)}
        frames.append({"camera_to_world": pose.tolist(), "fov": fov, "size": [width, height], **time})
    return json.dumps({"frames": frames}, indent=1) + "\n"


def interpolate(poses: np.ndarray, focal: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """[frames, 3, 4] and [frames]: through key poses [K, 3, 4] and focal lengths [K], ends included."""
    at = np.linspace(0, len(poses) - 1, frames)
    segment = np.minimum(at.astype(int), max(len(poses) - 2, 0))
    part = at - segment
    following = np.minimum(segment + 1, len(poses) - 1)
    values = np.concatenate([poses[:, :, 3], np.log(focal)[:, None]], axis=1)
    smooth = _catmull_rom(values, segment, part)
    rotation = np.stack(
        [_between(poses[a, :, :3], poses[b, :, :3], t) for a, b, t in zip(segment, following, part)]
    )
    return np.concatenate([rotation, smooth[:, :3, None]], axis=2), np.exp(smooth[:, 3])


def interpolate_times(times: np.ndarray, frames: int) -> np.ndarray:
    """[frames]: evenly through the times [K] of key poses, ends included."""
    return np.interp(np.linspace(0, len(times) - 1, frames), np.arange(len(times)), times)


def point_of_interest(cameras: Cameras) -> np.ndarray:
    """[3]: the point nearest to all optical axes by least squares, drawn slightly to the model's origin.

    Where the cameras look almost the same way that pull decides how far along their view it lies.
    """
    position, view = cameras.position.astype(np.float64), cameras.view_direction.astype(np.float64)
    across = np.eye(3) - view[:, :, None] * view[:, None, :]  # projections at right angles to each axis
    pull = 1e-3 * len(view)
    matrix = across.sum(axis=0) + pull * np.eye(3)
    return np.linalg.solve(matrix, np.einsum("nij,nj->i", across, position))


def _look_inwards(cameras: Cameras, focus: np.ndarray) -> bool:
    along = np.einsum("ni,ni->n", focus - cameras.position, cameras.view_direction.astype(np.float64))
    return bool(np.median(along) >= 0)


def _azimuths(azimuth: np.ndarray, frames: int) -> np.ndarray:
    """[frames] angles around the axis: a full turn, or to and fro over the arc where the cameras [N] are."""
    steps = np.arange(frames) / frames
    ordered = np.sort(azimuth)
    gaps = np.diff(ordered, append=ordered[0] + 2 * np.pi)
    widest = int(gaps.argmax())
    if gaps[widest] < OPEN_ARC:
        return ordered[0] + 2 * np.pi * steps
    arc = 2 * np.pi - gaps[widest]
    middle = ordered[widest] + gaps[widest] + 0.5 * arc
    return middle + 0.45 * max(arc, math.radians(10)) * np.sin(2 * np.pi * steps)


def _plane(up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to `up` and to each other, right-handed with it."""
    seed = np.eye(3)[int(np.abs(up).argmin())]
    across = np.cross(seed, up)
    across /= np.linalg.norm(across)
    return across, np.cross(up, across)


def _upright(position: np.ndarray, back: np.ndarray, up: np.ndarray) -> np.ndarray:
    """[N, 3, 4] poses at `position` [N, 3] that look against `back` [N, 3] with a level horizon."""
    back = back / np.linalg.norm(back, axis=1, keepdims=True)
    right = np.cross(up, back)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-9)
    return np.stack([right, np.cross(back, right), back, position], axis=2)


def _lens(cameras: Cameras, size: tuple[int, int] | None) -> tuple[float, tuple[int, int]]:
    """Focal length of square pixels, and size, so that what the first camera sees fits the picture."""
    width, height = (int(length) for length in cameras.size[0])
    focal = float(np.sqrt(cameras.focal[0].prod()))
    if cameras.lens[0] == FISHEYE:
        angle = min(max(width, height) / focal, WIDEST)
        focal = 0.5 * max(width, height) / math.tan(0.5 * angle)
    if size is None:
        return focal, (width, height)
    size = _checked_size(size)
    return focal * min(size[0] / width, size[1] / height), size


def _perspective(poses: np.ndarray, lens: tuple[float, tuple[int, int]]) -> Cameras:
    focal, size = lens
    count = len(poses)
    return Cameras(
        camera_to_world=poses,
        focal=np.full((count, 2), focal),
        principal=np.tile(0.5 * np.array(size), (count, 1)),
        distortion=np.zeros((count, 6)),
        lens=np.full(count, PERSPECTIVE),
        size=np.tile(size, (count, 1)),
    )


def _known_cameras(scene: Scene) -> Cameras:
    """The model-space cameras of the training split, or of the first split there is."""
    for name in ("train", *scene.splits):
        if name in scene.splits and len(scene.splits[name]):
            return scene.model_cameras(name)
    raise UserError(f"{scene.name} has no cameras from which a path could be derived")


def _check_frames(frames: int):
    if frames < 1:
        raise UserError(f"a path needs at least one frame, got {frames}")


def _checked_size(size, where: str = "the size of the pictures") -> tuple[int, int]:
    try:
        width, height = size
        whole = (int(width), int(height)) == (width, height)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: a size is width and height in pixels, got {_short(size)}") from None
    if not whole or not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise UserError(
            f"{where}: width and height must be whole numbers up to {LONGEST_SIDE}, got {_short(size)}"
        )
    return int(width), int(height)


def _read_json(path: Path):
    try:
        check_regular(path)
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        reason = (
            "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason_of(error)})"
        )
        raise UserError(f"{path} {reason}; check the path of the camera path") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); correct it or export it again") from None


def _entries(path: Path, content) -> tuple[list, Mapping, str]:
    """The list of frames, what the file states for all of them, and what the file calls the list."""
    if isinstance(content, list):
        content = {"frames": content}
    if not isinstance(content, dict):
        raise UserError(f"{path} holds neither an object nor a list; a camera path has a list 'frames'")
    key = "frames" if "frames" in content else "camera_path"
    entries = content.get(key)
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"{path} has no frames; a camera path has a list 'frames' (or nerfstudio's 'camera_path') of one "
            "camera or more"
        )
    shared = {name: value for name, value in content.items() if name in ("size", "fov", "focal") or name in LENS}
    if "w" in content and "h" in content:
        shared.setdefault("size", [content["w"], content["h"]])
    if "render_width" in content and "render_height" in content:
        shared.setdefault("size", [content["render_width"], content["render_height"]])
    if content.get("camera_type", "perspective") not in ("perspective", "pinhole"):
        raise UserError(
            f"{path}: cameras of type {_short(content['camera_type'])} are not supported; export a path of "
            "perspective cameras"
        )
    return entries, shared, key


def _pose(entry: Mapping, where: str) -> np.ndarray:
    """[3, 4] float64: `camera_to_world`, rows or all their numbers in a list, checked to be a rotation."""
    name = "camera_to_world" if "camera_to_world" in entry else "transform_matrix"
    value = entry.get(name)
    if value is None:
        raise UserError(f"{where} has no 'camera_to_world'; add its 3 x 4 or 4 x 4 matrix")
    what = f"{where}: '{name}'"
    if not isinstance(value, list):
        raise UserError(f"{what} is {_short(value)}, not a matrix; give 3 or 4 rows of 4 numbers")
    flat = [number for row in value for number in (row if isinstance(row, list) else [row])]
    nested = any(isinstance(row, list) for row in value)
    if len(flat) not in (12, 16) or (
        nested and any(not isinstance(row, list) or len(row) != 4 for row in value)
    ):
        raise UserError(f"{what} is not a matrix of 3 or 4 rows of 4 numbers; correct it")
    matrix = np.array([finite(number, what) for number in flat]).reshape(-1, 4)
    if len(matrix) == 4 and np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-5:
        raise UserError(f"{what} has the last row {matrix[3].tolist()}, not [0, 0, 0, 1]; is it transposed?")
    rotation = matrix[:3, :3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 5e-3 or np.linalg.det(rotation) < 0:
        raise UserError(
            f"{what} is not a rotation and a position; export it without scale, shear or mirroring"
        )
    return matrix[:3]


def _focal(entry: Mapping, shared: Mapping, size: tuple[int, int], where: str) -> float:
    """Focal length in pixels of a picture of `size`: from the vertical field of view, or as stated."""
    values = ChainMap(entry, shared)
    if values.get("fov") is not None:
        fov = finite(values["fov"], f"{where}: 'fov'")
        if not 0 < fov < 175:
            raise UserError(
                f"{where}: 'fov' is {fov:g}; a field of view is between 0 and 175 degrees, correct it"
            )
        return 0.5 * size[1] / math.tan(0.5 * math.radians(fov))
    if values.get("focal") is None and any(name in values for name in _OF_TRANSFORMS):
        stated = _checked_size(values["size"], where) if values.get("size") is not None else size
        return lens_of(entry, shared, stated, where)[0].focal[1] * size[1] / stated[1]
    if values.get("focal") is None:
        raise UserError(
            f"{where} states neither 'fov' nor 'focal'; add the vertical field of view in degrees as 'fov'"
        )
    focal = finite(values["focal"], f"{where}: 'focal'")
    if focal <= 0:
        raise UserError(f"{where}: 'focal' is {focal:g}; a focal length in pixels is positive, correct it")
    if values.get("size") is None:
        raise UserError(
            f"{where} states 'focal' in pixels without a size; add 'size': [width, height], or use 'fov'"
        )
    return focal * size[1] / _checked_size(values["size"], where)[1]


def _catmull_rom(values: np.ndarray, segment: np.ndarray, part: np.ndarray) -> np.ndarray:
    """[F, C]: the cubic through values [K, C] with tangents (next - previous) / 2; the ends are mirrored."""
    first, last = 2 * values[:1] - values[1:2], 2 * values[-1:] - values[-2:-1]
    p = np.concatenate([first, values, last]) if len(values) > 1 else np.repeat(values, 4, axis=0)
    a, b, c, d = (p[segment + k] for k in range(4))
    t = part[:, None]
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def _between(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """[3, 3]: the rotation a part t of the way from a to b along the shortest turn (Rodrigues' formula)."""
    turn = b @ a.T
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    sine, cosine = 0.5 * np.linalg.norm(axis), 0.5 * (np.trace(turn) - 1)
    angle = math.atan2(sine, cosine)
    if sine < 1e-6:  # no turn, or half a turn, whose axis is what it leaves in place
        axis = np.linalg.svd(turn - np.eye(3))[2][2] if cosine < 0 else np.array([0.0, 0.0, 1.0])
    axis = axis / np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return (np.eye(3) + math.sin(t * angle) * cross + (1 - math.cos(t * angle)) * cross @ cross) @ a


def _short(value) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
