"""A street of any length: houses on both sides, and across it walls with a gate, so that whoever stands between two
walls sees little of what lies behind them.

    segment      SEGMENT world units of street between two walls; houses, trees, lamps and fences differ from one to
                 the next and never repeat
    drive        one of DRIVES journeys from end to end, each along a line of its own, to and fro in turn, at its time
                 of the day: the sun, and with it every shadow, is another
    exposure     linear light of a photo times 2^e; the car's meter states e, `Split.exposure`

x runs along the street, z is up, and the street lies on a slab: where nothing is, pictures are transparent. Test views
are of the same drives, between the photos of training, in neutral exposure: what they show was seen in their light, if
from elsewhere. Depth and normals are exact.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from ..disturb import exposed_by
from ..scene import Cameras, Split
from .cameras import looking
from .still_life import IVORY, POLE
from .world import (
    BOX,
    CHECKER,
    FRUSTUM,
    SPHERE,
    STRIPES,
    Light,
    Material,
    Solid,
    World,
    rod,
)

__all__ = ["DRIVES", "SEGMENT", "drive_along", "drives_of", "lights_of_drives", "street", "street_cameras", "told"]

SEGMENT = 2.0  # world units of street between two walls
KERB, FRONT, BACK = 0.42, 0.62, 1.25  # from the middle of the street: its edge, the houses' fronts, and their backs
WALL, GATE, ARCH = 0.05, 0.30, 0.52  # half of a wall's thickness, half of its gate's width, and the gate's height
DRIVES = 4
LANE, EYE = 0.16, 0.26  # farthest that a car drives from the middle, and the height of its camera
LOOK = 1.1  # world units ahead at which a car's camera looks, to the left and to the right in turn
FIELD_OF_VIEW = 1.2  # radians across
SUN_DISTANCE, SUN_RADIUS = 60.0, 2.0
STOPS = 1.0  # most of a photo's exposure
SUNS = ((70, 52), (-60, 34), (115, 18), (-140, 60))  # of each drive: degrees from along the street, and of elevation
TOP = 0.80  # of the walls
GOLDEN = 0.618034  # its multiples, without their whole parts, are spread evenly

ASPHALT = Material(colour=(0.10, 0.10, 0.11), other=(0.15, 0.15, 0.15), pattern=CHECKER, frequency=5.0)
PAVEMENT = Material(colour=(0.42, 0.40, 0.37), other=(0.33, 0.31, 0.29), pattern=CHECKER, frequency=8.0)
PAINT = Material(colour=(0.75, 0.73, 0.66))
MASONRY = Material(colour=(0.46, 0.33, 0.24), other=(0.36, 0.25, 0.18), pattern=CHECKER, frequency=9.0)
BARK = Material(colour=(0.16, 0.10, 0.06))
GLASS = Material(colour=(0.05, 0.08, 0.12), specular=0.6, shininess=120)
IRON = Material(colour=(0.05, 0.05, 0.06), specular=0.3, shininess=50)
LAMP = Material(colour=(0.85, 0.78, 0.50), specular=0.3, shininess=60)


def street(segments: int) -> World:
    """So many segments, from -SEGMENT segments / 2 to SEGMENT segments / 2 along x."""
    middles = SEGMENT * (np.arange(segments) + 0.5 - 0.5 * segments)
    ends = SEGMENT * (np.arange(segments + 1) - 0.5 * segments)
    return World(groups=[_slab(segments), *(_segment(n, x) for n, x in enumerate(middles)), *map(_wall, ends)])


def drives_of(count: int) -> np.ndarray:
    """[count] int: the drive of each photo, one after the other."""
    return np.arange(count) % DRIVES


def street_cameras(segments: int, count: int, resolution: int, offset: float) -> Cameras:
    """Cameras of `count` photos, those of each drive spread evenly over the street. `offset` in (0, 1) shifts them
    along it, by a part of the distance between neighbours."""
    along = (np.arange(count) + offset) / max(count, 1)  # of the street
    drive, forth = drives_of(count), 1 - 2.0 * (drives_of(count) % 2)
    length = SEGMENT * segments - 2 * (WALL + 0.1)
    lane = LANE * (2 * drive / (DRIVES - 1) - 1)
    position = np.stack([length * (along - 0.5), lane, EYE + 0.04 * drive], axis=1)
    position[:, 0] -= np.where(_in_wall(position[:, 0], segments), 3 * WALL, 0) * forth
    turn = (np.arange(count) // DRIVES * GOLDEN) % 1  # ahead, and to the sides
    angle = np.radians(75) * (2 * turn - 1)
    ahead = np.stack([forth * np.cos(angle), np.sin(angle), 0.12 * np.sin(7.0 * turn)], axis=1)
    return looking(position, position + LOOK * ahead, resolution, FIELD_OF_VIEW)


def drive_along(segments: int, frames: int, resolution: int) -> Cameras:
    """Cameras of a drive through the middle of the street from end to end, looking ahead and a little to the left."""
    along = (np.arange(frames) + 0.5) / frames - 0.5
    position = np.stack([(SEGMENT * segments - 0.6) * along, 0 * along, np.full(frames, EYE)], axis=1)
    return looking(position, position + np.array((LOOK, 0.35, 0.05)), resolution, FIELD_OF_VIEW)


def lights_of_drives(count: int) -> list[Light]:
    """Of each photo: the sun of its drive."""
    suns = [_sun(azimuth, elevation) for azimuth, elevation in SUNS]
    return [suns[drive] for drive in drives_of(count)]


def told(split: Split) -> Split:
    """With what the cars know: which drive each photo is of, which is its appearance, and its exposure."""
    count = len(split)
    stops = np.random.default_rng(count).uniform(-STOPS, STOPS, count) if split.name == "train" else np.zeros(count)
    return replace(exposed_by(split, stops), exposure=stops, ids={"appearance": drives_of(count)})


def _sun(azimuth: float, elevation: float) -> Light:
    """Degrees from along the street, and above the ground; low suns are orange, and the sky is darker then."""
    low = 1 - elevation / 60
    direction = _spherical(np.radians(azimuth), np.radians(elevation))
    return Light(position=tuple(SUN_DISTANCE * direction), radius=SUN_RADIUS,
                 colour=(1.0, 0.95 - 0.25 * low, 0.88 - 0.45 * low),
                 ambient=(0.42 - 0.06 * low, 0.47 - 0.08 * low, 0.55 - 0.06 * low))


def _spherical(azimuth: float, elevation: float) -> np.ndarray:
    return np.array((np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)))


def _slab(segments: int) -> list[list[Solid | list[Solid]]]:
    """Asphalt, pavements, and the line in the middle, in pieces of a segment."""
    pieces = []
    for x in SEGMENT * (np.arange(segments) + 0.5 - 0.5 * segments):
        half = 0.5 * SEGMENT
        pieces.append([
            Solid(kind=BOX, size=(half, KERB, 0.03, 0.0), material=ASPHALT, position=(x, 0, -0.03)),
            *(Solid(kind=BOX, size=(half, 0.5 * (BACK - KERB), 0.04, 0.0), material=PAVEMENT,
                    position=(x, side * 0.5 * (BACK + KERB), -0.02)) for side in (-1, 1)),
            *(Solid(kind=BOX, size=(0.14, 0.014, 0.002, 0.0), material=PAINT, position=(x + dx, 0, 0.001))
              for dx in (-0.75, -0.25, 0.25, 0.75)),
        ])
    return pieces


def _wall(x: float) -> list[Solid]:
    """Across the whole street, with a gate."""
    width, height = 0.5 * (BACK - GATE), 0.5 * TOP
    return [
        *(Solid(kind=BOX, size=(WALL, width, height, 0.01), material=MASONRY,
                position=(x, side * (GATE + width), height)) for side in (-1, 1)),
        Solid(kind=BOX, size=(WALL, GATE, 0.5 * (TOP - ARCH), 0.0), material=MASONRY,
              position=(x, 0, 0.5 * (TOP + ARCH))),
    ]


def _segment(number: int, x: float) -> list[list[Solid]]:
    """What stands in it: two or three houses and a tree on each side, a lamp, a post."""
    random = np.random.default_rng([number, 17])
    groups = []
    for side in (-1, 1):
        count = random.integers(2, 4)
        edges = np.linspace(-0.5 * SEGMENT + 2 * WALL, 0.5 * SEGMENT - 2 * WALL, count + 1)
        groups += [_house(random, x + 0.5 * (a + b), side, 0.5 * (b - a) - 0.05) for a, b in pairwise(edges)]
        groups.append(_tree(random, x + random.uniform(-0.7, 0.7), side * 0.54))
    place, side = x + random.uniform(-0.8, 0.8), random.choice((-1, 1))
    groups.append([rod((place, side * 0.47, 0), (place, side * 0.47, 0.55), 0.014, IRON),
                   Solid(kind=SPHERE, size=(0.045,), material=LAMP, position=(place, side * 0.47, 0.58))])
    place = x + random.uniform(-0.8, 0.8)
    groups.append([rod((place, -side * 0.46, 0), (place, -side * 0.46, 0.24), 0.02, POLE),
                   Solid(kind=SPHERE, size=(0.03,), material=IVORY, position=(place, -side * 0.46, 0.26))])
    return groups


def _house(random: np.random.Generator, x: float, side: float, half: float) -> list[Solid]:
    """Walls, roof, windows and a door, its front to the street."""
    height, deep = random.uniform(0.30, 0.44), 0.5 * (BACK - FRONT) - 0.04
    colour, other = random.uniform(0.12, 0.75, 3), random.uniform(0.12, 0.75, 3)
    front, pattern = FRONT + random.uniform(0, 0.05), (STRIPES, CHECKER)[random.integers(2)]
    walls = Material(colour=tuple(colour), other=tuple(0.7 * colour + 0.3 * other), pattern=pattern,
                     frequency=random.uniform(4, 9))
    roof = Material(colour=tuple(random.uniform(0.06, 0.5, 3) * (1, 0.5, 0.4)), other=(0.20, 0.09, 0.06),
                    pattern=STRIPES, frequency=9.0)
    door = Material(colour=tuple(random.uniform(0.03, 0.5, 3)))
    y = side * (front + deep)
    solids = [Solid(kind=BOX, size=(half, deep, height, 0.01), material=walls, position=(x, y, height)),
              Solid(kind=FRUSTUM, size=(1.15 * max(half, deep), 0.10, 0.14), material=roof,
                    position=(x, y, 2 * height + 0.14))]
    windows = max(1, int(half / 0.14))
    for place in np.linspace(-half, half, 2 * windows + 1)[1::2]:
        for floor in (0.9, 1.55):
            solids.append(Solid(kind=BOX, size=(0.055, 0.012, 0.075, 0.0), material=GLASS,
                                position=(x + place, side * front, floor * height)))
    solids.append(Solid(kind=BOX, size=(0.06, 0.014, 0.11, 0.0), material=door,
                        position=(x + random.uniform(-0.5, 0.5) * half, side * front, 0.13)))
    return solids


def _tree(random: np.random.Generator, x: float, y: float) -> list[Solid]:
    """A trunk and a crown of three balls."""
    height = random.uniform(0.40, 0.60)
    leaves = Material(colour=tuple(np.array((0.16, 0.26, 0.06)) * random.uniform(0.6, 1.4, 3)))
    crown = [Solid(kind=SPHERE, size=(random.uniform(0.07, 0.10),), material=leaves,
                   position=(x + 0.06 * np.cos(a), y + 0.05 * np.sin(a), height + 0.04 * k))
             for k, a in enumerate(random.uniform(0, 2 * np.pi) + np.array((0, 2.1, 4.2)))]
    return [rod((x, y, 0), (x, y, height), 0.022, BARK), *crown]


def _in_wall(x: np.ndarray, segments: int) -> np.ndarray:
    """[N] bool: whether a camera would stand in a gate, where it sees nothing but its sides."""
    to_end = np.abs((x + 0.5 * SEGMENT * segments + 0.5 * SEGMENT) % SEGMENT - 0.5 * SEGMENT)
    return to_end < WALL + 0.05
