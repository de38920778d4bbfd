"""A picture of what was exported, by a painter that needs no library: coloured discs or triangles before white."""

import numpy as np

from ..data.scene import Cameras
from .rasterise import rasterised

__all__ = ["picture_of_points", "picture_of_triangles"]

LIGHT = np.array((0.35, 0.5, 0.8))  # from beside the camera, in its axes
WHITE = 255


def picture_of_points(position: np.ndarray, colour: np.ndarray, side: float, camera: Cameras) -> np.ndarray:
    """[H, W, 3] uint8: squares of `side` around points [P, 3] with colours [P, 3] uint8, in the camera's world."""
    place, distance = _projected(position, camera)
    width, height = (int(length) for length in camera.size[0])
    picture = np.full((height, width, 3), WHITE, np.uint8)
    half = np.maximum(0.5 * side * camera.focal[0, 0] / np.maximum(distance, 1e-9), 0.5)
    order = np.argsort(-distance)
    order = order[distance[order] > 0]
    reach = int(min(np.ceil(np.median(half[order])), 8)) if len(order) else 0
    column, row = np.floor(place[order]).astype(np.int64).T
    nearest = np.full(height * width, np.inf)
    for down in range(-reach, reach + 1):  # the nearest of all squares at each pixel
        for right in range(-reach, reach + 1):
            x, y = column + right, row + down
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            pixel, chosen = y[inside] * width + x[inside], order[inside]
            closer = distance[chosen] < nearest[pixel]
            # assignment goes in order, from far to near: the last one stays
            nearest[pixel[closer]] = distance[chosen[closer]]
            picture.reshape(-1, 3)[pixel[closer]] = colour[chosen[closer]]
    return picture


def picture_of_triangles(vertices: np.ndarray, faces: np.ndarray, colour_at, camera: Cameras) -> np.ndarray:
    """[H, W, 3] uint8 of triangles faces [F, 3] between vertices [N, 3]; `colour_at(face [M], barycentric [M, 3])` says
    their colours [M, 3] uint8, or None for grey ones in a light from beside the camera."""
    place, distance = _projected(vertices, camera)
    width, height = (int(length) for length in camera.size[0])
    picture = np.full((height, width, 3), WHITE, np.uint8)
    faces_shown = np.flatnonzero((distance[faces] > 1e-6).all(axis=1))
    inverse = 1 / np.maximum(distance, 1e-9)
    pixel, face, barycentric = rasterised(place[faces[faces_shown]], width, height)
    face = faces_shown[face]
    nearness = (inverse[faces[face]] * barycentric).sum(axis=1)
    order = np.lexsort((nearness, pixel))
    last = order[np.flatnonzero(np.diff(pixel[order], append=-1))]  # the nearest at each pixel
    pixel, face = pixel[last], face[last]
    true = barycentric[last] * inverse[faces[face]]
    true /= true.sum(axis=1, keepdims=True)  # perspective
    if colour_at is None:
        corner = vertices[faces[face]]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        shade = np.abs(normal @ camera.camera_to_world[0, :, :3] @ (LIGHT / np.linalg.norm(LIGHT)))
        colours = np.repeat((40 + 200 * shade)[:, None], 3, axis=1).astype(np.uint8)
    else:
        colours = colour_at(face, true)
    picture.reshape(-1, 3)[pixel] = colours
    return picture


def _projected(points: np.ndarray, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """[N, 2] pixels, and [N] distances along the optical axis."""
    pose = camera.camera_to_world[0].astype(np.float64)
    right, up, back = ((points - pose[:, 3]) @ pose[:, :3]).T
    depth = -back
    safe = np.where(depth > 1e-9, depth, 1.0)
    return camera.principal[0] + camera.focal[0] * np.stack([right, -up], axis=1) / safe[:, None], depth
