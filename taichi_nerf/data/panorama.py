"""Light from all around out of a file: an equirectangular picture, as renderers and archives of skies have it.

Its rows run from straight up to straight down, its columns all around, to the right as one looks from inside. EXR and
Radiance hold linear light of any brightness, in which 1 is white; all other formats sRGB, which ends there. What is
transparent gives no light. Of pixels that are no finite light what is infinite counts as the brightest that a float16
can be, and what is no number as none.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..output import quoted
from .area import area_means
from .deep import is_deep, read_deep
from .hdr import hdr_size, is_hdr, linear_from_srgb, read_hdr
from .opening import DAMAGED, check_regular, open_image, reason_of

__all__ = ["check_panorama", "read_panorama"]

MOST_ROWS = 256  # of what is returned: as fine as a shadow of it could show
BRIGHTEST = 65504.0  # of float16, which brighter lamps overflow


def read_panorama(path: Path | str, note: Callable[[str], None] | None = None) -> np.ndarray:
    """[H, 2 H, 3] float32 linear light of an equirectangular picture, H at most MOST_ROWS: means of its pixels.

    `note` is told, in a sentence, of pixels that are not finite.

    Raises:
        UserError: the file is missing, is no picture, is not twice as wide as high, is black, or nowhere finite.
    """
    path = Path(path).expanduser()
    width, height = check_panorama(path)
    with _reading(path):
        light, odd = _linear(path)
    if odd == width * height:
        raise UserError(f"{path} has no pixel that is a finite number; export it again")
    if odd and note is not None:
        note(f"{quoted(path)} has {odd} of {width * height} pixels that are infinite or no number; they shine with "
             f"{BRIGHTEST:g} and not at all, so that lamps among them may be too bright or missing")
    if not light.any():
        raise UserError(f"{path} is black, and gives no light; give another picture")
    rows = min(height, MOST_ROWS)
    return np.concatenate([mean for _, mean in area_means(light, rows, 2 * rows, lambda part: part)])


def check_panorama(path: Path | str) -> tuple[int, int]:
    """Width and height of the file for `read_panorama`. Raises UserError where its head says that it is none."""
    path = Path(path).expanduser()
    with _reading(path):
        check_regular(path)
        width, height = _size(path)
    if width != 2 * height:
        raise UserError(f"{path} is {width} x {height} pixels, and a picture of what is all around is twice as wide as "
                        "high (equirectangular); render or export it so")
    return width, height


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Within this context it is read. Raises UserError where that fails."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path of the picture") from None
    except MemoryError:
        raise UserError(f"{path} does not fit into memory; a picture of 512 x 256 pixels shines as well") from None
    except DAMAGED as error:
        raise UserError(f"{path} cannot be read as a picture ({reason_of(error)}); give an EXR, HDR, PNG or JPEG file"
                        ) from None


def _size(path: Path) -> tuple[int, int]:
    """Width and height, from the head of the file alone."""
    if is_hdr(path):
        return hdr_size(path)
    with open_image(path) as image:
        return image.size


def _linear(path: Path) -> tuple[np.ndarray, int]:
    """[H, W, 3] float32, finite and not below 0; and how many pixels of the file are not finite."""
    if is_hdr(path):
        colour, alpha = read_hdr(path)
        odd = np.count_nonzero(~np.isfinite(colour).all(axis=2))
        return np.nan_to_num(colour, nan=0.0, posinf=BRIGHTEST, neginf=0.0).clip(0) * alpha[..., None], odd
    with open_image(path) as image:
        rgba = read_deep(path, 0.0) if is_deep(image) else np.asarray(image.convert("RGBA"))
    alpha = rgba[..., 3:] / np.float32(255)
    return linear_from_srgb(rgba[..., :3] / np.float32(255)) * alpha, 0
