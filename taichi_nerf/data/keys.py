"""The keys of a transforms file: which are read, which say nothing of the pictures, and which may not be passed over.

docs/formats.md has the table, with what instant-ngp and nerfstudio make of each.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from .json_files import short

# Of the head or of a frame, whose own value wins.
LENS = frozenset(
    "fl_x fl_y x_fov y_fov camera_angle_x camera_angle_y cx cy w h k1 k2 k3 k4 p1 p2 distortion_params camera_model "
    "is_fisheye fisheye_crop_radius".split())
HEAD = LENS | frozenset(
    "frames val_frames test_frames train_filenames val_filenames test_filenames n_frames "
    "sharpness_discard_threshold aabb_scale scale offset aabb model_rotation orientation_override from_mitsuba "
    "normal_mts_args applied_transform applied_scale ply_file_path white_transparent black_transparent "
    "depth_unit_scale_factor integer_depth_scale enable_depth_loading".split())
FRAME = LENS | frozenset(
    "file_path transform_matrix transform_matrix_start transform_matrix_end time exposure mask_path object_mask_path "
    "depth_file_path depth_path sharpness".split())
# What says nothing of the pictures; each program has its own.
SILENT = frozenset("rotation colmap_im_id".split())
# What states that pixels look elsewhere than the keys above say, unless it is 0, false or empty.
GEOMETRY = (
    (re.compile(r"k[4-9]|k1\d"), "a coefficient of a lens of another kind, as OpenCV's rational one"),
    (re.compile(r"p[3-9]"), "a tangential coefficient of a higher order"),
    (re.compile(r"s[1-4]|sx1|sy1|tau_?[xy]|tau[12]?"), "a coefficient of a thin prism or a tilted sensor"),
    (re.compile(r"b1|b2|skew"), "skewed pixels"),
    (re.compile(r"omega|xi|ftheta_p\d"), "a coefficient of a lens of another kind"),
    (re.compile(r"latlong|equirectangular|orthographic|fov"), "a lens of another kind"),
    (re.compile(r"camera"), "the cameras of a format that instant-ngp itself has given up"),
)


def check_geometry(scope: Mapping, known: frozenset, where: str):
    """Raises UserError for a key that changes where pixels look, and is not read."""
    for key, value in scope.items():
        if key in known or not isinstance(key, str) or not _says_something(value):
            continue
        what = next((text for pattern, text in GEOMETRY if pattern.fullmatch(key)), None)
        if what is not None and (key != "camera" or isinstance(value, list)):
            raise UserError(f"{where}: '{key}' is {short(value)}, {what}, which is not supported; undistort the images "
                            "to a perspective lens")


def unused(contents: Mapping[Path, Mapping]) -> list[str]:
    """A note on the keys of heads and frames that are not read, each named once; nothing without such keys."""
    found = dict.fromkeys(key for content in contents.values() for key in _unread(content))
    if not found:
        return []
    names = [f"'{str(key)[:40]}'" for key in found]
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return [f"not used: {listed}"]


def _unread(content: Mapping) -> Iterator[str]:
    yield from (key for key in content if key not in HEAD | SILENT)
    for frame in frames_of(content):
        yield from (key for key in frame if key not in FRAME | SILENT)


def frames_of(content: Mapping) -> Sequence[Mapping]:
    """The frames of a head that are objects."""
    return [frame for frame in content.get("frames", ()) if isinstance(frame, Mapping)]


def _says_something(value) -> bool:
    if isinstance(value, list):
        return any(map(_says_something, value))
    return bool(value)
