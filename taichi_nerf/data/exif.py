"""What a camera wrote into a photo about itself (EXIF 2.32): which it is, how long and how wide it opened; and the size
of its picture."""

import contextlib
import math
import warnings
from pathlib import Path
from typing import NamedTuple

from .opening import DAMAGED, open_image

__all__ = ["Taken", "taken"]

MAKE, MODEL, DETAILS = 0x010F, 0x0110, 0x8769
EXPOSURE_TIME, F_NUMBER, SENSITIVITY = 0x829A, 0x829D, 0x8827


class Taken(NamedTuple):
    """How a photo was taken, as far as its file says."""

    camera: str | None = None
    """Maker and model."""
    stops: float | None = None
    """log2 of exposure time, in seconds, times ISO speed over the square of the f-number."""
    size: tuple[int, int] | None = None
    """Width and height of the file's picture."""


def taken(path: Path) -> Taken:
    """From the head of the image file; nothing of one that cannot be read, and of damaged data what stands before."""
    found = Taken()
    with warnings.catch_warnings(), contextlib.suppress(*DAMAGED):
        warnings.simplefilter("ignore")  # Pillow's, of each tag that is damaged
        with open_image(path) as image:
            found = Taken(size=image.size)
            exif = image.getexif()
            names = " ".join(str(exif.get(tag, "")).strip("\0 ") for tag in (MAKE, MODEL)).strip()
            found = found._replace(camera=names or None)
            found = found._replace(stops=_stops(exif.get_ifd(DETAILS)))
    return found


def _stops(details) -> float | None:
    try:
        time, f_number, speed = (float(details[tag]) for tag in (EXPOSURE_TIME, F_NUMBER, SENSITIVITY))
        found = math.log2(time * speed / f_number**2)
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
