"""The unbounded built-in scene: toys on a lawn, and around them trees, houses, a lighthouse and hills.

z is up and the ground z = 0 reaches to the horizon. The toys lie within 0.6 of the origin, stones and posts
between 1.6 and 4, and a ring of larger things between 5 and 40. The sky is at infinity.
"""

import math

import numpy as np

from .still_life import BEACH, BRASS, COBALT, CORAL_BLOCK, IVORY, PARTY_HAT, POLE, RING_COLOURS
from .world import (
    BOX,
    CHECKER,
    CYLINDER,
    FIELDS,
    FRUSTUM,
    SPHERE,
    SPIRAL,
    STRIPES,
    TORUS,
    Light,
    Material,
    Solid,
    World,
    axis_frame,
    rod,
    turned,
)

SUN_DISTANCE = 400.0
SUN_DIRECTION = np.array((0.48, -0.52, 0.71))

LAWN = Material(colour=(0.10, 0.24, 0.05), other=(0.36, 0.34, 0.12), pattern=FIELDS, frequency=2.6, turns=14)
STONE = Material(colour=(0.34, 0.32, 0.30), specular=0.05, shininess=20)
BARK = Material(colour=(0.16, 0.10, 0.06), specular=0.05, shininess=20)
LEAVES = (Material(colour=(0.07, 0.20, 0.04)), Material(colour=(0.14, 0.25, 0.05)), Material(colour=(0.30, 0.20, 0.04)))
FIR = Material(colour=(0.04, 0.14, 0.07), other=(0.07, 0.20, 0.09), pattern=STRIPES, frequency=1.5)
ROOF = Material(colour=(0.45, 0.12, 0.07), other=(0.36, 0.09, 0.05), pattern=STRIPES, frequency=2.0)
WALLS = (Material(colour=(0.70, 0.65, 0.52)), Material(colour=(0.60, 0.34, 0.20)), Material(colour=(0.36, 0.46, 0.56)))
TIMBER = Material(colour=(0.66, 0.60, 0.46), other=(0.20, 0.12, 0.07), pattern=CHECKER, frequency=0.55)
LIGHTHOUSE = Material(colour=(0.72, 0.08, 0.07), other=(0.84, 0.82, 0.78), pattern=SPIRAL, frequency=0.16, turns=1)
LANTERN = Material(colour=(0.75, 0.62, 0.25), specular=0.3, shininess=60)
HILLS = (Material(colour=(0.12, 0.22, 0.09)), Material(colour=(0.18, 0.22, 0.16)), Material(colour=(0.24, 0.20, 0.14)))


HOUSES = ((7.5, 20), (9.0, 95), (13.0, 160), (11.0, 232), (18.0, 300), (24.0, 65))  # distance, degrees


def open_field() -> World:
    """The solids of the unbounded scene, on its ground."""
    toys = [_block_and_ball(), _ring_tower(), _glazed_ball(), _hat(), _bow()]
    far = [*_trees(), *_houses(), _lighthouse(), *_hills()]
    return World(groups=[toys, *_sectors(_stones(), 4), *_sectors(far, 12)], ground=LAWN)


def sunlight() -> Light:
    """Its light: a sun so far away that it is the same everywhere, and a blue sky."""
    direction = SUN_DIRECTION / np.linalg.norm(SUN_DIRECTION)
    return Light(position=tuple(SUN_DISTANCE * direction), radius=0.03 * SUN_DISTANCE, colour=(1.0, 0.94, 0.84),
                 ambient=(0.28, 0.40, 0.62))


def _block_and_ball() -> list[Solid]:
    return [
        Solid(kind=BOX, size=(0.15, 0.15, 0.15, 0.015), material=CORAL_BLOCK, position=(-0.06, 0.02, 0.15),
              rotation=turned(31)),
        Solid(kind=SPHERE, size=(0.11,), material=BEACH, position=(-0.05, 0.02, 0.41),
              rotation=axis_frame((0.5, -0.3, 0.7))),
    ]


def _ring_tower() -> list[Solid]:
    x, y, height = 0.38, 0.22, 0.0
    solids = [rod((x, y, 0.02), (x, y, 0.62), 0.022, POLE),
              Solid(kind=SPHERE, size=(0.05,), material=BRASS, position=(x, y, 0.66))]
    for colour, radius, tube in zip(RING_COLOURS, np.linspace(0.13, 0.07, 5), np.linspace(0.054, 0.040, 5)):
        solids.append(Solid(kind=TORUS, size=(radius, tube), position=(x, y, height + tube),
                            material=Material(colour=colour, specular=0.45, shininess=110)))
        height += 1.86 * tube
    return solids


def _glazed_ball() -> list[Solid]:
    return [Solid(kind=SPHERE, size=(0.17,), material=COBALT, position=(0.16, -0.40, 0.17))]


def _hat() -> list[Solid]:
    return [
        Solid(kind=FRUSTUM, size=(0.13, 0.008, 0.19), material=PARTY_HAT, position=(-0.30, 0.44, 0.19)),
        Solid(kind=SPHERE, size=(0.03,), material=IVORY, position=(-0.30, 0.44, 0.40)),
    ]


def _bow() -> list[Solid]:
    """A half ring that stands in the ground, with a ball below it."""
    x, y = -0.42, -0.26
    return [
        Solid(kind=TORUS, size=(0.22, 0.022), material=POLE, position=(x, y, 0.0),
              rotation=axis_frame((0.6, 0.8, 0.0))),
        Solid(kind=SPHERE, size=(0.06,), material=IVORY, position=(x, y, 0.06)),
    ]


def _stones() -> list[list[Solid]]:
    """Boulders and striped posts around the cameras, each in a group of its own."""
    random = np.random.default_rng(3)
    groups = []
    for n in range(14):
        x, y = _on_ring(n, 14, random.uniform(1.6, 4.0), random)
        size = random.uniform(0.10, 0.34)
        if n % 3 == 0:
            groups.append([rod((x, y, 0.0), (x, y, 0.55 + size), 0.045, POLE),
                           Solid(kind=SPHERE, size=(0.08,), material=BRASS, position=(x, y, 0.66 + size))])
        else:
            groups.append([Solid(kind=SPHERE, size=(size,), material=STONE, position=(x, y, 0.4 * size))])
    return groups


def _trees() -> list[list[Solid]]:
    """Firs and others, none within a house."""
    random = np.random.default_rng(5)
    houses = [(r * math.cos(math.radians(a)), r * math.sin(math.radians(a)), 2.0 + 0.12 * r) for r, a in HOUSES]
    groups = []
    for n in range(26):
        x, y = _on_ring(n, 26, 6.0 * 5.0 ** random.uniform(), random)
        height = random.uniform(1.6, 3.4)
        if any(math.hypot(x - a, y - b) < room + 0.4 * height for a, b, room in houses):
            continue
        trunk = rod((x, y, 0.0), (x, y, 0.6 * height), 0.06 * height, BARK)
        if n % 3 == 0:
            crown = [Solid(kind=FRUSTUM, size=((0.32 - 0.08 * k) * height, 0.02, 0.24 * height), material=FIR,
                           position=(x, y, (0.42 + 0.24 * k) * height)) for k in range(3)]
        else:
            crown = [Solid(kind=SPHERE, size=(random.uniform(0.20, 0.30) * height,), material=LEAVES[n % 3],
                           position=(x + 0.22 * height * math.cos(a), y + 0.22 * height * math.sin(a),
                                     (0.70 + 0.07 * k) * height)) for k, a in enumerate((0.3, 2.4, 4.5, 5.6))]
        groups.append([trunk, *crown])
    return groups


def _houses() -> list[list[Solid]]:
    groups = []
    for n, (distance, degrees) in enumerate(HOUSES):
        angle = math.radians(degrees)
        x, y, side = distance * math.cos(angle), distance * math.sin(angle), 0.9 + 0.05 * distance
        turn = turned(degrees + 25 * n)
        walls = TIMBER if n % 2 else WALLS[n // 2]
        groups.append([
            Solid(kind=BOX, size=(1.3 * side, side, 0.8 * side, 0.02), material=walls, position=(x, y, 0.8 * side),
                  rotation=turn),
            Solid(kind=FRUSTUM, size=(1.75 * side, 0.05 * side, 0.55 * side), material=ROOF,
                  position=(x, y, 2.15 * side)),
            Solid(kind=BOX, size=(0.16 * side, 0.16 * side, 0.5 * side, 0.01), material=STONE, rotation=turn,
                  position=(x + 0.5 * side * math.cos(angle), y + 0.5 * side * math.sin(angle), 2.4 * side)),
        ])
    return groups


def _lighthouse() -> list[Solid]:
    x, y = 14.0, -19.0
    return [
        Solid(kind=FRUSTUM, size=(1.7, 1.0, 5.0), material=LIGHTHOUSE, position=(x, y, 5.0)),
        Solid(kind=CYLINDER, size=(1.4, 0.15), material=IVORY, position=(x, y, 10.1)),
        Solid(kind=CYLINDER, size=(0.8, 0.8), material=LANTERN, position=(x, y, 11.0)),
        Solid(kind=FRUSTUM, size=(1.2, 0.05, 0.5), material=ROOF, position=(x, y, 12.3)),
    ]


def _hills() -> list[list[Solid]]:
    """Caps of great spheres, 32 to 40 away."""
    random = np.random.default_rng(8)
    groups = []
    for n in range(11):
        x, y = _on_ring(n, 11, random.uniform(32.0, 40.0), random)
        height, radius = random.uniform(2.0, 6.0), random.uniform(14.0, 22.0)
        groups.append([Solid(kind=SPHERE, size=(radius,), material=HILLS[n % 3], position=(x, y, height - radius))])
    return groups


def _on_ring(n: int, count: int, distance: float, random: np.random.Generator) -> tuple[float, float]:
    """A place at this distance, in the n-th of `count` sectors."""
    angle = 2 * math.pi * (n + random.uniform(0.2, 0.8)) / count
    return distance * math.cos(angle), distance * math.sin(angle)


def _sectors(groups: list[list[Solid]], count: int) -> list[list[list[Solid]]]:
    """The groups by where they stand around the origin, in `count` sectors of like size."""
    ordered = sorted(groups, key=lambda group: math.atan2(group[0].position[1], group[0].position[0]))
    return [ordered[len(ordered) * k // count : len(ordered) * (k + 1) // count] for k in range(count)]
