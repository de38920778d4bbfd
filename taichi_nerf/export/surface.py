"""Where surfaces lie for the cameras of a scene: where a share of the opacity is reached, which thin fog in front of
them hardly moves.

Everything is in the coordinates of the scene's file, less what `Scene.origin` took from them.
V views of H x W pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..data.scene import PERSPECTIVE, Cameras, Scene
from ..errors import UserError
from ..query import SHARE, Field, Seen

__all__ = ["OPAQUE", "SurfaceView", "box_of", "pinhole", "share_in_front", "surface_views"]

OPAQUE = 0.5  # opacity from which on a ray meets a surface
ALONE = 0.15  # of a ray's opacity lies in front of the surface of an object that stands alone: see `models.probe`


@dataclass(frozen=True, kw_only=True)
class SurfaceView:
    """What one camera sees."""

    camera: Cameras
    """That one alone, without distortion."""
    colour: np.ndarray
    """[H, W, 3] uint8, sRGB, of the surface itself: what shines through is taken out."""
    distance: np.ndarray
    """[H, W] float32 along the ray; infinite where there is no surface."""
    confidence: np.ndarray
    """[H, W] float32 in [0, 1], that there is this surface, or that there is none."""
    position: np.ndarray
    """[H, W, 3] float32 of the surface; NaN where there is none."""
    normal: np.ndarray | None
    """[H, W, 3] float32 unit, outwards; 0 where there is none."""

    @property
    def met(self) -> np.ndarray:
        """[H, W] bool: where there is a surface."""
        return np.isfinite(self.distance)


def share_in_front(scene: Scene) -> float:
    """How much of a ray's opacity lies in front of the surface of meshes and points: little where an object stands
    alone, before which there is nothing; where things stand in a room or outdoors half of it, the median, since fog
    would else be lumps of the surface."""
    return ALONE if scene.bounded else SHARE


def pinhole(cameras: Cameras, factor: float = 1.0, longest: int | None = None) -> Cameras:
    """The same cameras without distortion, with pictures `factor` times as large, of at most `longest` pixels."""
    factor = factor if longest is None else min(factor, longest / cameras.size.max())
    size = np.maximum(np.round(cameras.size * factor), 1)
    plain = replace(cameras, distortion=np.zeros_like(cameras.distortion), lens=np.full_like(cameras.lens, PERSPECTIVE))
    return plain.resized(size)


def surface_views(field: Field, cameras: Cameras, *, normals: bool = False, reach: float | None = None,
                  share: float = SHARE, time: float | None = None,
                  on_view: Callable[[int, int], None] | None = None) -> Iterator[SurfaceView]:
    """What each of `cameras`, without distortion, in the world of the splits, sees of `field`; a look at one is taken
    when it is asked for. `reach`, `share`, `time` as of `Field.along`; `on_view` is told how many are
    done, and of how many."""
    for n in range(len(cameras)):
        origins, directions = field.rays_of(cameras, n)
        seen = field.along(origins, directions, normals=normals, reach=reach, share=share, time=time)
        yield _view(seen, cameras.subset([n]), field.scene.origin)
        if on_view is not None:
            on_view(n + 1, len(cameras))


def _view(seen: Seen, camera: Cameras, origin: np.ndarray) -> SurfaceView:
    width, height = (int(side) for side in camera.size[0])
    met = seen.opacity > OPAQUE
    colour = np.clip(seen.colour / np.maximum(seen.opacity, OPAQUE)[:, None], 0, 1) * met[:, None]
    position = np.where(met[:, None], seen.position - origin, np.nan)
    return SurfaceView(
        camera=camera, colour=(255 * colour + 0.5).astype(np.uint8).reshape(height, width, 3),
        distance=np.where(met, seen.distance, np.inf).astype(np.float32).reshape(height, width),
        confidence=np.where(met, seen.confidence, 1 - seen.opacity).reshape(height, width),
        position=position.astype(np.float32).reshape(height, width, 3),
        normal=None if seen.normal is None else seen.normal.reshape(height, width, 3))


def box_of(field: Field, asked: np.ndarray | None) -> np.ndarray:
    """[2, 3] corners of what is exported, in the world of the splits: those `asked` for, or of the box of a bounded
    scene.

    Raises UserError where nobody says what the object is.
    """
    if asked is not None:
        return asked
    if not field.scene.bounded:
        raise UserError(f"nothing says what the object of {field.scene.name} is, whose pictures have no alpha; give "
                        "two corners of a box around it, in the units of its file, with --box X0 Y0 Z0 X1 Y1 Z1")
    return field.box - field.scene.origin
