"""A picture in growing resolution: something soon, all of it in the end, broken off at any time."""

import math
from collections.abc import Iterator

from ..data.scene import Cameras
from .views import View, render_view

__all__ = ["FIRST", "GROWTH", "growing_views", "next_size", "size_of"]

FIRST = 64 * 64  # pixels of the first, where nobody knows how fast they are
GROWTH = 4  # times as many pixels as the one before


def size_of(pixels: float, aspect: float) -> tuple[int, int]:
    """Width and height of a picture of about so many pixels, of which `aspect` is width over height."""
    height = math.sqrt(pixels / aspect)
    return max(1, round(height * aspect)), max(1, round(height))


def next_size(pixels: float, most: float, aspect: float) -> tuple[tuple[int, int], bool]:
    """Width and height of a picture that should have so many pixels, and whether it has all that there are at the
    `most`: from half of them on, since a last small step is not worth a picture."""
    full = pixels >= most / 2
    return size_of(most if full else pixels, aspect), full


def growing_views(model, cameras: Cameras, index: int, *, first: float = FIRST, supersample: bool = True,
                  **settings) -> Iterator[View]:
    """What camera `index` of `cameras` sees, in pictures of which each has GROWTH times the pixels of the one before,
    up to all of its own. Who wants no more does not ask for the next one, or breaks it off by `stopped`.

    Args:
        first: pixels of the first one.
        supersample: as of `render_view`, of the last one alone: those before it are to be there soon.
        settings: of `render_view`, whose errors it raises.
    """
    camera = cameras.subset([index])
    width, height = (int(side) for side in camera.size[0])
    pixels, full = first, False
    while not full:
        size, full = next_size(pixels, width * height, width / height)
        yield render_view(model, camera.resized((width, height) if full else size), 0,
                          supersample=supersample and full, **settings)
        pixels = GROWTH * size[0] * size[1]
