"""Image files to uint8 RGBA (straight alpha) as stored, masks, and the area filter that makes both smaller.

The orientation that a phone writes into EXIF is not applied: poses, principal point and distortion were
estimated on the pixels as stored, and a picture turned after that would no longer fit its camera.

What has more than 8 bits is exposed, by 2^stops of linear light, before it is rounded to 8: EXR and Radiance
files hold linear light; a 16-bit PNG holds sRGB, or linear light where its gAMA chunk says 1.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import UserError
from .cache import Facts, ImageCache, fill_memory
from .hdr import HDR_ENDINGS, hdr_size, is_hdr, linear_from_srgb, read_hdr, srgb_from_linear
from .scene import Images, downscaled_size, pixel_offsets

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
    Image.DecompressionBombError,
)
ENDINGS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp", ".bmp", ".tif", ".tiff",
           *HDR_ENDINGS)
MOST_PIXELS = 2**31 - 1  # of all images of a split: indices of pixels have 32 bits


class Mask(NamedTuple):
    """An image of the pixels that are trained on and scored."""

    path: Path
    white_counts: bool = True
    """What is not black counts; False: what is not black is left out, as a thing that moves is."""


def dynamic_mask(image: Path) -> Mask | None:
    """instant-ngp's `dynamic_mask_NAME.png` beside an image, which leaves out what is not black."""
    path = image.with_name(f"dynamic_mask_{image.stem}.png")
    return Mask(path, white_counts=False) if path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What is done to image files on their way to 8 bits."""

    downscale: int = 1
    exposure: float = 0.0
    """Stops, of images of more than 8 bits."""
    alpha_masks: bool = False
    """Pixels less than half opaque are masked, and then all are opaque: alpha is no part of the picture."""
    cut_out: bool = False
    """What masks of an object leave out is transparent, and no longer masked: nothing is there."""


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, from the head of the file alone. Raises UserError."""
    try:
        if is_hdr(path):
            return hdr_size(path)
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise _missing(path) from None
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def read_image(path: Path, *, exposure: float = 0.0) -> np.ndarray:
    """[H, W, 4] uint8: grey and palettes expanded, alpha 255 if none, more than 8 bits exposed and rounded.

    Raises UserError naming the file if it is missing, truncated, damaged or of a kind that is not read.
    """
    try:
        if is_hdr(path):
            colour, alpha = read_hdr(path)
            return _exposed(colour, alpha, exposure)
        with Image.open(path) as image:
            return _to_rgba(image, path, exposure)
    except FileNotFoundError:
        raise _missing(path) from None
    except MemoryError:
        raise UserError(f"{path} does not fit into memory; make the image smaller") from None
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def read_mask(mask: Mask, size: tuple[int, int]) -> np.ndarray:
    """[H, W] bool: the pixels that `mask` leaves, of an image of `size` (width, height). Raises UserError.

    Black is what has no light at all; in a JPEG file, whose edges ring, what has less than half of it.
    """
    try:
        with Image.open(mask.path) as image:
            black = 127 if image.format == "JPEG" else 0
            found, white = image.size, np.asarray(image.convert("L")) > black
    except FileNotFoundError:
        raise UserError(
            f"the mask {mask.path} does not exist; put it there, take it out of its frame, or use --no-masks"
        ) from None
    except DAMAGED as error:
        raise UserError(
            f"the mask {mask.path} cannot be read as an image ({_reason(error)}); replace it or use --no-masks"
        ) from None
    if found != tuple(size):
        raise UserError(
            f"the mask {mask.path} is {found[0]} x {found[1]} pixels and its image {size[0]} x {size[1]}; "
            "store both in one size, or use --no-masks"
        )
    return white if mask.white_counts else ~white


def read_images(
    paths: Sequence[Path],
    *,
    downscale: int = 1,
    on_error: Callable[[int, UserError], None] | None = None,
    masks: Sequence[Sequence[Mask]] | None = None,
    exposure: float = 0.0,
    alpha_masks: bool = False,
    cut_out: bool = False,
    cache: ImageCache | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> Images:
    """Decode all files, on as many threads as there are processors, into one buffer.

    Args:
        on_error: `on_error(index, error)` is told of each file that cannot be read, whose pixels stay zero;
            without it the first error is raised.
        masks: of each file; a pixel is left out if any of its masks leaves it out, and a pixel of a smaller
            image if any of the pixels that it covers is.
        exposure, alpha_masks, cut_out: as of `Decoding`.
        cache: where the pixels stay on disk if they are too many, or if it says so.
        on_image: `on_image(done, total)` is told how far the decoding is.
    """
    size = downscaled_size(np.array([image_size(path) for path in paths]).reshape(-1, 2), downscale)
    count = int(size.astype(np.int64).prod(-1).sum())
    masks = masks or [()] * len(paths)
    if count > MOST_PIXELS:
        raise UserError(
            f"{paths[0].parent}: {len(paths)} images have {count / 1e9:.2f} billion pixels together, more than the "
            "2.14 billion that can be trained on; use a larger --downscale or fewer images"
        )
    decoding = Decoding(downscale=downscale, exposure=exposure, alpha_masks=alpha_masks, cut_out=cut_out)
    offset = pixel_offsets(size)

    def fill(pixels: np.ndarray, add_allowed: Callable[[np.ndarray], object]) -> Facts:
        return _decode_all(paths, masks, decoding, offset, pixels, add_allowed, strict=on_error is None, told=on_image)

    if cache is not None and cache.keeps_on_disk(count):
        files = [*paths, *(mask.path for of_image in masks for mask in of_image)]
        how = {**asdict(decoding), "masks": [[str(m.path), m.white_counts] for of_image in masks for m in of_image]}
        result = cache.open(files, how, count, offset, fill)
    else:
        result = fill_memory(fill, count)
    for n, reason in result.failed:
        if on_error is None:
            raise UserError(reason)
        on_error(n, UserError(reason))
    return Images(
        pixels=result.pixels,
        offset=offset,
        size=size,
        names=[path.stem for path in paths],
        has_alpha=result.has_alpha,
        allowed=result.allowed,
    )


def _decode_all(paths: Sequence[Path], masks: Sequence[Sequence[Mask]], decoding: Decoding, offset: np.ndarray,
                pixels: np.ndarray, add_allowed: Callable[[np.ndarray], object], *, strict: bool,
                told: Callable[[int, int], None] | None) -> Facts:
    """Write the pixels of all files, and hand over the indices of those that masks leave, image after image."""
    masked = decoding.alpha_masks or any(not _cuts(mask, decoding) for of_image in masks for mask in of_image)
    has_alpha, failed = False, []

    def decode(n: int) -> tuple[np.ndarray, bool] | UserError:
        try:
            image, allowed = decode_image(paths[n], masks[n], decoding)
        except UserError as error:
            return error
        area = image.shape[0] * image.shape[1]
        pixels[offset[n] : offset[n] + area] = image.reshape(-1, 4)
        indices = np.arange(area) if allowed is None else np.flatnonzero(allowed)
        return (offset[n] + indices).astype(np.int32) if masked else indices[:0], int(image[..., 3].min()) < 255

    with ThreadPoolExecutor(min(processors(), 8)) as pool:
        for n, result in enumerate(pool.map(decode, range(len(paths)))):
            if isinstance(result, UserError):
                if strict:
                    pool.shutdown(cancel_futures=True)
                    raise result
                failed.append((n, str(result)))
            else:
                has_alpha |= result[1]
                if masked:
                    add_allowed(result[0])
            if told is not None:
                told(n + 1, len(paths))
    return Facts(has_alpha, failed, masked)


def decode_image(path: Path, masks: Sequence[Mask], decoding: Decoding) -> tuple[np.ndarray, np.ndarray | None]:
    """[H, W, 4] uint8 in the final size, and [H, W] bool of the pixels that masks leave, None without a mask."""
    image = read_image(path, exposure=decoding.exposure)
    left = []
    if decoding.alpha_masks:
        left.append(image[..., 3] > 127)
        image[..., 3] = 255
    for mask in masks:
        kept = read_mask(mask, (image.shape[1], image.shape[0]))
        if _cuts(mask, decoding):
            image[~kept, 3] = 0
        else:
            left.append(kept)
    image = downscaled(image, decoding.downscale)
    if not left:
        return image, None
    allowed = np.logical_and.reduce(left)
    if decoding.downscale > 1:
        share = _area_mean(_area_mean(allowed.astype(np.float32), image.shape[0], 0), image.shape[1], 1)
        allowed = share > 0.999
    return image, allowed


def _cuts(mask: Mask, decoding: Decoding) -> bool:
    """Whether the mask makes pixels transparent, rather than leaving them out."""
    return decoding.cut_out and mask.white_counts


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


def _to_rgba(image: Image.Image, path: Path, exposure: float) -> np.ndarray:
    if image.mode == "F":
        raise UserError(f"{path} holds floating-point values; save it as an 8- or 16-bit PNG or as OpenEXR")
    if image.mode.startswith("I"):  # 16-bit grey
        grey = np.asarray(image, dtype=np.int64)
        if grey.size and (grey.min() < 0 or grey.max() > 65535):
            raise UserError(f"{path} holds 32-bit integers; save it as an 8- or 16-bit PNG")
        return _from_16_bit(np.stack([grey, grey, grey], axis=-1), image, exposure)
    if _is_16_bit_colour(image):
        return _from_16_bit(_read_16_bit_colour(image, path), image, exposure)
    return np.array(image if image.mode == "RGBA" else image.convert("RGBA"))


def _from_16_bit(values: np.ndarray, image: Image.Image, exposure: float) -> np.ndarray:
    """[H, W, 4] uint8 of [H, W, 3 or 4] integers below 2^16."""
    linear = image.info.get("gamma") == 1.0
    if exposure == 0 and not linear:
        eight = _to_8_bit(values)
        return eight if eight.shape[-1] == 4 else np.concatenate([eight, np.full_like(eight[..., :1], 255)], axis=-1)
    unit = values.astype(np.float32) / 65535
    alpha = unit[..., 3] if unit.shape[-1] == 4 else np.ones(unit.shape[:2], np.float32)
    return _exposed(unit[..., :3] if linear else linear_from_srgb(unit[..., :3]), alpha, exposure)


def _exposed(linear: np.ndarray, alpha: np.ndarray, exposure: float) -> np.ndarray:
    """[H, W, 4] uint8 sRGB of linear colours [H, W, 3] and straight alpha [H, W]."""
    with np.errstate(over="ignore", invalid="ignore"):
        colour = srgb_from_linear(linear * np.float32(2.0**exposure))
    return _round(255 * np.concatenate([colour, alpha[..., None]], axis=-1))


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
    return high * 256 + low


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


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
