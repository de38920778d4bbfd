"""What wide and stereo pictures are made of: pictures of ordinary cameras, side by side and above one another.

    perspective              as it is; in stereo left | right
    fisheye                  equidistant, 180 degrees across the shorter side; in stereo left | right
    equirectangular          all around, twice as wide as high
    omnidirectional-stereo   the same for the left eye above that for the right, whose rays begin on the viewing circle
    vr180                    the half in front, left | right
    cube-map                 six faces, right left up above down front back: ffmpeg's c3x2, layout 0 of spherical videos

Cameras are in MODEL space, as those of `paths`; the N frames of a path give N such pictures. A head is level wherever
its path looks, in all that shows more than what lies in front: who turns around with a headset must not see the horizon
tilt.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .data.scene import EQUIRECTANGULAR, FISHEYE, PERSPECTIVE, Cameras
from .errors import UserError

__all__ = ["LEVELLED", "PAIRS", "Grid", "Lens", "Stereo", "levelled", "wide_pictures"]

Lens = Literal["perspective", "fisheye", "equirectangular", "omnidirectional-stereo", "vr180", "cube-map"]
Stereo = Literal["mono", "left-right", "top-bottom"]

LEVELLED = ("equirectangular", "omnidirectional-stereo", "vr180", "cube-map")
PAIRS = ("omnidirectional-stereo", "vr180")  # which are of two eyes always
WIDEST_PICTURE = 4096  # pixels of a picture whose size nobody asked for
_TURN = 2 * math.pi
_FACES = {  # of a cube: right, up and back of the camera that sees it, in the axes of the head
    "right": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)), "left": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "up": ((1, 0, 0), (0, 0, 1), (0, -1, 0)), "down": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "front": ((1, 0, 0), (0, 1, 0), (0, 0, 1)), "back": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Pictures of N frames, each put together from panes of one size, row by row."""

    panes: tuple[Cameras, ...]
    """Of N cameras each."""
    columns: int = 1
    lens: Lens = "perspective"
    stereo: Stereo = "mono"

    def __len__(self) -> int:
        return len(self.panes[0])

    @property
    def size(self) -> np.ndarray:
        """[N, 2] int: width and height of the whole pictures."""
        return self.panes[0].size * (self.columns, len(self.panes) // self.columns)

    def joined(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """[H, W, ..]: the whole of what the panes of a frame show, [h, w, ..] each."""
        rows = [np.concatenate(parts[n : n + self.columns], axis=1) for n in range(0, len(parts), self.columns)]
        return np.concatenate(rows, axis=0)

    def changed(self, change: Callable[[Cameras], Cameras]) -> "Grid":
        """The same with the cameras of each pane replaced by `change` of them."""
        return replace(self, panes=tuple(change(pane) for pane in self.panes))


def wide_pictures(cameras: Cameras, lens: Lens, *, up: np.ndarray, stereo: bool = False, eye_distance: float = 0.0,
                  convergence: float = math.inf, size: tuple[int, int] | None = None) -> Grid:
    """The pictures of `lens` at each of N `cameras`, whose own lens and size are those of `perspective`.

    Args:
        up: [3] unit vector that points up in model space.
        stereo: a pair, of `perspective` and `fisheye`; those of `PAIRS` are in any case.
        eye_distance: between the two eyes, in model units.
        convergence: of a perspective pair: distance along the view at which both pictures show the same, in model
            units. The frusta are sheared, the eyes do not squint: without it what is infinitely far coincides.
        size: width and height of a pane; by default as sharp as what the cameras see in the middle.

    Raises:
        UserError: faces of a cube that are not square.
    """
    half = 0.5 * eye_distance
    if lens == "perspective":
        if not stereo:
            return Grid(panes=(cameras,))
        panes = tuple(_sheared(_beside(cameras, eye), eye / convergence) for eye in (-half, half))
        return Grid(panes=panes, columns=2, stereo="left-right")
    size = _default_size(cameras, lens) if size is None else size
    head = levelled(cameras, up) if lens in LEVELLED else cameras
    if lens == "fisheye":
        whole = _with_lens(head, FISHEYE, size, (min(size) / math.pi,) * 2)
        panes = tuple(_beside(whole, eye) for eye in (-half, half)) if stereo else (whole,)
        return Grid(panes=panes, columns=len(panes), lens=lens, stereo="left-right" if stereo else "mono")
    if lens == "cube-map":
        if size[0] != size[1]:
            raise UserError(f"the faces of a cube map are square, and --size is {size[0]} {size[1]}; give one number "
                            "twice")
        face = _with_lens(head, PERSPECTIVE, size, (0.5 * size[0],) * 2)
        return Grid(panes=tuple(_turned(face, axes) for axes in _FACES.values()), columns=3, lens=lens)
    across = _TURN / 2 if lens == "vr180" else _TURN
    whole = _with_lens(head, EQUIRECTANGULAR, size, (size[0] / across, size[1] / math.pi))
    if lens == "vr180":
        return Grid(panes=tuple(_beside(whole, eye) for eye in (-half, half)), columns=2, lens=lens,
                    stereo="left-right")
    if lens == "omnidirectional-stereo":
        return Grid(panes=tuple(_on_circle(whole, eye) for eye in (-half, half)), lens=lens, stereo="top-bottom")
    return Grid(panes=(whole,), lens=lens)


def levelled(cameras: Cameras, up: np.ndarray) -> Cameras:
    """The same cameras with a level horizon, turned to where they look; one that looks straight up or down, to where
    the upper edge of its picture, or the lower one, is."""
    pose = cameras.camera_to_world.astype(np.float64)
    along_up = pose[:, :, 2] @ up  # of the direction back
    steep = np.abs(along_up) > 0.999
    back = np.where(steep[:, None], pose[:, :, 1] * np.where(along_up > 0, -1, 1)[:, None], pose[:, :, 2])
    back = back - (back @ up)[:, None] * up
    back /= np.linalg.norm(back, axis=1, keepdims=True)
    axes = np.stack([np.cross(up, back), np.broadcast_to(up, back.shape), back, pose[:, :, 3]], axis=2)
    return replace(cameras, camera_to_world=axes)


def _default_size(cameras: Cameras, lens: Lens) -> tuple[int, int]:
    """As many pixels a radian as there are in the middle of the first camera's picture."""
    focal = float(np.sqrt(cameras.focal[0].prod()))
    angle, aspect = {"fisheye": (math.pi, 1), "vr180": (math.pi, 1), "cube-map": (2.0, 1)}.get(lens, (_TURN, 2))
    height = max(2 * round(min(angle * focal, WIDEST_PICTURE) / aspect / 2), 2)
    return aspect * height, height


def _with_lens(cameras: Cameras, lens: int, size: tuple[int, int], focal: tuple[float, float]) -> Cameras:
    count = len(cameras)
    return replace(cameras, lens=np.full(count, lens), size=np.tile(size, (count, 1)),
                   focal=np.tile(focal, (count, 1)), principal=np.tile(0.5 * np.array(size), (count, 1)),
                   distortion=np.zeros((count, 6)))


def _beside(cameras: Cameras, distance: float) -> Cameras:
    """The same, so far to the right of where they are."""
    pose = cameras.camera_to_world.astype(np.float64)
    pose[:, :, 3] += distance * pose[:, :, 0]
    return replace(cameras, camera_to_world=pose)


def _sheared(cameras: Cameras, slope: float) -> Cameras:
    """The same with pictures that move to the right by `slope` of the focal length: an off-axis frustum."""
    return replace(cameras, principal=cameras.principal + cameras.focal * (slope, 0.0))


def _turned(cameras: Cameras, axes: Sequence[Sequence[int]]) -> Cameras:
    """The same, turned to right, up and back `axes` within the cameras' own."""
    pose = cameras.camera_to_world.astype(np.float64)
    turned = pose[:, :, :3] @ np.array(axes, dtype=np.float64).T
    return replace(cameras, camera_to_world=np.concatenate([turned, pose[:, :, 3:]], axis=2))


def _on_circle(cameras: Cameras, eye: float) -> Cameras:
    return replace(cameras, distortion=np.tile([eye, 0, 0, 0, 0, 0], (len(cameras), 1)))
