"""What of photos always counts, whatever its error: where the other photos cannot say that it is wrong.

    cells      each image is divided into CELLS x CELLS, and a cell stands for the ray through its middle

    above      of a scene without bounds, what lies in the upper part of a photo and above the horizon: sky has few
               details, large errors where it ends, and nothing behind it (as in Splatfacto-W, Xu et al. 2024)
    unseen     rays of which, at any distance, fewer than so many cameras of other photos see a point
"""

import numpy as np

from ..config import TrimConfig
from ..data.scene import FISHEYE, Cameras, Scene, Split

__all__ = ["guarded_cells"]

CELLS = 16
DISTANCES = 12  # points of a ray that other cameras are asked about
FARTHEST = 100.0  # model units, where a scene does not say how far it reaches
MOST_OTHERS = 96  # cameras that are asked; of more, so many that are spread evenly
LEVEL = 0.5  # of the cameras' upward axes, the mean along z from which on that is up


def guarded_cells(scene: Scene, config: TrimConfig) -> np.ndarray:
    """[N, CELLS, CELLS] bool, row by row, of the training images."""
    cameras = scene.model_cameras("train")
    directions = _directions(cameras)  # [N, C, C, 3]
    guarded = _seen_by(scene.splits["train"], cameras, directions, scene.near, scene.far or FARTHEST) < config.views
    return guarded if scene.bounded else guarded | _above(cameras, directions, config.top)


def _directions(cameras: Cameras) -> np.ndarray:
    """[N, C, C, 3] float32, unit length: through the middle of each cell, as without distortion."""
    place = (np.stack(np.meshgrid(*[np.arange(CELLS)] * 2), axis=-1) + 0.5) / CELLS  # [C, C, 2]
    size, focal, principal = (values[:, None, None] for values in (cameras.size, cameras.focal, cameras.principal))
    x = (place * size - principal) / focal  # [N, C, C, 2]
    radius = np.linalg.norm(x, axis=-1, keepdims=True)
    angle = np.minimum(radius, np.pi)  # of a fisheye
    bent = np.concatenate([x * np.sin(angle) / np.maximum(radius, 1e-9), np.cos(angle)], axis=-1)
    flat = np.concatenate([x, np.ones_like(radius)], axis=-1)
    local = np.where((cameras.lens == FISHEYE)[:, None, None, None], bent, flat) * (1, -1, -1)
    directions = np.einsum("nij,nabj->nabi", cameras.camera_to_world[:, :, :3], local)
    return (directions / np.linalg.norm(directions, axis=-1, keepdims=True)).astype(np.float32)


def _seen_by(split: Split, cameras: Cameras, directions: np.ndarray, near: float, far: float) -> np.ndarray:
    """[N, C, C]: how many cameras of other photos see a point of each ray, at the distance where most do; `cameras` are
    those of the split in model space."""
    distance = np.geomspace(max(near, 1e-3), max(far, 2 * near, 1e-2), DISTANCES).astype(np.float32)
    asked = np.unique(np.linspace(0, split.views - 1, min(split.views, MOST_OTHERS)).round().astype(int))
    asked, photos = split.full_size[asked], split.photos
    found = np.zeros(directions.shape[:3], np.int64)
    for n in range(len(cameras)):
        points = cameras.position[n] + distance[:, None, None, None] * directions[n]  # [D, C, C, 3]
        seen = sum(_sees(cameras, other, points).astype(np.int64) for other in asked
                   if photos[other] != photos[n])
        found[n] = np.max(seen, axis=0)
    return found


def _sees(cameras: Cameras, n: int, points: np.ndarray) -> np.ndarray:
    """[..] bool: whether points [.., 3] are in the picture of camera n."""
    pose = cameras.camera_to_world[n]
    local = (points - pose[:, 3]) @ pose[:, :3] * np.float32((1, -1, -1))
    ahead, across = local[..., 2], np.linalg.norm(local[..., :2], axis=-1)
    scale = 1 / np.maximum(ahead, 1e-6)
    if cameras.lens[n] == FISHEYE:
        scale = np.arctan2(across, ahead) / np.maximum(across, 1e-6)
    pixel = local[..., :2] * scale[..., None] * cameras.focal[n] + cameras.principal[n]
    inside = ((pixel >= 0) & (pixel < cameras.size[n])).all(axis=-1)
    return inside & ((ahead > 0) | (cameras.lens[n] == FISHEYE))


def _above(cameras: Cameras, directions: np.ndarray, top: float) -> np.ndarray:
    """[N, C, C] bool: the cells in the upper part of a photo that look up; none where z is not what cameras have up."""
    upper = (np.arange(CELLS) + 0.5) / CELLS < top
    return (directions[..., 2] > 0) & upper[:, None] & (cameras.camera_to_world[:, 2, 1].mean() > LEVEL)
