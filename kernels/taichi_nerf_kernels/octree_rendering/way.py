"""A ray on its way from box to box, straight or, where all of space is in the tree, straight piece by piece."""

from typing import NamedTuple

from ..engine import ti
from ..octree import LEVELS, go_down, go_up
from .pieces import FARTHEST, MOST_PIECES, NONE, in_core, piece_of, region_of, time_at
from .walk import FAR, TINY, cell_around, enter_cube, integer_at, leave_box, ray_in_cells


class Way(NamedTuple):
    """Variables of a kernel, which the functions below change."""

    o: ti.Vector
    """Origin, direction and its inverse in cells, along the piece on which the ray is."""
    d: ti.Vector
    inverse: ti.Vector
    unit: ti.Vector
    """Direction in the world."""
    u: ti.Vector
    """Origin and slope in the core."""
    v: ti.Vector
    at: float
    """t, and the bound of t."""
    end: float
    s: float
    """Place along the piece."""
    q: ti.Vector
    """The integer point that says which leaf comes next."""
    node: int
    """A node that holds q, and its level."""
    level: int
    begin: float
    """t of the piece's beginning, its h and k, its last place and time, and the region behind it."""
    h: float
    k: float
    last: float
    whole: float
    following: int
    pieces: int
    """That were left."""
    under_way: bool


@ti.func
def begin_way(origins: ti.template(), directions: ti.template(), ray: int, frame: ti.template(), near,
              contracted: ti.template()):
    """The variables of the `Way` of a ray; one that meets nothing is not under way."""
    o, d, inverse, unit, finite = ray_in_cells(origins, directions, ray, frame)
    u, v = in_core(o, d)
    at, end = enter_cube(o, inverse, near)
    s, h, k, last, whole, following = at, 1.0, 0.0, FAR * 1.0, FAR * 1.0, NONE
    if ti.static(contracted):
        at, s = near, 0.0
        end = ti.select(finite, near + 2.0 * FARTHEST / ti.max(ti.abs(v).max(), TINY), near)
        o, d, inverse, h, k, last, whole, following = piece_of(u + near * v, v, region_of(u + near * v))
    return (o, d, inverse, unit, u, v, at, end, s, integer_at(o, d, s), 0, LEVELS - 1, near * 1.0, h, k, last, whole,
            following, 0, at < end)


@ti.func
def leave(way: ti.template(), low, side, contracted: ti.template()):
    """Where the ray leaves the box around it, or its piece: (t, q behind, whether it is the piece)."""
    out, after = leave_box(low, side, way.s, way.o, way.d, way.inverse)
    bend = False
    if ti.static(contracted):
        bend = out >= way.last
        way.s = ti.min(out, way.last)
        out = ti.max(way.at, way.begin + ti.select(bend, way.whole, time_at(way.s, way.h, way.k)))
    else:
        way.s = out
    return out, after, bend


@ti.func
def leave_leaf(way: ti.template(), tree: ti.template(), contracted: ti.template()):
    """(cell, t at its end, q behind, whether the way bends there) of the leaf that comes next."""
    cell, node, level = go_down(way.q, way.node, way.level, tree.child)
    low, side = cell_around(way.q, level)
    out, after, bend = leave(way, low, side, contracted)
    changed = (after[0] ^ way.q[0]) | (after[1] ^ way.q[1]) | (after[2] ^ way.q[2])
    way.node, way.level = go_up(changed, node, level, tree.parent_depth)
    return cell, out, after, bend


@ti.func
def go_on(way: ti.template(), out, after, bend, contracted: ti.template()):
    """To the q behind a box, or to the piece behind a bend; the way may end there."""
    way.at = out
    way.q = after
    way.under_way = ((after[0] | after[1] | after[2]) >> LEVELS) == 0 or bend
    if ti.static(contracted):
        if bend:
            way.under_way = way.following != NONE and way.pieces < MOST_PIECES - 1
            way.begin, way.s, way.node, way.level, way.pieces = out, 0.0, 0, LEVELS - 1, way.pieces + 1
            o, d, inverse, h, k, last, whole, following = piece_of(way.u + out * way.v, way.v, way.following)
            way.o, way.d, way.inverse, way.h, way.k = o, d, inverse, h, k
            way.last, way.whole, way.following = last, whole, following
            way.q = integer_at(o, d, 0.0)
