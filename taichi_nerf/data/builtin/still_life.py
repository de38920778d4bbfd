"""The built-in scene: toys on a round inlaid table, seen from above and from the side.

z is up; everything lies within 1.2 of the origin. Thin rods and rings, checkers and stripes, a glazed ball
that mirrors its surroundings, polished brass, and soft shadows. In satin finish the same toys mirror nothing.
"""

from dataclasses import replace

import numpy as np

from .world import (
    BOX,
    CHECKER,
    CYLINDER,
    FRUSTUM,
    INLAY,
    SECTORS,
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

FLOOR = -0.34  # height of the table's top

WALNUT = Material(colour=(0.20, 0.09, 0.04), specular=0.10, shininess=40)
TABLE = Material(colour=(0.62, 0.55, 0.44), other=(0.10, 0.16, 0.15), pattern=INLAY, frequency=5.0,
                 specular=0.05, shininess=60)
COBALT = Material(colour=(0.008, 0.03, 0.22), specular=0.9, shininess=220, reflectance=0.07)
BRASS = Material(colour=(0.83, 0.58, 0.22), specular=0.5, shininess=90, reflectance=0.65, metallic=1.0)
WIRE = Material(colour=(0.76, 0.50, 0.18), specular=0.5, shininess=40, metallic=0.3)
IRON = Material(colour=(0.05, 0.05, 0.06), specular=0.35, shininess=50)
IVORY = Material(colour=(0.80, 0.74, 0.62), specular=0.25, shininess=60)
BEACH = Material(colour=(0.72, 0.05, 0.05), other=(0.84, 0.82, 0.76), pattern=SECTORS, turns=5, specular=0.35,
                 shininess=90)
CORAL_BLOCK = Material(colour=(0.75, 0.16, 0.10), other=(0.84, 0.76, 0.58), pattern=CHECKER, frequency=13.0,
                       specular=0.15, shininess=40)
BLUE_BLOCK = Material(colour=(0.09, 0.30, 0.52), other=(0.78, 0.74, 0.60), pattern=STRIPES, frequency=14.0,
                      specular=0.15, shininess=40)
PARTY_HAT = Material(colour=(0.10, 0.42, 0.36), other=(0.88, 0.70, 0.24), pattern=SPIRAL, frequency=7.0,
                     turns=3, specular=0.1, shininess=30)
POLE = Material(colour=(0.75, 0.06, 0.06), other=(0.85, 0.82, 0.76), pattern=SPIRAL, frequency=9.0, turns=1,
                specular=0.2, shininess=50)
PENCIL = Material(colour=(0.85, 0.52, 0.05), other=(0.05, 0.10, 0.35), pattern=STRIPES, frequency=10.0,
                  specular=0.2, shininess=50)
RING_COLOURS = ((0.62, 0.05, 0.06), (0.85, 0.30, 0.04), (0.86, 0.62, 0.06), (0.10, 0.42, 0.12),
                (0.06, 0.22, 0.55))


def still_life() -> World:
    """The solids of the built-in scene."""
    return World(groups=[_table(), _glazed_ball(), _ring_tower(), _armillary(), _blocks(), _hat_and_marbles(),
                         _ladder()])


def satin_still_life() -> World:
    """The same solids with broad highlights and no mirror images: what depends on the direction, does so smoothly."""
    finish = {"specular": 0.5, "shininess": 20.0, "reflectance": 0.0, "metallic": 0.0}
    return World(groups=[[replace(solid, material=replace(solid.material, **finish)) for solid in group]
                         for group in still_life().groups])


def daylight() -> Light:
    """Its light."""
    return Light()


def _table() -> list[Solid]:
    return [Solid(kind=CYLINDER, size=(1.09, 0.04, 0.035), material=TABLE, position=(0, 0, FLOOR - 0.04))]


def _glazed_ball() -> list[Solid]:
    return [Solid(kind=SPHERE, size=(0.31,), material=COBALT, position=(-0.36, 0.40, FLOOR + 0.31))]


def _ring_tower() -> list[Solid]:
    x, y = 0.46, 0.38
    solids = [
        Solid(kind=CYLINDER, size=(0.25, 0.03), material=IVORY, position=(x, y, FLOOR + 0.03)),
        rod((x, y, FLOOR + 0.06), (x, y, FLOOR + 0.74), 0.026, POLE),
        Solid(kind=SPHERE, size=(0.055,), material=BRASS, position=(x, y, FLOOR + 0.79)),
    ]
    height = FLOOR + 0.06
    radii, tubes = np.linspace(0.155, 0.080, 5), np.linspace(0.062, 0.046, 5)
    for colour, radius, tube in zip(RING_COLOURS, radii, tubes):
        material = Material(colour=colour, specular=0.45, shininess=110)
        solids.append(Solid(kind=TORUS, size=(radius, tube), material=material,
                            position=(x, y, height + tube)))
        height += 1.86 * tube
    return solids


def _armillary() -> list[Solid]:
    x, y, z, radius = 0.50, -0.42, FLOOR + 0.58, 0.29
    centre = np.array((x, y, z))
    axis = np.array((0.40, 0.15, 0.91)) / np.linalg.norm((0.40, 0.15, 0.91))
    rings = [((0.0, 1.0, 0.0), radius, 0.012), (tuple(axis), radius * 0.99, 0.014),
             ((1.0, -0.2, 0.1), radius, 0.012), ((0.55, 0.5, 0.55), radius * 0.80, 0.010)]
    return [
        Solid(kind=FRUSTUM, size=(0.15, 0.05, 0.03), material=WALNUT, position=(x, y, FLOOR + 0.03)),
        rod((x, y, FLOOR + 0.05), (x, y, z - radius), 0.018, WIRE),
        *(Solid(kind=TORUS, size=(r, tube), material=WIRE, position=(x, y, z), rotation=axis_frame(normal))
          for normal, r, tube in rings),
        rod(centre - 1.2 * radius * axis, centre + 1.2 * radius * axis, 0.008, IRON),
        Solid(kind=SPHERE, size=(0.095,), material=BRASS, position=(x, y, z)),
    ]


def _blocks() -> list[Solid]:
    x, y = -0.46, -0.36
    return [
        Solid(kind=BOX, size=(0.18, 0.18, 0.18, 0.018), material=CORAL_BLOCK, position=(x, y, FLOOR + 0.18),
              rotation=turned(24)),
        Solid(kind=BOX, size=(0.12, 0.12, 0.10, 0.014), material=BLUE_BLOCK,
              position=(x + 0.02, y - 0.01, FLOOR + 0.46), rotation=turned(58)),
        Solid(kind=SPHERE, size=(0.10,), material=BEACH, position=(x + 0.01, y, FLOOR + 0.66),
              rotation=axis_frame((0.5, -0.3, 0.7))),
    ]


def _hat_and_marbles() -> list[Solid]:
    return [
        Solid(kind=FRUSTUM, size=(0.15, 0.008, 0.21), material=PARTY_HAT,
              position=(0.06, 0.83, FLOOR + 0.21)),
        Solid(kind=SPHERE, size=(0.032,), material=IVORY, position=(0.06, 0.83, FLOOR + 0.44)),
    ]


def _ladder() -> list[Solid]:
    solids = [
        rod((0.02, -0.86, FLOOR + 0.02), (0.42, -0.92, FLOOR + 0.02), 0.02, PENCIL),
        rod((-0.30, -0.80, FLOOR + 0.02), (0.12, -0.70, FLOOR + 0.02), 0.02, PENCIL),
        Solid(kind=SPHERE, size=(0.075,), material=BEACH, position=(0.05, -0.10, FLOOR + 0.075),
              rotation=axis_frame((0.2, 0.9, 0.3))),
    ]
    foot, top = np.array((-0.92, -0.28, FLOOR)), np.array((-0.66, -0.33, FLOOR + 0.40))
    across = np.array((0.02, 0.10, 0.0))
    for side in (-1, 1):
        solids.append(rod(foot + side * across, top + side * across, 0.010, IRON))
    for step in np.linspace(0.12, 0.92, 6):
        rung = foot + step * (top - foot)
        solids.append(rod(rung - across, rung + across, 0.008, IVORY))
    return solids
