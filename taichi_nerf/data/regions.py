"""Space cut into regions: disjoint boxes that between them are the whole cube in which a model lies.

    count     regions, the leaves of a k-d tree: each cut parts them, and the positions, as equally as can be
    a cut     is across the axis along which the positions are spread most, midway between two of them
    a region  [2, 3] corners; what lies on a border belongs to the region above it

The positions are points of structure from motion: where these are is what there is to be learned, so that all regions
have as much of it. Without such points they are the places of the cameras, as far as these stand within the cube, and
where neither parts a box any more, it is cut in the middle of its longest side.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .scene import Scene

__all__ = ["Regions", "boxes_of", "regions_of", "shares_of"]

SPREAD = 0.1, 0.9  # quantiles between which positions are spread: a few far ones decide nothing


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The regions of a scene."""

    boxes: np.ndarray
    """[K, 2, 3] float32, corners in model space."""
    by: str
    """What was dealt to them in equal parts: `points` or `cameras`; `space` where there are neither."""


def regions_of(scene: Scene, count: int) -> Regions:
    """So many regions of the cube of the model of `scene`.

    Raises UserError where structure from motion has found fewer points in it.
    """
    positions, by = _positions(scene)
    if by == "points" and len(positions) < count:
        raise UserError(f"{scene.name} cannot be cut into {count} regions: structure from motion found "
                        f"{len(positions)} points within the model; give at most {max(len(positions), 1)} --regions")
    return Regions(boxes=boxes_of(positions, scene.half_side, count), by=by)


def boxes_of(positions: np.ndarray, half_side: float, count: int) -> np.ndarray:
    """[count, 2, 3] float32: disjoint boxes that are the cube [-half_side, half_side]^3, with as equal numbers of
    `positions` [P, 3], which lie in it, as can be."""
    cube = np.array([[-half_side] * 3, [half_side] * 3], np.float32)
    return np.stack(_cut(cube, np.asarray(positions, np.float32), count))


def shares_of(boxes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """[K]: which part of positions [P, 3] lies in each of boxes [K, 2, 3], of those that lie in any."""
    inside = ((positions >= boxes[:, None, 0]) & (positions < boxes[:, None, 1])).all(axis=2)  # [K, P]
    return inside.sum(axis=1) / max(inside.sum(), 1)


def _positions(scene: Scene) -> tuple[np.ndarray, str]:
    """[P, 3] in the cube of the model, each once, and what they are."""
    found = {"points": None if scene.points is None else scene.points.position}
    if "train" in scene.splits:
        found["cameras"] = scene.splits["train"].cameras.position
    for by, world in found.items():
        if world is not None and len(world):
            positions = scene.to_model(world).astype(np.float32)
            within = np.unique(positions[(np.abs(positions) < scene.half_side).all(axis=1)], axis=0)
            if len(within) or by == "points":
                return within, by
    return np.zeros((0, 3), np.float32), "space"


def _cut(box: np.ndarray, positions: np.ndarray, count: int) -> list[np.ndarray]:
    """The regions of a box [2, 3], by the positions in it."""
    if count == 1:
        return [box]
    lower_count = count // 2
    axis, border = _border(box, positions, lower_count / count)
    lower, upper = box.copy(), box.copy()
    lower[1, axis] = upper[0, axis] = border
    below = positions[:, axis] < border
    return _cut(lower, positions[below], lower_count) + _cut(upper, positions[~below], count - lower_count)


def _border(box: np.ndarray, positions: np.ndarray, share: float) -> tuple[int, np.float32]:
    """The axis and the place of the cut that has about this share of the positions below it."""
    if len(positions):
        low, high = np.quantile(positions, SPREAD, axis=0)
        for axis in np.argsort(low - high, kind="stable"):  # the widest spread first
            along = np.sort(positions[:, axis])
            ranks = np.flatnonzero(along[1:] > along[:-1]) + 1  # how many may lie below a cut
            if len(ranks):
                rank = ranks[np.abs(ranks - share * len(along)).argmin()]
                return int(axis), max((along[rank - 1] + along[rank]) / np.float32(2), np.nextafter(
                    along[rank - 1], along[rank]))
    axis = int((box[1] - box[0]).argmax())
    return axis, np.float32(box[0, axis] + share * (box[1, axis] - box[0, axis]))
