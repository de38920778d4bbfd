"""Masks that lie in a scene and are not used: a name that is spelled wrongly would train on what it covers."""

import os
from collections.abc import Sequence
from pathlib import Path

from .frames import Frame
from .images import dynamic_mask
from .opening import is_picture


def mask_folder(images: Path) -> Path:
    """`masks` beside `images`, `masks_2` beside `images_2`."""
    return images.with_name(images.name.replace("images", "masks", 1))


def unused_masks(frames: Sequence[Frame], images: Path | None = None, *, stated: bool = False) -> list[str]:
    """In words, which masks beside the images no frame has, and which `dynamic_mask_NAME.png` have no image NAME.

    Masks of images that lie there and are not in the scene are none of them.

    Args:
        images: their folder; None: that of the first one.
        stated: a file names the mask of each frame; else it is found by the name of the image.
    """
    images = images or (frames[0].path.parent if frames else Path())
    found, folder = [], mask_folder(images)
    if folder != images and folder.is_dir():
        used = {os.path.realpath(mask.path) for frame in frames for mask in frame.masks}
        others = _names(_pictures(images)) - _names(frame.path for frame in frames)
        unused = [path for path in _pictures(folder)
                  if os.path.realpath(path) not in used and not _names([path]) & others]
        remedy = "name it with mask_path" if stated else "call it as its image, with .png after it"
        found += _sentence(unused, f"of {folder.name}", remedy)
    dynamic = {dynamic_mask(frame.path) for frame in frames}
    known = {mask.path for mask in dynamic if mask is not None}
    for parent in sorted({frame.path.parent for frame in frames}):
        stray = [path for path in sorted(parent.glob("dynamic_mask_*.png")) if path not in known]
        images_there = _names(path for path in _pictures(parent) if path not in stray)
        stray = [path for path in stray if path.stem.removeprefix("dynamic_mask_") not in images_there]
        found += _sentence(stray, f"beside the images of {parent.name}", "call it dynamic_mask_NAME.png")
    return found


def unread_beside(frames: Sequence[Frame]) -> list[str]:
    """In words, what instant-ngp would read beside the images, and what is not read here: rays, and images of alpha."""
    parents = sorted({frame.path.parent for frame in frames})
    found = []
    for pattern, what in (("rays_*.dat", "rays of their own"), ("*.alpha.*", "images of their alpha")):
        files = [path for parent in parents for path in sorted(parent.glob(pattern))]
        if files:
            found.append(f"{len(files)} files beside the images are not read, such as {files[0].name}, which "
                         f"instant-ngp takes for {what}")
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_picture(path) and path.is_file())


def _names(paths) -> set[str]:
    """What an image and its mask have in common: the name, or the name without its ending."""
    return {name for path in paths for name in (path.name, path.stem)}


def _sentence(unused: Sequence[Path], where: str, remedy: str) -> list[str]:
    if not unused:
        return []
    names = ", ".join(path.name for path in unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
    count = "a mask" if len(unused) == 1 else f"{len(unused)} masks"
    return [f"{count} {where} {'is' if len(unused) == 1 else 'are'} not used ({names}): {remedy}"]
