"""How surely structure from motion knows how far off its points are.

A sighting says where a point is across the ray, and nothing of how far along it. With unit rays u_i from cameras of
focal lengths f_i at distances r_i, which miss the point by e pixels, least squares leave its position the covariance

    C = e^2 (sum_i (f_i / r_i)^2 (I - u_i u_i^T))^-1

and its distance from camera i deviates by sqrt(u_i^T C u_i): little where the rays of a track cross at large angles,
and without end where there is one ray.
"""

from collections.abc import Sequence

import numpy as np

from .scene import Cameras, Points, Sightings

__all__ = ["relative_deviations"]

_TYPICAL_SIGHTINGS = 4  # a track's error is taken for as many sightings of the median error more than it has
_SINGULAR = 1e-12  # of the largest eigenvalue of the sum above


def relative_deviations(cameras: Cameras, sightings: Sequence[Sightings], points: Points) -> list[np.ndarray]:
    """[K] float64 of each camera: the standard deviation of the distances of the points that it saw, as a part of them,
    in a unit that all share.

    Where the points have no errors all are 1. A track of two sightings meets both, whatever is wrong with it: therefore
    few sightings say less about the error than all tracks together do.
    """
    if points.error is None:
        return [np.ones(len(seen)) for seen in sightings]
    rays = [_rays(cameras, n, seen, points) for n, seen in enumerate(sightings)]
    known = np.zeros((len(points), 3, 3))  # the sum above
    for seen, (unit, distance), focal in zip(sightings, rays, cameras.focal.astype(np.float64).prod(axis=1)):
        across = np.eye(3) - unit[:, :, None] * unit[:, None, :]
        np.add.at(known, seen.point, across * (focal / distance**2)[:, None, None])
    values, axes = np.linalg.eigh(known)
    values = np.maximum(values, _SINGULAR * values[:, -1:] + np.finfo(float).tiny)
    error = _errors(points)
    return [error[seen.point] * np.sqrt(_along(unit, values[seen.point], axes[seen.point])) / distance
            for seen, (unit, distance) in zip(sightings, rays)]


def _rays(cameras: Cameras, n: int, seen: Sightings, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Directions [K, 3] and distances [K] of what camera n saw."""
    away = points.position[seen.point].astype(np.float64) - cameras.position[n]
    distance = np.maximum(np.linalg.norm(away, axis=1), np.finfo(np.float32).tiny)
    return away / distance[:, None], distance


def _along(unit: np.ndarray, values: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """[K]: u^T A^-1 u, of matrices A with these eigenvalues [K, 3] and, as columns, eigenvectors [K, 3, 3]."""
    return (np.einsum("kij,ki->kj", axes, unit) ** 2 / values).sum(axis=1)


def _errors(points: Points) -> np.ndarray:
    """[P]: in pixels, those of short tracks drawn to the median."""
    error = points.error.astype(np.float64)
    views = 0 if points.views is None else points.views
    typical = np.median(error)
    return np.sqrt((views * error**2 + _TYPICAL_SIGHTINGS * typical**2) / (views + _TYPICAL_SIGHTINGS))
