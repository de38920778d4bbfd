"""Colours of points on a surface, blended from the views, photos or pictures of the field, that see them.

A view counts by the cosine between its ray and the normal, to the fourth power, over the square of its distance, where
its own depth says that it sees the point. The best views count alone, so that what is seen at grazing angles, or
through the glaze of another side, does not blur what is seen from the front. And of these a view counts less whose
colour is not that of most: a bad photo, a passer-by, a highlight.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .mesh import Mesh
from .surface import SurfaceView

__all__ = ["HIDDEN", "colours_at", "vertex_colours"]

HIDDEN = 3.0  # cells that a point may lie behind what a view sees
POWER = 4  # of the cosine
BEST = 9  # views that a point's colour is of
APART = 20.0  # of 255, that a colour differs from the median where its view counts half
GREY = 128  # of points that no view sees
AT_ONCE = 2**18  # points


def vertex_colours(mesh: Mesh, views: Sequence[SurfaceView], cell: float) -> np.ndarray:
    """[N, 3] uint8."""
    return colours_at(mesh.vertices, mesh.normals, views, cell)


def colours_at(position: np.ndarray, normal: np.ndarray, views: Sequence[SurfaceView], cell: float,
               on_points: Callable[[int, int], None] | None = None) -> np.ndarray:
    """[M, 3] uint8 at points [M, 3] of a surface with unit normals [M, 3], in the world of the views; `cell` says how
    exact the surface is."""
    found = np.full((len(position), 3), GREY, np.uint8)
    for first in range(0, len(position), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        found[part] = _blended(position[part], normal[part], views, cell)
        if on_points is not None:
            on_points(min(first + AT_ONCE, len(position)), len(position))
    return found


def _blended(position: np.ndarray, normal: np.ndarray, views: Sequence[SurfaceView], cell: float) -> np.ndarray:
    weights = np.zeros((BEST, len(position)), np.float32)  # the best so far, the worst of them first
    colours = np.zeros((BEST, len(position), 3), np.float32)
    for view in views:
        weight, colour = _seen(position, normal, view, cell)
        worst = weights.argmin(axis=0)
        better = np.flatnonzero(weight > np.take_along_axis(weights, worst[None], axis=0)[0])
        weights[worst[better], better], colours[worst[better], better] = weight[better], colour[better]
    weights /= 1 + (np.abs(colours - _medians(colours, weights > 0)).max(axis=-1) / APART) ** 2
    total = weights.sum(axis=0)
    mean = (weights[..., None] * colours).sum(axis=0) / np.maximum(total, 1e-30)[:, None]
    return np.where((total > 0)[:, None], mean + 0.5, GREY).astype(np.uint8)


def _medians(colours: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """[M, 3] of the colours [B, M, 3] that are `seen` [B, M]; 0 where none is."""
    count = seen.sum(axis=0)  # [M]
    ordered = np.sort(np.where(seen[..., None], colours, np.inf), axis=0)
    lower, upper = (np.take_along_axis(ordered, np.maximum(place, 0)[None, :, None] // 2, axis=0)[0]
                    for place in (count - 1, count))
    return np.where(count[:, None] > 0, 0.5 * (lower + upper), 0)


def _seen(position: np.ndarray, normal: np.ndarray, view: SurfaceView, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """[M] how much a view counts for points, and [M, 3] what colour it shows them in."""
    camera, pose = view.camera, view.camera.camera_to_world[0].astype(np.float64)
    away = position - pose[:, 3]
    distance = np.linalg.norm(away, axis=1)
    right, up, back = (away @ pose[:, :3]).T
    front = back < -1e-9
    depth = np.where(front, -back, 1.0)
    u = camera.principal[0, 0] + camera.focal[0, 0] * right / depth - 0.5
    v = camera.principal[0, 1] - camera.focal[0, 1] * up / depth - 0.5
    height, width = view.distance.shape
    inside = np.flatnonzero(front & (u > 0) & (v > 0) & (u < width - 1) & (v < height - 1))
    weight, colour = np.zeros(len(position), np.float32), np.zeros((len(position), 3), np.float32)
    u, v, away, distance = u[inside], v[inside], away[inside], distance[inside]
    row, column = (v + 0.5).astype(int), (u + 0.5).astype(int)
    apart = np.abs(view.distance[row, column] - distance)
    cosine = np.clip(-(away * normal[inside]).sum(axis=1) / distance, 0, 1)
    counts = np.where(apart < HIDDEN * cell, cosine**POWER / distance**2 * view.confidence[row, column], 0.0)
    weight[inside] = counts
    colour[inside] = _between(view, u, v)
    return weight, colour


def _between(view: SurfaceView, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """[M, 3]: between the four pixels around, of those that show a surface."""
    x0, y0 = u.astype(int), v.astype(int)
    x, y, met = u - x0, v - y0, view.met
    total, colour = np.zeros(len(u)), np.zeros((len(u), 3))
    for down, right, share in ((0, 0, (1 - x) * (1 - y)), (0, 1, x * (1 - y)), (1, 0, (1 - x) * y), (1, 1, x * y)):
        part = share * met[y0 + down, x0 + right]
        total += part
        colour += part[:, None] * view.colour[y0 + down, x0 + right]
    return colour / np.maximum(total, 1e-9)[:, None]
