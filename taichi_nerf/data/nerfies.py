"""The folders of Nerfies and HyperNeRF (Park et al. 2021).

    scene.json      scale, center, near, far: model position = (world - center) * scale; near and far in model units
    dataset.json    ids: all images; train_ids, val_ids
    metadata.json   by id: warp_id and appearance_id, and often camera_id and time_id
    camera/ID.json  orientation (world to camera, OpenCV's axes), position, focal_length, principal_point, skew,
                    pixel_aspect_ratio, radial_distortion [3], tangential_distortion (or tangential) [2], image_size
    rgb/Sx/ID.png   images smaller than their camera by S
    points.npy      [P, 3] world positions of what does not move (optional)

The images of `val_ids` are the test images. The time of an image is its time_id, or its warp_id where it has none,
from 0 to 1. The box holds what lies within `far` of the cameras, or the points.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import UserError
from .folders import (
    OPENGL_FROM_OPENCV,
    find_image,
    make_frame,
    make_splits,
    pick_size,
    read_array,
    size_note,
)
from .frames import SIZES, Frame, MissingImage
from .ground import judge
from .json_files import finite, number_of, read_json
from .placement import Placement, is_forward_facing, place, power_of_two
from .scene import PERSPECTIVE, Points, Scene
from .splits import Request

ID_NAMES = ("warp", "appearance", "camera")
_MOST_SKEW = 0.01  # pixels


def is_nerfies(folder: Path) -> bool:
    """Whether the folder holds what only this format has together."""
    return (
        all((folder / name).is_file() for name in ("dataset.json", "metadata.json"))
        and (folder / "camera").is_dir()
        and (folder / "rgb").is_dir()
    )


def load_nerfies(folder: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    members = _members(folder / "dataset.json")
    metadata = _object(folder / "metadata.json")
    folders = {size: p for size in SIZES if (p := folder / "rgb" / f"{size}x").is_dir()}
    if not folders:
        raise UserError(f"{folder / 'rgb'} has no folder of images (1x, 2x, 4x, 8x or 16x); put the images there")
    size, left = pick_size(folders, request.downscale)
    ids = _ids(folder / "metadata.json", metadata, [item for items in members.values() for item in items])
    times = _times(folder / "metadata.json", {item: metadata[item] for item in ids}, request)
    frames: dict[str, list[Frame]] = {name: [] for name in members}
    for name, items in members.items():
        for item in items:
            try:
                frames[name].append(_frame(folder, item, folders[size], time=times.get(item), ids=ids[item]))
            except UserError as error:
                request.problems.add(error)
    everything = [frame for chosen in frames.values() for frame in chosen]
    points = _points(folder / "points.npy")
    ground = judge(everything, request)
    placement, why = _placement(folder / "scene.json", everything, points, ground.is_object, request)
    return Scene(
        name=folder.resolve().name,
        format="nerfies",
        splits=make_splits(folder, frames, request, left, ground, held_out=False),
        points=points,
        **vars(placement),
        background=ground.colour,
        bounded=False,
        notes=[
            f"Nerfies folder of {len(everything)} images, {', '.join(f'{len(v)} in {k}' for k, v in members.items())}",
            *([f"{len(points)} points that do not move"] if points else []),
            *size_note(folders[size], left),
            *why,
            ground.note,
        ],
        problems=request.problems.found,
    )


def _object(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; export it again")
    return content


def _members(path: Path) -> dict[str, list[str]]:
    """Ids of `train` and, where there are any, `test`."""
    content = _object(path)
    members = {}
    for name, key in (("train", "train_ids"), ("test", "val_ids")):
        items = content.get(key, content.get("ids") if name == "train" else [])
        if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
            raise UserError(f"{path}: '{key}' is not a list of ids; export it again")
        if items or name == "train":
            members[name] = list(dict.fromkeys(items))
    return members


def _ids(path: Path, metadata: Mapping, items: list[str]) -> dict[str, dict[str, int]]:
    """By item: the ids that its entry states."""
    found = {}
    for item in items:
        entry = metadata.get(item)
        if not isinstance(entry, dict):
            raise UserError(f"{path} has no entry for {item[:200]}; add it, or take the id out of dataset.json")
        found[item] = {name: _id(path, item, entry, f"{name}_id") for name in ID_NAMES if f"{name}_id" in entry}
    return found


def _id(path: Path, item: str, entry: Mapping, key: str) -> int:
    value = finite(entry[key], f"{path}: {item[:200]}: '{key}'")
    if value != int(value) or not 0 <= value < 2**31:
        raise UserError(f"{path}: {item[:200]}: '{key}' is {value:g}; an id is a whole number from 0, correct it")
    return int(value)


def _times(path: Path, entries: Mapping[str, Mapping], request: Request) -> dict[str, float]:
    """By item: `time_id`, else `warp_id`, divided by the last; empty where some lack it, which is said."""
    lacking = {key: [item for item, entry in entries.items() if key not in entry] for key in ("time_id", "warp_id")}
    key = min(lacking, key=lambda key: len(lacking[key]))
    if 0 < len(lacking[key]) < len(entries):
        request.problems.warn(f"{path}: {len(lacking[key])} of {len(entries)} images, such as {lacking[key][0][:200]}, "
                              f"have no '{key}', so that none has a time; give it to all of them")
    if lacking[key] or not entries:
        return {}
    number = {item: _id(path, item, entry, key) for item, entry in entries.items()}
    last = max(max(number.values()), 1)
    return {item: n / last for item, n in number.items()}


def _frame(folder: Path, item: str, images: Path, **known) -> Frame:
    if not _stays_inside(item):
        raise UserError(f"{folder / 'dataset.json'}: the id {item[:200]!r} is none; export it again")
    path = folder / "camera" / f"{item}.json"
    if not path.exists():
        raise UserError(f"{path} does not exist; put it there, or take its id out of dataset.json")
    camera = _object(path)
    image = find_image(images, f"{item}.png")
    if image is None:
        raise MissingImage(str(path), images / f"{item}.png", "put it there, take its id out of dataset.json")
    focal = number_of(camera, "focal_length", None, str(path))
    aspect = number_of(camera, "pixel_aspect_ratio", 1.0, str(path))
    skew = number_of(camera, "skew", 0.0, str(path))
    width, height = _vector(camera, "image_size", 2, path)
    if abs(skew) * height > _MOST_SKEW * max(focal, 1.0):
        raise UserError(f"{path}: 'skew' is {skew:g}; skewed pixels are not supported, undistort the images")
    from_world = np.array(_vector(camera, "orientation", 9, path)).reshape(3, 3)
    key = "tangential_distortion" if "tangential_distortion" in camera else "tangential"
    k1, k2, k3 = _vector(camera, "radial_distortion", 3, path) if "radial_distortion" in camera else (0.0,) * 3
    p1, p2 = _vector(camera, key, 2, path) if key in camera else (0.0, 0.0)
    return make_frame(
        str(path),
        image,
        pose=np.column_stack([from_world.T @ OPENGL_FROM_OPENCV, _vector(camera, "position", 3, path)]),
        focal=(focal, focal * aspect),
        principal=_vector(camera, "principal_point", 2, path),
        distortion=(k1, k2, k3, 0.0, p1, p2),
        lens=PERSPECTIVE,
        size=(width, height),
        **known,
    )


def _stays_inside(item: str) -> bool:
    """Whether it can be the name of a file, and of one in the folder."""
    parts = PurePosixPath(item.replace("\\", "/")).parts
    return "\0" not in item and len(item) <= 200 and not {"..", "/"} & set(parts)


def _vector(content: Mapping, key: str, length: int, path: Path) -> list[float]:
    """`length` numbers, in whatever lists."""
    values = content.get(key)
    flat = []
    for value in values if isinstance(values, list) else [values]:
        flat += value if isinstance(value, list) else [value]
    if len(flat) != length:
        raise UserError(f"{path}: '{key}' must be {length} numbers; export the camera again")
    return [finite(value, f"{path}: '{key}'") for value in flat]


def _points(path: Path) -> Points | None:
    if not path.is_file():
        return None
    position = read_array(path)
    if position.ndim != 2 or position.shape[1] != 3:
        raise UserError(f"{path} has the shape {list(position.shape)}; points are [P, 3], export them again")
    position = position[(np.abs(position) < 1e6).all(axis=1)]
    return Points(position=position) if len(position) else None


def _placement(
    path: Path, frames: list[Frame], points: Points | None, transparent: bool, request: Request
) -> tuple[Placement, list[str]]:
    """As scene.json says, unless another orientation is asked for or the file is missing."""
    orient = request.orient or "none"
    position = None if points is None else points.position
    if not frames or not path.is_file() or orient != "none":
        return place(frames, orient=orient, transparent=transparent, points=position)
    content = _object(path)
    scale, near, far = (number_of(content, key, None, str(path)) for key in ("scale", "near", "far"))
    if not (1e-9 < scale < 1e9 and 0 <= near < far):
        raise UserError(f"{path}: 'scale', 'near' and 'far' are {scale:g}, {near:g} and {far:g}; export it again")
    centre = np.array(_vector(content, "center", 3, path))
    pose = np.array([frame.camera_to_world for frame in frames])
    reach = np.abs((pose[:, :, 3] - centre) * scale).max()
    outer = reach + far if points is None else np.quantile(np.abs(position - centre).max(axis=1) * scale, 0.99)
    placement = Placement(
        rotation=np.eye(3),
        centre=centre,
        scale=scale,
        aabb_scale=power_of_two(2 * max(reach, outer)),
        near=near,
        far=far,
        forward_facing=is_forward_facing(pose),
    )
    return placement, ["the model lies as scene.json says"]
