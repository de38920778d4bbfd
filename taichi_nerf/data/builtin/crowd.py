"""The still life as other people's photos: each taken at another time of the day, with another exposure and white
balance, past people who stand in the way.

    time of day      the sun goes from east to west over the table, low and orange, high and white, low again
    exposure         linear light times 2^e, for each colour its own e: exposure and white balance
    people           stand between the camera and the table, in each photo others: 2 to 19 % of its pixels

The first photo is as the test views are: at one fixed time, in neutral exposure, without people. Validation views are
without people as well, but each at a time and in an exposure of its own, as photos are that somebody else has taken
since. People cast no shadows, and what is exact stays so: depth and normals are those of the table, `Split.occluded`
says where people are.
"""

from dataclasses import replace

import numpy as np

from ..hdr import linear_from_srgb, srgb_from_linear
from ..scene import Cameras, Images, Split
from .renderer import render
from .still_life import daylight
from .world import BOX, CAPSULE, FRUSTUM, SPHERE, STRIPES, Light, Material, Solid, World, axis_frame, rod, turned

__all__ = ["OTHERS", "exposures_of_photos", "lights_of_photos", "people_before", "photographed"]

SUN_DISTANCE, SUN_RADIUS = 4.6, 0.42  # world units
NOON = -0.70  # azimuth of the highest sun, radians
LOW, HIGH = 0.40, 1.15  # of the sun's elevation, radians
EVENING, MIDDAY = np.array((1.15, 0.62, 0.32)), np.array((1.0, 0.95, 0.88))  # linear RGB of a low and of a high sun
DUSK, DAY = np.array((0.30, 0.33, 0.46)), np.array((0.42, 0.47, 0.55))  # of the sky then
STOPS, WARMTH, TINT = 0.7, 0.25, 0.08  # most of exposure, of red against blue, and of green, in stops
FEWEST, MOST = 0.05, 0.19  # of a picture that people cover; a little less where they overlap or are cut off
UPRIGHT = 0.20  # of the square of its height: what a person covers, seen from the side
NEAREST, FARTHEST = 1.7, 2.7  # of people from the camera, world units
GOLDEN = 0.618034  # its multiples, without their whole parts, are spread evenly
OTHERS = 100_000  # number of the first photo that is not trained on

SKIN = ((0.55, 0.32, 0.20), (0.70, 0.46, 0.33), (0.28, 0.14, 0.08), (0.42, 0.24, 0.14))
HAIR = ((0.02, 0.02, 0.02), (0.16, 0.08, 0.03), (0.45, 0.30, 0.10), (0.30, 0.30, 0.30))


def lights_of_photos(count: int, first: int = 0) -> list[Light]:
    """Of photos from number `first` on, each at its time of the day; that of number 0 is that of test views."""
    return [daylight() if n == 0 else _light_at((n * GOLDEN) % 1) for n in range(first, first + count)]


def exposures_of_photos(count: int, first: int = 0) -> np.ndarray:
    """[count, 3]: stops of red, green and blue of photos from number `first` on; number 0 has none."""
    stops = np.zeros((count, 3))
    for row, n in enumerate(range(first, first + count)):
        if n > 0:
            exposure, warmth, tint = _random(n, "exposure").uniform(-1, 1, 3) * (STOPS, WARMTH, TINT)
            stops[row] = exposure + np.array((warmth, tint, -warmth))
    return stops


def people_before(camera: Cameras, number: int) -> list[list[Solid]]:
    """Those in photo `number`, each a group of solids, before its `camera` alone."""
    random = _random(number, "people")
    count = random.integers(1, 4)
    shares = random.dirichlet(np.full(count, 4.0)) * random.uniform(FEWEST, MOST)
    return [_person_at(random, camera, share) for share in shares]


def photographed(split: Split, samples_per_axis: int) -> Split:
    """Clean pictures, each in its light, as photos: those of training behind people, and each in its exposure."""
    if split.name == "val":
        return _exposed_alone(split)
    count = len(split)
    stops, lights = exposures_of_photos(count), lights_of_photos(count)
    images = [split.images.image(0)]
    occluded = [np.zeros(images[0].shape[:2], bool)]
    for n in range(1, count):
        camera = split.cameras.subset([n])
        people = render(World(groups=people_before(camera, n)), camera, lights[n], samples_per_axis).rgba[0]
        images.append(_exposed(*_before(people, split.images.image(n)), stops[n]))
        occluded.append(people[..., 3] > 127)
    return replace(split, images=Images.from_list(images, split.images.names), occluded=tuple(occluded))


def _exposed_alone(split: Split) -> Split:
    stops = exposures_of_photos(len(split), OTHERS)
    images = [_exposed(*_linear(split.images.image(n)), stops[n]) for n in range(len(split))]
    return replace(split, images=Images.from_list(images, split.images.names))


def _before(people: np.ndarray, scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear colours [H, W, 3] and alpha [H, W, 1] of one picture [H, W, 4] before the other."""
    (front, front_alpha), (back, back_alpha) = _linear(people), _linear(scene)
    shown = (1 - front_alpha) * back_alpha  # of what is behind
    alpha = front_alpha + shown
    return (front_alpha * front + shown * back) / np.maximum(alpha, 1e-6), alpha


def _exposed(colour: np.ndarray, alpha: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """[H, W, 4] uint8"""
    return np.round(255 * np.concatenate([srgb_from_linear(colour * np.exp2(stops)), alpha], axis=-1)).astype(np.uint8)


def _linear(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return linear_from_srgb(rgba[..., :3] / np.float32(255)), rgba[..., 3:] / np.float32(255)


def _light_at(time: float) -> Light:
    """From 0, the morning, to 1, the evening."""
    height = np.sin(np.pi * time)
    azimuth, elevation = NOON + np.pi * (time - 0.5), LOW + (HIGH - LOW) * height
    across = np.cos(elevation)
    position = SUN_DISTANCE * np.array((across * np.cos(azimuth), across * np.sin(azimuth), np.sin(elevation)))
    return Light(position=tuple(position), radius=SUN_RADIUS, colour=tuple(EVENING + (MIDDAY - EVENING) * height),
                 ambient=tuple(DUSK + (DAY - DUSK) * height))


def _person_at(random: np.random.Generator, camera: Cameras, share: float) -> list[Solid]:
    """Somebody who covers about so much of the picture."""
    pose, (width, height) = camera.camera_to_world[0].astype(float), camera.size[0]
    distance = random.uniform(NEAREST, FARTHEST)
    side = distance * width / camera.focal[0, 0]  # of the picture, there
    place = np.array((random.uniform(-0.36, 0.36), random.uniform(-0.15, 0.15) * height / width)) * side
    middle = pose[:, 3] + pose[:, :2] @ place - distance * pose[:, 2]
    tall = side * np.sqrt(share * height / width / UPRIGHT)
    return _person(random, middle, tall)


def _person(random: np.random.Generator, middle: np.ndarray, tall: float) -> list[Solid]:
    """Legs, trunk, arms, head and perhaps a hat, around `middle`, `tall` from the soles to the top of the head."""
    facing, stride, swing = turned(random.uniform(0, 360)), random.uniform(0, 0.11), random.uniform(-0.12, 0.12)
    skin, hair = (Material(colour=colours[random.integers(len(colours))]) for colours in (SKIN, HAIR))
    shirt = Material(colour=tuple(random.uniform(0.03, 0.75, 3)), other=tuple(random.uniform(0.03, 0.75, 3)),
                     pattern=STRIPES if random.random() < 0.4 else 0, frequency=8 / tall)
    trousers = Material(colour=tuple(random.uniform(0.02, 0.30, 3)))

    def at(x: float, y: float, z: float) -> np.ndarray:
        """Where that is in the world; x to the side, y ahead, z up, in heights above the soles."""
        return middle + tall * (facing @ np.array((x, y, z - 0.5)))

    legs = [rod(at(side * 0.06, side * stride, 0.05), at(side * 0.05, 0, 0.46), 0.045 * tall, trousers)
            for side in (-1, 1)]
    arms = [rod(at(side * 0.155, side * swing, 0.44), at(side * 0.125, 0, 0.76), 0.032 * tall, shirt)
            for side in (-1, 1)]
    hands = [Solid(kind=SPHERE, size=(0.036 * tall,), position=at(side * 0.157, side * swing, 0.42), material=skin)
             for side in (-1, 1)]
    trunk = Solid(kind=BOX, size=(0.115 * tall, 0.075 * tall, 0.19 * tall, 0.06 * tall), position=at(0, 0, 0.62),
                  rotation=facing, material=shirt)
    neck = Solid(kind=CAPSULE, size=(0.035 * tall, 0.04 * tall), position=at(0, 0, 0.83), material=skin)
    head = Solid(kind=SPHERE, size=(0.072 * tall,), position=at(0, 0.01, 0.915), material=skin)
    top = Solid(kind=SPHERE, size=(0.074 * tall,), position=at(0, -0.015, 0.927), material=hair)
    if random.random() < 0.35:
        hat = Material(colour=tuple(random.uniform(0.05, 0.8, 3)))
        top = Solid(kind=FRUSTUM, size=(0.12 * tall, 0.05 * tall, 0.035 * tall), position=at(0, 0, 0.975),
                    rotation=axis_frame((0, 0, 1)), material=hat)
    return [*legs, *arms, *hands, trunk, neck, head, top]


def _random(number: int, purpose: str) -> np.random.Generator:
    """Of photo `number`."""
    return np.random.default_rng([number, ("exposure", "people").index(purpose)])
