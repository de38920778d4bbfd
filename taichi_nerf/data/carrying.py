"""Cameras that are carried along: where those stand that have no photo in a training that moved the others.

Corrections of cameras whose poses are good are smooth: what moves one by half a pixel moves its neighbours alike, and
the field with them, be it that structure from motion was off there or that the field has bent. A test camera that stays
looks past what it shows then. It is moved as the training cameras around it were, M_n = after_n before_n^-1 being the
rigid motion of camera n, and x a place:

    M(x) = (rho 1 + sum_n w_n M_n) / (rho + sum_n w_n)          w_n = exp(-d_n(x)^2 / (2 s^2))

with the nearest rotation for that of the mean (Hartley et al. 2013, as in `alignment`). The width s of the
neighbourhood, and rho, which holds cameras far from all others where they are, are those by which the training cameras
foretell one another best, each being left out in turn (Nadaraya 1964; Watson 1964). Corrections that are as good as
random foretell nothing, and then nothing is moved. A camera has the corrected lens of the training cameras whose lens
it has. No test image has any part in this.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .alignment import nearest_rotation
from .scene import Cameras, Scene

__all__ = ["Carried", "carried_along", "with_carried"]

WIDTHS = (0.5, 1.0, 1.5, 2.0, 4.0, 8.0)  # candidates for s, in distances from a camera to the nearest other one
HELD = (0.1, 0.3, 1.0)  # for rho, where a neighbour at the same place counts 1
TURN = 0.1  # model units that are as far as a turn by a radian
FORETOLD = 0.1  # of the squared corrections, that neighbours must foretell before anything is moved by them
ROUNDING = 1e-6  # radians and model units, in the root of the mean square, of cameras that were not moved
MOST_JUDGED = 1000  # cameras that are left out in turn
_RESTING = np.eye(3, 4)  # the motion of what stays


class Carried(NamedTuple):
    """Cameras that were carried along, and how well what carried them does."""

    cameras: Cameras
    foretold: float
    """Part of the squared corrections of training cameras that those around them foretell; 0 if nothing is moved."""


def carried_along(cameras: Cameras, before: Cameras, after: Cameras) -> Carried:
    """The M `cameras` as the N training cameras around them were moved from `before` to `after`, all in model space."""
    given, moved = _without_copies(*(values.camera_to_world.astype(np.float64) for values in (before, after)))
    rotation = moved[:, :, :3] @ given[:, :, :3].swapaxes(1, 2)
    motion = np.concatenate([rotation, moved[:, :, 3:] - rotation @ given[:, :, 3:]], axis=2)  # [N, 3, 4]
    width, held, foretold = _best_blend(given, motion)
    cameras = _with_lenses(cameras, before, after)
    if foretold < FORETOLD:
        return Carried(cameras, 0.0)
    pose = cameras.camera_to_world.astype(np.float64)
    blend = _blended(motion, _weights(_distances(pose, given), width), held)
    turned = nearest_rotation(blend[:, :, :3]) @ pose[:, :, :3]
    place = blend[:, :, :3] @ pose[:, :, 3:] + blend[:, :, 3:]
    return Carried(replace(cameras, camera_to_world=np.concatenate([turned, place], axis=2)), foretold)


def with_carried(scene: Scene, before: Cameras, after: Cameras) -> Scene:
    """`scene` with all cameras but those of training carried along: as of `carried_along`."""
    splits = dict(scene.splits)
    for name in [name for name in splits if name != "train"]:
        cameras, foretold = carried_along(scene.model_cameras(name), before, after)
        splits[name] = replace(splits[name], cameras=scene.world_cameras(cameras), carried=foretold)
    return replace(scene, splits=splits)


def _without_copies(given: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses [N, 3, 4] before and after, each once: images of one photo in several sizes tell nothing of one another."""
    both = np.concatenate([given, moved], axis=1).reshape(len(given), -1)
    once = np.sort(np.unique(both, axis=0, return_index=True)[1])
    return given[once], moved[once]


def _best_blend(pose: np.ndarray, motion: np.ndarray) -> tuple[float, float, float]:
    """s, rho, and what part of the squared motions [N, 3, 4] of cameras [N, 3, 4] each is foretold by the others."""
    judged = np.arange(len(pose))[:: -(-len(pose) // MOST_JUDGED)]
    distance = _distances(pose[judged], pose)
    distance[np.arange(len(judged)), judged] = np.inf  # itself
    apart = float(np.median(distance.min(axis=1)))  # infinite, if it is alone
    square = _length(motion[judged] - _RESTING, pose[judged]).sum()
    if not np.isfinite(apart) or square < len(judged) * ROUNDING**2:
        return 1.0, 1.0, 0.0
    found = []
    for width in WIDTHS:
        weight = _weights(distance, width * max(apart, 1e-9))
        for held in HELD:
            missed = _length(motion[judged] - _blended(motion, weight, held), pose[judged]).sum()
            found.append((width * max(apart, 1e-9), held, float(1 - missed / square)))
    return max(found, key=lambda candidate: candidate[2])


def _distances(pose: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[M, N], how far cameras [M, 3, 4] stand from others [N, 3, 4], and look elsewhere."""
    apart = np.linalg.norm(pose[:, None, :, 3] - others[None, :, :, 3], axis=2)
    return np.hypot(apart, TURN * np.linalg.norm(pose[:, None, :, 2] - others[None, :, :, 2], axis=2))


def _weights(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-0.5 * (distance / width) ** 2)


def _blended(motion: np.ndarray, weight: np.ndarray, held: float) -> np.ndarray:
    """[M, 3, 4]: the mean of motions [N, 3, 4] by weights [M, N], and of rest by `held`."""
    moves = np.tensordot(weight, motion - _RESTING, axes=1)
    return _RESTING + moves / (held + weight.sum(axis=1))[:, None, None]


def _length(motion: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """[M]: of differences of motions [M, 3, 4]: squared, by how many radians they turn cameras [M, 3, 4], and how far
    they move them."""
    moved = (motion[:, :, :3] @ pose[:, :, 3:] + motion[:, :, 3:])[:, :, 0]
    return 0.5 * (motion[:, :, :3] ** 2).sum(axis=(1, 2)) + (moved**2).sum(axis=1)


def _with_lenses(cameras: Cameras, before: Cameras, after: Cameras) -> Cameras:
    """The cameras with the lenses of `after`, where they have one of `before`."""
    focal, principal = cameras.focal.copy(), cameras.principal.copy()
    lens = {key: n for n, key in enumerate(_lens_keys(before))}
    for m, key in enumerate(_lens_keys(cameras)):
        if key in lens:
            focal[m], principal[m] = after.focal[lens[key]], after.principal[lens[key]]
    return replace(cameras, focal=focal, principal=principal)


def _lens_keys(cameras: Cameras) -> list[tuple]:
    """Of each camera, equal where the lenses are."""
    return [tuple(row) for row in cameras.lens_values.tolist()]
