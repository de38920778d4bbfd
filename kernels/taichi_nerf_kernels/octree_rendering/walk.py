"""The way of a ray through the leaves of a tree."""

from typing import NamedTuple

from ..bounds import is_finite
from ..engine import ti
from ..octree import CELLS

TINY = 1e-12  # of a direction: below it the ray is parallel to the faces
FAR = 1e30  # reciprocal of such a direction
BEYOND = 4e6  # cells: outside of the cube


class Frame(NamedTuple):
    """Where the tree lies in the world: p = offset + scale x."""

    offset_x: float
    offset_y: float
    offset_z: float
    scale_x: float
    scale_y: float
    scale_z: float


@ti.func
def ray_in_cells(origins: ti.template(), directions: ti.template(), ray: int, frame: ti.template()):
    """(o, d, 1 / d) of a ray of the world, its unit direction there, and whether it is finite: one that is not misses
    the cube."""
    offset = ti.Vector([frame.offset_x, frame.offset_y, frame.offset_z])
    scale = ti.Vector([frame.scale_x, frame.scale_y, frame.scale_z])
    unit = ti.Vector([directions[ray, 0], directions[ray, 1], directions[ray, 2]])
    o = (offset + scale * ti.Vector([origins[ray, 0], origins[ray, 1], origins[ray, 2]])) * CELLS
    d = scale * unit * CELLS
    finite = is_finite(ti.abs(o).sum() + ti.abs(d).sum())
    if not finite:
        o, d = ti.Vector([BEYOND, 0.0, 0.0]), ti.Vector([CELLS * 1.0, 0.0, 0.0])
        unit = ti.Vector([1.0, 0.0, 0.0])
    inverse = ti.Vector([FAR, FAR, FAR])
    for axis in ti.static(range(3)):
        if ti.abs(d[axis]) > TINY * CELLS:
            inverse[axis] = 1.0 / d[axis]
    return o, d, inverse, unit, finite


@ti.func
def enter_cube(o, inverse, near):
    """(t0, t1) within the cube and behind `near`; a ray on a lower face is inside, on an upper face outside. It misses
    the cube if not t0 < t1."""
    t0, t1 = near, FAR
    for axis in ti.static(range(3)):
        a, b = -o[axis] * inverse[axis], (CELLS - o[axis]) * inverse[axis]
        t0 = ti.max(t0, ti.min(a, b))
        t1 = ti.min(t1, ti.max(a, b))
    return t0, t1


@ti.func
def integer_at(o, d, t):
    """q of the ray at t, on the cube."""
    q = ti.Vector([0, 0, 0])
    for axis in ti.static(range(3)):
        q[axis] = ti.cast(ti.min(ti.max(o[axis] + t * d[axis], 0.0), CELLS - 1.0), ti.i32)
    return q


@ti.func
def cell_around(q, level):
    """(lowest q, side) of the cell around q that differs from those beside it in bit `level`."""
    side = 1 << level
    return q & ~(side - 1), side


@ti.func
def leave_box(low, side, at, o, d, inverse):
    """Where the ray that is at t = `at` in the box of q from `low` on leaves it: (t, q of what is behind).

    That q is outside of the cube where a bit from LEVELS on is set.
    """
    t = ti.Vector([0.0, 0.0, 0.0])
    for axis in ti.static(range(3)):
        face = low[axis]
        if inverse[axis] > 0.0:
            face += side
        t[axis] = (ti.cast(face, float) - o[axis]) * inverse[axis]
    out = ti.min(t[0], ti.min(t[1], t[2]))
    through = ti.select(t[0] == out, 0, ti.select(t[1] == out, 1, 2))
    out = ti.max(out, at)
    after = ti.Vector([0, 0, 0])
    for axis in ti.static(range(3)):
        here = ti.cast(o[axis] + out * d[axis], ti.i32)
        after[axis] = ti.min(ti.max(here, low[axis]), low[axis] + side - 1)
        if through == axis:
            after[axis] = ti.select(inverse[axis] > 0.0, low[axis] + side, low[axis] - 1)
    return out, after
