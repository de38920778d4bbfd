"""Where rays enter and leave an axis-aligned box: the slab test.

    A ray is o + t d. On axis a the box reaches from low_a to high_a, and the ray crosses the two planes at

        t = (low_a - o_a) / d_a   and   t = (high_a - o_a) / d_a

    It is inside the box between the latest entry and the earliest exit of the three slabs. A ray (nearly)
    parallel to a slab, |d_a| < PARALLEL, is inside that slab everywhere or nowhere.

A hit has minimum <= t_near <= t_far, where minimum is the least t asked for. A miss, or a box that lies
behind minimum, is reported as t_near = minimum, t_far = MISS. Kay and Kajiya 1986.
"""

from .engine import ti
from .launch import kernel

PARALLEL = 1e-12  # |d_a| below it moves a unit ray by less than a float32 can tell at the distance of the box
MISS = -1.0
_FAR = 1e30


@ti.func
def slab_interval(origin, direction, low, high):
    """(entry, exit) of one slab: a wide open interval inside a parallel slab, an empty one outside of it."""
    entry, leave = -_FAR * 1.0, _FAR * 1.0
    if ti.abs(direction) >= PARALLEL:
        a, b = (low - origin) / direction, (high - origin) / direction
        entry, leave = ti.min(a, b), ti.max(a, b)
    elif origin < low or origin > high:
        entry, leave = _FAR * 1.0, -_FAR * 1.0
    return entry, leave


@ti.func
def box_interval(origin, direction, low, high):
    """(t_near, near_axis, t_far, far_axis) of the whole line, given 3-vectors; a miss if t_far < t_near."""
    t_near, near_axis = -_FAR * 1.0, 0
    t_far, far_axis = _FAR * 1.0, 0
    for axis in ti.static(range(3)):
        entry, leave = slab_interval(origin[axis], direction[axis], low[axis], high[axis])
        if entry > t_near:
            t_near, near_axis = entry, axis
        if leave < t_far:
            t_far, far_axis = leave, axis
    return t_near, near_axis, t_far, far_axis


@ti.func
def row(array: ti.template(), i):
    """Row i of an array [*, 3]."""
    return ti.Vector([array[i, 0], array[i, 1], array[i, 2]])


@kernel
def ray_aabb_forward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    box: ti.types.ndarray(ndim=2),  # [2, 3] lowest and highest corner
    minimum: float,  # >= 0
    t_near: ti.types.ndarray(ndim=1),  # out [R]
    t_far: ti.types.ndarray(ndim=1),  # out [R]
):
    """Entry and exit of every ray."""
    for ray in range(origins.shape[0]):
        interval = box_interval(row(origins, ray), row(directions, ray), row(box, 0), row(box, 1))
        near, far = ti.max(interval[0], minimum), interval[2]
        if far < near:
            near, far = minimum, MISS
        t_near[ray] = near
        t_far[ray] = far


@kernel
def ray_aabb_backward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    box: ti.types.ndarray(ndim=2),  # [2, 3]
    minimum: float,
    t_near_gradient: ti.types.ndarray(ndim=1),  # [R]
    t_far_gradient: ti.types.ndarray(ndim=1),  # [R]
    origins_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    directions_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
):
    """dt/do_a = -1 / d_a and dt/dd_a = -t / d_a on the axis a of the plane that is crossed."""
    for ray in range(origins.shape[0]):
        near, near_axis, far, far_axis = box_interval(
            row(origins, ray), row(directions, ray), row(box, 0), row(box, 1)
        )
        hit = far >= ti.max(near, minimum)
        for axis in ti.static(range(3)):
            at_origin, at_direction = 0.0, 0.0
            if hit and axis == near_axis and near > minimum:
                gradient = -t_near_gradient[ray] / directions[ray, axis]
                at_origin += gradient
                at_direction += gradient * near
            if hit and axis == far_axis:
                gradient = -t_far_gradient[ray] / directions[ray, axis]
                at_origin += gradient
                at_direction += gradient * far
            origins_gradient[ray, axis] = at_origin
            directions_gradient[ray, axis] = at_direction
