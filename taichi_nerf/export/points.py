"""Points on the surfaces that the training views see, one for each voxel.

P points before, Q after those of a voxel have become one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..data.scene import Cameras
from ..errors import UserError
from ..query import Field
from .surface import pinhole, share_in_front, surface_views

__all__ = ["PointCloud", "merged", "surface_points"]

LEAST_CONFIDENCE = 0.75  # of a point that is kept
ALIKE = 0.5  # cosine between the normals of a voxel's points that become one: those of one side of a thin thing


@dataclass(frozen=True, kw_only=True)
class PointCloud:
    """P points in the coordinates of the scene's file, or in metres."""

    position: np.ndarray
    """[P, 3] float64."""
    colour: np.ndarray
    """[P, 3] uint8, sRGB."""
    normal: np.ndarray
    """[P, 3] float32, unit, outwards."""
    confidence: np.ndarray
    """[P] float32 in [0, 1]."""
    unsure: float = 0.0
    """Share of the rays that met something, and gave no point: what they met is less sharp than two voxels."""

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, chosen) -> "PointCloud":
        return PointCloud(position=self.position[chosen], colour=self.colour[chosen], normal=self.normal[chosen],
                          confidence=self.confidence[chosen])

    def moved(self, offset: np.ndarray, scale: float = 1.0) -> "PointCloud":
        """Of each position plus `offset` [3], times `scale`."""
        return replace(self, position=(self.position + offset) * scale)


def surface_points(field: Field, cameras: Cameras, *, rays: int, voxel: float, box: np.ndarray | None = None,
                   share: float | None = None, time: float | None = None,
                   on_view: Callable[[int, int], None] | None = None) -> PointCloud:
    """Points where rays of `cameras` meet surfaces of `field`, one a voxel.

    Args:
        cameras: of the world of the splits, as the scene's.
        rays: about so many at the most, evenly over all pixels.
        voxel: side of a voxel, in units of the file.
        box: [2, 3] corners, of that world, outside of which there are none.
        share: of a ray's opacity that lies in front of the surface; by default `share_in_front` of the scene.
        time, on_view: as of `surface_views`.

    Raises UserError where there is no surface.
    """
    pixels = int(cameras.size.astype(np.int64).prod(axis=1).sum())
    cameras = pinhole(cameras, min(1.0, (rays / pixels) ** 0.5))
    share = share_in_front(field.scene) if share is None else share
    found: list[PointCloud] = []
    met = sure = 0
    for view in surface_views(field, cameras, normals=True, reach=2 * voxel, share=share, time=time,
                              on_view=on_view):
        kept = view.met & (view.confidence > LEAST_CONFIDENCE) & view.normal.any(axis=-1)
        met, sure = met + int(view.met.sum()), sure + int(kept.sum())
        if box is not None:
            kept[kept] = ((view.position[kept] >= box[0]) & (view.position[kept] <= box[1])).all(axis=1)
        found.append(PointCloud(position=view.position[kept].astype(np.float64), colour=view.colour[kept],
                                normal=view.normal[kept], confidence=view.confidence[kept]))
    points = joined(found)
    if len(points) == 0:
        raise UserError(f"the training views of {field.scene.name} see no surface" + (" in the box" if box is not None
                        else "") + ": nothing is opaque; train longer, or give another --box")
    return replace(merged(points, voxel), unsure=1 - sure / met)


def joined(parts: list[PointCloud]) -> PointCloud:
    """All points of several."""
    return PointCloud(**{name: np.concatenate([getattr(part, name) for part in parts])
                         for name in ("position", "colour", "normal", "confidence")})


def merged(points: PointCloud, voxel: float) -> PointCloud:
    """One point for each voxel of this side: the mean, by confidence, of those whose normals are like that of the
    surest; its own confidence is the mean of theirs."""
    cell = np.floor((points.position - points.position.min(axis=0)) / voxel).astype(np.int64)
    _, key = np.unique(cell @ np.array([1, 2**21, 2**42]), return_inverse=True)  # [P] in [0, Q)
    order = np.lexsort((-points.confidence, key))
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    surest = order[first]  # [Q]
    like = (points.normal * points.normal[surest[key]]).sum(axis=1) > ALIKE
    like[surest] = True
    key, weight = key[like], points.confidence[like].astype(np.float64)
    total = np.bincount(key, weight)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(key, weight * values[like, axis]) for axis in range(values.shape[1])]
        return np.stack(sums, axis=1) / total[:, None]

    normal = mean(points.normal.astype(np.float64))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return PointCloud(position=mean(points.position), colour=(mean(points.colour) + 0.5).astype(np.uint8),
                      normal=normal.astype(np.float32),
                      confidence=(total / np.bincount(key)).astype(np.float32))
