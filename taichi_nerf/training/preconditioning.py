"""Coordinates for corrections of cameras: a step along any moves the picture as far (Park et al. 2023, CamP).

How far a picture moves is measured by M points of a camera's frustum: by the angle between where the camera sees a
point and the ray of the pixel that it is in. A correction of pose and lens, c = (twist [6], zoom and shift [4]),
changes these M directions by J c to first order, J [3 M, 10]; P = J^T J / M is the mean square of it, and is damped:

    P <- P + damping diag(P) + floor I

Turning a camera and moving it sideways show nearly the same, so do a longer lens and a camera that comes nearer. Such
corrections share a valley of P, across which an optimiser of single coordinates goes from wall to wall. With

    lens  = S^(-1/2) w          S = C - B^T A^-1 B, the mean over the cameras of a lens
    twist = A^(-1/2) z - A^-1 B lens               P = [[A, B], [B^T, C]]

P is the identity in (z, w): an entry of 1 moves the points by one radian in the root of the mean square, and a lens
takes the poses along that show its change least. All in float64.
"""

from typing import NamedTuple

import numpy as np

from ..data.scene import FISHEYE, Cameras

__all__ = ["Preconditioner", "directions_of", "frustum", "frustum_jacobian", "preconditioner"]

ACROSS, DEPTHS = 16, 8  # points of a frustum: along each side of the picture, and along each ray
NEAREST, FARTHEST = 0.5, 1.5  # of them, in distances of the camera from the origin of model space
AT_LEAST = 0.1  # model units: that distance of a camera that stands in the middle
DAMPING, FLOOR = 0.1, 1e-4
DIFFERENCE = 1e-5  # of places, whose directions are differentiated


class Preconditioner(NamedTuple):
    """Of N cameras with G lenses."""

    of_pose: np.ndarray
    """[N, 6, 6] A^(-1/2)"""
    of_lens: np.ndarray
    """[G, 4, 4] S^(-1/2)"""
    follow: np.ndarray
    """[N, 6, 4] A^-1 B"""


def preconditioner(cameras: Cameras, group: np.ndarray, *, poses: bool = True, lenses: bool = True) -> Preconditioner:
    """Of cameras in model space, camera n having lens group[n]; of poses, or of lenses, or of both."""
    learned = np.repeat([poses, lenses], [6, 4])
    square = np.stack([_mean_square(frustum_jacobian(cameras.subset([n]))[0] * learned) for n in range(len(cameras))])
    pose, across, lens = square[:, :6, :6], square[:, :6, 6:], square[:, 6:, 6:]
    follow = np.linalg.solve(pose, across)
    left = lens - across.swapaxes(1, 2) @ follow  # [N, 4, 4]
    count = np.bincount(group)
    of_lens = np.zeros((len(count), 4, 4))
    np.add.at(of_lens, group, left)
    return Preconditioner(_inverse_root(pose), _inverse_root(of_lens / count[:, None, None]), follow)


def _mean_square(jacobian: np.ndarray) -> np.ndarray:
    """[10, 10]: P, damped, of a camera."""
    square = jacobian.T @ jacobian / (ACROSS**2 * DEPTHS)
    return square + np.diag(DAMPING * square.diagonal() + FLOOR)


def frustum_jacobian(cameras: Cameras) -> np.ndarray:
    """[N, 3 M, 10]: how the directions of points of each camera's frustum, against the rays of their pixels, change
    with twist, zoom and shift of the camera; but for what its lens distorts."""
    place, depth = frustum(cameras)
    fisheye = (cameras.lens == FISHEYE)[:, None]
    direction = directions_of(place, fisheye)  # [N, K, 3]
    # the lens turns the ray of a pixel
    by_place = np.stack([(directions_of(place + h, fisheye) - directions_of(place - h, fisheye)) / (2 * DIFFERENCE)
                         for h in DIFFERENCE * np.eye(2)], axis=-1)  # [N, K, 3, 2]
    by_lens = np.concatenate([by_place * place[:, :, None], by_place], axis=-1)  # [N, K, 3, 4]
    # the pose moves a point in the axes of the camera: by -(rotation x point + translation)
    pose = cameras.camera_to_world.astype(np.float64)
    position = np.einsum("nji,nj->ni", pose[:, :, :3], pose[:, :, 3])
    point = position[:, None, None] + depth[:, None, :, None] * direction[:, :, None]  # [N, K, D, 3]
    motion = np.concatenate([_cross(point), np.broadcast_to(-np.eye(3), (*point.shape, 3))], axis=-1)
    seen = (np.eye(3) - direction[..., :, None] * direction[..., None, :])[:, :, None] / depth[:, None, :, None, None]
    by_twist = seen @ motion  # [N, K, D, 3, 6]
    by_lens = np.broadcast_to(by_lens[:, :, None], (*by_twist.shape[:-1], 4))
    return np.concatenate([by_twist, by_lens], axis=-1).reshape(len(cameras), -1, 10)


def frustum(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Points of each camera's frustum: places [N, K, 2] in focal lengths from the principal point, along whose rays
    there are points at depths [N, D] each."""
    across = (np.arange(ACROSS) + 0.5) / ACROSS
    share = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
    place = (share * cameras.size[:, None] - cameras.principal[:, None]) / cameras.focal[:, None]
    distance = np.maximum(np.linalg.norm(cameras.camera_to_world[:, :, 3].astype(np.float64), axis=1), AT_LEAST)
    return place, np.linspace(NEAREST, FARTHEST, DEPTHS) * distance[:, None]


def directions_of(place: np.ndarray, fisheye: np.ndarray) -> np.ndarray:
    """[.., 3], unit length, right, up and back: of places [.., 2], through a `fisheye` or a perspective lens."""
    radius = np.maximum(np.linalg.norm(place, axis=-1), 1e-12)
    angle = np.where(fisheye, radius, np.arctan(radius))
    sideways = (np.sin(angle) / radius)[..., None] * place * np.array([1, -1])
    return np.concatenate([sideways, -np.cos(angle)[..., None]], axis=-1)


def _cross(v: np.ndarray) -> np.ndarray:
    """[.., 3, 3] with _cross(v) w = v x w."""
    x, y, z = np.moveaxis(v, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*v.shape, 3)


def _inverse_root(square: np.ndarray) -> np.ndarray:
    """M^(-1/2) of symmetric positive matrices [.., K, K]."""
    values, vectors = np.linalg.eigh(square)
    return (vectors / np.sqrt(values)[..., None, :]) @ vectors.swapaxes(-1, -2)
