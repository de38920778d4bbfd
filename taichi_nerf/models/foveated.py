"""Foveated pictures: sharp where the eye looks, coarser where it cannot tell.

Within 20 degrees of the gaze every pixel has its rays; to 35 degrees every second one across and down, beyond that
every fourth, and what lies between is interpolated. How the eye's sharpness falls off: Patney et al. 2016 (Towards
foveated rendering for gaze-tracked virtual reality).

H x W pixels of a picture; h x w of it made coarser.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from ..data.scene import Cameras
from .views import EMPTY, View, directions_of, render_view

__all__ = ["ZONES", "foveated_view", "rates_around"]

# up to which angle off the gaze, every which pixel has rays
ZONES = ((math.radians(20), 1), (math.radians(35), 2), (math.pi, 4))


def foveated_view(model: nn.Module, cameras: Cameras, index: int, *, gaze: tuple[float, float] | None = None,
                  supersample: bool = True, **given: Any) -> tuple[View, float]:
    """What camera `index` sees, and for which part of the pixels rays were rendered.

    Args:
        gaze: where the eye looks, in pixels; by default the middle of the picture.
        supersample: as of `render_view`, of what has every pixel.
        given: as of `render_view`.

    Raises:
        as `render_view`.
    """
    rate = rates_around(directions_of(model, cameras, index), gaze)
    views, rays = {}, 0
    for step in np.unique(rate).tolist():
        wanted = rate == 1 if step == 1 else _blocks(rate == step, step)
        views[step] = render_view(model, _coarser(cameras, step), index, wanted=wanted,
                                  supersample=supersample and step == 1, **given)
        rays += int(wanted.sum())
    return _composed(views, rate), rays / rate.size


def _composed(views: Mapping[int, View], rate: np.ndarray) -> View:
    """The picture of which `views` have every so many-th pixel, those that `rate` [H, W] says."""
    first = next(iter(views.values()))
    names = ("colour", "opacity", "depth") if first.normals is None else ("colour", "opacity", "depth", "normals")
    found = {name: np.zeros((*rate.shape, *getattr(first, name).shape[2:]), np.float32) for name in names}
    for step, view in views.items():
        zone = rate == step
        for name in names:
            array = getattr(view, name)
            if name == "depth":  # a mean of what is there, and of nothing else
                array = array * view.opacity
            found[name][zone] = array[zone] if step == 1 else _between(array, step, zone)
    found["depth"] = np.where(found["opacity"] > EMPTY, found["depth"] / np.maximum(found["opacity"], EMPTY), 0)
    seconds = {name: sum(view.seconds.get(name, 0.0) for view in views.values()) for name in first.seconds}
    return replace(first, **found, seconds=seconds, samples=sum(view.samples for view in views.values()))


def rates_around(directions: np.ndarray, gaze: tuple[float, float] | None = None) -> np.ndarray:
    """[H, W] int: every which pixel is rendered there, of a picture with unit directions [H, W, 3] of its pixels."""
    height, width = directions.shape[:2]
    x, y = (0.5 * width, 0.5 * height) if gaze is None else gaze
    ahead = directions[min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)]
    angle = np.arccos(np.clip(directions @ ahead, -1, 1))
    return np.select([angle <= end for end, _ in ZONES], [step for _, step in ZONES])


def _coarser(cameras: Cameras, step: int) -> Cameras:
    """The same cameras with pixels `step` times as large; at the right and lower edge they may reach over it."""
    return replace(cameras, focal=cameras.focal / step, principal=cameras.principal / step,
                   size=-(-cameras.size // step))


def _blocks(zone: np.ndarray, step: int) -> np.ndarray:
    """[h, w] bool: the coarse pixels between which those of a zone [H, W] are interpolated."""
    height, width = (-(-side // step) for side in zone.shape)
    padded = np.zeros((height * step, width * step), bool)
    padded[: zone.shape[0], : zone.shape[1]] = zone
    within = np.pad(padded.reshape(height, step, width, step).any(axis=(1, 3)), 1)
    return np.any([within[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


def _between(array: np.ndarray, step: int, zone: np.ndarray) -> np.ndarray:
    """[Z, ..]: a coarse picture [h, w, ..] between its pixels, bilinear, at the pixels of a zone [H, W]."""
    y, x = ((where + 0.5) / step - 0.5 for where in zone.nonzero())
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    shape = (-1, *(1,) * (array.ndim - 2))
    b, a = (y - top).reshape(shape), (x - left).reshape(shape)
    rows = [np.clip(top + k, 0, array.shape[0] - 1) for k in (0, 1)]
    columns = [np.clip(left + k, 0, array.shape[1] - 1) for k in (0, 1)]
    above = (1 - a) * array[rows[0], columns[0]] + a * array[rows[0], columns[1]]
    below = (1 - a) * array[rows[1], columns[0]] + a * array[rows[1], columns[1]]
    return (1 - b) * above + b * below
