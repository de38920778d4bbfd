"""Image files to uint8 RGBA (straight alpha) as stored, and the area filter that makes them smaller.

The orientation that a phone writes into EXIF is not applied: poses, principal point and distortion were
estimated on the pixels as stored, and a picture turned after that would no longer fit its camera.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from .scene import Images, downscaled_size, pixel_offsets

# Pillow's readers raise all of these for damaged files.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    ArithmeticError,
    Image.DecompressionBombError,
)
ENDINGS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp", ".bmp", ".tif", ".tiff")


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, from the head of the file alone. Raises UserError."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise _missing(path) from None
    except _DAMAGED as error:
        raise _unreadable(path, error) from None


def read_image(path: Path) -> np.ndarray:
    """[H, W, 4] uint8: 16 bits scaled by 255 / 65535, grey and palettes expanded, alpha 255 if none.

    Raises UserError naming the file if it is missing, truncated, damaged or of floating-point values.
    """
    try:
        with Image.open(path) as image:
            return _to_rgba(image, path)
    except FileNotFoundError:
        raise _missing(path) from None
    except MemoryError:
        raise UserError(f"{path} does not fit into memory; make the image smaller") from None
    except _DAMAGED as error:
        raise _unreadable(path, error) from None


def read_images(
    paths: Sequence[Path], *, downscale: int = 1, on_error: Callable[[int, UserError], None] | None = None
) -> Images:
    """Decode all files, on as many threads as there are processors, into one buffer.

    `on_error(index, error)` is told of each file that cannot be read, whose pixels stay zero; without it the
    first error is raised.
    """
    size = downscaled_size(np.array([image_size(path) for path in paths]).reshape(-1, 2), downscale)
    offset = pixel_offsets(size)
    pixels = np.zeros((int(size.astype(np.int64).prod(-1).sum()), 4), np.uint8)

    def decode(n: int) -> UserError | None:
        try:
            image = downscaled(read_image(paths[n]), downscale)
        except UserError as error:
            return error
        pixels[offset[n] : offset[n] + image.shape[0] * image.shape[1]] = image.reshape(-1, 4)
        return None

    with ThreadPoolExecutor(min(_processors(), 8)) as pool:
        for n, error in enumerate(pool.map(decode, range(len(paths)))):
            if error is not None and on_error is None:
                pool.shutdown(cancel_futures=True)
                raise error
            if error is not None:
                on_error(n, error)
    has_alpha = bool(len(pixels)) and int(pixels[:, 3].min()) < 255
    return Images(
        pixels=pixels, offset=offset, size=size, names=[path.stem for path in paths], has_alpha=has_alpha
    )


def downscaled(image: np.ndarray, factor: int) -> np.ndarray:
    """[H // factor, W // factor, 4] uint8: each new pixel is the mean over the area it covers.

    Colours are averaged weighted by alpha, so that the invisible colour of transparent pixels leaks nowhere.
    Where the factor does not divide the size, a new pixel covers old_size / new_size > factor old ones,
    some in part.
    """
    if factor == 1:
        return image
    width, height = downscaled_size((image.shape[1], image.shape[0]), factor)
    alpha = image[..., 3:]
    if (alpha == 255).all():
        colour = _area_mean(_area_mean(image[..., :3].astype(np.float32), height, 0), width, 1)
        return np.concatenate([_round(colour), np.full((height, width, 1), 255, np.uint8)], axis=-1)
    premultiplied = image.astype(np.float32)
    premultiplied[..., :3] *= alpha / np.float32(255)
    mean = _area_mean(_area_mean(premultiplied, height, 0), width, 1)
    mean[..., :3] *= 255 / np.maximum(mean[..., 3:], 1e-6)
    return _round(mean)


def _area_mean(values: np.ndarray, count: int, axis: int) -> np.ndarray:
    """Mean over `count` equal intervals of one axis: interval j is [j, j + 1] * length / count."""
    length = values.shape[axis]
    low, high = np.arange(count) * length / count, np.arange(1, count + 1) * length / count
    first = np.floor(low).astype(np.int64)
    result = 0.0
    for tap in range(-(-length // count) + 1):
        pixel = first + tap
        overlap = np.minimum(pixel + 1, high) - np.maximum(pixel, low)
        weight = np.maximum(overlap, 0).astype(np.float32) * np.float32(count / length)
        if weight.any():
            taken = np.take(values, np.minimum(pixel, length - 1), axis=axis)
            result = result + taken * weight.reshape(-1, *[1] * (values.ndim - 1 - axis))
    return result


def _round(values: np.ndarray) -> np.ndarray:
    return np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)


def _to_rgba(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode == "F":
        raise UserError(f"{path} holds floating-point values; save it as an 8- or 16-bit PNG")
    if image.mode.startswith("I"):  # 16-bit grey
        grey = np.asarray(image, dtype=np.int64)
        if grey.size and (grey.min() < 0 or grey.max() > 65535):
            raise UserError(f"{path} holds 32-bit integers; save it as an 8- or 16-bit PNG")
        grey = _to_8_bit(grey)
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    if _is_16_bit_colour(image):
        return _read_16_bit_colour(image, path)
    return np.array(image if image.mode == "RGBA" else image.convert("RGBA"))


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    return ((values * 255 + 32767) // 65535).astype(np.uint8)


def _is_16_bit_colour(image: Image.Image) -> bool:
    return (
        image.format == "PNG"
        and image.mode in ("RGB", "RGBA")
        and image.tile[0][3] in ("RGB;16B", "RGBA;16B")
    )


def _read_16_bit_colour(image: Image.Image, path: Path) -> np.ndarray:
    """Pillow keeps only the high byte of 16-bit colour; reading the bytes as if swapped gives the low one."""
    high = np.asarray(image, dtype=np.int64)
    with Image.open(path) as swapped:
        codec, box, start, layout = swapped.tile[0]
        swapped.tile = [(codec, box, start, layout.replace("16B", "16L"))]
        low = np.asarray(swapped, dtype=np.int64)
    values = _to_8_bit(high * 256 + low)
    if values.shape[-1] == 4:
        return values
    return np.concatenate([values, np.full_like(values[..., :1], 255)], axis=-1)


def _missing(path: Path) -> UserError:
    return UserError(f"{path} does not exist; put the image there or take its frame out of the list")


def _unreadable(path: Path, error: Exception) -> UserError:
    if Path(path).is_dir():
        return UserError(f"{path} is a folder, not an image; correct file_path")
    return UserError(
        f"{path} cannot be read as an image ({_reason(error)}); replace it or take its frame out of the list"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no known image format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
