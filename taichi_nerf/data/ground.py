"""What is behind a scene: is it an object alone, before a background, or all that its photographs show?

Much hangs on it: an object lies in a cube as wide as what the cameras see, a capture in a box sixteen times as wide.
Some images, evenly from all, say it:

    alpha       Around an object pictures are transparent. A pixel or two that are, or a few in a hundred at the
                corners, which undistorted pictures leave empty, are no object's outline.
    a border    One that is white all around, in nearly every image, is the ground that a renderer put an object on.

What a file says of its colours (white_transparent, black_transparent), and what is cut out by masks, is taken as said.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .frames import Frame
from .images import may_have_alpha, read_image
from .splits import Request, has_outline

MOST_LOOKED_AT, PIXELS_LOOKED_AT = 24, 2**27
LEAST_OUTLINE = 0.002  # share of transparent pixels in the median image of an object
MOST_EMPTY_CORNERS = 0.25  # share that undistorted pictures may leave empty: a circle within a square leaves 0.215
OUTSIDE = 0.98  # share of the transparent pixels outside the ellipse within the picture
WHITE, BLACK, BORDER = 250, 5, 0.95  # levels; share of the outermost pixels, over all images


class Ground(NamedTuple):
    """What was decided."""

    is_object: bool
    """All that is seen lies in the unit cube, as far as the cameras look at one place."""
    white: bool
    """The background: white, else black."""
    note: str
    """What was decided and how to decide otherwise."""
    masks_alpha: bool = False
    """Transparent pixels are left out, and all others are opaque."""
    black_border: bool = False
    """Images are opaque and black all around: an object before nothing, or night."""

    @property
    def colour(self) -> str:
        """As of `Scene.background`."""
        return "white" if self.white else "black"


OPAQUE = Ground(False, False, "images have no alpha: black background")
ALPHA = Ground(True, True, "images have alpha: white background")


class _Look(NamedTuple):
    """What one image shows."""

    transparent: float
    """Share of the pixels that are less than half opaque."""
    not_opaque: bool
    """Whether any pixel is not opaque."""
    outside: float
    """Of the transparent pixels, those outside the ellipse within the picture."""
    corners: int
    """Of the four, those that are transparent."""
    white_border: float
    """Share of the outermost pixels that are opaque and white."""
    black_border: float


def judge(frames: Sequence[Frame], request: Request) -> Ground:
    """What is behind the scene of all these frames; the same whichever splits are loaded."""
    if request.masks and request.cut_out and any(map(has_outline, frames)):
        return ALPHA
    if request.alpha == "mask":
        return OPAQUE._replace(masks_alpha=True)
    if any(frame.clear for frame in frames):
        return ALPHA._replace(note="the file says which colour is transparent: white background")
    looks = list(_looks(frames))
    if not any(look.not_opaque for look in looks):
        return _by_border(looks) if request.alpha == "auto" else OPAQUE
    return ALPHA if request.alpha == "background" else _by_alpha(looks)


def _by_alpha(looks: Sequence[_Look]) -> Ground:
    share = float(np.median([look.transparent for look in looks]))
    usual = [look for look in looks if look.transparent > 0]
    otherwise = "; --alpha background takes it for an object before a background"
    if share < LEAST_OUTLINE:
        most = max(look.transparent for look in looks)
        what = f"at most {most:.2%} of an image is transparent, and left out" if most else "no pixel is transparent"
        return OPAQUE._replace(masks_alpha=True, note=f"images have alpha, but {what}: black background{otherwise}")
    corners = float(np.median([look.corners for look in usual])) >= 2
    outside = float(np.median([look.outside for look in usual])) >= OUTSIDE
    if share < MOST_EMPTY_CORNERS and corners and outside:
        return OPAQUE._replace(masks_alpha=True, note=f"images are transparent in their corners alone ({share:.1%} of "
                               f"the pixels), which are left out: black background{otherwise}")
    if share < MOST_EMPTY_CORNERS:
        return ALPHA._replace(note=f"{ALPHA.note} ({share:.1%} of the pixels are transparent; --alpha mask leaves them "
                              "out instead)")
    return ALPHA


def _by_border(looks: Sequence[_Look]) -> Ground:
    if not looks or np.mean([look.white_border for look in looks]) < BORDER:
        black = bool(looks) and np.mean([look.black_border for look in looks]) >= BORDER
        return OPAQUE._replace(black_border=black)
    return Ground(True, True, "images have no alpha, and a white border: an object before a white background; --alpha "
                  "background takes it for part of the scene")


def _looks(frames: Sequence[Frame]):
    """Of some images, evenly from all; of opaque ones no more than it takes to see that their border is not plain."""
    bordered = True
    for n in _chosen(frames):
        try:
            if not bordered and not may_have_alpha(frames[n].path):
                continue
            look = _look(read_image(frames[n].path))
        except UserError:
            continue  # reported where the image itself is asked for
        bordered &= max(look.white_border, look.black_border) >= 0.5
        yield look


def _chosen(frames: Sequence[Frame]) -> list[int]:
    """Numbers of the images that are looked at: with the first, the middle and the last one."""
    if not frames:
        return []
    pixels = max(frame.size[0] * frame.size[1] for frame in frames)
    count = min(len(frames), max(3, min(MOST_LOOKED_AT, PIXELS_LOOKED_AT // pixels)))
    even = np.linspace(0, len(frames) - 1, count).round().astype(int).tolist()
    return sorted({*even, len(frames) // 2})


def _look(image: np.ndarray) -> _Look:
    alpha, (height, width) = image[..., 3], image.shape[:2]
    clear = alpha < 128
    share = float(clear.mean())
    border = np.concatenate([image[[0, -1]].reshape(-1, 4), image[:, [0, -1]].reshape(-1, 4)])
    outside = 0.0
    if share:
        y, x = (np.abs((np.arange(side) + 0.5) * 2 / side - 1) ** 2 for side in (height, width))
        outside = float((clear & (y[:, None] + x > 1)).sum() / clear.sum())
    return _Look(
        transparent=share,
        not_opaque=bool((alpha < 255).any()),
        outside=outside,
        corners=int(clear[[0, 0, -1, -1], [0, -1, 0, -1]].sum()),
        white_border=float((border.min(axis=-1) >= WHITE).mean()),
        black_border=float(((border[:, :3].max(axis=-1) <= BLACK) & (border[:, 3] == 255)).mean()),
    )
