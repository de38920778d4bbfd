"""The built-in scenes: computed, not downloaded, with exact depth and normals.

    solids       distance, intersection and normal of each kind of solid (Taichi functions)
    shading      patterns, soft shadow, sky, highlights (Taichi functions)
    renderer     views of a world (one Taichi kernel)
    world        solids, materials, groups, ground, light (plain numbers)
    still_life   what stands on the table
    open_field   what stands on the ground, from the toys between the cameras to the hills at the horizon
    crowd        times of the day, exposures, and people who stand before the table
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...errors import UserError
from ..scene import PERSPECTIVE, Cameras, Images, Scene, Split
from .crowd import lights_of_photos, photographed
from .open_field import open_field, sunlight
from .renderer import Pictures, render
from .still_life import daylight, satin_still_life, still_life
from .world import Light, World

__all__ = ["BUILTIN_SCENES", "Pictures", "builtin_scene", "hemisphere_cameras", "render", "ring_cameras"]

SPLIT_NAMES = ("train", "val", "test")
DISTANCE = 4.0  # of the cameras on the hemisphere from the origin, world units
FIELD_OF_VIEW = 0.61  # radians across
LOWEST, HIGHEST = 0.06, 0.97  # sine of the cameras' elevation
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
RING_RADIUS, RING_FIELD_OF_VIEW = 1.0, 1.15  # of the cameras in the open field
RING_LOWEST, RING_HIGHEST = 0.25, 0.75  # above the ground
RING_TARGET = (0.0, 0.0, 0.3)


def builtin_scene(name: str = "still-life", *, resolution: int = 200, views: tuple[int, int, int] = (60, 8, 16),
                  samples_per_pixel: int = 16, seed: int = 0) -> Scene:
    """A computed scene with exact depth and normals.

    `still-life`: toys on a round table; RGBA pictures, cameras on a hemisphere, everything in the unit box.
    `satin`: the same toys with broad highlights in place of glaze and polish.
    `open-field`: unbounded; toys among the cameras, which stand on a ring, trees and houses around them, ground to the
    horizon and sky. Its pictures are opaque; the sky has infinite depth.
    `crowd`: the still life in photos that differ in the time of the day, exposure and white balance, with people before
    it, whom `Split.occluded` of the training views marks. Test views, and the first photo, are in one neutral light and
    without people; depth and normals are those of the still life.

    Args:
        resolution: width and height of the pictures in pixels.
        views: number of views for training, validation and test.
        samples_per_pixel: rays that are averaged in a pixel, a square number.
        seed: turns the cameras around the vertical axis; the world stays the same.

    Returns:
        A scene with the splits of at least one view. Rendered on the current runtime; the same on every
        backend but for rounding.

    Raises:
        UserError: an unknown name; a resolution, a number of views or of samples that is none.
    """
    if name not in BUILTIN_SCENES:
        raise UserError(f"there is no built-in scene '{name}'; there are {', '.join(BUILTIN_SCENES)}")
    samples = round(samples_per_pixel**0.5)
    if resolution < 1 or samples < 1 or samples**2 != samples_per_pixel:
        raise UserError("the built-in scene needs a resolution of at least 1 and a square number of samples "
                        f"per pixel, got {resolution} and {samples_per_pixel}")
    if len(views) != 3 or min(views) < 0 or views[0] < 1:
        raise UserError(f"the built-in scene needs three numbers of views, the first at least 1, got {views}")
    what = BUILTIN_SCENES[name]
    turn = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    # the splits' cameras are turned against each other, so that no test view is a training view
    cameras = [what.cameras(n, resolution, turn + what.turn * i, 0.5 + 0.17 * i) for i, n in enumerate(views)]
    lights = [what.light()] * sum(views)
    lights[: views[0]] = what.lights_of_photos(views[0]) if what.lights_of_photos else lights[: views[0]]
    pictures = render(what.world(), _joined(cameras), lights, samples)
    splits, first = {}, 0
    for split_name, split_cameras in zip(SPLIT_NAMES, cameras):
        if len(split_cameras):
            splits[split_name] = _split(split_name, split_cameras, pictures, first)
        first += len(split_cameras)
    if what.photographed is not None:
        splits["train"] = what.photographed(splits["train"], samples)
    return Scene(name=name.replace("-", " "), format="built-in", splits=splits, centre=np.zeros(3), scale=what.scale,
                 aabb_scale=what.aabb_scale, near=what.near, background="white" if what.bounded else "black",
                 bounded=what.bounded,
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
    return _looking(DISTANCE * back, np.zeros(3), resolution, FIELD_OF_VIEW)


def ring_cameras(count: int, resolution: int, turn: float = 0.0, offset: float = 0.5) -> Cameras:
    """Cameras on a ring of unit radius at changing height, looking across its middle.

    `turn` rotates them about the vertical axis, in radians; `offset` in (0, 1) shifts their heights.
    """
    angle = 2 * np.pi * (np.arange(count) + offset) / max(count, 1) + turn
    height = RING_LOWEST + (RING_HIGHEST - RING_LOWEST) * ((np.arange(count) * GOLDEN_ANGLE / (2 * np.pi) + offset) % 1)
    position = np.stack([RING_RADIUS * np.cos(angle), RING_RADIUS * np.sin(angle), height], axis=1)
    return _looking(position, np.array(RING_TARGET), resolution, RING_FIELD_OF_VIEW)


def _looking(position: np.ndarray, target: np.ndarray, resolution: int, field_of_view: float) -> Cameras:
    """Cameras at `position` [N, 3], upright, looking at `target` [3], `field_of_view` radians across."""
    count = len(position)
    back = position - target
    back /= np.linalg.norm(back, axis=1, keepdims=True)
    right = np.stack([-back[:, 1], back[:, 0], 0 * back[:, 0]], axis=1) / np.hypot(back[:, :1], back[:, 1:2])
    pose = np.stack([right, np.cross(back, right), back, position], axis=2)
    focal = 0.5 * resolution / np.tan(0.5 * field_of_view)
    return Cameras(camera_to_world=pose, focal=np.full((count, 2), focal),
                   principal=np.full((count, 2), 0.5 * resolution), distortion=np.zeros((count, 6)),
                   lens=np.full(count, PERSPECTIVE), size=np.full((count, 2), resolution))


@dataclass(frozen=True, kw_only=True)
class _Composition:
    """What a built-in scene is made of, and how it lies in the model."""

    world: Callable[[], World]
    light: Callable[[], Light]
    cameras: Callable[[int, int, float, float], Cameras]
    turn: float
    """Radians by which the cameras of a split are turned against those of the split before."""
    scale: float
    aabb_scale: int
    near: float
    bounded: bool
    lights_of_photos: Callable[[int], list[Light]] | None = None
    """Of so many training views, where they have others than the rest."""
    photographed: Callable[[Split, int], Split] | None = None
    """The training views as photos, with so many samples along each axis of a pixel; None: they are as they are."""


_STILL_LIFE = _Composition(world=still_life, light=daylight, cameras=hemisphere_cameras, turn=2.0, scale=1 / 3,
                           aabb_scale=1, near=0.05, bounded=True)
BUILTIN_SCENES = {
    "still-life": _STILL_LIFE,
    "satin": replace(_STILL_LIFE, world=satin_still_life),
    "crowd": replace(_STILL_LIFE, lights_of_photos=lights_of_photos, photographed=photographed),
    "open-field": _Composition(world=open_field, light=sunlight, cameras=ring_cameras, turn=0.2, scale=0.6,
                               aabb_scale=64, near=0.1, bounded=False),
}


def _joined(parts: list[Cameras]) -> Cameras:
    names = ("camera_to_world", "focal", "principal", "distortion", "lens", "size")
    return Cameras(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def _split(name: str, cameras: Cameras, pictures: Pictures, first: int) -> Split:
    chosen = slice(first, first + len(cameras))
    return Split(name=name, cameras=cameras, images=Images.from_list(list(pictures.rgba[chosen])),
                 depth=tuple(pictures.depth[chosen]), normals=tuple(pictures.normals[chosen]))
