"""How two sets of cameras that show the same relate: the similarity between their worlds, and what is left.

Cameras that were estimated from pictures, or refined, are known up to a similarity: another frame and another unit of
length show the same pictures. Poses are compared after it is taken out.
"""

from dataclasses import dataclass, replace

import numpy as np

from .scene import Cameras

__all__ = ["Similarity", "align_cameras", "nearest_rotation", "pose_errors"]


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """x -> scale * rotation x + translation."""

    scale: float
    rotation: np.ndarray
    """[3, 3]"""
    translation: np.ndarray
    """[3]"""

    def of_points(self, points: np.ndarray) -> np.ndarray:
        """[..., 3] float64"""
        return self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def of_cameras(self, cameras: Cameras) -> Cameras:
        """The cameras moved along: they see of the moved world what they saw before."""
        pose = cameras.camera_to_world.astype(np.float64)
        moved = np.concatenate([self.rotation @ pose[:, :, :3], self.of_points(pose[:, :, 3])[:, :, None]], axis=2)
        return replace(cameras, camera_to_world=moved)


def align_cameras(source: Cameras, target: Cameras) -> Similarity:
    """The similarity that takes the N >= 1 cameras of `source` as near as can be to those of `target`.

    The rotation is the mean of those that each camera asks for (in the chordal metric: Hartley et al. 2013, Rotation
    averaging, section 5.3), so that cameras on a line or at one place are no special case; scale and translation are
    the least squares of the positions, and the scale is 1 where all cameras stand at one place.
    """
    if not len(source) == len(target) > 0:
        raise ValueError(f"source and target must be the same cameras, at least one, got {len(source)} and "
                         f"{len(target)}")
    a, b = (cameras.camera_to_world.astype(np.float64) for cameras in (source, target))
    rotation = nearest_rotation((b[:, :, :3] @ a[:, :, :3].transpose(0, 2, 1)).mean(axis=0))
    from_middle = (a[:, :, 3] - a[:, :, 3].mean(axis=0)) @ rotation.T
    spread = (from_middle**2).sum()
    along = (from_middle * (b[:, :, 3] - b[:, :, 3].mean(axis=0))).sum()
    scale = float(along / spread) if spread > 1e-12 and along > 0 else 1.0
    translation = b[:, :, 3].mean(axis=0) - scale * rotation @ a[:, :, 3].mean(axis=0)
    return Similarity(scale=scale, rotation=rotation, translation=translation)


def pose_errors(cameras: Cameras, truth: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """By how many degrees [N] the cameras are turned, and by what distance [N] they are off, in units of `truth`.

    After the similarity of `align_cameras`.
    """
    a = align_cameras(cameras, truth).of_cameras(cameras).camera_to_world.astype(np.float64)
    b = truth.camera_to_world.astype(np.float64)
    # |R_a - R_b| = 2 sqrt(2) sin(angle / 2), which is exact for small angles where the trace is not
    chord = np.linalg.norm(a[:, :, :3] - b[:, :, :3], axis=(1, 2))
    degrees = np.degrees(2 * np.arcsin(np.clip(chord / np.sqrt(8), 0, 1)))
    return degrees, np.linalg.norm(a[:, :, 3] - b[:, :, 3], axis=1)


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """[.., 3, 3]: the rotations that matrices [.., 3, 3] are nearest to, in the chordal metric."""
    u, _, vt = np.linalg.svd(matrix)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return u @ vt
