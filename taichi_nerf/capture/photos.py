"""Photographs on their way into a scene: found, sorted out, turned upright, made smaller, and how sharp they are.

Those of phones (HEIC) and of cameras (raw) are read where pillow-heif and rawpy are installed.
"""

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..data.images import read_image, threads
from ..data.names import printable
from ..data.opening import DAMAGED, check_regular, open_image, reason_of
from ..data.room import Room
from ..data.splits import natural
from ..errors import UserError

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
# Kind, package and module of the others.
_HEIC, _RAW = ("pillow-heif", "pillow_heif"), ("rawpy", "rawpy")
OTHER_ENDINGS = {".heic": ("HEIC", *_HEIC), ".heif": ("HEIF", *_HEIC),
                 **{ending: ("raw", *_RAW) for ending in (".dng", ".cr2", ".cr3", ".nef", ".arw")}}
FEWEST, DEEPEST = 3, 3  # photos; folders within each other that are looked into
LARGE = 2**26  # pixels of a photo whose size is known only when it is decoded
_SHARPNESS_SIDE = 640
_ORIENTATION = 0x0112


def find_photos(folder: Path) -> list[Path]:
    """The photographs in a folder that can be read, in the natural order of their names.

    Where it has none of its own, those in its folders. Raises UserError where there are too few.
    """
    found = _pictures(folder)
    photos = [path for path in found if _package(path) is None]
    if len(photos) >= FEWEST:
        return photos
    unread = next((path for path in found if _package(path) is not None), None)
    if unread is not None:
        kind, package, _ = OTHER_ENDINGS[unread.suffix.lower()]
        raise UserError(f"{folder} holds {kind} photos ({unread.name}), which are not read; export them as JPEG, or "
                        f"pip install {package}")
    found = f"{len(photos)} photos" if photos else "no photo"
    raise UserError(
        f"{folder} holds {found} ({', '.join(sorted(PHOTO_ENDINGS))}); give a folder with at least {FEWEST} photos of "
        "one scene, and better 50"
    )


def unread_photos(folder: Path) -> dict[str, str]:
    """Photographs of a folder that are left out since a package is missing: why, by name."""
    found = {}
    for path in _pictures(folder):
        if (package := _package(path)) is not None:
            kind = OTHER_ENDINGS[path.suffix.lower()][0]
            found[printable(path.relative_to(folder))] = f"{kind} is not read without {package}: pip install {package}"
    return found


def photos_below(folder: Path) -> list[Path]:
    """Photographs in the folders of a folder that has some of its own, and which are therefore not taken."""
    own, below = _listed(folder)
    return below if own else []


def open_photo(path: Path) -> Image.Image:
    """A photograph, of whatever kind is read. Raises one of DAMAGED."""
    ending = path.suffix.lower()
    if ending not in OTHER_ENDINGS:
        return open_image(path)
    check_regular(path)
    try:
        return _open_heic(path) if OTHER_ENDINGS[ending][1] == "pillow-heif" else _open_raw(path)
    except Exception as error:  # each of the two has its own kinds
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


def _open_heic(path: Path) -> Image.Image:
    import pillow_heif

    return pillow_heif.open_heif(path, convert_hdr_to_8bit=True).to_pillow()


def _open_raw(path: Path) -> Image.Image:
    import rawpy

    with rawpy.imread(str(path)) as raw:
        return Image.fromarray(raw.postprocess(use_camera_wb=True))


def _package(path: Path) -> str | None:
    """What must be installed to read the photograph; None if nothing is missing."""
    kind = OTHER_ENDINGS.get(path.suffix.lower())
    if kind is None:
        return None
    try:
        missing = importlib.util.find_spec(kind[2]) is None
    except (ImportError, ValueError):  # a module that is blocked
        missing = True
    return kind[1] if missing else None


def _pictures(folder: Path) -> list[Path]:
    own, below = _listed(folder)
    return own or below


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photographs of any kind in a folder, and in the folders in it. Raises UserError."""
    try:
        next(folder.iterdir(), None)  # glob says nothing of a folder that is none
        files = [path for depth in range(DEEPEST) for path in folder.glob("*/" * depth + "*")
                 if path.suffix.lower() in PHOTO_ENDINGS | set(OTHER_ENDINGS)]
        parts = {path: path.relative_to(folder).parts for path in files if path.is_file()}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{folder} cannot be listed ({reason}); check the path") from None
    shown = sorted((path for path, names in parts.items() if not any(name.startswith(".") for name in names)),
                   key=lambda path: natural(str(path.relative_to(folder))))
    return [path for path in shown if len(parts[path]) == 1], [path for path in shown if len(parts[path]) > 1]


def copy_photos(photos: Sequence[Path], folder: Path, *, most: int, max_size: int,
                told: Callable[[int, int], None] | None = None) -> tuple[dict[str, float], dict[str, str]]:
    """Put upright photos of at most `max_size` pixels along a side into `folder`.

    Where there are more than `most`, the sharpest one of every few that follow each other is taken.

    Returns:
        the sharpness of each copy by its name; why a photo was not taken, by its name.
    """
    names = _distinct_names(photos)
    failed, sharp, room = {}, {}, Room()
    with threads() as pool:
        if len(photos) > most:
            jobs = pool.map(lambda path: _sharpness_or_reason(path, room), photos)
            found = list(_told(jobs, len(photos), told))
            failed |= {printable(path.name): value for path, value in zip(photos, found) if isinstance(value, str)}
            usable = [n for n, value in enumerate(found) if not isinstance(value, str)]
            groups = np.array_split(usable, min(most, len(usable))) if usable else []
            chosen = [int(max(group, key=lambda n: found[n])) for group in groups]
        else:
            chosen = range(len(photos))
        jobs = pool.map(lambda n: _copied_or_reason(photos[n], folder / names[n], max_size, room), chosen)
        for n, value in zip(chosen, _told(jobs, len(chosen), told)):
            if isinstance(value, str):
                failed[printable(photos[n].name)] = value
            else:
                sharp[names[n]] = value
    return sharp, failed


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian of a picture [H, W]: small where edges are soft."""
    grey = grey.astype(np.float32)
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.var()) if laplacian.size else 0.0


def _copied_or_reason(source: Path, target: Path, max_size: int, room: Room) -> float | str:
    """The sharpness of the copy, or why there is none."""
    try:
        with room.of(_pixels(source)), open_photo(source) as image:
            plain = image.format in ("JPEG", "PNG") and image.mode in ("RGB", "RGBA", "L")
            if plain and max(image.size) <= max_size and image.getexif().get(_ORIENTATION, 1) == 1:
                value = _sharpness_of(image)
                shutil.copyfile(source, target)
                return value
            upright = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16-bit grey
                upright = ImageOps.exif_transpose(Image.fromarray(read_image(source)))
            alpha = image.mode in ("RGBA", "LA", "PA") and target.suffix == ".png"
            upright = upright.convert("RGBA" if alpha else "RGB")
            upright.thumbnail((max_size, max_size), Image.Resampling.LANCZOS, reducing_gap=3.0)
            exif = image.getexif()
            exif[_ORIENTATION] = 1
            upright.save(target, quality=95, subsampling=0, exif=exif)
            return _sharpness_of(upright)
    except (*DAMAGED, UserError) as error:
        return f"cannot be read ({reason_of(error)})"


def _pixels(path: Path) -> int:
    """How many the photograph has, as far as its head says so."""
    if path.suffix.lower() in OTHER_ENDINGS:
        return LARGE
    with open_image(path) as image:
        return image.width * image.height


def _sharpness_or_reason(path: Path, room: Room) -> float | str:
    try:
        with room.of(_pixels(path)), open_photo(path) as image:
            return _sharpness_of(image)
    except DAMAGED as error:
        return f"cannot be read ({reason_of(error)})"


def _sharpness_of(image: Image.Image) -> float:
    grey = image.convert("L")
    grey.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE), Image.Resampling.BOX)
    return sharpness(np.asarray(grey))


def _distinct_names(photos: Sequence[Path]) -> list[str]:
    """File names of the copies, in UTF-8: the stem must tell one from another."""
    root = photos[0].parent if len({path.parent for path in photos}) == 1 else _common(photos)
    choices = [[path.stem, path.name.replace(".", "_"), "_".join(path.relative_to(root).parts).replace(".", "_")]
               for path in photos]
    choices = [[re.sub(r"[\\\ufffd]", "_", printable(name)) for name in of_one] for of_one in choices]
    counts = [[of_one[k] for of_one in choices].count for k in range(3)]
    names, taken = [], set()
    for path, of_one in zip(photos, choices):
        stem = next((name for name, count in zip(of_one, counts) if count(name) == 1 and name not in taken), of_one[-1])
        number = 1
        while stem in taken:
            number, stem = number + 1, f"{of_one[-1]}_{number + 1}"
        taken.add(stem)
        names.append(stem + _ending_of_copy(path))
    return names


def _common(photos: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in photos]))


def _ending_of_copy(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in OTHER_ENDINGS:
        return ".jpg"
    return ending if ending in (".jpg", ".jpeg", ".png") else ".png"


def _told(results, total: int, told: Callable[[int, int], None] | None):
    for n, result in enumerate(results):
        if told is not None:
            told(n + 1, total)
        yield result
