"""Depth images beside the pictures, decoded when they are asked for.

They hold distances along the optical axis, in steps of a unit: PNG or TIFF of 8, 16 or 32 bits, or .npy. 0, what is
negative and what is not finite is unknown. A depth image of another size is sampled at the centres of the picture's
pixels, never averaged: between two surfaces there is none.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from .arrays import DAMAGED_ARRAY, load_array
from .frames import Depth
from .lenses import Lens, lengths_of_rays
from .opening import DAMAGED, open_image, reason_of
from .scene import Cameras

__all__ = ["DepthImages"]


class DepthImages(Sequence):
    """N arrays [H, W] float32, as of `Split.depth`: distance along the ray in world units, infinite where unknown."""

    def __init__(self, files: Sequence[Depth | None], cameras: Cameras):
        """`files`: of each camera, None where it has none."""
        self.files, self.cameras = tuple(files), cameras
        self._lengths: tuple[Lens | None, np.ndarray | None] = (None, None)  # those of the last lens: most share one

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, n: int) -> np.ndarray:
        n = range(len(self))[n]
        lens = _lens(self.cameras, n)
        if self.files[n] is None:
            return np.full(lens.size[::-1], np.inf, np.float32)
        if self._lengths[0] != lens:
            self._lengths = (lens, lengths_of_rays(lens))
        values = _sampled(_read(self.files[n].path), lens.size)
        with np.errstate(invalid="ignore", over="ignore"):  # what single precision does not hold is unknown, too
            depth = values * self.files[n].unit
            distance = np.where(np.isfinite(depth) & (depth > 0), depth * self._lengths[1], np.inf)
            return distance.astype(np.float32)

    def subset(self, chosen: Sequence[int]) -> "DepthImages":
        """Those of some of the views, still not decoded."""
        return DepthImages([self.files[n] for n in chosen], self.cameras.subset(chosen))


def _lens(cameras: Cameras, n: int) -> Lens:
    focal, principal, distortion = (
        tuple(values[n].tolist()) for values in (cameras.focal, cameras.principal, cameras.distortion))
    return Lens(focal, principal, distortion, int(cameras.lens[n]), tuple(cameras.size[n].tolist()))


def _read(path: Path) -> np.ndarray:
    """[H, W] float64 as stored. Raises UserError."""
    try:
        if path.suffix.lower() == ".npy":
            values = load_array(path)
        else:
            with open_image(path) as image:
                values = np.asarray(image)
        if values.ndim == 3 and values.shape[-1] == 1:
            values = values[..., 0]
        if values.ndim != 2 or values.dtype.kind not in "fiu" or values.size == 0:
            raise ValueError("it is not one number for each pixel")
        return values.astype(np.float64)
    except FileNotFoundError:
        raise UserError(f"the depth image {path} does not exist; put it there or take it out of its frame") from None
    except (*DAMAGED, *DAMAGED_ARRAY) as error:
        raise UserError(f"the depth image {path} cannot be read ({reason_of(error)}); replace it or take it out of its "
                        "frame") from None


def _sampled(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H, W] of `size` (width, height): the value at the centre of each pixel."""
    if values.shape == size[::-1]:
        return values
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size[::-1], values.shape))
    return values[rows[:, None], columns]
