"""The one place where image files are opened: as one of the formats that are promised, and no other.

Pillow knows some forty formats, and goes by the content, not by the name. Some of their readers start other programs
(EPS: Ghostscript) or have hardly been tested; a scene from elsewhere could bring them in under any name.
"""

import os
import stat
import struct
from pathlib import Path

from PIL import Image

from .hdr import HDR_ENDINGS

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
ENDINGS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp", ".bmp", ".tif", ".tiff",
           *HDR_ENDINGS)
# Pillow's readers raise all of these for damaged files.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    ArithmeticError,
    struct.error,
    Image.DecompressionBombError,
)


def open_image(path: Path) -> Image.Image:
    """The image in the file `path`, whose pixels are decoded when they are asked for.

    Raises one of DAMAGED; FileNotFoundError where there is no such file, OSError where it is a pipe or a device, whose
    reading would not end.
    """
    check_regular(path)
    return Image.open(path, formats=FORMATS)


def check_regular(path: Path):
    """Raises OSError unless `path` is a file as any other."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError("it is a pipe or a device, not a file")


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "no known image format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def is_picture(path: Path) -> bool:
    """Whether the name says that the file is an image of a format that is read."""
    return path.suffix.lower() in {ending.lower() for ending in ENDINGS}
