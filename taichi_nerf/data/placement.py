"""Where a scene of unknown position, scale and orientation lies in the model.

    model position = rotation (world position - centre) * scale, N cameras, P points

Orientation, the model's z axis being up:

    up      z is the direction around which the cameras stand upright: the one most nearly at right angles to the
            horizontal axes of all images, or the images' mean up where these hardly differ
    pca     z is the direction in which the cameras are spread least, as in mip-NeRF 360 (Barron et al. 2022)
    none    the axes of the file

With the first two, x is the horizontal direction in which the cameras are spread most, and the cameras look along
+y rather than -y.

Position and scale, where structure from motion left points (or at least near and far of each view: then points
spread over each view from near to far, evenly in disparity, take their place):

    the cameras look at something
        Of interest are the points no further from the place they look at than the median camera. The base cube
        [-0.5, 0.5]^3 also holds what the median camera sees at that distance.
    the cameras look past each other
        Of interest are the three quarters of the points nearest to the cameras.

    The middle 90 % of the points of interest, along each axis, lie in the base cube, around its centre. The box is
    the smallest that holds the middle 99 % of all points and every camera, of side 16 at the most.

Without points, and where images have alpha:

    the cameras look at something
        The point closest to all optical axes is the centre, the median camera 0.6 away; the box has side 16.
        Where images have alpha, the box is the unit cube, as wide as what 95 % of the cameras see there.
    the cameras look past each other (forward-facing or outwards)
        The mean camera position is the centre, the median camera 0.2 away; the box has side 16.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UserError
from .frames import Frame
from .splits import view_tangents

ORIENTATIONS = ("up", "pca", "none")
NEAR = 0.05
UNBOUNDED_AABB_SCALE = 16
ORBIT_RADIUS = 0.6
PATH_RADIUS = 0.2
# The near plane lies at this part of the way to the nearest thing that is known of (Mildenhall et al. 2019).
NEAR_MARGIN = 0.75
FORWARD_FACING = np.cos(np.radians(35))
# Mean sin^2 of the angle between the axes and their common direction; cameras within 10 degrees have 0.03.
_LEAST_CONVERGENCE = 0.03
_FEWEST_POINTS = 16


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What `Scene` has fields of the same name for."""

    rotation: np.ndarray
    centre: np.ndarray
    scale: float
    aabb_scale: int
    near: float = NEAR
    far: float | None = None
    forward_facing: bool = False


def place(
    frames: Sequence[Frame], *, orient: str, transparent: bool, points: np.ndarray | None = None
) -> tuple[Placement, list[str]]:
    """The place of the scene in the model, and the reasons in words.

    Args:
        frames: all that the scene has, whatever split they are in.
        orient: one of ORIENTATIONS.
        transparent: whether images have alpha: the scene is then an object in the unit cube.
        points: [P, 3] in the world; too few of them count for none.

    Raises UserError without frames.
    """
    if not frames:
        raise UserError("no image of the scene can be used; restore its images and cameras")
    pose = np.array([frame.camera_to_world for frame in frames])
    rotation = orientation(pose, orient)
    bounded = all(frame.bounds is not None for frame in frames)
    if points is None or len(points) < _FEWEST_POINTS:
        points = points_between_bounds(frames) if bounded else None
    if points is None or transparent:
        centre, scale, aabb_scale, why = box_around_cameras(frames, transparent)
    else:
        centre, scale, aabb_scale, why = box_around_points(frames, points, rotation)
    near = NEAR_MARGIN * scale * min(frame.bounds[0] for frame in frames) if bounded else NEAR
    placement = Placement(
        rotation=rotation,
        centre=centre,
        scale=scale,
        aabb_scale=aabb_scale,
        near=float(near),
        far=farthest(frames, scale),
        forward_facing=is_forward_facing(pose),
    )
    return placement, [why, *_ORIENTED[orient]]


def farthest(frames: Sequence[Frame], scale: float) -> float | None:
    """In model units, how far from their cameras the farthest things lie; None where a frame has no bounds."""
    if not frames or any(frame.bounds is None for frame in frames):
        return None
    return float(scale * max(frame.bounds[1] for frame in frames))


_ORIENTED = {
    "up": ["turned so that z is up"],
    "pca": ["turned so that z is the direction in which the cameras are spread least"],
    "none": [],
}


def orientation(pose: np.ndarray, how: str) -> np.ndarray:
    """[3, 3]: world axes to model axes, for camera-to-world `pose` [N, 3, 4]."""
    if how == "none":
        return np.eye(3)
    spread = pose[:, :, 3] - pose[:, :, 3].mean(axis=0)
    up = up_axis(pose)
    if how == "pca":
        least = np.linalg.eigh(spread.T @ spread)[1][:, 0]
        up = -least if least @ up < 0 else least
    level = np.eye(3) - np.outer(up, up)
    values, vectors = np.linalg.eigh(level @ spread.T @ spread @ level)
    x = level @ vectors[:, 2]
    if not values[2] > 1e-12 or np.linalg.norm(x) < 0.5:  # cameras on a vertical line, or in one place
        x = np.cross(up, np.eye(3)[int(np.abs(up).argmin())])
    x /= np.linalg.norm(x)
    y = np.cross(up, x)
    if -pose[:, :, 2].mean(axis=0) @ y < 0:
        x, y = -x, -y
    return np.stack([x, y, up])


def up_axis(pose: np.ndarray) -> np.ndarray:
    """[3] unit vector: the axis around which cameras of `pose` [N, 3, 4] stand upright.

    It is the direction most nearly at right angles to the horizontal axes of all cameras. Where these hardly
    differ (all look the same way), it is the mean of the cameras' own up.
    """
    right, up = (pose[:, :, k].astype(np.float64) for k in (0, 1))
    mean = up.mean(axis=0)
    values, vectors = np.linalg.eigh(right.T @ right / len(right))
    axis = vectors[:, 0] if values[1] > 0.05 and values[0] < 0.3 * values[1] else mean
    if np.linalg.norm(axis) < 1e-3:
        axis = np.array([0.0, 0.0, 1.0])
    axis = axis / np.linalg.norm(axis)
    return -axis if axis @ mean < 0 else axis


def is_forward_facing(pose: np.ndarray) -> bool:
    """Whether nine in ten cameras look within 35 degrees of their mean direction."""
    view = -pose[:, :, 2]
    mean = view.mean(axis=0)
    length = np.linalg.norm(mean)
    return bool(length > 1e-3 and np.quantile(view @ mean / length, 0.1) >= FORWARD_FACING)


def box_around_points(
    frames: Sequence[Frame], points: np.ndarray, rotation: np.ndarray
) -> tuple[np.ndarray, float, int, str]:
    """Centre, scale, aabb_scale and the reason in words, so that the base cube holds the points of interest."""
    position = np.array([frame.camera_to_world[:, 3] for frame in frames])
    forward = np.array([-frame.camera_to_world[:, 2] for frame in frames])
    focus, side = focus_point(position, forward), 0.0
    if focus is None:
        distance = np.linalg.norm(points - position.mean(axis=0), axis=1)
        reach, which = np.quantile(distance, 0.75), "the nearest three quarters of the points"
    else:
        distance = np.linalg.norm(points - focus, axis=1)
        reach, which = np.median(np.linalg.norm(position - focus, axis=1)), "the points that the cameras stand around"
        side = 2 * reach * float(np.median(view_tangents(frames)))
        if (distance <= reach).sum() < _FEWEST_POINTS:
            reach, which = np.quantile(distance, 0.5), "the half of the points nearest to what the cameras look at"
    low, high = np.quantile((points @ rotation.T)[distance <= reach], (0.05, 0.95), axis=0)
    side = max(side, float((high - low).max()))
    scale = 1 / side if side > 1e-9 else 1.0
    centre = rotation.T @ (0.5 * (low + high))
    outer = np.abs(np.quantile((points - centre) @ rotation.T, (0.005, 0.995), axis=0)).max()
    cameras = np.abs((position - centre) @ rotation.T).max()
    aabb_scale = power_of_two(2 * scale * max(outer, cameras))
    return centre, scale, aabb_scale, f"the base cube holds {which}"


def power_of_two(side: float) -> int:
    """The smallest from 1 to UNBOUNDED_AABB_SCALE that is no smaller than `side`, or the largest."""
    return next((k for k in (1, 2, 4, 8) if k >= side), UNBOUNDED_AABB_SCALE)


def with_bounds(frames: Mapping[int, Frame], points: np.ndarray) -> dict[int, Frame]:
    """The frames with `bounds`: the 0.1 and the 99.9 percentile of the distances to the points [P, 3] that each saw.

    Without tracks these are the points in front of the camera that its picture holds. A view of fewer than 8 points
    gets the extremes of the others. Without any such view, frames stay as they are.
    """
    found = {}
    for number, frame in frames.items():
        seen = points[frame.sightings.point] if frame.sightings is not None else in_picture(frame, points)
        if len(seen) >= 8:
            distance = np.linalg.norm(seen - frame.camera_to_world[:, 3], axis=1)
            found[number] = tuple(np.quantile(distance, (0.001, 0.999)).tolist())
    if not found:
        return dict(frames)
    extremes = (min(near for near, _ in found.values()), max(far for _, far in found.values()))
    return {number: replace(frame, bounds=found.get(number, extremes)) for number, frame in frames.items()}


def in_picture(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Those of the points [P, 3] that lie in the frame's picture, lens distortion aside."""
    local = (points - frame.camera_to_world[:, 3]) @ frame.camera_to_world[:, :3]
    depth = -local[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel = local[:, :2] * (1, -1) / depth[:, None] * frame.focal + frame.principal
    return points[(depth > 0) & (pixel >= 0).all(axis=1) & (pixel <= frame.size).all(axis=1)]


def points_between_bounds(frames: Sequence[Frame], across: int = 3, deep: int = 8) -> np.ndarray:
    """[P, 3]: across * across * deep points of each view between its bounds, evenly in disparity."""
    grid = np.stack(np.meshgrid(*[np.linspace(0.1, 0.9, across)] * 2), axis=-1).reshape(-1, 2)
    found = []
    for frame in frames:
        image = (grid * frame.size - frame.principal) / frame.focal
        local = np.concatenate([image * (1, -1), -np.ones_like(image[:, :1])], axis=1)
        local /= np.linalg.norm(local, axis=1, keepdims=True)
        near, far = np.maximum(frame.bounds, 1e-9)
        distance = 1 / np.linspace(1 / near, 1 / far, deep)
        rays = local @ frame.camera_to_world[:, :3].T
        found.append((frame.camera_to_world[:, 3] + distance[:, None, None] * rays).reshape(-1, 3))
    return np.concatenate(found)


def box_around_cameras(frames: Sequence[Frame], transparent: bool) -> tuple[np.ndarray, float, int, str]:
    """Centre, scale, aabb_scale and the reason in words, from where the cameras stand and look."""
    position = np.array([frame.camera_to_world[:, 3] for frame in frames])
    forward = np.array([-frame.camera_to_world[:, 2] for frame in frames])
    focus = focus_point(position, forward)
    if focus is None:
        centre, radius, aabb_scale = position.mean(axis=0), PATH_RADIUS, UNBOUNDED_AABB_SCALE
        why = "the cameras look past each other: the model is centred on their mean position"
    else:
        centre, radius, aabb_scale = focus, ORBIT_RADIUS, UNBOUNDED_AABB_SCALE
        why = "the cameras look at one place: the model is centred there"
    distances = np.linalg.norm(position - centre, axis=-1)
    distance = float(np.median(distances))
    scale = radius / distance if distance > 1e-6 else 1.0
    if transparent and focus is not None:
        width = float(np.quantile(2 * distances * view_tangents(frames), 0.95))
        scale, aabb_scale = 1 / width if width > 1e-6 else 1.0, 1
    return centre, scale, aabb_scale, f"{why}, the median camera {distance * scale:.2g} away from it"


def focus_point(position: np.ndarray, forward: np.ndarray) -> np.ndarray | None:
    """[3]: the point nearest to all optical axes, or None where no such point lies in front of the cameras."""
    point = nearest_to_axes(position, forward)
    if point is None:
        return None
    in_front = np.einsum("ni,ni->n", forward, point - position) > 0
    return point if in_front.mean() > 0.75 else None


def nearest_to_axes(position: np.ndarray, forward: np.ndarray) -> np.ndarray | None:
    """[3]: the point nearest to all optical axes, before or behind the cameras; None where they hardly converge.

    Least squares of the distances, sum_i w_i (I - d_i d_i^T) (x - o_i) = 0, reweighted ten times by 1 /
    distance so that cameras that look elsewhere hardly pull.
    """
    if len(position) < 2:
        return None
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # [N, 3, 3]
    weight = np.ones(len(position))
    for _ in range(10):
        system = (weight[:, None, None] * across).mean(axis=0)
        if np.linalg.eigvalsh(across.mean(axis=0))[0] < _LEAST_CONVERGENCE or not np.isfinite(system).all():
            return None
        point = np.linalg.solve(
            system, (weight[:, None] * np.einsum("nij,nj->ni", across, position)).mean(axis=0)
        )
        distance = np.linalg.norm(np.einsum("nij,nj->ni", across, point - position), axis=-1)
        weight = 1 / np.maximum(distance, 1e-2 * np.median(np.linalg.norm(position - point, axis=-1)) + 1e-9)
    return point
