"""The area filter: each new pixel is the mean over the area of the old ones that it covers, some of them in part.

It goes over the image in bands of rows, so that what it needs beside the image does not grow with it.
"""

from collections.abc import Callable

import numpy as np

from .scene import downscaled_size

BAND_PIXELS = 2**20  # old pixels of a band
WHOLE = 0.999  # part of an area that counts as all of it, in single precision


def downscaled(image: np.ndarray, factor: int) -> np.ndarray:
    """[H // factor, W // factor, 4] uint8: each new pixel is the mean over the area it covers.

    Colours are averaged weighted by alpha, so that the invisible colour of transparent pixels leaks nowhere.
    Where the factor does not divide the size, a new pixel covers old_size / new_size > factor old ones,
    some in part.
    """
    if factor == 1:
        return image
    width, height = (int(side) for side in downscaled_size((image.shape[1], image.shape[0]), factor))
    result = np.empty((height, width, 4), np.uint8)
    if (image[..., 3] == 255).all():
        result[..., 3] = 255
        for rows, mean in area_means(image, height, width, _colour):
            result[rows, :, :3] = rounded(mean)
        return result
    for rows, mean in area_means(image, height, width, _premultiplied):
        mean[..., :3] *= 255 / np.maximum(mean[..., 3:], 1e-6)
        result[rows] = rounded(mean)
    return result


def area_means(image: np.ndarray, height: int, width: int, values: Callable[[np.ndarray], np.ndarray]):
    """Bands of new rows, as a slice of them and their means [rows, width, ...] of `values(old rows)`, float32."""
    old_height, old_width = image.shape[:2]
    band = max(1, BAND_PIXELS * height // (old_height * old_width))
    for start in range(0, height, band):
        rows = slice(start, min(start + band, height))
        yield rows, _mean_over(_mean_over_rows(image, height, rows, values), width)


def shrunk_mask(allowed: np.ndarray, height: int, width: int) -> np.ndarray:
    """[height, width] bool: the new pixels that cover nothing but old ones that are `allowed` [H, W] bool."""
    result = np.empty((height, width), bool)
    for rows, share in area_means(allowed, height, width, lambda part: part.astype(np.float32)):
        result[rows] = share > WHOLE
    return result


def rounded(values: np.ndarray) -> np.ndarray:
    """uint8, from floats in [0, 255]."""
    return np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)


def _colour(rows: np.ndarray) -> np.ndarray:
    return rows[..., :3].astype(np.float32)


def _premultiplied(rows: np.ndarray) -> np.ndarray:
    result = rows.astype(np.float32)
    result[..., :3] *= rows[..., 3:] / np.float32(255)
    return result


def _mean_over_rows(image: np.ndarray, height: int, rows: slice, values) -> np.ndarray:
    """The new `rows` of `height` equal intervals of the first axis."""
    length = image.shape[0]
    first, last = rows.start * length // height, min(-(-rows.stop * length // height), length)
    weights = _weights(length, height, rows)
    old = values(image[first:last])
    return _weighted(old, [(pixel - first, weight) for pixel, weight in weights], axis=0, last=last - first - 1)


def _mean_over(values: np.ndarray, width: int) -> np.ndarray:
    """`width` equal intervals of the second axis."""
    length = values.shape[1]
    return _weighted(values, _weights(length, width, slice(0, width)), axis=1, last=length - 1)


def _weights(length: int, count: int, wanted: slice) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tap by tap, the old pixel of each of the `wanted` intervals [j, j + 1] * length / count, and its weight."""
    number = np.arange(wanted.start, wanted.stop)
    low, high = number * length / count, (number + 1) * length / count
    first = np.floor(low).astype(np.int64)
    taps = []
    for tap in range(-(-length // count) + 1):
        pixel = first + tap
        overlap = np.minimum(pixel + 1, high) - np.maximum(pixel, low)
        taps.append((pixel, np.maximum(overlap, 0).astype(np.float32) * np.float32(count / length)))
    return taps


def _weighted(values: np.ndarray, taps, axis: int, last: int) -> np.ndarray:
    result = 0.0
    for pixel, weight in taps:
        if weight.any():
            taken = np.take(values, np.minimum(pixel, last), axis=axis)
            result = result + taken * weight.reshape(-1, *[1] * (values.ndim - 1 - axis))
    return result
