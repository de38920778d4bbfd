"""The folders of Mega-NeRF (Turki et al. 2022): Mill 19's Building and Rubble, UrbanScene3D, photos from drones.

    coordinates.pt          origin_drb [3] in metres, and pose_scale_factor: metres in a unit of the poses
    train/metadata/NAME.pt  W, H, intrinsics [fx, fy, cx, cy], c2w [3, 4]: OpenGL's axes to x down, y right, z back
    train/rgbs/NAME.jpg     its photo
    val/..                  the same of the photos to test on

The scene is in metres, x right, y forward, z up. The .pt files are read as tensors and plain numbers; what would have
to be executed is not.
"""

import pickle
import struct
import warnings
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..errors import UserError
from .folders import find_image, make_frame, make_splits, pick_size, reason
from .frames import Frame, MissingImage
from .ground import judge
from .opening import check_regular
from .placement import place
from .scene import PERSPECTIVE, Scene
from .splits import Request, natural

__all__ = ["is_mega_nerf", "load_mega_nerf"]

COORDINATES = "coordinates.pt"
SPLIT_OF_FOLDER = {"train": "train", "val": "test"}
RIGHT_FORWARD_UP = np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], np.float64)  # from down, right, back
MOST = 2**20  # bytes of a file
# what torch.load raises for files that are none of its own, or hold other objects
DAMAGED = (pickle.UnpicklingError, BadZipFile, struct.error, RuntimeError, EOFError, ValueError, LookupError, TypeError,
           ArithmeticError, AttributeError, ImportError)


def is_mega_nerf(folder: Path) -> bool:
    """Whether the folder holds what this format has."""
    return (folder / COORDINATES).is_file() and (folder / "train" / "metadata").is_dir()


def load_mega_nerf(folder: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    coordinates = _read(folder / COORDINATES)
    origin = _numbers(coordinates, "origin_drb", (3,), folder / COORDINATES)
    metres = float(_numbers(coordinates, "pose_scale_factor", (), folder / COORDINATES))
    if not 1e-6 < metres < 1e9:
        raise UserError(f"{folder / COORDINATES}: pose_scale_factor is {metres:g}, no number of metres; export it "
                        "again")
    frames: dict[str, list[Frame]] = {}
    for name, split in SPLIT_OF_FOLDER.items():
        for path in sorted((folder / name / "metadata").glob("*.pt"), key=lambda p: natural(p.name)):
            chosen = frames.setdefault(split, [])
            try:
                chosen.append(_frame(path, metres))
            except UserError as error:
                request.problems.add(error)
    if "train" not in frames:
        raise UserError(f"{folder / 'train' / 'metadata'} has no *.pt files; put them there")
    everything = [frame for chosen in frames.values() for frame in chosen]
    ground = judge(everything, request)
    placement, why = place(everything, orient=request.orient or "none", transparent=ground.is_object)
    return Scene(
        name=folder.resolve().name,
        format="mega-nerf",
        splits=make_splits(folder, frames, request, pick_size({1: folder}, request.downscale)[1], ground,
                           held_out=False),
        **vars(placement),
        origin=RIGHT_FORWARD_UP @ origin,
        background="white" if ground.white else "black",
        notes=[f"Mega-NeRF folder with the splits {', '.join(frames)}, in metres", *why, ground.note],
        problems=request.problems.found,
    )


def _frame(path: Path, metres: float) -> Frame:
    """That of a metadata file. Raises UserError."""
    content, folder = _read(path), path.parent.parent / "rgbs"
    image = find_image(folder, f"{path.stem}.jpg", tails=False)
    if image is None:
        raise MissingImage(str(path), folder / f"{path.stem}.jpg", "put it there, or take the metadata out")
    fx, fy, *principal = _numbers(content, "intrinsics", (4,), path)
    pose = RIGHT_FORWARD_UP @ _numbers(content, "c2w", (3, 4), path)
    pose[:, 3] *= metres
    size = tuple(int(_numbers(content, side, (), path)) for side in ("W", "H"))
    return make_frame(str(path), image, pose=pose, focal=(fx, fy), principal=tuple(principal), size=size,
                      lens=PERSPECTIVE)


def _read(path: Path) -> dict:
    """What a .pt file holds. Raises UserError."""
    import torch  # for these files alone

    try:
        check_regular(path)
        if path.stat().st_size > MOST:
            raise UserError(f"{path} is too long for what it should be ({MOST} bytes); export it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); check the path") from None
    except DAMAGED:
        raise UserError(f"{path} is not a file of tensors alone, as torch.save writes it: what else it may hold would "
                        "have to be executed, and is not; export it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no names with values, as Mega-NeRF writes them; export it again")
    return content


def _numbers(content: dict, name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """float64 of this shape. Raises UserError."""
    try:
        value = content[name]
        if hasattr(value, "tolist"):  # a tensor, of which a few bytes may state any shape
            value = value.tolist() if tuple(value.shape) == shape else None
        values = np.array(value, np.float64)
    except KeyError:
        raise UserError(f"{path} lacks {name}; export it again") from None
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor without values
        raise UserError(f"{path}: {name} is no array of numbers; export it again") from None
    if values.shape != shape or not np.isfinite(values).all():
        wanted = " x ".join(map(str, shape)) or "one"
        raise UserError(f"{path}: {name} must be {wanted} finite number{'s' if shape else ''}; export it again")
    return values
