"""Photographs on their way into a scene: found, sorted out, turned upright, made smaller, and how sharp they are."""

import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..data.images import DAMAGED, processors, read_image
from ..errors import UserError

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
UNREAD_ENDINGS = {".heic": "HEIC", ".heif": "HEIF", ".dng": "raw", ".cr2": "raw", ".cr3": "raw", ".nef": "raw",
                  ".arw": "raw"}
FEWEST = 3
_SHARPNESS_SIDE = 640
_ORIENTATION = 0x0112


def find_photos(folder: Path) -> list[Path]:
    """The photographs in a folder, in the natural order of their names. Raises UserError where there are too few."""
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{folder} cannot be listed ({reason}); check the path") from None
    photos = sorted((path for path in files if path.suffix.lower() in PHOTO_ENDINGS), key=_natural)
    if len(photos) >= FEWEST:
        return photos
    unread = next((path for path in files if path.suffix.lower() in UNREAD_ENDINGS), None)
    if unread is not None:
        kind = UNREAD_ENDINGS[unread.suffix.lower()]
        raise UserError(f"{folder} holds {kind} photos ({unread.name}), which are not read; export them as JPEG")
    found = f"{len(photos)} photos" if photos else "no photo"
    raise UserError(
        f"{folder} holds {found} ({', '.join(sorted(PHOTO_ENDINGS))}); give a folder with at least {FEWEST} photos of "
        "one scene, and better 50"
    )


def copy_photos(photos: Sequence[Path], folder: Path, *, most: int, max_size: int,
                told: Callable[[int, int], None] | None = None) -> tuple[dict[str, float], dict[str, str]]:
    """Put upright photos of at most `max_size` pixels along a side into `folder`.

    Where there are more than `most`, the sharpest one of every few that follow each other is taken.

    Returns:
        the sharpness of each copy by its name; why a photo was not taken, by its name.
    """
    names = _distinct_names(photos)
    failed, sharp = {}, {}
    with ThreadPoolExecutor(min(processors(), 8)) as pool:
        if len(photos) > most:
            jobs = pool.map(_sharpness_or_reason, photos)
            found = list(_told(jobs, len(photos), told))
            failed |= {path.name: value for path, value in zip(photos, found) if isinstance(value, str)}
            usable = [n for n, value in enumerate(found) if not isinstance(value, str)]
            groups = np.array_split(usable, min(most, len(usable))) if usable else []
            chosen = [int(max(group, key=lambda n: found[n])) for group in groups]
        else:
            chosen = range(len(photos))
        jobs = pool.map(lambda n: _copied_or_reason(photos[n], folder / names[n], max_size), chosen)
        for n, value in zip(chosen, _told(jobs, len(chosen), told)):
            if isinstance(value, str):
                failed[photos[n].name] = value
            else:
                sharp[names[n]] = value
    return sharp, failed


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian of a picture [H, W]: small where edges are soft."""
    grey = grey.astype(np.float32)
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.var()) if laplacian.size else 0.0


def _copied_or_reason(source: Path, target: Path, max_size: int) -> float | str:
    """The sharpness of the copy, or why there is none."""
    try:
        with Image.open(source) as image:
            plain = image.format in ("JPEG", "PNG") and image.mode in ("RGB", "RGBA", "L")
            if plain and max(image.size) <= max_size and image.getexif().get(_ORIENTATION, 1) == 1:
                value = _sharpness_of(image)
                shutil.copyfile(source, target)
                return value
            upright = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16-bit grey
                upright = ImageOps.exif_transpose(Image.fromarray(read_image(source)))
            upright = upright.convert("RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB")
            upright.thumbnail((max_size, max_size), Image.Resampling.LANCZOS, reducing_gap=3.0)
            exif = image.getexif()
            exif[_ORIENTATION] = 1
            upright.save(target, quality=95, subsampling=0, exif=exif)
            return _sharpness_of(upright)
    except (*DAMAGED, UserError) as error:
        return f"cannot be read ({' '.join(str(error).split()) or type(error).__name__})"


def _sharpness_or_reason(path: Path) -> float | str:
    try:
        with Image.open(path) as image:
            return _sharpness_of(image)
    except DAMAGED as error:
        return f"cannot be read ({' '.join(str(error).split()) or type(error).__name__})"


def _sharpness_of(image: Image.Image) -> float:
    grey = image.convert("L")
    grey.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE), Image.Resampling.BOX)
    return sharpness(np.asarray(grey))


def _distinct_names(photos: Sequence[Path]) -> list[str]:
    """File names of the copies: the stem must tell one from another."""
    stems = [path.stem for path in photos]
    names = []
    for path in photos:
        stem = path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "_")
        ending = path.suffix.lower()
        names.append(stem + (ending if ending in (".jpg", ".jpeg", ".png") else ".png"))
    return names


def _told(results, total: int, told: Callable[[int, int], None] | None):
    for n, result in enumerate(results):
        if told is not None:
            told(n + 1, total)
        yield result


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts IMG_2 before IMG_10."""
    parts = re.split(r"([0-9]{1,18})", path.name)
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts if part]
