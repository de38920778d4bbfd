"""LLFF: `poses_bounds.npy` beside `images`, `images_4`, `images_8`, ...

The array is [N, 17], one row for each image in the order of the names: 3 x 5 numbers whose columns are the camera's
down, right and back in the world, its position, and (height, width, focal length); then the near and the far depth
of what it sees. Lenses are undistorted, the principal point is the middle. Every K-th image is held out for testing.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .folders import (
    image_folders,
    make_frame,
    make_splits,
    pick_size,
    read_array,
    size_note,
)
from .frames import Frame
from .ground import judge
from .opening import is_picture
from .placement import place
from .poses import far_note, far_origin
from .scene import PERSPECTIVE, Scene
from .splits import Request, check_counts, hold_out, hold_out_note

FILE = "poses_bounds.npy"


def load_llff(folder: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    path = folder / FILE
    rows = read_rows_of_poses(path)
    check_counts(path, "train", len(rows))
    folders = image_folders(folder)
    if not folders:
        raise UserError(f"{folder} has {FILE} but no folder 'images' (or images_4, images_8); put the images there")
    size, left = pick_size(folders, request.downscale)
    images = sorted(
        p for p in folders[size].iterdir() if is_picture(p) and not p.name.startswith("dynamic_mask_")
    )
    if len(images) != len(rows):
        raise UserError(
            f"{path} has {len(rows)} cameras and {folders[size]} {len(images)} images; it must hold those images, and "
            "no others, that the poses are of"
        )
    members = hold_out(path, [image.name for image in images], request.test_every)
    frames, origin = {}, far_origin(rows[:, [3, 8, 13]])
    for number, (row, image) in enumerate(zip(rows, images)):
        try:
            frames[number] = _frame(f"{path}: row {number} ({image.name})", image, row, origin)
        except UserError as error:
            request.problems.add(error)
    ground = judge(list(frames.values()), request)
    placement, why = place(list(frames.values()), orient=request.orient or "up", transparent=ground.is_object)
    chosen = {name: [frames[n] for n in numbers if n in frames] for name, numbers in members.items()}
    return Scene(
        name=folder.resolve().name,
        format="llff",
        splits=make_splits(path, chosen, request, left, ground, held_out=True),
        **vars(placement),
        origin=origin,
        background=ground.colour,
        held_out=True,
        bounded=ground.is_object and placement.aabb_scale == 1,
        notes=[
            f"{FILE} of {len(rows)} images",
            *size_note(folders[size], left),
            hold_out_note(request.test_every),
            *why,
            ground.note,
            *far_note(origin),
        ],
        problems=request.problems.found,
    )


def read_rows_of_poses(path: Path) -> np.ndarray:
    """[N, 17] finite numbers. Raises UserError."""
    rows = read_array(path)
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise UserError(f"{path} has the shape {list(rows.shape)}; poses and bounds are [N, 17], export them again")
    if not np.isfinite(rows).all():
        raise UserError(f"{path} has values that are not finite; export it again")
    return rows


def _frame(where: str, image: Path, row: np.ndarray, origin: np.ndarray) -> Frame:
    matrix = row[:15].reshape(3, 5)
    down, right, back, position = matrix[:, :4].T
    height, width, focal = matrix[:, 4]
    near, far = row[15:]
    if not (1 <= width < 2**20 and 1 <= height < 2**20):
        raise UserError(f"{where}: an image of {width:g} x {height:g} pixels is none; export the file again")
    if not 1e-6 < near <= far < 1e6:
        raise UserError(
            f"{where}: near and far are {near:g} and {far:g}; near must be the smaller one, both between 1e-6 and 1e6"
        )
    frame = make_frame(
        where,
        image,
        pose=np.stack([right, -down, back, position - origin], axis=1),
        focal=(focal, focal),
        principal=(0.5 * width, 0.5 * height),
        size=(width, height),
        lens=PERSPECTIVE,
    )
    # depths along the axis as distances along the rays, of which those to the corners are the longest
    secant = np.linalg.norm((*(0.5 * np.array([width, height]) / focal), 1.0))
    return replace(frame, bounds=(near, far * secant))
