"""Which pixels show what enough of the training cameras see: DyCheck's mask (Gao et al. 2022, section 4).

A pixel counts whose surface point, carried by its motion to the time of a training view, is seen there: it lies in the
picture, and nothing is before it. It must be so in more than LEAST views, and in more than SHARE of all. What hardly
any camera saw can only be guessed, and who guesses is not measured; nor is it where a pixel shows nothing.

P points, M onlookers. Distances are along rays; cameras and points are in one space, the world's or the model's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .lenses import distort, pixel_centres, undistort
from .scene import FISHEYE, Cameras

__all__ = ["Carried", "CoSeenMasks", "Onlookers", "evenly", "surface_points"]

LEAST, SHARE = 5, 0.1
MOST_ONLOOKERS = 50  # training views that are asked, evenly spaced
MOST_POINTS = 2**14  # pixels of a picture that are looked at; of a larger one every k-th along each side

Carried = Callable[[np.ndarray, float, Sequence[float]], Iterable[np.ndarray]]
"""The surface points [P, 3] of a time, and other times -> where they are at each of these, NaN where they are not."""


@dataclass(frozen=True, kw_only=True)
class Onlookers:
    """M training views: which way they look, when, and how far they see."""

    cameras: Cameras
    """M cameras."""
    time: np.ndarray
    """[M]"""
    depth: Sequence[np.ndarray]
    """M arrays [H, W]: distance along the ray, infinite where it hits nothing."""
    carried: Carried
    """Where a surface point is at another time."""
    how: str
    """What this is known by, in words."""
    slack: float
    """Of the distance, by which a point may lie behind what an onlooker sees there, and is seen."""

    @property
    def needed(self) -> int:
        """By more than so many of them a point is to be seen."""
        return max(LEAST, int(SHARE * len(self.cameras)))

    def mask(self, cameras: Cameras, n: int, depth: np.ndarray, time: float) -> np.ndarray:
        """[H, W] bool: which pixels of camera n, of `depth` [H, W] at `time`, show what enough onlookers see."""
        height, width = depth.shape
        step = int(np.ceil(np.sqrt(height * width / MOST_POINTS)))
        rows, columns = (np.minimum(np.arange(0, side, step) + step // 2, side - 1) for side in (height, width))
        points = surface_points(cameras, n, depth)[np.ix_(rows, columns)]
        there = np.isfinite(points).all(axis=-1)
        mask = np.zeros(there.shape, bool)
        mask[there] = self.seen(points[there], time) > self.needed
        return mask.repeat(step, axis=0).repeat(step, axis=1)[:height, :width] & np.isfinite(depth)

    def seen(self, points: np.ndarray, time: float) -> np.ndarray:
        """[P]: by how many of them the surface points [P, 3] of `time` are seen."""
        count = np.zeros(len(points), int)
        for m, moved in enumerate(self.carried(points, time, self.time.tolist())):
            count += self._sees(m, moved)
        return count


    def _sees(self, m: int, points: np.ndarray) -> np.ndarray:
        """[P] bool: whether the points [P, 3] lie in the picture of onlooker m, and not behind what it sees there."""
        pixel, ahead = project(self.cameras, m, points)
        height, width = self.depth[m].shape
        found = ahead & (pixel >= 0).all(axis=1) & (pixel < (width, height)).all(axis=1)
        column, row = pixel[found].astype(int).T
        distance = np.linalg.norm(points[found] - self.cameras.position[m], axis=1)
        found[found] = distance <= self.depth[m][row, column] * (1 + self.slack)
        return found


class CoSeenMasks(Sequence):
    """N arrays [H, W] bool, as of `Split.co_seen`, of views whose depth is exact; found when they are looked at."""

    def __init__(self, cameras: Cameras, depth: Sequence[np.ndarray], time: np.ndarray,
                 onlookers: Callable[[], Onlookers]):
        """`onlookers` is called when the first mask is asked for."""
        self.cameras, self.depth, self.time, self._onlookers = cameras, depth, time, onlookers

    @property
    def onlookers(self) -> Onlookers:
        return self._onlookers()

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, n: int) -> np.ndarray:
        n = range(len(self))[n]
        return self.onlookers.mask(self.cameras, n, self.depth[n], float(self.time[n]))

    def subset(self, chosen: Sequence[int]) -> "CoSeenMasks":
        """Those of some of the views, still not found."""
        return CoSeenMasks(self.cameras.subset(chosen), [self.depth[n] for n in chosen], self.time[chosen],
                           self._onlookers)


def evenly(count: int, most: int) -> np.ndarray:
    """[at most `most`] of the numbers below `count`, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def surface_points(cameras: Cameras, n: int, depth: np.ndarray) -> np.ndarray:
    """[H, W, 3] positions that the pixel centres of camera n see, of `depth` [H, W] along their rays; not finite where
    that is infinite."""
    pose, k, kind = cameras.camera_to_world[n].astype(np.float64), cameras.distortion[n], int(cameras.lens[n])
    image = (pixel_centres(depth.shape[::-1]) - cameras.principal[n]) / cameras.focal[n]
    if k.any():
        image = undistort(image, k, kind)[0]
    if kind == FISHEYE:
        angle = np.linalg.norm(image, axis=-1, keepdims=True)
        image, forward = image * np.sinc(angle / np.pi), np.cos(angle[..., 0])
    else:
        forward = np.ones(image.shape[:-1])
    directions = np.stack([image[..., 0], -image[..., 1], -forward], axis=-1) @ pose[:, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return pose[:, 3] + np.where(np.isfinite(depth), depth, np.nan)[..., None] * directions


def project(cameras: Cameras, n: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [P, 2], where camera n sees the points [P, 3], also outside of the picture; and [P] bool, which of them it
    can see: not what is behind it, beyond the fold of its lens, or no point."""
    pose = cameras.camera_to_world[n].astype(np.float64)
    x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).T
    with np.errstate(all="ignore"):  # what lies in the plane of the camera is seen nowhere
        if cameras.lens[n] == FISHEYE:
            across = np.hypot(x, y)
            image = np.stack([x, -y], axis=-1) * (np.arctan2(across, -z) / np.maximum(across, 1e-12))[:, None]
            ahead = np.isfinite(across)
        else:
            image, ahead = np.stack([x, -y], axis=-1) / -z[:, None], z < 0
        image, jacobian = distort(image, cameras.distortion[n], int(cameras.lens[n]))
        a, b, d = jacobian.T
        return image * cameras.focal[n] + cameras.principal[n], ahead & (a > 0) & (a * d > b * b)
