"""Gaussians instead of a field: discs on the surfaces that the training views see.

N discs; V views, each a map of the distances of surfaces. A disc is as wide as the voxels of which there is
one disc each, so that neighbours just overlap, and much thinner along the normal. Its colour in B = bands^2 functions
follows the colours of the field there in the directions of those views which see the disc, by least squares.

A ray that grazes an outline has its median between what is in front and what is behind, and a thin thing makes discs
wider than itself. Other views know: s of them have a surface where a disc is, and t see through it. Its opacity is
multiplied by s / (s + 2 t), and it goes where that is little.
"""

from collections.abc import Callable

import numpy as np
import torch

from .. import runtime
from ..data.scene import Cameras
from ..errors import UserError
from ..models.splats import GaussianSplats
from ..ops.spherical_harmonics import encode_direction
from ..query import Field
from .points import PointCloud, joined, merged
from .splat_files import Splats
from .surface import SurfaceView, pinhole, surface_views

__all__ = ["learnable", "splats_of", "surface_splats"]

LEAST_CONFIDENCE = 0.1  # of a point that becomes part of a disc
WIDTH = 0.4  # standard deviation of a disc, of the side of its voxel
THICKNESS = 0.15  # of its width
FINENESS = 0.7  # side of the smallest voxels, of the width of a training image's pixel there
COVER = 9.0  # optical depth of a surface
LEAST_SOLID = 0.6  # part of that, where the field is thinner
DILATION = 0.3  # square pixels that are added to variances
INSET = 0.6  # pixels by which discs lie within the surface, whose outline would else be as much too far out
NEAR_ENOUGH = 2.0  # voxels by which the distance that a view has may differ from that of the disc it sees
BASE = 0.28209479177387814  # the harmonic of no direction
DAMPING = 0.3  # views by which harmonics of other bands are held at 0
OBJECTION = 2.0  # how many views that see a surface make up for one that sees through it
LEAST_AGREED = 0.2  # of a disc that stays
FACING = 0.1  # cosine from which on a disc faces a view


def surface_splats(field: Field, cameras: Cameras, *, rays: int, count: int, bands: int = 3,
                   box: np.ndarray | None = None, time: float | None = None,
                   on_view: Callable[[int, int], None] | None = None) -> Splats:
    """Discs where rays of `cameras` meet surfaces of `field`, in the world of the splits.

    Args:
        rays: about so many at the most, evenly over all pixels.
        count: of discs, at the most.
        bands: of the harmonics of their colours, 1 to 4.
        box, time: as of `surface_points`.
        on_view: is told how many looks are done, and of how many: two a view, at its surfaces and at the discs it sees.

    Raises UserError where there is no camera, or no surface that the views agree on.
    """
    if len(cameras) == 0:
        raise UserError(f"{field.scene.name} has no training views, which say where its surfaces are; train on a scene "
                        "that has")
    pixels = int(cameras.size.astype(np.int64).prod(axis=1).sum())
    looked = pinhole(cameras, min(1.0, (rays / pixels) ** 0.5))

    def told(done: int):
        if on_view is not None:
            on_view(done, 2 * len(cameras))

    views = list(surface_views(field, looked, normals=True, time=time, on_view=lambda done, _: told(done)))
    clouds, footprints = zip(*(_points(view, cameras.focal[n].mean(), box) for n, view in enumerate(views)))
    points, footprint = joined(list(clouds)), np.concatenate(footprints)
    if len(points) == 0:
        raise UserError(f"the training views of {field.scene.name} see no surface" + (" in the box" if box is not None
                        else "") + ": nothing is opaque; train longer, or give another --box")
    points, side, pixel = _discs(points, footprint, count)
    there = _agreed(points.position, side, views)
    if not (there >= LEAST_AGREED).any():
        raise UserError(f"the training views of {field.scene.name} see through each other's surfaces: they are fog; "
                        "train longer")
    points, side, pixel, there = (values[there >= LEAST_AGREED] for values in (points, side, pixel, there))
    density = field.at(points.position + field.scene.origin, time=time).density
    opacity = np.clip(1 - np.exp(-density * side), LEAST_SOLID, 1) * there * _opacity(side / pixel)
    log_scales = np.log(WIDTH * side[:, None] * (1.0, 1.0, THICKNESS))
    inside = points.position - INSET * pixel[:, None] * points.normal
    return Splats(
        means=inside.astype(np.float32), log_scales=log_scales.astype(np.float32),
        quaternions=_turned_to(points.normal), logits=np.log(opacity / (1 - opacity)).astype(np.float32),
        harmonics=_harmonics(field, points, side, views, bands, time, lambda done: told(len(views) + done)))


def _opacity(side: np.ndarray) -> np.ndarray:
    """[N] of discs which lie a `side` [N] in pixels apart, all of which together are as opaque as COVER says, face on.

    A renderer makes them wider by a part of a pixel, and does not take that from their opacity: discs of an opacity
    near 1 would make all things fatter.
    """
    overlap = 2 * np.pi * ((WIDTH * side) ** 2 + DILATION) / side**2
    return 1 - np.exp(-COVER / overlap)


def learnable(splats: Splats, near: float) -> GaussianSplats:
    """The same on the device, with parameters; `near` in units of the file."""
    device = runtime.current().device
    return GaussianSplats(*(torch.tensor(values, device=device) for values in (
        splats.means, splats.log_scales, splats.quaternions, splats.logits, splats.harmonics)), near=near)


def splats_of(model: GaussianSplats) -> Splats:
    """What `model` has learned."""
    def array(tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().float().cpu().numpy()

    return Splats(means=array(model.means), log_scales=array(model.log_scales), quaternions=array(model.quaternions),
                  logits=array(model.logits), harmonics=array(model.harmonics))


def _points(view: SurfaceView, focal: float, box: np.ndarray | None) -> tuple[PointCloud, np.ndarray]:
    """What a view sees, and [P] the widths of a training image's pixels there."""
    kept = view.met & (view.confidence > LEAST_CONFIDENCE)
    if box is not None:
        kept[kept] = ((view.position[kept] >= box[0]) & (view.position[kept] <= box[1])).all(axis=1)
    position, normal, distance = view.position[kept].astype(np.float64), view.normal[kept], view.distance[kept]
    to_camera = (view.camera.position[0] - position) / distance[:, None]
    normal = np.where(normal.any(axis=1, keepdims=True), normal, to_camera)  # inside of mist there is none
    cloud = PointCloud(position=position, colour=view.colour[kept], normal=normal.astype(np.float32),
                       confidence=view.confidence[kept])
    return cloud, distance / focal


def _discs(points: PointCloud, footprint: np.ndarray, count: int) -> tuple[PointCloud, np.ndarray, np.ndarray]:
    """At most `count` points, one a voxel, [N] the sides of their voxels, and [N] about their footprints, which are
    taken by powers of two."""
    middle = float(np.median(footprint))
    level = np.round(np.log2(footprint / middle)).astype(int)
    pixels = {k: middle * 2.0**k for k in np.unique(level)}
    fineness = FINENESS
    while True:
        parts = {k: merged(points[level == k], fineness * pixel) for k, pixel in pixels.items()}
        found = sum(len(part) for part in parts.values())
        if found <= count:
            pixel = np.concatenate([np.full(len(parts[k]), pixels[k]) for k in parts])
            return joined(list(parts.values())), fineness * pixel, pixel
        fineness *= max(1.02, (found / count) ** 0.5)


def _turned_to(normal: np.ndarray) -> np.ndarray:
    """[N, 4] float32 quaternions w, x, y, z that turn z into unit normals [N, 3]."""
    x, y, z = normal.astype(np.float64).T
    turned = np.stack([1 + z, -y, x, np.zeros_like(x)], axis=1)
    turned[z < -1 + 1e-6] = (0.0, 1.0, 0.0, 0.0)
    return (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)


def _harmonics(field: Field, points: PointCloud, side: np.ndarray, views: list[SurfaceView], bands: int,
               time: float | None, on_view: Callable[[int], None]) -> np.ndarray:
    """[N, 3, B] float32: min over k of the sum over views of (1/2 + Y k - colour)^2, and a little k^2 of those that
    know a direction, since many discs are seen by few views."""
    functions = bands**2
    damping = np.full(functions, DAMPING * BASE**2)
    damping[0] = 0.0
    matrix = np.zeros((len(points), functions, functions)) + np.diag(damping)
    # the mean colour of the points that became the disc, as if seen by a thousandth of a view
    matrix[:, 0, 0] += 1e-3 * BASE**2
    right = np.zeros((len(points), functions, 3))
    right[:, 0] = 1e-3 * BASE * (points.colour / 255 - 0.5)
    for n, view in enumerate(views):
        seen, direction = _seen(points, side, view)
        colour = field.at(points.position[seen] + field.scene.origin, direction, time=time).colour
        basis = encode_direction(torch.from_numpy(direction.astype(np.float32)).to(runtime.current().device), bands)
        basis = basis.double().cpu().numpy()
        matrix[seen] += basis[:, :, None] * basis[:, None, :]
        right[seen] += basis[:, :, None] * (colour - 0.5)[:, None, :]
        on_view(n + 1)
    return np.ascontiguousarray(np.linalg.solve(matrix, right).transpose(0, 2, 1).astype(np.float32))


def _seen(points: PointCloud, side: np.ndarray, view: SurfaceView) -> tuple[np.ndarray, np.ndarray]:
    """Which discs [M] a view sees, and unit directions [M, 3] towards them."""
    direction, behind = _behind(points.position, view)
    facing = (direction * points.normal).sum(axis=1) < -FACING
    seen = np.flatnonzero(facing & (np.abs(behind) < NEAR_ENOUGH * side))
    return seen, direction[seen]


def _agreed(position: np.ndarray, side: np.ndarray, views: list[SurfaceView]) -> np.ndarray:
    """[N]: s / (s + 2 t) of discs at positions [N, 3]; 1 where no view has a say."""
    seen, through = np.zeros(len(position)), np.zeros(len(position))
    for view in views:
        _, behind = _behind(position, view)
        seen += np.abs(behind) < NEAR_ENOUGH * side
        through += behind >= NEAR_ENOUGH * side
    return np.where(through > 0, seen / np.maximum(seen + OBJECTION * through, 1), 1.0)


def _behind(position: np.ndarray, view: SurfaceView) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions [N, 3] from a view to positions [N, 3], and [N] how far behind each the surface is that the view
    has there: infinite where it has none, NaN beside its picture."""
    camera = view.camera
    pose = camera.camera_to_world[0].astype(np.float64)
    away = position - pose[:, 3]
    right, up, back = (away @ pose[:, :3]).T
    distance = np.linalg.norm(away, axis=1)
    height, width = view.distance.shape
    ahead = back < 0
    depth = np.where(ahead, -back, 1.0)
    place = camera.principal[0] + camera.focal[0] * np.stack([right, -up], axis=1) / depth[:, None]
    column, row = np.floor(np.clip(place, -1, (width, height))).astype(np.int64).T
    inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = np.where(inside, row * width + column, 0)
    behind = np.where(inside, view.distance.reshape(-1)[pixel] - distance, np.nan)
    return away / np.maximum(distance, 1e-12)[:, None], behind
