"""From a look to a picture, of anything that `models.views.render_view` takes."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..models.renderers import renderer_words
from ..models.views import Renderer, View, rays_of_pixel, render_view
from ..pictures import depth_picture, normal_picture, to_uint8
from ..types import Shot
from .look import Look, Shown, perspective_cameras

__all__ = ["Door", "Picture"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What the browser gets."""

    image: np.ndarray
    """[H, W, 3] uint8."""
    distance: np.ndarray | None = None
    """[H, W] float32, along the optical axis in model units; infinite where nothing is; None: nobody asked."""


class Door:
    """Renders what a camera sees of `model`, which may be exchanged between two pictures.

    `supersample`: whether there may be time for pictures with several rays for each pixel.
    """

    def __init__(self, model, *, supersample: bool = True):
        self.model, self.supersample = model, supersample
        self._renderer: Renderer = "torch"
        self.renderer_words = "torch"
        """What renders the pictures, and how fast it did in the warm-up."""

    @property
    def can_crop(self) -> bool:
        return hasattr(self.model, "cropped")

    @property
    def has_normals(self) -> bool:
        return hasattr(self.model, "density") and getattr(self.model, "has_normals", True)

    @property
    def moves(self) -> bool:
        """Whether the model knows the time."""
        return getattr(self.model, "moves", False)

    def warm_up(self, look: Look, shown: Shown, size: tuple[int, int]) -> float:
        """Compile what pictures need, take the faster renderer from now on, and return the seconds of a picture.

        `auto` would look for the faster one in the middle of a picture, and compile for seconds.
        """
        can_launch = getattr(self.model, "one_launch", lambda: None)() is not None
        seconds: dict[Renderer, float] = {}
        for renderer in ("torch", "taichi") if can_launch else ("torch",):
            self._renderer = renderer
            for _ in range(2):  # the first one compiles
                began = time.perf_counter()
                self.picture(look, shown, size, lambda: False)
                seconds[renderer] = time.perf_counter() - began
        self._renderer = min(seconds, key=seconds.get)
        self.renderer_words = f"{renderer_words(self._renderer, seconds)} of {size[0]} x {size[1]} pixels"
        return seconds[self._renderer]

    def can_be_finer(self, look: Look, shown: Shown, size: tuple[int, int]) -> bool:
        """Whether a picture with several rays for each pixel differs from one with as many as the photos had."""
        cameras = perspective_cameras(np.array([look.pose]), np.array([look.fov]), size)
        return (self.supersample and shown.what == "colour"
                and rays_of_pixel(self.model, cameras, 0) > getattr(self.model, "rays_per_pixel", 1))

    def picture(self, look: Look, shown: Shown, size: tuple[int, int], stopped: Callable[[], bool],
                supersample: bool = False) -> Picture:
        """A picture of `size`, width and height; `supersample` as of `render_view`. Raises BrokenOff where it was
        `stopped`."""
        cameras = perspective_cameras(np.array([look.pose]), np.array([look.fov]), size)
        whole = shown.crop is None or not self.can_crop
        with contextlib.nullcontext() if whole else self.model.cropped(*shown.crop):
            normals = shown.what == "normals"
            view = render_view(self.model, cameras, 0, background=shown.background, normals=normals,
                               shot=Shot.single(time=look.time), stopped=stopped, supersample=supersample,
                               renderer="torch" if normals else self._renderer)
        return Picture(image=_image(view, shown.what), distance=_distance(view, look) if shown.distances else None)


def _image(view: View, what: str) -> np.ndarray:
    """[H, W, 3] uint8"""
    if what == "depth":
        return depth_picture(view.depth, view.opacity)
    return normal_picture(view.normals, view.opacity) if what == "normals" else to_uint8(getattr(view, what))


def _distance(view: View, look: Look) -> np.ndarray:
    """[H, W]: depths are along the rays, and those of what is hardly there count as infinite."""
    height, width = view.depth.shape
    half = np.tan(0.5 * look.fov)
    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * (width / height)
    along = 1 / np.sqrt(1 + half**2 * (x[None] ** 2 + y[:, None] ** 2))
    return np.where(view.opacity > 0.5, view.depth * along, np.inf).astype(np.float32)
