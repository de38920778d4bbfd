"""What a lens does to a picture, in numpy: which pixels it sees at all, and where they look.

    x' = (pixel - principal) / focal,   x' = distort(x),   k = (k1, k2, k3, k4, p1, p2)

as in the kernels (taichi_nerf_kernels/camera.py): a lens whose image folds back on itself shows nothing beyond the
fold, and a pixel out there would be given the ray of another one.
"""

from typing import NamedTuple

import numpy as np

from .scene import FISHEYE

_STEPS = 12  # those of the kernels, whose rays these are
_SEEN = 0.1  # pixels: a pixel is seen if its ray comes back as near to it
_ON_AN_EDGE = 65
_BAND_PIXELS = 2**18
FARTHEST_FIT = 1e-4  # of the longer side: how far a lens may differ from the one that stands for it


class Lens(NamedTuple):
    """The intrinsics of a camera, as of `Frame`."""

    focal: tuple[float, float]
    principal: tuple[float, float]
    distortion: tuple[float, ...]
    kind: int
    size: tuple[int, int]

    def normalised(self, pixel: np.ndarray) -> np.ndarray:
        """[..., 2]: x' of pixels."""
        return (pixel - np.array(self.principal)) / np.array(self.focal)


def distort(p: np.ndarray, k, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """x' [..., 2] of points without distortion, and the symmetric Jacobian [..., 3]: dx'/dx, dx'/dy, dy'/dy."""
    k1, k2, k3, k4, p1, p2 = k
    k4, p1, p2 = (k4, 0.0, 0.0) if kind == FISHEYE else (0.0, p1, p2)
    x, y = p[..., 0], p[..., 1]
    r2 = x * x + y * y
    s = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * (3 * k3 + r2 * 4 * k4)))
    image = np.stack([s * x + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), s * y + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y],
                     axis=-1)
    jacobian = np.stack([s + x * x * slope + 2 * p1 * y + 6 * p2 * x, x * y * slope + 2 * p1 * x + 2 * p2 * y,
                         s + y * y * slope + 6 * p1 * y + 2 * p2 * x], axis=-1)
    return image, jacobian


def undistort(target: np.ndarray, k, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """The points [..., 2] on the sheet around the axis that come nearest to `target`, and by how much they miss it."""
    p, step, error = np.zeros_like(target), target.copy(), (target**2).sum(-1)
    with np.errstate(all="ignore"):  # a step off the sheet may lead anywhere, and is halved
        for _ in range(_STEPS):
            image, jacobian = distort(p + step, k, kind)
            residual = target - image
            a, b, d = np.moveaxis(jacobian, -1, 0)
            taken = (a > 0) & (a * d > b * b) & ((residual**2).sum(-1) <= error)
            if kind == FISHEYE:
                taken &= ((p + step) ** 2).sum(-1) <= np.pi**2
            newton = np.stack([d * residual[..., 0] - b * residual[..., 1],
                               a * residual[..., 1] - b * residual[..., 0]], axis=-1) / (a * d - b * b)[..., None]
            p = np.where(taken[..., None], p + step, p)
            error = np.where(taken, (residual**2).sum(-1), error)
            step = np.where(taken[..., None], newton, 0.5 * step)
    return p, np.sqrt(error)


def seen_pixels(lens: Lens) -> np.ndarray | None:
    """[H, W] bool: the pixels that some ray meets; None where that is all of them.

    What the lens shows is an area around the principal point: if it reaches every edge of the picture, it fills it.
    """
    if not any(lens.distortion):
        return None
    width, height = lens.size
    along, zero = np.linspace(0, 1, _ON_AN_EDGE), np.zeros(_ON_AN_EDGE)
    edges = np.concatenate([np.stack(pair, axis=-1) for pair in (
        (along, zero), (along, zero + 1), (zero, along), (zero + 1, along))])
    if _is_seen(0.5 + edges * (width - 1, height - 1), lens).all():
        return None
    seen, band = np.empty((height, width), bool), max(1, _BAND_PIXELS // width)
    for start in range(0, height, band):
        seen[start : start + band] = _is_seen(pixel_centres(lens.size)[start : start + band], lens)
    return seen


def _is_seen(pixel: np.ndarray, lens: Lens) -> np.ndarray:
    return undistort(lens.normalised(pixel), lens.distortion, lens.kind)[1] * max(lens.focal) < _SEEN


def within_radius(size: tuple[int, int], radius: float) -> np.ndarray:
    """[H, W] bool: the pixels that lie no further than `radius` pixels from the middle of the picture."""
    width, height = size
    away = pixel_centres(size) - (width // 2 + 0.5, height // 2 + 0.5)
    return (away**2).sum(-1) <= radius**2


def pixel_centres(size: tuple[int, int]) -> np.ndarray:
    """[H, W, 2]"""
    width, height = size
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


def lengths_of_rays(lens: Lens) -> np.ndarray:
    """[H, W]: how long the ray of each pixel is up to the plane at distance 1 along the optical axis.

    Infinite where a ray does not meet the plane.
    """
    image = lens.normalised(pixel_centres(lens.size))
    p = undistort(image, lens.distortion, lens.kind)[0] if any(lens.distortion) else image
    r2 = (p**2).sum(-1)
    if lens.kind != FISHEYE:
        return np.sqrt(1 + r2)
    forward = np.cos(np.sqrt(r2))
    return np.where(forward > 1e-6, 1 / np.maximum(forward, 1e-6), np.inf)


def with_three_coefficients(lens: Lens) -> tuple[Lens, float]:
    """A perspective lens with k1, k2 and k3 that stands for one with a k4 of r^8 as well; and by how many pixels it
    differs at the most, within the picture."""
    width, height = lens.size
    corners = lens.normalised(np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float))
    farthest = float(np.linalg.norm(corners, axis=-1).max())
    r = np.linspace(0, 2 * farthest, 2001)[1:]
    k1, k2, k3, k4, p1, p2 = lens.distortion
    image = r + k1 * r**3 + k2 * r**5 + k3 * r**7 + k4 * r**9
    inside = np.flatnonzero((image >= farthest) | (np.diff(image, prepend=0.0) <= 0))
    r = r[: inside[0] + 1] if len(inside) else r
    powers = np.stack([r**3, r**5, r**7], axis=1)
    fitted = np.linalg.lstsq(powers, k4 * r**9, rcond=None)[0]
    off = float(np.abs(powers @ fitted - k4 * r**9).max() * max(lens.focal))
    return lens._replace(distortion=(k1 + fitted[0], k2 + fitted[1], k3 + fitted[2], 0.0, p1, p2)), off
