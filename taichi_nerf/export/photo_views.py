"""What photos show of a mesh: their own colours, at the distances of the mesh itself, which says what hides what.

Everything is in the world of the splits. Photos of H x W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from .. import runtime
from ..data.scene import Cameras
from ..ops.ray_mesh import intersect_ray_mesh, ray_mesh
from .mesh import Mesh
from .surface import SurfaceView, pinhole
from .view_colours import HIDDEN

__all__ = ["in_reserve", "photo_views"]

RESERVE = 1e-6  # of what another view counts
SOLID = 250  # alpha from which on a pixel is of the object alone


def photo_views(mesh: Mesh, cameras: Cameras, photos: Sequence[np.ndarray], counted: Sequence[np.ndarray | None],
                looks: Sequence[SurfaceView], cell: float, *, longest: int,
                on_view: Callable[[int, int], None] | None = None) -> Iterator[SurfaceView]:
    """A view for each photo.

    Args:
        cameras: without distortion. photos: [H, W, 4] uint8 each, straight alpha.
        counted: [H, W] bool each: pixels that no mask covers; None: all.
        looks: what the field shows to each of these cameras, in pictures of any size: what stands before the mesh, but
            is none of it, is not painted on it.
        cell: how exact the surface is.
        longest: pixels along a side; larger photos are made smaller.
        on_view: is told how many are done, of how many.
    """
    now = runtime.current()
    middle = mesh.vertices.mean(axis=0)  # numbers stay small

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(now.device, now.dtype)

    traced = ray_mesh(tensor(mesh.vertices - middle), torch.from_numpy(mesh.faces.astype(np.int32)).to(now.device))
    for n, (photo, allowed) in enumerate(zip(photos, counted)):
        camera = pinhole(cameras.subset([n]), longest=longest)
        size = tuple(int(side) for side in camera.size[0])
        directions = _directions(camera)
        eye = camera.position[0].astype(np.float64)
        origins = np.broadcast_to(eye - middle, directions.shape)
        hits = intersect_ray_mesh(traced, tensor(origins), tensor(directions)).t.cpu().numpy().astype(np.float32)
        shown = _smaller(photo, size)
        solid = shown[..., 3] >= SOLID
        if allowed is not None:
            solid &= _smaller(255 * allowed.astype(np.uint8), size) == 255
        distance = np.where(solid, hits.reshape(solid.shape), np.inf)
        free = _nearest(looks[n].distance, solid.shape) > distance - HIDDEN * cell
        distance = np.where(free, distance, np.inf).astype(np.float32)
        with np.errstate(invalid="ignore"):
            position = (eye + directions.reshape(*distance.shape, 3) * distance[..., None]).astype(np.float32)
        yield SurfaceView(camera=camera, colour=shown[..., :3], distance=distance, normal=None,
                          confidence=np.isfinite(distance).astype(np.float32), position=position)
        if on_view is not None:
            on_view(n + 1, len(photos))


def in_reserve(views: Sequence[SurfaceView]) -> list[SurfaceView]:
    """The same views, which colour only what no other one sees."""
    return [replace(view, confidence=RESERVE * view.confidence) for view in views]


def _directions(camera: Cameras) -> np.ndarray:
    """[H * W, 3] unit, row by row."""
    width, height = (int(side) for side in camera.size[0])
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = np.stack([(x - camera.principal[0, 0]) / camera.focal[0, 0],
                      -(y - camera.principal[0, 1]) / camera.focal[0, 1], np.full(x.shape, -1.0)], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return local.reshape(-1, 3) @ camera.camera_to_world[0, :, :3].astype(np.float64).T


def _smaller(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _nearest(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A picture in another size, of the nearest pixels."""
    rows, columns = ((np.arange(side) + 0.5) * had / side for side, had in zip(shape, values.shape))
    return values[np.ix_(rows.astype(int), columns.astype(int))]
