"""Questions to a trained field, for robots and for measuring: numpy arrays in, numpy arrays out, on any backend.

    from taichi_nerf import query, runtime

    runtime.init()
    field = query.open("runs/lego-20260101-120000")
    seen = field.along(origins, directions)         # [R, 3] each: distance, colour, opacity, normal
    clear = field.free_distance(origins, directions)
    there = field.at(points)                        # [M, 3]: density, colour

Everything is in the coordinates and units of the scene's file, not of the model's box: a photographed scene has no
metres unless its cameras have. A distance is along the ray, of whatever length its direction is given; the density is
per unit of length.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from . import runtime
from .data.scene import Cameras, Scene
from .errors import UserError
from .models.cones import usual_view
from .models.model import Model
from .models.probe import at_points, look
from .models.views import camera_rays
from .training.blocks import load_any
from .training.folder import RunFolder, is_cut
from .types import UNKNOWN, Rays, Shot

__all__ = ["AtPoints", "Field", "Seen", "open"]

THRESHOLD = 0.5  # opacity at which a way is blocked
REACH = 0.01  # model units
SHARE = 0.5  # of a ray's opacity: the median


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What R rays meet, float32."""

    colour: np.ndarray
    """[R, 3] sRGB in [0, 1], over black: what shines through (1 - opacity) is not in it."""
    opacity: np.ndarray
    """[R] in [0, 1]."""
    distance: np.ndarray
    """[R] where half of the opacity, or the share asked for, is reached, which fog in front of a surface hardly moves;
    infinite where there is nothing."""
    mean_distance: np.ndarray
    """[R] of all that is seen; infinite where there is nothing."""
    free_distance: np.ndarray
    """[R] where the opacity reaches the threshold; infinite where it never does."""
    confidence: np.ndarray
    """[R] in [0, 1]: part of the light that comes from within a reach of `distance`, times the opacity: fog, and rays
    past an edge that meet two things, have little."""
    normal: np.ndarray | None
    """[R, 3] unit, outwards, at `distance`; 0 where there is none."""
    position: np.ndarray
    """[R, 3] float64 at `distance`; NaN where there is nothing."""


class AtPoints(NamedTuple):
    """What M points are made of, float32."""

    density: np.ndarray
    """[M] per unit of length."""
    colour: np.ndarray
    """[M, 3] sRGB in [0, 1]."""


def box_of_model(model: Model, scene: Scene) -> np.ndarray:
    """[2, 3] lowest and highest corner, in the coordinates of the scene's file, of the box of a model."""
    half = 0.5 * model.box.aabb_scale
    corners = np.stack(np.meshgrid(*[(-half, half)] * 3), axis=-1).reshape(-1, 3)
    found = scene.to_world(corners).astype(np.float64) + scene.origin
    return np.stack([found.min(axis=0), found.max(axis=0)])


class Field:
    """A trained model and where it lies in the world of its scene's file.

    Args:
        model: of the current runtime.
        scene: as it was trained on, with at least its training cameras; its place is all that counts besides.
    """

    def __init__(self, model: Model, scene: Scene):
        self.model, self.scene = model, scene
        like = next(model.parameters())
        self._device, self._dtype = like.device, like.dtype
        self._radius = float(usual_view(scene.model_cameras("train"))[0]) if model.sees_cones else None

    @property
    def box(self) -> np.ndarray:
        """[2, 3] lowest and highest corner of the box around all that the model can represent."""
        return box_of_model(self.model, self.scene)

    def along(self, origins: np.ndarray, directions: np.ndarray, *, normals: bool = True,
              threshold: float = THRESHOLD, reach: float | None = None, share: float = SHARE,
              radius: np.ndarray | None = None, time: float | None = None,
              on_rays: Callable[[int, int], None] | None = None) -> Seen:
        """What rays meet.

        Args:
            origins: [R, 3]. directions: [R, 3], of any length but 0. Either may be [3], one for all rays.
            normals: also find them, which takes some time more.
            threshold: opacity in (0, 1) at which `free_distance` ends.
            reach: to either side of `distance`, of `confidence`; by default a hundredth of the base cube.
            share: of a ray's opacity, in (0, 1), that is reached at `distance`: a smaller one lies less deep in what
                is soft or glazed, and is moved more by fog.
            radius: [R] of a pixel at distance 1, for models that see cones; that of the training images by default.
            time: in [0, 1], of a scene that moves, which is else as it was at the first.
            on_rays: is told how many rays are done, and how many there are.

        Raises:
            ValueError: an array of another shape, that is not finite, or directions of no length.
            UserError: normals of a model that has none.
        """
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be above 0 and below 1, got {threshold}")
        if not 0 < share < 1:
            raise ValueError(f"share must be above 0 and below 1, got {share}")
        if reach is not None and not 0 < reach < np.inf:
            raise ValueError(f"reach must be above 0 and finite, got {reach}")
        if normals and not self.model.has_normals:
            raise UserError(f"{self.scene.name} has a model without normals; ask without them")
        origins, directions = _checked_rays(origins, directions)
        rays = self._rays(origins, directions, radius, time)
        found = look(self.model, rays, normals=normals, threshold=threshold,
                     reach=REACH if reach is None else reach * self.scene.scale, share=share, on_rays=on_rays)
        scale = self.scene.scale
        distance = found.surface.numpy() / scale
        with np.errstate(invalid="ignore"):
            position = np.where(np.isfinite(distance)[:, None], origins + distance[:, None] * directions, np.nan)
        return Seen(colour=found.colour.numpy(), opacity=found.opacity.numpy(), distance=distance,
                    mean_distance=found.mean.numpy() / scale, free_distance=found.free.numpy() / scale,
                    confidence=found.opacity.numpy() * found.sure.numpy(),
                    normal=(found.normal.numpy() @ self.scene.rotation).astype(np.float32) if normals else None,
                    position=position)

    def free_distance(self, origins: np.ndarray, directions: np.ndarray, threshold: float = THRESHOLD, *,
                      time: float | None = None) -> np.ndarray:
        """[R] float32: how far one can go from `origins` along `directions`, at a `time`, as of `along`, until the
        opacity of what lies behind reaches `threshold`; infinite where nothing is in the way."""
        return self.along(origins, directions, normals=False, threshold=threshold, time=time).free_distance

    def at(self, points: np.ndarray, directions: np.ndarray | None = None, *, time: float | None = None,
           on_points: Callable[[int, int], None] | None = None) -> AtPoints:
        """Density and colour at `points` [M, 3], seen along `directions` [M, 3]; without them the mean of the colours
        seen along the three axes, to and fro. `time` as of `along`, which raises ValueError for the same reasons."""
        points = _checked("points", points)
        ways = None if directions is None else _unit(_checked("directions", directions))
        if ways is not None and len(ways) not in (1, len(points)):
            raise ValueError(f"directions must be one, or as many as points, {len(points)}, got {len(ways)}")
        ways = None if ways is None else np.broadcast_to(ways, points.shape)
        found = at_points(self.model, self._tensor(self._to_model(points)),
                          None if ways is None else self._tensor(ways @ self.scene.rotation.T),
                          shot=self._shot(time), on_points=on_points)
        return AtPoints(found.density.numpy() * np.float32(self.scene.scale), found.colour.numpy())

    def rays_of(self, cameras: Cameras, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Origins and unit directions [H * W, 3], row by row, of the pixels of a camera in the world of the splits,
        which is the file's but for `scene.origin`."""
        rays = camera_rays(self.model, self.scene.model_cameras(cameras), index)
        origins = self.scene.to_world(rays.origins.cpu().numpy()).astype(np.float64) + self.scene.origin
        return origins, rays.directions.cpu().numpy().astype(np.float64) @ self.scene.rotation

    def _rays(self, origins: np.ndarray, directions: np.ndarray, radius, time: float | None) -> Rays:
        rays = Rays(self._tensor(self._to_model(origins)), self._tensor(directions @ self.scene.rotation.T))
        if self._radius is not None:
            wide = np.broadcast_to(self._radius if radius is None else np.asarray(radius, float), len(origins))
            rays = replace(rays, radius=self._tensor(wide))
        return replace(rays, shot=self._shot(time).map(lambda values: values.expand(len(origins))))

    def _shot(self, time: float | None) -> Shot:
        """R = 1"""
        if time is None:
            return UNKNOWN
        if np.ndim(time) != 0 or not 0 <= time <= 1:
            raise ValueError(f"time must be one number from 0 to 1, got {time}")
        return Shot(time=self._tensor(np.array([time])))

    def _to_model(self, points: np.ndarray) -> np.ndarray:
        return (points - (self.scene.centre + self.scene.origin)) * self.scene.scale @ self.scene.rotation.T

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, self._dtype)


def open(run: Path | str) -> Field:
    """The field of a run, on the current runtime (`runtime.init`, or its defaults). Raises UserError where there is
    none."""
    runtime.current()
    folder = RunFolder.open(Path(run))
    if is_cut(folder.path):
        raise UserError(f"{folder.path} is cut into blocks, and this is for one field; give one of them, as "
                        f"{folder.path / 'blocks' / '00'}")
    return Field(load_any(folder.path)[0], folder.cameras_scene())


def _checked_rays(origins, directions) -> tuple[np.ndarray, np.ndarray]:
    """[R, 3] each, the directions of unit length."""
    origins, directions = _checked("origins", origins), _unit(_checked("directions", directions))
    try:
        return tuple(np.ascontiguousarray(array) for array in np.broadcast_arrays(origins, directions))
    except ValueError:
        raise ValueError(f"origins and directions must be equally many, got {len(origins)} and {len(directions)}"
                         ) from None


def _unit(directions: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError(f"directions must have a length, and that of ray {int(np.argmin(length))} has none")
    return directions / length


def _checked(name: str, array) -> np.ndarray:
    """[N, 3] float64, of [N, 3] or [3]."""
    array = np.atleast_2d(np.asarray(array, np.float64))
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{name} must have shape [N, 3] or [3], got {list(np.shape(array))}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, and row {int(np.argmin(np.isfinite(array).all(axis=1)))} is not")
    return array
