"""The built-in scene: computed, not downloaded, with exact depth and normals.

    solids       distance, intersection and normal of each kind of solid (Taichi functions)
    shading      patterns, soft shadow, sky, highlights (Taichi functions)
    renderer     views of a world (one Taichi kernel)
    world        solids, materials, groups, light (plain numbers)
    still_life   what stands on the table
"""

import numpy as np

from ...errors import UserError
from ..scene import PERSPECTIVE, Cameras, Images, Scene, Split
from .renderer import Pictures, render
from .still_life import daylight, still_life

__all__ = ["Pictures", "builtin_scene", "hemisphere_cameras", "render"]

SPLIT_NAMES = ("train", "val", "test")
DISTANCE = 4.0  # of the cameras from the origin, world units
FIELD_OF_VIEW = 0.61  # radians across
LOWEST, HIGHEST = 0.06, 0.97  # sine of the cameras' elevation
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def builtin_scene(*, resolution: int = 200, views: tuple[int, int, int] = (60, 8, 16),
                  samples_per_pixel: int = 16, seed: int = 0) -> Scene:
    """A still life on a round table: RGBA pictures, exact depth and normals, cameras on a hemisphere.

    Args:
        resolution: width and height of the pictures in pixels.
        views: number of views for training, validation and test.
        samples_per_pixel: rays that are averaged in a pixel, a square number.
        seed: turns the cameras around the vertical axis; the world stays the same.

    Returns:
        A scene with the splits of at least one view. Rendered on the current runtime; the same on every
        backend but for rounding.

    Raises:
        UserError: a resolution, a number of views or of samples that is none.
    """
    samples = round(samples_per_pixel**0.5)
    if resolution < 1 or samples < 1 or samples**2 != samples_per_pixel:
        raise UserError("the built-in scene needs a resolution of at least 1 and a square number of samples "
                        f"per pixel, got {resolution} and {samples_per_pixel}")
    if len(views) != 3 or min(views) < 0 or views[0] < 1:
        raise UserError(f"the built-in scene needs three numbers of views, the first at least 1, got {views}")
    turn = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    # the splits' spirals are turned against each other, so that no test view is a training view
    cameras = [hemisphere_cameras(n, resolution, turn + 2.0 * i, 0.5 + 0.17 * i) for i, n in enumerate(views)]
    pictures = render(still_life(), _joined(cameras), daylight(), samples)
    splits, first = {}, 0
    for name, split_cameras in zip(SPLIT_NAMES, cameras):
        if len(split_cameras):
            splits[name] = _split(name, split_cameras, pictures, first)
        first += len(split_cameras)
    return Scene(name="still life", format="built-in", splits=splits, centre=np.zeros(3), scale=1 / 3,
                 aabb_scale=1, near=0.05, background="white", bounded=True,
                 notes=[f"computed at {resolution} x {resolution} with {samples_per_pixel} samples per pixel",
                        "exact depth and normals"])


def hemisphere_cameras(count: int, resolution: int, turn: float = 0.0, offset: float = 0.5) -> Cameras:
    """Cameras spread evenly over the upper hemisphere (a Fibonacci spiral), looking at the origin.

    `turn` rotates them about the vertical axis, in radians; `offset` in (0, 1) shifts them along the spiral.
    """
    height = LOWEST + (HIGHEST - LOWEST) * (np.arange(count) + offset) / max(count, 1)
    angle = GOLDEN_ANGLE * np.arange(count) + turn
    radius = np.sqrt(1 - height**2)
    back = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)  # [N, 3]
    right = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    pose = np.stack([right, np.cross(back, right), back, DISTANCE * back], axis=2)
    focal = 0.5 * resolution / np.tan(0.5 * FIELD_OF_VIEW)
    return Cameras(camera_to_world=pose, focal=np.full((count, 2), focal),
                   principal=np.full((count, 2), 0.5 * resolution), distortion=np.zeros((count, 6)),
                   lens=np.full(count, PERSPECTIVE), size=np.full((count, 2), resolution))


def _joined(parts: list[Cameras]) -> Cameras:
    names = ("camera_to_world", "focal", "principal", "distortion", "lens", "size")
    return Cameras(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def _split(name: str, cameras: Cameras, pictures: Pictures, first: int) -> Split:
    chosen = slice(first, first + len(cameras))
    return Split(name=name, cameras=cameras, images=Images.from_list(list(pictures.rgba[chosen])),
                 depth=tuple(pictures.depth[chosen]), normals=tuple(pictures.normals[chosen]))
