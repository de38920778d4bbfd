"""The folders of NSVF (Liu et al. 2020): Synthetic-NSVF, and its BlendedMVS and Tanks and Temples.

    intrinsics.txt  f cx cy 0 in the first line, and the height and width in the last; or a 4 x 4 matrix
    bbox.txt        the two corners of the box around all that is seen, and the size of a voxel
    pose/NAME.txt   4 x 4, camera to world with OpenCV's axes
    rgb/NAME.png    0_... to train on, 1_... for validation, 2_... for testing; without 2_..., 1_... is for testing

The longest side of the box is that of the unit cube. Where images have no alpha the background has the brightness
of the first image's border.
"""

from pathlib import Path

import numpy as np

from ..errors import UserError
from .folders import OPENGL_FROM_OPENCV, make_frame, make_splits, pick_size, read_rows
from .frames import Frame
from .ground import judge
from .images import image_size, read_image
from .opening import is_picture
from .placement import NEAR, Placement, place
from .scene import PERSPECTIVE, Scene
from .splits import Request, natural

SPLIT_OF_PREFIX = {"0": "train", "1": "val", "2": "test"}


def is_nsvf(folder: Path) -> bool:
    """Whether the folder holds what this format has."""
    return (folder / "intrinsics.txt").is_file() and all((folder / name).is_dir() for name in ("pose", "rgb"))


def load_nsvf(folder: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    images = sorted(
        (p for p in (folder / "rgb").iterdir() if is_picture(p) and p.name[:2] in ("0_", "1_", "2_")),
        key=lambda p: natural(p.name),
    )
    if not images:
        raise UserError(f"{folder / 'rgb'} has no images called 0_..., 1_... or 2_...; put them there")
    focal, principal, size = _intrinsics(folder / "intrinsics.txt", images[0])
    split_of = dict(SPLIT_OF_PREFIX)
    if not any(image.name.startswith("2_") for image in images):
        split_of["1"] = "test"
    frames: dict[str, list[Frame]] = {}
    for image in images:
        chosen = frames.setdefault(split_of[image.name[0]], [])
        try:
            path = folder / "pose" / f"{image.stem}.txt"
            chosen.append(
                make_frame(
                    str(path), image, pose=_pose(path), focal=focal, principal=principal, size=size, lens=PERSPECTIVE
                )
            )
        except UserError as error:
            request.problems.add(error)
    everything = [frame for chosen in frames.values() for frame in chosen]
    ground = judge(everything, request)
    white = ground.white or _has_white_border(images[0])
    placement, why = _placement(folder / "bbox.txt", everything, ground.is_object, request)
    return Scene(
        name=folder.resolve().name,
        format="nsvf",
        splits=make_splits(folder, frames, request, pick_size({1: folder}, request.downscale)[1], ground,
                           held_out=False),
        **vars(placement),
        background="white" if white else "black",
        bounded=placement.aabb_scale == 1,
        notes=[
            f"NSVF folder with the splits {', '.join(frames)}",
            *why,
            ground.note if ground.is_object else f"images have no alpha: {'white' if white else 'black'} background",
        ],
        problems=request.problems.found,
    )


def _intrinsics(path: Path, image: Path) -> tuple[tuple[float, float], tuple[float, float], tuple[int, int]]:
    """Focal lengths, principal point, size of the images."""
    rows = read_rows(path)
    if [len(row) for row in rows[:4]] == [4, 4, 4, 4]:
        return (rows[0][0], rows[1][1]), (rows[0][2], rows[1][2]), image_size(image)
    if not rows or len(rows[0]) < 3:
        raise UserError(f"{path} is neither a 4 x 4 matrix nor begins with f cx cy; export it again")
    focal, *principal = rows[0][:3]
    height, width = rows[-1] if len(rows) > 1 and len(rows[-1]) == 2 else image_size(image)[::-1]
    return (focal, focal), tuple(principal), (width, height)


def _pose(path: Path) -> np.ndarray:
    rows = read_rows(path)
    if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
        raise UserError(f"{path} is not a matrix of 4 x 4 numbers; export it again")
    matrix = np.array(rows)[:3]
    return np.concatenate([matrix[:, :3] @ OPENGL_FROM_OPENCV, matrix[:, 3:]], axis=1)


def _placement(
    path: Path, frames: list[Frame], transparent: bool, request: Request
) -> tuple[Placement, list[str]]:
    """As bbox.txt says, unless another orientation is asked for or the file is missing."""
    orient = request.orient or "none"
    if not frames or not path.is_file() or orient != "none":
        return place(frames, orient=orient, transparent=transparent)
    rows = read_rows(path)
    corners = np.array(rows[0][:6] if rows and len(rows[0]) >= 6 else [])
    if corners.size != 6 or not (corners[3:] > corners[:3]).all() or np.abs(corners).max() > 1e6:
        raise UserError(f"{path} does not begin with the lower and the upper corner of a box; export it again")
    centre = 0.5 * (corners[:3] + corners[3:])
    scale = 1 / float((corners[3:] - corners[:3]).max())
    placement = Placement(rotation=np.eye(3), centre=centre, scale=scale, aabb_scale=1, near=NEAR)
    return placement, ["the unit cube is the box of bbox.txt"]


def _has_white_border(image: Path) -> bool:
    pixels = read_image(image)[..., :3]
    border = np.concatenate([pixels[[0, -1]].reshape(-1, 3), pixels[:, [0, -1]].reshape(-1, 3)])
    return bool(border.mean() > 127)
