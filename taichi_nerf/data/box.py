"""Where a transforms file says that the model lies, as instant-ngp reads it.

    model = world * scale + offset - 0.5,   a box of side aabb_scale around the middle

    aabb_scale      a power of two up to 128; 1 where only the others are stated
    scale           0.33; 0.66 with Mitsuba's axes
    offset          0.5 along each axis, as one number or three; 0.165 with Mitsuba's axes
    aabb            two corners, in place of scale and offset: the longest side of the box between them becomes 1
    model_rotation  which our export writes, turns about the middle of the box

A file that states none of the first four has no box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .frames import Frame
from .json_files import finite, flag_of, number_of, rows_of, short
from .placement import Placement, farthest, is_forward_facing, place
from .scene import Points
from .splits import Request

_STATED = ("aabb_scale", "scale", "offset", "aabb")
_ORIENTATIONS = {"up": "up", "vertical": "up", "pca": "pca", "none": "none"}


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


def stated_box(path: Path, content: Mapping, origin: np.ndarray | None = None) -> Placement | None:
    """The placement that the file states, in a world from which `origin` was taken, else None. Raises UserError."""
    mitsuba = flag_of(content, "from_mitsuba", "normal_mts_args" in content, str(path))
    if not mitsuba and not any(key in content for key in _STATED):
        return None
    aabb_scale = number_of(content, "aabb_scale", 1, str(path))
    if aabb_scale not in (1, 2, 4, 8, 16, 32, 64, 128):
        raise UserError(f"{path}: 'aabb_scale' is {aabb_scale:g}; it must be a power of two from 1 to 128")
    scale = number_of(content, "scale", 0.66 if mitsuba else 0.33, str(path))
    if not 1e-9 < scale < 1e9:
        raise UserError(f"{path}: 'scale' is {scale:g}; it must be positive, 0.33 is usual")
    centre = (0.5 - _offset(path, content, 0.165 if mitsuba else 0.5)) / scale
    if (corners := rows_of(content, "aabb", ((2, 3),), str(path))) is not None:
        length = max(float(np.abs(corners[1] - corners[0]).max()), 1e-6)
        centre, scale = corners.mean(axis=0), 1 / length
    centre = centre if origin is None else centre - origin
    return Placement(rotation=_rotation(path, content), centre=centre, scale=scale, aabb_scale=int(aabb_scale))


def orientation_of(path: Path, content: Mapping) -> str | None:
    """What nerfstudio's orientation_override is here; None without it, or beside a box. Raises UserError."""
    stated = content.get("orientation_override")
    if stated is None or any(key in content for key in _STATED):
        return None
    if not isinstance(stated, str) or stated not in _ORIENTATIONS:
        raise UserError(f"{path}: 'orientation_override' is {short(stated)}; it must be one of "
                        f"{', '.join(_ORIENTATIONS)}, or be taken out")
    return _ORIENTATIONS[stated]


def _offset(path: Path, content: Mapping, default: float) -> np.ndarray:
    offset = content.get("offset", default)
    if not isinstance(offset, list):
        return np.full(3, finite(offset, f"{path}: 'offset'"))
    if len(offset) != 3:
        raise UserError(f"{path}: 'offset' is not a list of three numbers; correct it or take it out")
    return np.array([finite(value, f"{path}: 'offset' entry {k}") for k, value in enumerate(offset)])


def _rotation(path: Path, content: Mapping) -> np.ndarray:
    rotation = rows_of(content, "model_rotation", ((3, 3),), str(path))
    if rotation is None:
        return np.eye(3)
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-6 or np.linalg.det(rotation) < 0:
        raise UserError(f"{path}: 'model_rotation' is not a rotation; correct it or take it out")
    return rotation
