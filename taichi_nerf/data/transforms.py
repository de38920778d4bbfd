"""One `transforms.json` for all images, as instant-ngp and nerfstudio write it.

Splits: `train_filenames`, `val_filenames`, `test_filenames` where the file has them; else every K-th image,
in the natural order of the file names, is held out for testing.

Where the model box lies, model position = (world - centre) * scale:

    the file states aabb_scale
        model = world * scale + offset - 0.5, by default `scale` 0.33 and `offset` 0.5 along each axis;
        the box has side aabb_scale. This is instant-ngp's convention.
    the cameras look at something
        The point closest to all optical axes is the centre, the median camera 0.6 away; the box has side 16.
        Where images have alpha, the median camera's view fills the unit cube, and the box is that cube.
    the cameras look past each other (forward-facing or outwards)
        The mean camera position is the centre, the median camera 0.2 away; the box has side 16.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from .frames import Frame, finite, number_of, parse_frames, read_transforms
from .scene import Scene
from .splits import (
    Request,
    any_transparent,
    check_counts,
    check_disjoint,
    describe_frames,
    read_split,
    view_tangent,
)

NEAR = 0.05
UNBOUNDED_AABB_SCALE = 16
ORBIT_RADIUS = 0.6
PATH_RADIUS = 0.2
_STATED = "the model box is the one that aabb_scale states"
# Mean sin^2 of the angle between the axes and their common direction; cameras within 10 degrees have 0.03.
_LEAST_CONVERGENCE = 0.03


def load_transforms(path: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    content = read_transforms(path)
    numbers = range(len(content["frames"]))
    check_counts(path, "train", len(numbers))
    stated = stated_splits(path, content)
    box = stated_box(path, content)
    frames = parse_frames(path, content, numbers, request.problems)
    members = stated or hold_out(path, content, request.test_every)
    request.check_present(path, list(members))
    _check_members(path, {n: frame.path for n, frame in frames.items()}, members, request)
    transparent = any_transparent(list(frames.values()), request)
    centre, scale, aabb_scale, why = (
        place_box(list(frames.values()), transparent) if box is None else (*box, _STATED)
    )
    splits = {}
    for name, chosen in members.items():
        if request.wants(name):
            present = [frames[n] for n in chosen if n in frames]
            splits[name] = read_split(name, present[:: request.every.get(name, 1) if stated else 1], request)
            check_counts(path, name, len(splits[name]))
    notes = [
        f"{path.name} with {len(numbers)} frames",
        "splits as the file lists them" if stated else _hold_out_note(request.test_every),
        why,
        "images have alpha: white background" if transparent else "images have no alpha: black background",
        *_unlisted(stated, len(numbers)),
        *describe_frames({path: content}),
    ]
    return Scene(
        name=path.resolve().parent.name,
        format="transforms",
        splits=splits,
        centre=centre,
        scale=scale,
        aabb_scale=aabb_scale,
        near=NEAR,
        background="white" if transparent else "black",
        held_out=not stated,
        bounded=transparent and aabb_scale == 1,
        notes=notes,
        problems=request.problems.found,
    )


def stated_box(path: Path, content: dict) -> tuple[np.ndarray, float, int] | None:
    """Centre, scale and aabb_scale of a file that states `aabb_scale`, else None. Raises UserError."""
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
    return (0.5 - offset) / scale, scale, int(aabb_scale)


def place_box(frames: Sequence[Frame], transparent: bool) -> tuple[np.ndarray, float, int, str]:
    """Centre, scale, aabb_scale and the reason in words, from where the cameras stand and look."""
    position = np.array([frame.camera_to_world[:, 3] for frame in frames])
    forward = np.array([-frame.camera_to_world[:, 2] for frame in frames])
    focus = focus_point(position, forward)
    if focus is None:
        centre, radius, aabb_scale = position.mean(axis=0), PATH_RADIUS, UNBOUNDED_AABB_SCALE
        why = "the cameras look past each other: the model is centred on their mean position"
    else:
        centre, radius, aabb_scale = focus, ORBIT_RADIUS, UNBOUNDED_AABB_SCALE
        why = "the cameras look at one place: the model is centred there"
        if transparent:
            radius, aabb_scale = 0.5 / max(view_tangent(frames), 0.1), 1
    distance = float(np.median(np.linalg.norm(position - centre, axis=-1)))
    scale = radius / distance if distance > 1e-6 else 1.0
    return centre, scale, aabb_scale, f"{why}, the median camera {distance * scale:.2g} away from it"


def focus_point(position: np.ndarray, forward: np.ndarray) -> np.ndarray | None:
    """[3]: the point nearest to all optical axes, or None where no such point lies in front of the cameras.

    Least squares of the distances, sum_i w_i (I - d_i d_i^T) (x - o_i) = 0, reweighted ten times by 1 /
    distance so that cameras that look elsewhere hardly pull.
    """
    if len(position) < 2:
        return None
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # [N, 3, 3]
    weight = np.ones(len(position))
    for _ in range(10):
        system = (weight[:, None, None] * across).mean(axis=0)
        if np.linalg.eigvalsh(across.mean(axis=0))[0] < _LEAST_CONVERGENCE or not np.isfinite(system).all():
            return None
        point = np.linalg.solve(
            system, (weight[:, None] * np.einsum("nij,nj->ni", across, position)).mean(axis=0)
        )
        distance = np.linalg.norm(np.einsum("nij,nj->ni", across, point - position), axis=-1)
        weight = 1 / np.maximum(distance, 1e-2 * np.median(np.linalg.norm(position - point, axis=-1)) + 1e-9)
    in_front = np.einsum("ni,ni->n", forward, point - position) > 0
    return point if in_front.mean() > 0.75 else None


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


def hold_out(path: Path, content: dict, every: int) -> dict[str, list[int]]:
    """Frame numbers of `train` and `test`: in natural order, images 0, K, 2K, ... are for testing."""
    numbers = range(len(content["frames"]))
    if every == 0:
        return {"train": list(numbers)}
    order = sorted(numbers, key=lambda n: (_natural(str(content["frames"][n].get("file_path"))), n))
    test = set(order[::every])
    members = {"train": [n for n in numbers if n not in test], "test": [n for n in numbers if n in test]}
    if len(members["train"]) < 2:
        raise UserError(
            f"{path}: of {len(numbers)} images {len(test)} are held out for testing, which leaves "
            f"{len(members['train'])} to train on; use more images, a larger --test-every, or 0 to "
            f"hold out none"
        )
    return members


def _hold_out_note(every: int) -> str:
    return f"every {every}th image is held out for testing" if every else "no image is held out for testing"


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


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts r_2 before r_10."""
    return [
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]{1,18})", text)
        if part
    ]
