"""Neighbouring rays together, as far as they are all in nothing: each then begins where that ends.

    beam    TOGETHER rays, one after the other in their array; those of a tile of a picture lie close together
    [o], [d]  the smallest boxes that hold the origins and the directions in cells of those that meet the cube
    [x]     [o] + t [d] along each axis, in which all of them are at t
    [e]     empty blocks around the middle of [x], without a face where they end at the cube

A beam at t goes on to where [x] meets a face of [e]. It ends where [x] is not within [e], which is so next to what is
not empty, or at once where its rays have little in common: nothing is taken for granted of them.
"""

from typing import NamedTuple

from ..engine import ti
from ..octree import CELLS, LEVELS
from .walk import FAR, enter_cube, ray_in_cells

TOGETHER = 64  # a tile
MOST_LEAPS = 64  # of a beam: it may begin anywhere before the first leaf
ROUNDING = 4.0  # cells by which [e] is smaller: t and [x] are rounded


class Beam(NamedTuple):
    """Where the rays are: variables of a kernel."""

    origin_low: ti.Vector
    origin_high: ti.Vector
    direction_low: ti.Vector
    direction_high: ti.Vector
    at: float
    """t at which the first of them enters the cube; FAR if none does."""


@ti.func
def beam_of(origins: ti.template(), directions: ti.template(), first: int, frame: ti.template(), near):
    """The variables of the `Beam` of TOGETHER rays from `first` on, or as many as there are."""
    low, high = ti.Vector([FAR, FAR, FAR]), ti.Vector([-FAR, -FAR, -FAR])
    slowest, fastest = low, high
    at = FAR * 1.0
    for ray in range(first, ti.min(first + TOGETHER, origins.shape[0])):
        o, d, inverse, _, _ = ray_in_cells(origins, directions, ray, frame)
        enter, leave = enter_cube(o, inverse, near)
        if enter < leave:
            low, high = ti.min(low, o), ti.max(high, o)
            slowest, fastest = ti.min(slowest, d), ti.max(fastest, d)
            at = ti.min(at, enter)
    return low, high, slowest, fastest, at


@ti.func
def leap(beam: ti.template(), at, block: ti.template(), top: int):
    """t up to which the beam that is at t = `at` is in empty blocks for certain; `at` itself if not even there."""
    low, high = beam.origin_low + at * beam.direction_low, beam.origin_high + at * beam.direction_high
    shift = LEVELS - top
    place = ti.cast(ti.min(ti.max(0.5 * (low + high), 0.0), CELLS - 1.0), ti.i32) >> shift
    away = ti.max(-block[(place[0] << top | place[1]) << top | place[2]], 0)
    within, until = away > 0, FAR * 1.0
    for axis in ti.static(range(3)):
        if place[axis] - away + 1 > 0:
            face = ti.cast((place[axis] - away + 1) << shift, float) + ROUNDING
            within = within and low[axis] >= face
            if beam.direction_low[axis] < 0.0:
                until = ti.min(until, (face - beam.origin_low[axis]) / beam.direction_low[axis])
        if place[axis] + away < (1 << top):
            face = ti.cast((place[axis] + away) << shift, float) - ROUNDING
            within = within and high[axis] <= face
            if beam.direction_high[axis] > 0.0:
                until = ti.min(until, (face - beam.origin_high[axis]) / beam.direction_high[axis])
    return ti.select(within, ti.max(until, at), at)


@ti.func
def clear_until(origins: ti.template(), directions: ti.template(), first: int, frame: ti.template(), near,
                block: ti.template(), top: int):
    """t up to which TOGETHER rays from `first` on meet nothing; FAR where they never do."""
    variables = beam_of(origins, directions, first, frame, near)
    beam = ti.static(Beam(*variables))
    at, before, leaps = beam.at, -FAR, 0
    while at > before and at < FAR and leaps < MOST_LEAPS:
        before, leaps = at, leaps + 1
        at = leap(beam, at, block, top)
    return at
