"""From checked frames to a split with its pixels; what the formats share."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import UserError
from .cache import CacheMode, ImageCache
from .depth import DepthImages
from .frames import Frame, Problems, image_path, stack_cameras
from .images import Mask, dynamic_mask, read_images
from .keys import unused
from .lenses import seen_pixels, within_radius
from .scene import Images, Scene, Sightings, Split

FEWEST_TRAINING_IMAGES = 2


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller of `load_scene` asked for."""

    downscale: int
    test_every: int
    splits: tuple[str, ...] | None
    every: Mapping[str, int]
    problems: Problems
    orient: str | None = None
    """One of `placement.ORIENTATIONS`, or what the format does by itself."""
    axes: str = "opengl"
    """Of the cameras in transforms files, one of `poses.AXES`."""
    world_to_camera: bool = False
    """What the matrices of transforms files are."""
    exposure: float = 0.0
    alpha: Literal["auto", "background", "mask"] = "auto"
    masks: bool = True
    cut_out: bool = False
    cache: CacheMode = "auto"
    folder: Path | None = None
    """Of the scene, for the cache; None: the one that holds all images."""
    on_image: Callable[[int, int], None] | None = None
    undecoded: dict[str, Callable[[Split], Split]] = field(default_factory=dict)
    """By the names of splits whose images are blank: what gives them theirs."""

    def wants(self, name: str) -> bool:
        return self.splits is None or name in self.splits

    def check_present(self, path: Path, present: Sequence[str]):
        """Raises UserError where a split was asked for by name and the scene lacks it."""
        for name in self.splits or ():
            if name not in present:
                raise UserError(f"{path} has no split '{name}'; it has {', '.join(present) or 'none'}")

    def decoded(self, scene: Scene) -> Scene:
        """`scene` with its images. Raises UserError where too few can be used."""
        splits = {name: self.undecoded[name](split) for name, split in scene.splits.items()}
        for name, split in splits.items():
            check_counts(self.folder or Path(), name, len(split))
        return replace(scene, splits=splits)


def read_split(name: str, frames: Sequence[Frame], request: Request, *, masks_alpha: bool = False,
               **labels: np.ndarray) -> Split:
    """The cameras of the frames, made smaller as asked; the images, which are blank, are decoded by
    `request.decoded`.

    `masks_alpha`: transparent pixels are left out. `labels` are the split's `scale` and `area_weight`, where it has
    them.
    """
    for frame in frames:
        if request.downscale > min(frame.size):
            raise UserError(
                f"{frame.path} is {frame.size[0]} x {frame.size[1]} pixels, too small for --downscale "
                f"{request.downscale}; use a smaller number"
            )
    if frames and request.masks and request.cut_out and not any(map(has_outline, frames)):
        raise UserError(f"{frames[0].path.parent}: no image of the split '{name}' has a mask of an object; add masks, "
                        "or leave --cut-out out")
    full = stack_cameras(frames)
    cameras = full.scaled(request.downscale)
    request.undecoded[name] = partial(_with_images, frames=frames, request=request, masks_alpha=masks_alpha,
                                      seen=_seen(name, frames, request.problems))
    return Split(
        name=name,
        cameras=cameras,
        images=Images.blank(cameras.size, [frame.path.stem for frame in frames]),
        paths=tuple(frame.path for frame in frames),
        depth=DepthImages([frame.depth for frame in frames], cameras) if any(f.depth for f in frames) else None,
        sightings=_sightings(frames, cameras.size / full.size),
        **_known(frames, request.problems),
        **labels,
    )


def _with_images(split: Split, *, frames: Sequence[Frame], request: Request, masks_alpha: bool,
                 seen: Sequence[np.ndarray | None]) -> Split:
    """The split with the images of its frames, decoded; without those that cannot be, where others are to go on."""
    failed = set()

    def on_error(index: int, error: UserError):
        request.problems.add(error)
        failed.add(index)

    images = read_images(
        split.paths,
        downscale=request.downscale,
        on_error=None if request.problems.strict else on_error,
        masks=[_masks(frame) for frame in frames] if request.masks else None,
        seen=seen,
        exposure=request.exposure,
        alpha_masks=masks_alpha,
        cut_out=request.cut_out,
        clear=frames[0].clear if frames else (),
        cache=ImageCache(scene=request.folder or _common_folder(frames), mode=request.cache),
        on_image=request.on_image,
    )
    if len(failed) < len(frames) and images.allowed is not None and len(images.allowed) == 0:
        raise UserError(f"{frames[0].path.parent}: masks leave no pixel of the split '{split.name}'; use --no-masks")
    split = replace(
        split, images=_without_full_masks(images) if request.alpha == "auto" and masks_alpha else images)
    if not failed:
        return split
    return split.subset([n for n in range(len(frames)) if n not in failed])


def _seen(name: str, frames: Sequence[Frame], problems: Problems) -> list[np.ndarray | None]:
    """Of each image, [H, W] bool of the pixels that its lens sees and that a circle leaves; None for all of them."""
    lenses = {lens: seen_pixels(lens) for lens in dict.fromkeys(frame.optics for frame in frames)}
    lost = [1 - float(lenses[frame.optics].mean()) for frame in frames if lenses[frame.optics] is not None]
    if lost:
        problems.warn(f"{name}: the lens folds inside the picture of {len(lost)} of {len(frames)} images; "
                      f"{np.mean(lost):.1%} of their pixels, which no ray meets, are left out: check k1, k2 and k3")
    circles = {(frame.size, frame.crop_radius) for frame in frames if frame.crop_radius is not None}
    circles = {circle: within_radius(*circle) for circle in circles}
    seen = {}
    for frame in frames:
        parts = [lenses[frame.optics], circles.get((frame.size, frame.crop_radius))]
        parts = [part for part in parts if part is not None]
        seen.setdefault((frame.optics, frame.crop_radius), np.logical_and.reduce(parts) if parts else None)
    return [seen[frame.optics, frame.crop_radius] for frame in frames]


def _without_full_masks(images: Images) -> Images:
    """Where masks leave every pixel, as without any."""
    whole = images.allowed is not None and len(images.allowed) == len(images.pixels)
    return replace(images, allowed=None) if whole else images


def _known(frames: Sequence[Frame], problems: Problems) -> dict:
    """What all frames know of time, exposure, bounds and ids."""
    known = {}
    for name in ("time", "bounds"):
        values = [getattr(frame, name) for frame in frames]
        if values and None not in values:
            known[name] = np.array(values)
    exposures = [frame.exposure for frame in frames]
    if frames and None not in exposures:
        known["exposure"] = np.log2(exposures)
    elif any(exposure is not None for exposure in exposures):
        problems.warn(f"{exposures.count(None)} of {len(frames)} frames state no exposure that can be used, so that "
                      "none is; state it for all of them")
    common = set.intersection(*(set(frame.ids) for frame in frames)) if frames else ()
    return {**known, "ids": {name: np.array([frame.ids[name] for frame in frames]) for name in sorted(common)}}


def _sightings(frames: Sequence[Frame], ratio: np.ndarray) -> tuple[Sightings, ...] | None:
    """In pixels of images made smaller by `ratio` [N, 2]; None unless every frame has some."""
    if not frames or any(frame.sightings is None for frame in frames):
        return None
    return tuple(
        Sightings(point=frame.sightings.point, pixel=frame.sightings.pixel * r) for frame, r in zip(frames, ratio)
    )


def hold_out(where: Path, names: Sequence[str], every: int) -> dict[str, list[int]]:
    """Numbers of the images of `train` and `test`: in natural order of names, 0, K, 2K, ... are for testing.

    Raises UserError where that leaves too few to train on.
    """
    numbers = range(len(names))
    if every == 0:
        return {"train": list(numbers)}
    order = sorted(numbers, key=lambda n: (natural(names[n]), n))
    test = set(order[::every])
    members = {"train": [n for n in numbers if n not in test], "test": [n for n in numbers if n in test]}
    if len(members["train"]) < FEWEST_TRAINING_IMAGES:
        raise UserError(
            f"{where}: of {len(numbers)} images {len(test)} are held out for testing, which leaves "
            f"{len(members['train'])} to train on; use more images, a larger --test-every, or 0 to "
            f"hold out none"
        )
    return members


def hold_out_note(every: int) -> str:
    return f"every {every}th image is held out for testing" if every else "no image is held out for testing"


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts r_2 before r_10."""
    return [
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]{1,18})", text)
        if part
    ]


def _masks(frame: Frame) -> list[Mask]:
    """All masks of an image, stated or beside it."""
    beside = dynamic_mask(frame.path)
    return [*frame.masks, *([beside] if beside else [])]


def has_outline(frame: Frame) -> bool:
    """Whether a mask keeps an object of the image."""
    return any(mask.white_counts for mask in frame.masks)


def _common_folder(frames: Sequence[Frame]) -> Path:
    return Path(os.path.commonpath([frame.path.absolute().parent for frame in frames])) if frames else Path()


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
    seen = set(map(os.path.realpath, train))  # which, unlike resolve(), takes links in a circle as they are
    shared = sorted(set(map(os.path.realpath, test)) & seen)
    if shared:
        raise UserError(
            f"{where}: {shared[0]} is in the training images and in the test images "
            f"({len(shared)} such); a test image must be unseen, list each image once"
        )


def existing_images(path: Path, content: dict) -> list[Path]:
    """The image files of all frames of the transforms file `path`, without those that are missing."""
    found = (image_path(path, frame) for frame in content["frames"])
    return [image for image in found if image is not None]


def describe_frames(contents: Mapping[Path, dict]) -> list[str]:
    """Notes on keys that are understood and not used, and on images that a file lists twice."""
    notes = unused(contents)
    for path, content in contents.items():
        images = [image.resolve() for image in existing_images(path, content)]
        if len(set(images)) < len(images):
            notes.append(f"{path.name} lists {len(images) - len(set(images))} images more than once")
    return notes


def view_tangents(frames: Sequence[Frame]) -> np.ndarray:
    """[N]: the tangent of half the field of view of each frame, along the longer side."""
    return np.array([max(0.5 * s / f for s, f in zip(frame.size, frame.focal)) for frame in frames])
