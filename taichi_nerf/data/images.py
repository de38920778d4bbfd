"""Image files to uint8 RGBA (straight alpha) as stored, masks, and the pixels of all images in one buffer.

The orientation that a phone writes into EXIF is not applied: poses, principal point and distortion were
estimated on the pixels as stored, and a picture turned after that would no longer fit its camera.

What has more than 8 bits is exposed, by 2^stops of linear light, before it is rounded to 8: EXR and Radiance
files hold linear light; a 16-bit PNG holds sRGB, or linear light where its gAMA chunk says 1.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import UserError
from .area import downscaled, shrunk_mask
from .cache import Facts, ImageCache, fill_memory
from .deep import exposed, is_deep, read_deep
from .hdr import hdr_size, is_hdr, read_hdr
from .opening import DAMAGED, check_regular, open_image, reason_of
from .opening import ENDINGS as ENDINGS
from .room import Room
from .scene import Images, downscaled_size, pixel_offsets

MOST_PIXELS = 2**31 - 1  # of all images of a split: indices of pixels have 32 bits
HDR_WEIGHT = 3  # a pixel of linear light needs so many times the memory on its way


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
    clear: tuple[int, ...] = ()
    """Greys that stand for what is transparent: 255 where white does, 0 where black does."""

    def as_values(self) -> dict:
        """Plain values that name a cache."""
        values = asdict(self)
        return values if self.clear else {key: value for key, value in values.items() if key != "clear"}


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, from the head of the file alone. Raises UserError."""
    try:
        if is_hdr(path):
            check_regular(path)
            return hdr_size(path)
        with open_image(path) as image:
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
            check_regular(path)
            colour, alpha = read_hdr(path)
            return exposed(colour, alpha, exposure)
        with open_image(path) as image:
            if not is_deep(image):
                return np.array(image if image.mode == "RGBA" else image.convert("RGBA"))
        return read_deep(path, exposure)
    except FileNotFoundError:
        raise _missing(path) from None
    except MemoryError:
        raise UserError(f"{path} does not fit into memory; make the image smaller") from None
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def may_have_alpha(path: Path) -> bool:
    """Whether the image file has an alpha channel, or a transparent colour; from its head alone. Raises UserError."""
    if is_hdr(path):
        return True
    try:
        with open_image(path) as image:
            return "A" in image.getbands() or "transparency" in image.info
    except FileNotFoundError:
        raise _missing(path) from None
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def read_mask(mask: Mask, size: tuple[int, int]) -> np.ndarray:
    """[H, W] bool: the pixels that `mask` leaves, of an image of `size` (width, height). Raises UserError.

    Black is what has no light at all; in a JPEG file, whose edges ring, what has less than half of it. What is
    transparent is black, too; in a mask of one colour alone, alpha is the mask.
    """
    try:
        with open_image(mask.path) as image:
            found, white = image.size, _lit(image)
    except FileNotFoundError:
        raise UserError(
            f"the mask {mask.path} does not exist; put it there, take it out of its frame, or use --no-masks"
        ) from None
    except DAMAGED as error:
        raise UserError(
            f"the mask {mask.path} cannot be read as an image ({reason_of(error)}); replace it or use --no-masks"
        ) from None
    if found != tuple(size):
        raise UserError(
            f"the mask {mask.path} is {found[0]} x {found[1]} pixels and its image {size[0]} x {size[1]}; "
            "store both in one size, or use --no-masks"
        )
    return white if mask.white_counts else ~white


def _lit(image: Image.Image) -> np.ndarray:
    """[H, W] bool: where an image of a mask is not black."""
    if image.mode == "F" or image.mode.startswith("I"):
        return np.asarray(image) != 0
    light = np.asarray(image.convert("L")) > (127 if image.format == "JPEG" else 0)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return light
    opaque = np.asarray(image.convert("RGBA"))[..., 3] > 0
    if opaque.all() or not opaque.any():
        return light
    return opaque if light.all() or not light.any() else light & opaque


def read_images(
    paths: Sequence[Path],
    *,
    downscale: int = 1,
    on_error: Callable[[int, UserError], None] | None = None,
    masks: Sequence[Sequence[Mask]] | None = None,
    seen: Sequence[np.ndarray | None] | None = None,
    exposure: float = 0.0,
    alpha_masks: bool = False,
    cut_out: bool = False,
    clear: tuple[int, ...] = (),
    cache: ImageCache | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> Images:
    """Decode all files, on as many threads as there are processors, into one buffer.

    Args:
        on_error: `on_error(index, error)` is told of each file that cannot be read, whose pixels stay zero;
            without it the first error is raised.
        masks: of each file; a pixel is left out if any of its masks leaves it out, and a pixel of a smaller
            image if any of the pixels that it covers is.
        seen: of each file, [H, W] bool of the pixels that its lens sees, None for all; the others are left out.
        exposure, alpha_masks, cut_out, clear: as of `Decoding`.
        cache: where the pixels stay on disk if they are too many, or if it says so.
        on_image: `on_image(done, total)` is told how far the decoding is.
    """
    full = np.array([image_size(path) for path in paths]).reshape(-1, 2)
    size = downscaled_size(full, downscale)
    count = int(size.astype(np.int64).prod(-1).sum())
    masks, seen = masks or [()] * len(paths), seen or [None] * len(paths)
    if count > MOST_PIXELS:
        raise UserError(
            f"{paths[0].parent}: {len(paths)} images have {count / 1e9:.2f} billion pixels together, more than the "
            "2.14 billion that can be trained on; use a larger --downscale or fewer images"
        )
    decoding = Decoding(downscale=downscale, exposure=exposure, alpha_masks=alpha_masks, cut_out=cut_out, clear=clear)
    offset, room = pixel_offsets(size), Room()
    masked = alpha_masks or any(lens is not None for lens in seen) or any(
        not _cuts(mask, decoding) for of_image in masks for mask in of_image)

    def decode(n: int) -> tuple[np.ndarray, np.ndarray | None]:
        with room.of(int(full[n].prod()) * (HDR_WEIGHT if is_hdr(paths[n]) else 1)):
            return decode_image(paths[n], masks[n], decoding, seen[n])

    def fill(pixels: np.ndarray, add_allowed: Callable[[np.ndarray], object]) -> Facts:
        has_alpha, failed = _decode_all(decode, len(paths), offset, pixels, add_allowed if masked else None,
                                        strict=on_error is None, told=on_image)
        return Facts(has_alpha, failed, masked)

    if cache is not None and cache.keeps_on_disk(count):
        files = [*paths, *(mask.path for of_image in masks for mask in of_image)]
        how = {**decoding.as_values(), **_named(seen),
               "masks": [[str(m.path), m.white_counts] for of_image in masks for m in of_image]}
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


def _decode_all(decode: Callable[[int], tuple[np.ndarray, np.ndarray | None]], count: int, offset: np.ndarray,
                pixels: np.ndarray, add_allowed: Callable[[np.ndarray], object] | None, *, strict: bool,
                told: Callable[[int, int], None] | None) -> tuple[bool, list[tuple[int, str]]]:
    """Write the pixels of all images, and hand over the indices of those that masks leave, image after image.

    Returns whether any pixel is transparent, and the numbers of the images that cannot be read, with the reason.
    """
    has_alpha, failed = False, []

    def placed(n: int) -> tuple[np.ndarray | None, bool] | UserError:
        try:
            image, allowed = decode(n)
        except UserError as error:
            return error
        area = image.shape[0] * image.shape[1]
        pixels[offset[n] : offset[n] + area] = image.reshape(-1, 4)
        transparent = int(image[..., 3].min()) < 255
        if add_allowed is None:
            return None, transparent
        indices = np.arange(area) if allowed is None else np.flatnonzero(allowed)
        return (offset[n] + indices).astype(np.int32), transparent

    with threads() as pool:
        for n, result in enumerate(pool.map(placed, range(count))):
            if isinstance(result, UserError):
                if strict:
                    raise result
                failed.append((n, str(result)))
            else:
                has_alpha |= result[1]
                if add_allowed is not None:
                    add_allowed(result[0])
            if told is not None:
                told(n + 1, count)
    return has_alpha, failed


def decode_image(path: Path, masks: Sequence[Mask], decoding: Decoding,
                 seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """[H, W, 4] uint8 in the final size, and [H, W] bool of the pixels that are left, None where none is left out."""
    image = read_image(path, exposure=decoding.exposure)
    left = [] if seen is None else [seen]
    for grey in decoding.clear:
        image[(image[..., :3] == grey).all(axis=-1), 3] = 0
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
        allowed = shrunk_mask(allowed, *image.shape[:2])
    return image, allowed


def _cuts(mask: Mask, decoding: Decoding) -> bool:
    """Whether the mask makes pixels transparent, rather than leaving them out."""
    return decoding.cut_out and mask.white_counts


def _named(seen: Sequence[np.ndarray | None]) -> dict:
    """What lenses do not see, as plain values that name a cache; nothing where they see all."""
    if all(lens is None for lens in seen):
        return {}
    names = {id(lens): hashlib.sha256(np.packbits(lens).tobytes()).hexdigest() for lens in seen if lens is not None}
    return {"seen": [names.get(id(lens)) for lens in seen]}


def _missing(path: Path) -> UserError:
    return UserError(f"{path} does not exist; put the image there or take its frame out of the list")


def _unreadable(path: Path, error: Exception) -> UserError:
    if Path(path).is_dir():
        return UserError(f"{path} is a folder, not an image; correct file_path")
    return UserError(
        f"{path} cannot be read as an image ({reason_of(error)}); replace it or take its frame out of the list"
    )


@contextlib.contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many as there are processors; what has not begun is given up where the work is interrupted."""
    with ThreadPoolExecutor(min(processors(), 8)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
