"""All of space in the cube of a tree, by the contraction that keeps rays straight but for a few bends.

    u       4 (offset + scale x) - 2: the core of the world, which stays as it is, is [-1, 1]^3
    p       1/2 + contract(u) / 4, with contract(u) = u where |u|inf <= 1; else u / |u|inf, but for the component that
            is the largest, of sign s, which is s (2 - 1 / |u|inf)
    region  CORE, or 2 axis + (s > 0) of the largest component: within one of them the way of a ray is straight
    h, k    along a piece of a ray, |u|inf at its beginning and its slope; 1 and 0 in the core
    phi     (t - t_0) / |u|inf: place along a piece, from 0 on, in which p is linear

Reiser et al. 2023 (MERF), section 3.2.
"""

from ..engine import ti
from ..octree import CELLS
from .walk import FAR, TINY

CORE, NONE = -1, -2
FARTHEST = 1e4  # |u|inf at which rays end: the last leaves reach to infinity
MOST_PIECES = 32  # of a ray; rounding may add some without length to the eight that there can be


@ti.func
def in_core(o, d):
    """u, and its slope along a ray that `ray_in_cells` gave."""
    return o * (4.0 / CELLS) - 2.0, d * (4.0 / CELLS)


@ti.func
def region_of(u):
    """The region around u."""
    region, largest = CORE, 1.0
    for axis in ti.static(range(3)):
        if ti.abs(u[axis]) > largest:
            largest = ti.abs(u[axis])
            region = ti.select(u[axis] > 0.0, 2 * axis + 1, 2 * axis)
    return region


@ti.func
def end_of_piece(u, v, region, h, k):
    """(t - t_0, region behind) of the end of a piece that begins at u with the slope v; NONE where the ray ends."""
    last, following = FAR * 1.0, NONE
    for axis in ti.static(range(3)):
        for sign in ti.static((-1, 1)):
            if region >> 1 != axis:  # where this component becomes the largest
                gain = sign * v[axis] - k
                if gain > TINY:
                    t = ti.max((h - sign * u[axis]) / gain, 0.0)
                    if t < last:
                        last, following = t, 2 * axis + (sign + 1) // 2
    if k < 0.0:
        t = ti.max((1.0 - h) / k, 0.0)
        if t < last:
            last, following = t, CORE
    if k > 0.0:
        t = ti.max((FARTHEST - h) / k, 0.0)
        if t < last:
            last, following = t, NONE
    return last, following


@ti.func
def piece_of(u, v, region):
    """The piece of a ray from u on: (o, d, 1 / d) in cells along phi, h, k, phi and t - t_0 at its end, and the
    region behind."""
    h, k = 1.0, 0.0
    above, slope = u, v  # contract(u) |u|inf, and its slope
    for axis in ti.static(range(3)):
        if region >> 1 == axis:
            sign = ti.select(region & 1 == 1, 1.0, -1.0)
            h = ti.max(sign * u[axis], 1.0)
            k = ti.select(ti.abs(v[axis]) > TINY, sign * v[axis], 0.0)
            above[axis], slope[axis] = sign * (2.0 * h - 1.0), 2.0 * v[axis]
    last, following = end_of_piece(u, v, region, h, k)
    start = above / h
    o, d = (0.5 + 0.25 * start) * CELLS, 0.25 * (slope - k * start) * CELLS
    inverse = ti.Vector([FAR, FAR, FAR])
    for axis in ti.static(range(3)):
        if ti.abs(d[axis]) > TINY * CELLS:
            inverse[axis] = 1.0 / d[axis]
    return o, d, inverse, h, k, last / (h + k * last), last, following


@ti.func
def time_at(phi, h, k):
    """t - t_0 at a place along a piece."""
    return phi * h / (1.0 - k * phi)
