"""One `transforms.json` for all images, as instant-ngp and nerfstudio write it.

Splits: `train_filenames`, `val_filenames`, `test_filenames` where the file has them, or `val_frames` and `test_frames`
beside the `frames`; else every K-th image, in the natural order of the file names, is held out for testing.

Points of a COLMAP model beside the file, of the same cameras, are the scene's, and so are its masks; else those of the
`ply_file_path`.

Where the file states a box, model = world * scale + offset - 0.5: instant-ngp's convention, as box.py says. Elsewhere,
or where another orientation is asked for, `placement.py` says where it lies: beside points, as a scene of COLMAP does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .axes import likely_mistake
from .box import orientation_of, placed, stated_box
from .colmap import points_beside
from .folders import pick_size
from .frames import Frame, check_frames, fill_times, parse_frames, read_transforms
from .ground import judge
from .json_files import number_of, rows_of, short
from .masks import unread_beside, unused_masks
from .names import find_file, usable
from .placement import with_bounds
from .ply import read_ply
from .poses import PoseReader, pose_reader
from .scene import Points, Scene
from .splits import (
    Request,
    check_counts,
    check_disjoint,
    describe_frames,
    hold_out,
    hold_out_note,
    natural,
    read_split,
)

FARTHEST_POINT = 1e6
_NEIGHBOURS = 3  # frames before and after one whose sharpness it is held to


def load_transforms(path: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    content = read_transforms(path)
    own_splits = _join_frames(path, content)
    numbers, kept_notes = _chosen_frames(path, content)
    check_counts(path, "train", len(numbers))
    stated = stated_splits(path, content) or own_splits
    poses = pose_reader({path: content}, axes=request.axes, world_to_camera=request.world_to_camera)
    box = stated_box(path, content, poses.origin)
    request.problems.warn(*fill_times({path: content}))
    frames = parse_frames(path, content, numbers, request.problems, poses)
    members = stated or _held_out(path, content, numbers, request)
    request.check_present(path, list(members))
    _check_members(path, {n: frame.path for n, frame in frames.items()}, members, request)
    frames, points, points_notes = _with_points(path, content, frames, poses, request)
    everything = list(frames.values())
    request = _for_copies(everything, request)
    ground = judge(everything, request)
    request.problems.warn(*likely_mistake(everything, request), *unread_beside(everything))
    request = replace(request, orient=request.orient or orientation_of(path, content))
    placement, why = placed(box, everything, ground.is_object, request, points)
    if request.masks:
        request.problems.warn(*unused_masks(everything, stated=True))
    splits = {}
    for name, chosen in members.items():
        if request.wants(name):
            present = [frames[n] for n in chosen if n in frames]
            present = present[:: request.every.get(name, 1) if stated else 1]
            splits[name] = read_split(name, present, request, masks_alpha=ground.masks_alpha)
            check_counts(path, name, len(splits[name]))
    notes = [
        f"{path.name} with {len(content['frames'])} frames",
        "splits as the file lists them" if stated else hold_out_note(request.test_every),
        *why,
        ground.note,
        *points_notes,
        *_unlisted(stated, len(numbers)),
        *kept_notes,
        *poses.notes,
        *frame_notes(everything),
        *describe_frames({path: content}),
    ]
    return Scene(
        name=path.resolve().parent.name,
        format="transforms",
        splits=splits,
        points=points,
        **vars(placement),
        origin=poses.origin,
        background=ground.colour,
        held_out=not stated,
        bounded=ground.is_object and placement.aabb_scale == 1,
        notes=notes,
        problems=request.problems.found,
    )


def frame_notes(frames: Sequence[Frame]) -> list[str]:
    """What had to be guessed of the frames, and which copies of their images are used."""
    sizes = sorted({frame.smaller for frame in frames} - {1})
    copies = [f"images are copies that are {' and '.join(map(str, sizes))} times smaller"] if sizes else []
    return [*copies, *dict.fromkeys(text for frame in frames for text in frame.guesses)]


def _join_frames(path: Path, content: dict) -> dict[str, list[int]] | None:
    """Append `val_frames` and `test_frames` to the frames; the numbers of each split, None without such lists."""
    count = len(content["frames"])
    members = {"train": list(range(count))}
    for name in ("val", "test"):
        key = f"{name}_frames"
        if not content.get(key):
            continue
        check_frames(path, content[key], key)
        content["frames"] = [*content["frames"], *content[key]]
        members[name] = list(range(count, len(content["frames"])))
        count = len(content["frames"])
    return members if len(members) > 1 else None


def _chosen_frames(path: Path, content: Mapping) -> tuple[list[int], list[str]]:
    """Numbers of the frames that instant-ngp would keep, in the order of the file, and what was left out in words.

    Of `n_frames`, the first ones in the natural order of their names; with a `sharpness_discard_threshold`, those that
    are sharper than so many times the mean of their neighbours.
    """
    frames = content["frames"]
    kept = list(range(len(frames)))
    if "n_frames" not in content and "sharpness_discard_threshold" not in content:
        return kept, []
    order = sorted(kept, key=lambda n: natural(str(frames[n].get("file_path"))))
    order = order[: int(max(number_of(content, "n_frames", len(frames), str(path)), 0))]
    threshold = number_of(content, "sharpness_discard_threshold", 0.0, str(path))
    if threshold > 0 and order and "sharpness" in frames[order[0]]:
        sharp = [number_of(frames[n], "sharpness", 1.0, f"{path}: frame {n}") for n in order]
        ranges = ((max(0, i - _NEIGHBOURS), min(i + _NEIGHBOURS, len(sharp) - 1)) for i in range(len(sharp)))
        usual = [sum(sharp[first:last]) / max(last - first, 1) for first, last in ranges]
        order = [n for n, value, mean in zip(order, sharp, usual) if value > threshold * mean]
    left = len(kept) - len(order)
    why = " and ".join(key for key in ("n_frames", "sharpness_discard_threshold") if key in content)
    return sorted(order), [f"{left} frames are left out, as {why} says"] if left else []


def _held_out(path: Path, content: Mapping, numbers: Sequence[int], request: Request) -> dict[str, list[int]]:
    names = [str(content["frames"][n].get("file_path")) for n in numbers]
    members = hold_out(path, names, request.test_every)
    return {name: [numbers[k] for k in chosen] for name, chosen in members.items()}


def _with_points(
    path: Path, content: Mapping, frames: Mapping[int, Frame], poses: PoseReader, request: Request
) -> tuple[dict[int, Frame], Points | None, list[str]]:
    """The frames with what they saw of the points of a COLMAP model beside the file, else of the file's PLY."""
    found = points_beside(path.parent, frames, _applied_transform(path, content), poses.origin)
    if found[1] is not None or "ply_file_path" not in content:
        return found
    points, note = ply_points(path, content, poses, request)
    if points is None:
        return found
    return with_bounds(frames, points.position), points, [*found[2], note]


def ply_points(path: Path, content: Mapping, poses: PoseReader, request: Request) -> tuple[Points | None, str]:
    """The points of `ply_file_path`, and a note on them; a warning where they cannot be read."""
    stated = content.get("ply_file_path")
    if stated is None:
        return None, ""
    try:
        if not usable(stated):
            raise UserError(f"{path}: 'ply_file_path' is {short(stated)}, not a path; correct it or take it out")
        file = find_file(path.parent, stated) or path.parent / stated
        position, colour = read_ply(file)
    except UserError as error:
        request.problems.warn(f"{error}; its points are not used")
        return None, ""
    position = position - poses.origin
    kept = (np.abs(position) < FARTHEST_POINT).all(axis=1)
    colour = colour if colour is None else colour[kept]
    if not kept.any():
        return None, ""
    return Points(position=position[kept], colour=colour), f"{kept.sum()} points of {file.name}"


def _for_copies(frames: Sequence[Frame], request: Request) -> Request:
    """The request for images that are smaller copies: by how much to make these smaller."""
    size = min((frame.smaller for frame in frames), default=1)
    return replace(request, downscale=pick_size({size: Path()}, request.downscale)[1]) if size > 1 else request


def _applied_transform(path: Path, content: Mapping) -> np.ndarray | None:
    """[3, 4]: what nerfstudio moved and scaled COLMAP's world by, where it wrote that down."""
    rows = rows_of(content, "applied_transform", ((3, 4), (4, 4)), str(path))
    if rows is None and "applied_scale" not in content:
        return None
    scale = number_of(content, "applied_scale", 1.0, str(path))
    if not 1e-9 < scale < 1e9:
        raise UserError(f"{path}: 'applied_scale' is {scale:g}; it must be positive, correct it or take it out")
    return scale * (np.eye(3, 4) if rows is None else rows[:3])


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
    return [f"{missing} frames are in no split and are not used"] if missing > 0 else []


def _plain(file_path) -> str:
    return re.sub(r"^(\./)+", "", str(file_path).replace("\\", "/"))
