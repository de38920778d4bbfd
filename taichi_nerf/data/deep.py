"""PNG files of 16 bits, and what has more than 8 bits in general, on their way to 8.

A camera's image of 24 megapixels has 288 MB as 64-bit numbers of one channel: everything is done in bands of rows, and
Pillow's two readings, of the high bytes and of the low ones, do not live at the same time.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from .area import BAND_PIXELS, rounded
from .hdr import linear_from_srgb, srgb_from_linear
from .opening import open_image


def is_deep(image: Image.Image) -> bool:
    """Whether the opened image has more than 8 bits a channel."""
    return image.mode == "F" or image.mode.startswith("I") or _is_16_bit_colour(image)


def read_deep(path: Path, exposure: float) -> np.ndarray:
    """[H, W, 4] uint8 of a file with more than 8 bits, exposed by 2^exposure. Raises UserError, or as Pillow does."""
    with open_image(path) as image:
        linear, mode, colour = image.info.get("gamma") == 1.0, image.mode, _is_16_bit_colour(image)
        if mode == "F":
            raise UserError(f"{path} holds floating-point values; save it as an 8- or 16-bit PNG or as OpenEXR")
        high = np.asarray(image)
    if not colour:
        return _in_bands(high.shape, lambda rows: _to_8_bits(_grey(high[rows], path), linear, exposure))
    low = _low_bytes(path)

    def of_rows(rows: slice) -> np.ndarray:
        return _to_8_bits(high[rows].astype(np.int64) * 256 + low[rows], linear, exposure)

    return _in_bands(high.shape, of_rows)


def exposed(linear: np.ndarray, alpha: np.ndarray, exposure: float) -> np.ndarray:
    """[H, W, 4] uint8 sRGB of linear colours [H, W, 3] and straight alpha [H, W]."""
    def of_rows(rows: slice) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            colour = srgb_from_linear(linear[rows] * np.float32(2.0**exposure))
        return rounded(255 * np.concatenate([colour, alpha[rows][..., None]], axis=-1))

    return _in_bands(linear.shape, of_rows)


def _in_bands(shape: tuple[int, ...], of_rows: Callable[[slice], np.ndarray]) -> np.ndarray:
    height, width = shape[:2]
    result, band = np.empty((height, width, 4), np.uint8), max(1, BAND_PIXELS // max(width, 1))
    for start in range(0, height, band):
        rows = slice(start, start + band)
        result[rows] = of_rows(rows)
    return result


def _grey(rows: np.ndarray, path: Path) -> np.ndarray:
    grey = rows.astype(np.int64)
    if grey.size and (grey.min() < 0 or grey.max() > 65535):
        raise UserError(f"{path} holds 32-bit integers; save it as an 8- or 16-bit PNG")
    return np.stack([grey, grey, grey], axis=-1)


def _to_8_bits(values: np.ndarray, linear: bool, exposure: float) -> np.ndarray:
    """[H, W, 4] uint8 of [H, W, 3 or 4] integers below 2^16."""
    if exposure == 0 and not linear:
        eight = ((values * 255 + 32767) // 65535).astype(np.uint8)
        return eight if eight.shape[-1] == 4 else np.concatenate([eight, np.full_like(eight[..., :1], 255)], axis=-1)
    unit = values.astype(np.float32) / 65535
    alpha = unit[..., 3] if unit.shape[-1] == 4 else np.ones(unit.shape[:2], np.float32)
    return exposed(unit[..., :3] if linear else linear_from_srgb(unit[..., :3]), alpha, exposure)


def _is_16_bit_colour(image: Image.Image) -> bool:
    return (
        image.format == "PNG"
        and image.mode in ("RGB", "RGBA")
        and bool(image.tile)
        and image.tile[0][3] in ("RGB;16B", "RGBA;16B")
    )


def _low_bytes(path: Path) -> np.ndarray:
    """Pillow keeps only the high byte of 16-bit colour; reading the bytes as if swapped gives the low one."""
    with open_image(path) as swapped:
        codec, box, start, layout = swapped.tile[0]
        swapped.tile = [(codec, box, start, layout.replace("16B", "16L"))]
        return np.asarray(swapped)
