"""Whether the light differs from photo to photo, and how: what `--appearance` goes by, and what `info` suggests.

    camera      as EXIF names it: several are other people's photos; so are photos of many sizes
    exposure    as EXIF has it, in stops
    points      of structure from motion, each seen by several photos
    levels      [N, 3, Q] stops: log2 of the linear light below which Q given shares of the pixels of a photo lie; where
                no points are known, a photo is compared with its neighbour, whose camera stands and looks nearly alike
    gain        [N, 3] stops: the median, over points or over Q, of how far the light differs
    rest        stops: what is left of that when each channel has its gain

A camera that meters each photo anew changes gains: exposure and white balance. Another light changes where there is
shade and what colour it has, so that a rest is left.
"""

from dataclasses import dataclass

import numpy as np

from ..config import Differing
from .exif import taken
from .hdr import linear_from_srgb
from .scene import Cameras, Images, Split

__all__ = ["Light", "judge_light"]

ASKED = 200  # photos that are looked at; of more, so many that are spread evenly
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
DARKEST = 2.0**-8  # linear light: what is darker is mostly noise
PIXELS = 2**14  # of a photo that are looked at, about
FEWEST, FEWEST_VIEWS, FEWEST_POINTS = 4, 3, 20  # photos to compare; photos that saw a point; points in a photo
ROUNDS = 4
MANY_SIZES = 0.25  # of the photos: so many sizes have those of many people
METERED = 0.3  # stops of EXIF between the 10th and the 90th percentile, from which on exposures differ
POINTS_DIFFER, NEIGHBOURS_DIFFER = 0.35, 0.45  # stops from which on light differs; neighbours never see quite the same
LEFT, LEFT_SHARE = 0.17, 0.1  # stops that exposures leave at the most, and the part of the difference


@dataclass(frozen=True)
class Light:
    """How the light of photos differs, and why that is thought."""

    differing: Differing | None
    """What tells it best; None: nothing is needed."""
    why: str


def judge_light(split: Split) -> Light:
    """How the light of the photos of a split differs."""
    views = split.full_size
    chosen = views[np.unique(np.linspace(0, len(views) - 1, min(len(views), ASKED)).astype(int))]
    return _by_files(split, chosen) or _by_pixels(split, chosen)


def _by_files(split: Split, chosen: np.ndarray) -> Light | None:
    """What the files say of the cameras: None where that decides nothing."""
    found = [taken(split.paths[n]) for n in chosen] if split.paths else []
    cameras = {photo.camera for photo in found if photo.camera is not None}
    if len(cameras) > 1:
        return Light("codes", f"the photos are by {len(cameras)} cameras, as their EXIF data say")
    size = np.array([photo.size for photo in found if photo.size is not None])
    if len(size) < len(chosen):  # as loaded: made smaller, more of them are the same
        size = split.cameras.size[chosen]
    sizes = len(np.unique(np.sort(size, axis=1), axis=0))
    if len(chosen) >= FEWEST and sizes > 1 + MANY_SIZES * len(chosen):
        return Light("codes", f"the photos have {sizes} sizes, as those of many people have")
    stops = [photo.stops for photo in found if photo.stops is not None]
    if len(stops) >= FEWEST:
        low, high = np.quantile(stops, (0.1, 0.9))
        if high - low > METERED:
            return Light("exposure", f"the photos are by one camera, whose exposure differs by {high - low:.1f} stops, "
                         "as their EXIF data say")
    return None


def _by_pixels(split: Split, chosen: np.ndarray) -> Light:
    """What photos show of the same points, or where none are known, what neighbours show."""
    if len(chosen) < FEWEST:
        return Light(None, f"{len(chosen)} photos are too few to tell whether their light differs")
    found = _at_points(split, chosen)
    what, least = "of the same points", POINTS_DIFFER
    if found is None:
        found, what, least = _of_neighbours(split, chosen), "of neighbouring cameras", NEIGHBOURS_DIFFER
    if found is None:
        return Light(None, "the photos show nothing that could be compared")
    apart, left = found
    if apart < least:
        return Light(None, f"photos {what} differ by {apart:.2f} stops, which is next to nothing")
    if left < max(LEFT, LEFT_SHARE * apart):
        return Light("exposure", f"photos {what} differ by {apart:.2f} stops, as by exposure and white balance, which "
                     f"leave {left:.2f} of it")
    return Light("codes", f"photos {what} differ by {apart:.2f} stops, and not as by exposure and white balance alone, "
                 f"which leave {left:.2f} of it")


def _at_points(split: Split, chosen: np.ndarray) -> tuple[float, float] | None:
    """Stops between the gains of photos, and those that these leave of the colours of a point; None where too few
    points are known to be seen."""
    if split.sightings is None:
        return None
    parts = [_colours_of_points(split, n) for n in chosen]
    photo = np.repeat(np.arange(len(chosen)), [len(point) for point, _ in parts])  # [K]
    point, colour = (np.concatenate(values) for values in zip(*parts))  # [K], [K, 3]
    seen = np.bincount(point)
    often = seen[point] >= FEWEST_VIEWS
    photo, point, colour = photo[often], point[often], colour[often]
    enough = np.bincount(photo, minlength=len(chosen)) >= FEWEST_POINTS
    if enough.sum() < FEWEST:
        return None
    gain = np.zeros((len(chosen), 3))
    for _ in range(ROUNDS):  # in turn: points by the gains of their photos, gains by the points of a photo
        colour_of_point = _means(point, colour - gain[photo], len(seen))
        apart = colour - colour_of_point[point]
        for n in np.flatnonzero(enough):
            gain[n] = np.median(apart[photo == n], axis=0)
    spread = np.ptp(np.quantile(gain[enough], (0.1, 0.9), axis=0), axis=0)
    return float(spread.max()), float(np.median(np.abs(apart - gain[photo]).mean(axis=1)))


def _colours_of_points(split: Split, n: int) -> tuple[np.ndarray, np.ndarray]:
    """[K] the points that a photo saw, and [K, 3] log2 of the linear light of the 3 x 3 pixels around each."""
    image, sightings = split.images.image(n), split.sightings[n]
    height, width = image.shape[:2]
    inside = ((sightings.pixel >= 1) & (sightings.pixel < (width - 1, height - 1))).all(axis=1)
    x, y = sightings.pixel[inside].astype(int).T[:, None]  # [1, K]
    across, down = (np.arange(9) % 3 - 1)[:, None], (np.arange(9) // 3 - 1)[:, None]
    linear = linear_from_srgb(image[y + down, x + across, :3] / np.float32(255)).mean(axis=0)
    return sightings.point[inside], np.log2(np.maximum(linear, DARKEST))


def _means(which: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """[count, 3]: of the values [K, 3] of each number of `which` [K]."""
    sums = np.stack([np.bincount(which, column, count) for column in values.T], axis=1)
    return sums / np.maximum(np.bincount(which, minlength=count), 1)[:, None]


def _of_neighbours(split: Split, chosen: np.ndarray) -> tuple[float, float] | None:
    """Stops between photos and those taken next to them, and those that a gain leaves; None where nothing is seen."""
    levels = np.array([_levels(split.images, n) for n in chosen])  # [N, 3, Q]
    apart = levels[_neighbours(split.cameras.subset(chosen))] - levels
    apart = apart[np.isfinite(apart).all(axis=(1, 2))]
    if not len(apart):
        return None
    gain = np.median(apart, axis=2)  # [N, 3]
    rest = np.sqrt(np.square(apart - gain[..., None]).mean(axis=(1, 2)))
    return float(np.median(np.abs(gain).max(axis=1))), float(np.median(rest))


def _levels(images: Images, n: int) -> np.ndarray:
    """[3, Q] of what is opaque and unmasked in an image; NaN where that is next to nothing."""
    image, allowed = images.image(n), images.allowed_in(n)
    step = max(1, round((image.shape[0] * image.shape[1] / PIXELS) ** 0.5))
    some = image[::step, ::step]
    seen = some[..., 3] > 127
    if allowed is not None:
        seen &= allowed[::step, ::step]
    if seen.sum() < 16:
        return np.full((3, len(SHARES)), np.nan)
    linear = linear_from_srgb(some[seen][:, :3] / np.float32(255))
    return np.log2(np.maximum(np.quantile(linear, SHARES, axis=0).T, DARKEST))


def _neighbours(cameras: Cameras) -> np.ndarray:
    """[N] numbers of the cameras that stand and look most nearly as each."""
    place, view = cameras.position.astype(np.float64), cameras.view_direction.astype(np.float64)
    reach = max(float(np.median(np.linalg.norm(place - np.median(place, axis=0), axis=1))), 1e-9)
    apart = np.linalg.norm(place[:, None] - place, axis=2) / reach + 2 * np.linalg.norm(view[:, None] - view, axis=2)
    np.fill_diagonal(apart, np.inf)
    return apart.argmin(axis=1)
