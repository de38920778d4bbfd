"""The built-in scenes: computed, not downloaded, with exact depth and normals.

    solids       distance, intersection and normal of each kind of solid (Taichi functions)
    shading      patterns, soft shadow, sky, highlights (Taichi functions)
    renderer     views of a world (one Taichi kernel)
    world        solids, materials, groups, ground, light (plain numbers)
    still_life   what stands on the table
    open_field   what stands on the ground, from the toys between the cameras to the hills at the horizon
    crowd        times of the day, exposures, and people who stand before the table
    moving       what moves over the table, and which camera looks at which time
    street       houses along a street, walls with gates across it, and the drives through them
    cameras      where cameras stand
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ...errors import UserError
from ..computed import check_builtin
from ..scene import Cameras, Images, Scene, Split
from .cameras import hemisphere_cameras, ring_cameras
from .crowd import OTHERS, lights_of_photos, photographed
from .moving import Film, filmed, one_view_a_time, onlookers_of, still_points, two_cameras
from .open_field import open_field, sunlight
from .renderer import Pictures, render
from .still_life import daylight, satin_still_life, still_life
from .street import DRIVES, SEGMENT, lights_of_drives, street, street_cameras, told
from .world import Light, World

__all__ = ["BUILTIN_SCENES", "Pictures", "builtin_scene", "hemisphere_cameras", "render", "ring_cameras",
           "views_of"]

SPLIT_NAMES = ("train", "val", "test")
VIEWS, MOVING_VIEWS = (60, 8, 16), (150, 8, 16)  # of each split; of what moves


def builtin_scene(name: str = "still-life", *, resolution: int = 200, views: tuple[int, int, int] | None = None,
                  samples_per_pixel: int = 16, seed: int = 0, splits: Sequence[str] = SPLIT_NAMES) -> Scene:
    """A computed scene with exact depth and normals.

    `still-life`: toys on a round table; RGBA pictures, cameras on a hemisphere, everything in the unit box.
    `satin`: the same toys with broad highlights in place of glaze and polish.
    `open-field`: unbounded; toys among the cameras, which stand on a ring, trees and houses around them, ground to the
    horizon and sky. Its pictures are opaque; the sky has infinite depth.
    `crowd`: the still life in photos that differ in the time of the day, exposure and white balance, with people before
    it, whom `Split.occluded` of the training views marks. Test views, and the first photo, are in one neutral light and
    without people; validation views are without people, each in a light and an exposure of its own. Depth and normals
    are those of the still life.
    `moving`: the still life with things that swing, bend and appear, in D-NeRF's manner: one picture a time, each from
    another side. `Split.time` has the times, `Split.moving` marks what moves, `Split.co_seen` what enough training
    cameras see, and `builtin.moving.correspondence` knows where a point of a surface is at any other time.
    `Scene.points` are some of what stands still.
    `moving-rig`: the same before two cameras side by side that take turns in training; test views are those of the
    other camera at the same times.

    `street`: four segments of a street between walls with gates, 40 photos of each from four drives at different times
    of the day, with exposures that the cameras state. `Split.ids["appearance"]` is the drive, `Split.exposure` has the
    stops; test views are of these drives, in neutral exposure. `street-1`, `street-2`, `street-8` and `street-16` are
    of other lengths.

    Args:
        resolution: width and height of the pictures in pixels.
        views: number of views for training, validation and test; by default 60, 8 and 16, of what moves 150, 8 and 16,
            of a street 40, 2 and 4 a segment.
        samples_per_pixel: rays that are averaged in a pixel, a square number.
        seed: turns the cameras around the vertical axis; the world stays the same.
        splits: those to compute, all by default; what they are does not depend on it.

    Returns:
        A scene with the splits of at least one view. Rendered on the current runtime; the same on every
        backend but for rounding.

    Raises:
        UserError: an unknown name; a resolution, a number of views or of samples that is none.
    """
    check_builtin(name)
    samples = round(samples_per_pixel**0.5)
    if resolution < 1 or samples < 1 or samples**2 != samples_per_pixel:
        raise UserError("the built-in scene needs a resolution of at least 1 and a square number of samples "
                        f"per pixel, got {resolution} and {samples_per_pixel}")
    what = BUILTIN_SCENES[name]
    views = what.views if views is None else views
    if len(views) != 3 or min(views) < 0 or views[0] < 1:
        raise UserError(f"the built-in scene needs three numbers of views, the first at least 1, got {views}")
    turn, points = np.random.default_rng(seed).uniform(0, 2 * np.pi), None
    if what.film is None:
        wanted = [count if split in splits else 0 for split, count in zip(SPLIT_NAMES, views)]
        found = _still_splits(what, wanted, resolution, samples, turn)
    else:
        films = what.film(views, resolution, turn)
        onlookers = onlookers_of(films[0])
        found = {split: filmed(split, film, samples, None if split == "train" else onlookers)
                 for split, film in zip(SPLIT_NAMES, films) if split in splits and len(film.time)}
        points = still_points(found["train"]) if "train" in found else None
    return Scene(name=name.replace("-", " "), format="built-in", splits=found, centre=np.zeros(3), scale=what.scale,
                 aabb_scale=what.aabb_scale, near=what.near, background="white" if what.bounded else "black",
                 bounded=what.bounded, points=points,
                 notes=[f"computed at {resolution} x {resolution} with {samples_per_pixel} samples per pixel",
                        "exact depth and normals"])


def views_of(name: str) -> tuple[int, int, int]:
    """Numbers of views that the built-in scene has by default, for training, validation and test."""
    return BUILTIN_SCENES[name].views if name in BUILTIN_SCENES else VIEWS


@dataclass(frozen=True, kw_only=True)
class _Composition:
    """What a built-in scene is made of, and how it lies in the model."""

    world: Callable[[], World]
    lights: Callable[[str, int], list[Light]]
    """Of so many views of a split."""
    cameras: Callable[[int, int, float, float], Cameras]
    turn: float
    """Radians by which the cameras of a split are turned against those of the split before."""
    scale: float
    aabb_scale: int
    near: float
    bounded: bool
    photographed: Callable[[Split, int], Split] | None = None
    """Training and validation views as photos, with so many samples along each axis of a pixel; None: they are as they
    are."""
    told: Callable[[Split], Split] | None = None
    """A split with what its cameras say of it."""
    film: Callable[[Sequence[int], int, float], list[Film]] | None = None
    """Which camera looks at which time, of what moves: of three numbers of views, a resolution and a turn. None: it
    stands still."""
    views: tuple[int, int, int] = VIEWS
    """By default."""


def _all_in(light: Callable[[], Light]) -> Callable[[str, int], list[Light]]:
    return lambda split_name, count: [light()] * count


def _crowds_lights(split_name: str, count: int) -> list[Light]:
    first = {"train": 0, "val": OTHERS}
    return lights_of_photos(count, first[split_name]) if split_name in first else [daylight()] * count


_STILL_LIFE = _Composition(world=still_life, lights=_all_in(daylight), cameras=hemisphere_cameras, turn=2.0,
                           scale=1 / 3, aabb_scale=1, near=0.05, bounded=True)


def _street(segments: int) -> _Composition:
    def cameras(count: int, resolution: int, turn: float, offset: float) -> Cameras:
        return street_cameras(segments, count, resolution, (offset + turn) % 1)

    return _Composition(world=partial(street, segments), lights=lambda split_name, count: lights_of_drives(count),
                        cameras=cameras, turn=0.0, scale=1 / (SEGMENT * segments + 0.2), aabb_scale=1, near=0.01,
                        bounded=True, told=told, views=(10 * DRIVES * segments, 2 * segments, 4 * segments))


BUILTIN_SCENES = {
    "still-life": _STILL_LIFE,
    "satin": replace(_STILL_LIFE, world=satin_still_life),
    "crowd": replace(_STILL_LIFE, lights=_crowds_lights, photographed=photographed),
    "moving": replace(_STILL_LIFE, film=one_view_a_time, views=MOVING_VIEWS),
    "moving-rig": replace(_STILL_LIFE, film=two_cameras, views=MOVING_VIEWS),
    "open-field": _Composition(world=open_field, lights=_all_in(sunlight), cameras=ring_cameras, turn=0.2, scale=0.6,
                               aabb_scale=64, near=0.1, bounded=False),
    "street": _street(4),
    **{f"street-{segments}": _street(segments) for segments in (1, 2, 8, 16)},
}


def _still_splits(what: _Composition, views: Sequence[int], resolution: int, samples: int,
                  turn: float) -> dict[str, Split]:
    # the splits' cameras are turned against each other, so that no test view is a training view
    cameras = [what.cameras(n, resolution, turn + what.turn * i, 0.5 + 0.17 * i) for i, n in enumerate(views)]
    lights = [light for name, count in zip(SPLIT_NAMES, views) for light in what.lights(name, count)]
    pictures = render(what.world(), Cameras.joined(cameras), lights, samples)
    splits, first = {}, 0
    for split_name, split_cameras in zip(SPLIT_NAMES, cameras):
        if len(split_cameras):
            splits[split_name] = _split(split_name, split_cameras, pictures, first)
        first += len(split_cameras)
    if what.photographed is not None:
        splits |= {name: what.photographed(splits[name], samples) for name in ("train", "val") if name in splits}
    if what.told is not None:
        splits = {name: what.told(split) for name, split in splits.items()}
    return splits


def _split(name: str, cameras: Cameras, pictures: Pictures, first: int) -> Split:
    chosen = slice(first, first + len(cameras))
    return Split(name=name, cameras=cameras, images=Images.from_list(list(pictures.rgba[chosen])),
                 depth=tuple(pictures.depth[chosen]), normals=tuple(pictures.normals[chosen]))
