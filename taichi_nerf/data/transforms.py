"""One `transforms.json` for all images, as instant-ngp and nerfstudio write it.

Splits: `train_filenames`, `val_filenames`, `test_filenames` where the file has them; else every K-th image,
in the natural order of the file names, is held out for testing.

Points of a COLMAP model beside the file, of the same cameras, are the scene's, and so are its masks.

Where the file states aabb_scale, model = world * scale + offset - 0.5, by default `scale` 0.33 and `offset` 0.5
along each axis, and the box has side aabb_scale: instant-ngp's convention. `model_rotation`, which our export writes,
turns about the middle of the box. Elsewhere, or where another orientation is asked for, `placement.py` says where it
lies: beside points of COLMAP's, as a scene of COLMAP does.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .colmap import points_beside
from .frames import Frame, fill_times, finite, number_of, parse_frames, read_transforms
from .placement import Placement, farthest, is_forward_facing, place
from .scene import Points, Scene
from .splits import (
    Request,
    any_transparent,
    check_counts,
    check_disjoint,
    describe_frames,
    hold_out,
    hold_out_note,
    read_split,
)


def load_transforms(path: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    content = read_transforms(path)
    numbers = range(len(content["frames"]))
    check_counts(path, "train", len(numbers))
    stated = stated_splits(path, content)
    box = stated_box(path, content)
    fill_times([content])
    frames = parse_frames(path, content, numbers, request.problems)
    members = stated or hold_out(path, [str(f.get("file_path")) for f in content["frames"]], request.test_every)
    request.check_present(path, list(members))
    _check_members(path, {n: frame.path for n, frame in frames.items()}, members, request)
    frames, points, points_notes = points_beside(path.parent, frames, _applied_transform(path, content))
    transparent = any_transparent(list(frames.values()), request)
    placement, why = placed(box, list(frames.values()), transparent, request, points)
    splits = {}
    for name, chosen in members.items():
        if request.wants(name):
            present = [frames[n] for n in chosen if n in frames]
            splits[name] = read_split(name, present[:: request.every.get(name, 1) if stated else 1], request)
            check_counts(path, name, len(splits[name]))
    notes = [
        f"{path.name} with {len(numbers)} frames",
        "splits as the file lists them" if stated else hold_out_note(request.test_every),
        *why,
        "images have alpha: white background" if transparent else "images have no alpha: black background",
        *points_notes,
        *_unlisted(stated, len(numbers)),
        *describe_frames({path: content}),
    ]
    return Scene(
        name=path.resolve().parent.name,
        format="transforms",
        splits=splits,
        points=points,
        **vars(placement),
        background="white" if transparent else "black",
        held_out=not stated,
        bounded=transparent and placement.aabb_scale == 1,
        notes=notes,
        problems=request.problems.found,
    )


def _applied_transform(path: Path, content: dict) -> np.ndarray:
    """[3, 4]: what nerfstudio moved COLMAP's world by, which it writes down."""
    rows = content.get("applied_transform", np.eye(3, 4).tolist())
    if not isinstance(rows, list) or len(rows) != 3 or any(not isinstance(r, list) or len(r) != 4 for r in rows):
        raise UserError(f"{path}: 'applied_transform' is not a list of 3 rows of 4 numbers; correct it or take it out")
    return np.array([[finite(value, f"{path}: 'applied_transform'") for value in row] for row in rows])


def placed(
    stated: Placement | None, frames: Sequence[Frame], transparent: bool, request: Request, points: Points | None = None
) -> tuple[Placement, list[str]]:
    """The placement that the file states, unless another orientation is asked for, and the reasons in words."""
    orient = request.orient or ("none" if stated is not None or points is None else "up")
    if stated is None or orient != "none":
        return place(frames, orient=orient, transparent=transparent,
                     points=None if points is None else points.position)
    forward_facing = is_forward_facing(np.array([frame.camera_to_world for frame in frames]))
    stated = replace(stated, forward_facing=forward_facing, far=farthest(frames, stated.scale))
    return stated, ["the model box is the one that the file states"]


def stated_box(path: Path, content: dict) -> Placement | None:
    """The placement of a file that states `aabb_scale`, else None. Raises UserError."""
    if "aabb_scale" not in content:
        return None
    aabb_scale = number_of(content, "aabb_scale", None, str(path))
    if aabb_scale not in (1, 2, 4, 8, 16, 32, 64, 128):
        raise UserError(f"{path}: 'aabb_scale' is {aabb_scale:g}; it must be a power of two from 1 to 128")
    scale = number_of(content, "scale", 0.33, str(path))
    if not 1e-9 < scale < 1e9:
        raise UserError(f"{path}: 'scale' is {scale:g}; it must be positive, 0.33 is usual")
    offset = content.get("offset", [0.5, 0.5, 0.5])
    if not isinstance(offset, list) or len(offset) != 3:
        raise UserError(f"{path}: 'offset' is not a list of three numbers; correct it or take it out")
    offset = np.array([finite(value, f"{path}: 'offset' entry {k}") for k, value in enumerate(offset)])
    centre, rotation = (0.5 - offset) / scale, _stated_rotation(path, content)
    return Placement(rotation=rotation, centre=centre, scale=scale, aabb_scale=int(aabb_scale))


def _stated_rotation(path: Path, content: dict) -> np.ndarray:
    rows = content.get("model_rotation", np.eye(3).tolist())
    if not isinstance(rows, list) or len(rows) != 3 or any(not isinstance(r, list) or len(r) != 3 for r in rows):
        raise UserError(f"{path}: 'model_rotation' is not a list of 3 rows of 3 numbers; correct it or take it out")
    rotation = np.array([[finite(value, f"{path}: 'model_rotation'") for value in row] for row in rows])
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-6 or np.linalg.det(rotation) < 0:
        raise UserError(f"{path}: 'model_rotation' is not a rotation; correct it or take it out")
    return rotation


def stated_splits(path: Path, content: dict) -> dict[str, list[int]] | None:
    """Frame numbers by split, from `train_filenames` and the like; None where the file has no such lists."""
    listed = {
        name: content[f"{name}_filenames"]
        for name in ("train", "val", "test")
        if f"{name}_filenames" in content
    }
    if not listed:
        return None
    number_of_file = {
        _plain(frame.get("file_path")): number for number, frame in enumerate(content["frames"])
    }
    members = {}
    for name, files in listed.items():
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise UserError(
                f"{path}: '{name}_filenames' is not a list of file names; correct it or take it out"
            )
        unknown = [file for file in files if _plain(file) not in number_of_file]
        if unknown:
            raise UserError(
                f"{path}: '{name}_filenames' names {unknown[0][:200]}, which no frame has; correct the list"
            )
        members[name] = [number_of_file[file] for file in dict.fromkeys(map(_plain, files))]
    return members


def _check_members(path: Path, images: dict[int, Path], members: dict[str, list[int]], request: Request):
    present = {name: [images[n] for n in chosen if n in images] for name, chosen in members.items()}
    for name, chosen in present.items():
        if request.wants(name):
            check_counts(path, name, len(chosen))
    if "train" in present and "test" in present:
        check_disjoint(path, present["train"], present["test"])


def _unlisted(stated: dict[str, list[int]] | None, count: int) -> list[str]:
    missing = 0 if stated is None else count - len(set().union(*stated.values()))
    return [f"{missing} frames are in no split and are not used"] if missing else []


def _plain(file_path) -> str:
    return re.sub(r"^(\./)+", "", str(file_path).replace("\\", "/"))
