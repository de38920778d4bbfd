"""The layout of the Blender scenes: `transforms_train.json`, `transforms_val.json`, `transforms_test.json`.

Each file lists frames with `file_path` (commonly without ending) and states `camera_angle_x`. The object lies
within +-1.5 world units of the origin: model position = world / 3, so that the model box [-0.5, 0.5]^3
holds it. A file with `aabb_scale` states its own box, as in `transforms.py`.

D-NeRF's scenes have this layout, with a `time` for each frame.
"""

from pathlib import Path

import numpy as np

from ..errors import UserError
from .frames import Problems, fill_times, parse_frames, read_transforms
from .placement import Placement
from .scene import Scene
from .splits import (
    Request,
    any_transparent,
    check_counts,
    check_disjoint,
    describe_frames,
    existing_images,
    read_split,
)
from .transforms import placed, stated_box

SPLIT_NAMES = ("train", "val", "test")
UNIT_CUBE = Placement(rotation=np.eye(3), centre=np.zeros(3), scale=1 / 3, aabb_scale=1)


def split_files(folder: Path) -> dict[str, Path]:
    """The transforms files of the folder by split."""
    candidates = {name: folder / f"transforms_{name}.json" for name in SPLIT_NAMES}
    return {name: path for name, path in candidates.items() if path.is_file()}


def load_blender(folder: Path, request: Request) -> Scene:
    """Load the splits asked for; `request.every` picks views before images are opened. Raises UserError."""
    files = split_files(folder)
    request.check_present(folder, list(files))
    contents = {path: read_transforms(path) for path in files.values()}
    fill_times(list(contents.values()))
    if "train" in files and "test" in files:
        check_disjoint(folder, *(existing_images(files[n], contents[files[n]]) for n in ("train", "test")))
    splits = {}
    for name, path in files.items():
        if not request.wants(name):
            continue
        check_counts(path, name, len(contents[path]["frames"]))
        numbers = range(0, len(contents[path]["frames"]), request.every.get(name, 1))
        frames = list(parse_frames(path, contents[path], numbers, request.problems).values())
        splits[name] = read_split(name, frames, request)
        check_counts(path, name, len(splits[name]))
    return _scene(folder, splits, files, contents, request)


def _scene(
    folder: Path, splits, files: dict[str, Path], contents: dict[Path, dict], request: Request
) -> Scene:
    first = next(iter(files.values()))
    transparent = _transparent(first, contents[first], request)
    box, why = placed_object(first, contents[first], stated_box(first, contents[first]), transparent, request)
    notes = [
        f"Blender layout with the splits {', '.join(files)}",
        "images have alpha: white background" if transparent else "images have no alpha: black background",
        *why,
        *describe_frames(contents),
    ]
    if any("time" in frame for content in contents.values() for frame in content["frames"]):
        notes.append("each image has a time: the scene moves")
    return Scene(
        name=folder.resolve().name,
        format="blender",
        splits=splits,
        **vars(box),
        background="white" if transparent else "black",
        bounded=box.aabb_scale == 1,
        notes=notes,
        problems=request.problems.found,
    )


def placed_object(
    path: Path, content: dict, stated: Placement | None, transparent: bool, request: Request
) -> tuple[Placement, list[str]]:
    """What the file states, else the unit cube of the Blender scenes, unless another orientation is asked for."""
    if stated is None and request.orient in (None, "none"):
        return UNIT_CUBE, []
    frames = parse_frames(path, content, range(len(content["frames"])), Problems(strict=False))
    return placed(stated, list(frames.values()), transparent, request)


def _transparent(path: Path, content: dict, request: Request) -> bool:
    count = len(content["frames"])
    if count == 0:
        raise UserError(f"{path}: no image for this split; add frames or leave the file out")
    numbers = sorted({0, count // 2, count - 1})
    return any_transparent(list(parse_frames(path, content, numbers, Problems(strict=False)).values()), request)
