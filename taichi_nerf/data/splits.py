"""From checked frames to a split with its pixels; what both transforms formats share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .frames import Frame, Problems, image_path, stack_cameras
from .images import read_image, read_images
from .scene import Split

FEWEST_TRAINING_IMAGES = 2
IGNORED_KEYS = {
    "depth_file_path": "depth maps",
    "mask_path": "masks",
    "object_mask_path": "masks",
    "rolling_shutter": "rolling shutter",
    "time": "times",
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller of `load_scene` asked for."""

    downscale: int
    test_every: int
    splits: tuple[str, ...] | None
    every: Mapping[str, int]
    problems: Problems

    def wants(self, name: str) -> bool:
        return self.splits is None or name in self.splits

    def check_present(self, path: Path, present: Sequence[str]):
        """Raises UserError where a split was asked for by name and the scene lacks it."""
        for name in self.splits or ():
            if name not in present:
                raise UserError(f"{path} has no split '{name}'; it has {', '.join(present) or 'none'}")


def read_split(name: str, frames: Sequence[Frame], request: Request, **labels: np.ndarray) -> Split:
    """Decode the images of the frames, made smaller as asked, with the cameras to match.

    `labels` are the split's `scale` and `area_weight`, where it has them.
    """
    for frame in frames:
        if request.downscale > min(frame.size):
            raise UserError(
                f"{frame.path} is {frame.size[0]} x {frame.size[1]} pixels, too small for --downscale "
                f"{request.downscale}; use a smaller number"
            )
    failed = set()

    def on_error(index: int, error: UserError):
        request.problems.add(error)
        failed.add(index)

    images = read_images([frame.path for frame in frames], downscale=request.downscale, on_error=on_error)
    cameras = stack_cameras(frames).scaled(request.downscale)
    split = Split(name=name, cameras=cameras, images=images, paths=tuple(frame.path for frame in frames), **labels)
    if not failed:
        return split
    return split.subset([n for n in range(len(frames)) if n not in failed])


def check_counts(where: Path, name: str, count: int):
    """Raises UserError for a split without images, or one to train on with too few."""
    if count == 0:
        raise UserError(f"{where}: no image for the split '{name}'; add frames or leave the split out")
    if name == "train" and count < FEWEST_TRAINING_IMAGES:
        raise UserError(
            f"{where}: one camera only to train on; a scene needs images from at least "
            f"{FEWEST_TRAINING_IMAGES} positions, and better 20"
        )


def check_disjoint(where: Path, train: Sequence[Path], test: Sequence[Path]):
    """Raises UserError where an image file is both trained on and tested on."""
    seen = {path.resolve() for path in train}
    shared = sorted({path.resolve() for path in test} & seen)
    if shared:
        raise UserError(
            f"{where}: {shared[0]} is in the training images and in the test images "
            f"({len(shared)} such); a test image must be unseen, list each image once"
        )


def existing_images(path: Path, content: dict) -> list[Path]:
    """The image files of all frames of the transforms file `path`, without those that are missing."""
    found = (image_path(path, frame) for frame in content["frames"])
    return [image for image in found if image is not None]


def any_transparent(frames: Sequence[Frame]) -> bool:
    """Whether the first, the middle or the last image has a pixel that is not opaque.

    Three are enough to tell a scene with masks from photographs, and the answer is the same whichever
    splits are loaded.
    """
    for index in sorted({0, len(frames) // 2, len(frames) - 1} if frames else ()):
        try:
            if int(read_image(frames[index].path)[..., 3].min()) < 255:
                return True
        except UserError:
            continue  # reported where the image itself is asked for
    return False


def describe_frames(contents: Mapping[Path, dict]) -> list[str]:
    """Notes on keys that are understood and not used, and on images that a file lists twice."""
    notes = []
    for key, what in IGNORED_KEYS.items():
        if any(
            key in content or any(key in frame for frame in content["frames"])
            for content in contents.values()
        ):
            notes.append(f"{what} ('{key}') are not used")
    for path, content in contents.items():
        images = [image.resolve() for image in existing_images(path, content)]
        if len(set(images)) < len(images):
            notes.append(f"{path.name} lists {len(images) - len(set(images))} images more than once")
    return notes


def view_tangent(frames: Sequence[Frame]) -> float:
    """Median over the frames of the tangent of half the field of view, along the longer side."""
    return float(np.median([max(0.5 * s / f for s, f in zip(frame.size, frame.focal)) for frame in frames]))
