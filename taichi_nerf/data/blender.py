"""The layout of the Blender scenes: `transforms_train.json`, `transforms_val.json`, `transforms_test.json`.

Each file lists frames with `file_path` (commonly without ending) and states `camera_angle_x`. In the scenes of the
NeRF paper the object lies within +-1.5 world units of the origin, and cameras stand 4 away: model position = world /
3, so that the model box [-0.5, 0.5]^3 holds it. Where the cameras of other scenes look elsewhere, from nearer or from
further away, or see more, the box follows them. A file with `aabb_scale` states its own box, as `box.py` says.

D-NeRF's scenes have this layout, with a `time` for each frame. A split other than `train` none of whose images is there
is left out: BlenderNeRF writes the cameras of a test split alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .axes import likely_mistake
from .box import placed, stated_box
from .frames import Frame, Problems, fill_times, parse_frames, read_transforms
from .ground import Ground, judge
from .placement import Placement, focus_point, place
from .poses import PoseReader, pose_reader
from .scene import Scene
from .splits import (
    Request,
    check_counts,
    check_disjoint,
    describe_frames,
    existing_images,
    read_split,
    view_tangents,
)
from .transforms import frame_notes, ply_points

SPLIT_NAMES = ("train", "val", "test")
UNIT_CUBE = Placement(rotation=np.eye(3), centre=np.zeros(3), scale=1 / 3, aabb_scale=1)
CLASSIC_SIDE, CLASSIC_DISTANCE = 3.0, 4.0  # world units
AGREES = 1.4  # times as large or as small is still the classic scene
OFF_CENTRE = 0.25  # of the side


def split_files(folder: Path) -> dict[str, Path]:
    """The transforms files of the folder by split."""
    candidates = {name: folder / f"transforms_{name}.json" for name in SPLIT_NAMES}
    return {name: path for name, path in candidates.items() if path.is_file()}


def load_blender(folder: Path, request: Request) -> Scene:
    """Load the splits asked for; `request.every` picks views before images are opened. Raises UserError."""
    files = split_files(folder)
    request.check_present(folder, list(files))
    contents = {path: read_transforms(path) for path in files.values()}
    request.problems.warn(*fill_times(contents))
    files = _with_images(files, contents, request)
    contents = {path: contents[path] for path in files.values()}
    poses = pose_reader(contents, axes=request.axes, world_to_camera=request.world_to_camera)
    if "train" in files and "test" in files:
        check_disjoint(folder, *(existing_images(files[n], contents[files[n]]) for n in ("train", "test")))
    first = next(iter(files.values()))
    everything, ground = _judged(first, contents[first], poses, request)
    request.problems.warn(*likely_mistake(everything, request))
    splits = {}
    for name, path in files.items():
        if not request.wants(name):
            continue
        check_counts(path, name, len(contents[path]["frames"]))
        numbers = range(0, len(contents[path]["frames"]), request.every.get(name, 1))
        frames = list(parse_frames(path, contents[path], numbers, request.problems, poses).values())
        splits[name] = read_split(name, frames, request, masks_alpha=ground.masks_alpha)
        check_counts(path, name, len(splits[name]))
    box, why = placed_object(stated_box(first, contents[first], poses.origin), everything, ground, request)
    points, points_note = ply_points(first, contents[first], poses, request)
    notes = [
        f"Blender layout with the splits {', '.join(files)}",
        ground.note,
        *why,
        *([points_note] if points_note else []),
        *poses.notes,
        *frame_notes(everything),
        *describe_frames(contents),
    ]
    if any("time" in frame for content in contents.values() for frame in content["frames"]):
        notes.append("each image has a time: the scene moves")
    return Scene(
        name=folder.resolve().name,
        format="blender",
        splits=splits,
        points=points,
        **vars(box),
        origin=poses.origin,
        background=ground.colour,
        bounded=box.aabb_scale == 1,
        notes=notes,
        problems=request.problems.found,
    )


def _with_images(files: Mapping[str, Path], contents: Mapping[Path, dict], request: Request) -> dict[str, Path]:
    """The files without those of which no image is there, if another one has some: they list cameras alone."""
    empty = [name for name, path in files.items() if name != "train" and contents[path]["frames"]
             and not existing_images(path, contents[path])]
    if len(empty) == len(files) or any(name in empty for name in request.splits or ()):
        return dict(files)
    for name in empty:
        request.problems.warn(f"no image of {files[name].name} is there: it lists cameras alone, and the split "
                              f"'{name}' is left out")
    return {name: path for name, path in files.items() if name not in empty}


def _judged(path: Path, content: dict, poses: PoseReader, request: Request) -> tuple[list[Frame], Ground]:
    """All frames of a file that can be used, and what is behind the scene."""
    count = len(content["frames"])
    if count == 0:
        raise UserError(f"{path}: no image for this split; add frames or leave the file out")
    frames = list(parse_frames(path, content, range(count), Problems(strict=False), poses).values())
    return frames, judge(frames, request)


def placed_object(
    stated: Placement | None, frames: Sequence[Frame], ground: Ground, request: Request
) -> tuple[Placement, list[str]]:
    """What the file states, else the unit cube of the Blender scenes as far as the cameras agree with it, unless
    another orientation is asked for."""
    if stated is not None or request.orient not in (None, "none"):
        return placed(stated, frames, ground.is_object, request)
    seen = _seen_place(frames)
    if _agrees(seen, frames):
        return UNIT_CUBE, []
    if seen is not None and (ground.is_object or ground.black_border):
        centre, side = seen
        why = f"the cameras look at a cube of {side:.3g} units, unlike those of the Blender scenes: the model is there"
        return replace(UNIT_CUBE, centre=centre, scale=1 / side), [why]
    return place(frames, orient="none", transparent=False)


def _seen_place(frames: Sequence[Frame]) -> tuple[np.ndarray, float] | None:
    """What the cameras look at: its centre, and the side of the cube that lies to their distance as the classic one
    does, or that 95 % of them see in full width, if that is larger; None where they look at no one place."""
    position = np.array([frame.camera_to_world[:, 3] for frame in frames]).reshape(-1, 3)
    forward = np.array([-frame.camera_to_world[:, 2] for frame in frames]).reshape(-1, 3)
    focus = focus_point(position, forward)
    if focus is None:
        return None
    distance = np.linalg.norm(position - focus, axis=1)
    width = float(np.quantile(2 * distance * view_tangents(frames), 0.95))
    side = max(width, CLASSIC_SIDE / CLASSIC_DISTANCE * float(np.median(distance)))
    return (focus, side) if side > 1e-6 else None


def _agrees(seen: tuple[np.ndarray, float] | None, frames: Sequence[Frame]) -> bool:
    """Whether the cameras look at about the cube of the Blender scenes, or at no one place from not far off."""
    if seen is None:
        distance = [np.linalg.norm(frame.camera_to_world[:, 3]) for frame in frames]
        return not distance or bool(np.median(distance) <= 3 * CLASSIC_DISTANCE)
    centre, side = seen
    near = np.abs(centre).max() <= OFF_CENTRE * CLASSIC_SIDE
    return bool(near and 1 / AGREES <= side / CLASSIC_SIDE <= AGREES)
