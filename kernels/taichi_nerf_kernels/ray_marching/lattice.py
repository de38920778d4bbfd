"""A ray, and the lattice of steps along it."""

from ..bounds import is_finite
from ..engine import ti
from ..random import uniform

TINY = 1e-12
OUT_OF_SIGHT = 1e9  # farther off than any cube
SHORT = 0.51  # a jump stays this many steps short of an exit: half an interval, and a little for rounding


@ti.func
def step_size(t, pace):
    """dt = clamp(cone t, dt_min, dt_max)"""
    return ti.min(ti.max(pace[0] * t, pace[2]), pace[3])


@ti.func
def time_of_step(u, pace):
    """t at step coordinate u: linear, exponential where cone t > dt_min, linear where cone t > dt_max."""
    cone, growth, dt_min, dt_max = pace[0], pace[1], pace[2], pace[3]
    t = u * dt_min
    if cone > 0.0 and u * cone > 1.0:
        t = dt_min / cone * ti.exp(ti.min((u - 1.0 / cone) * growth, ti.log(dt_max / dt_min)))
        u_last = 1.0 / cone + ti.log(dt_max / dt_min) / growth
        t += ti.max(u - u_last, 0.0) * dt_max
    return t


@ti.func
def step_of_time(t, pace):
    """Inverse of `time_of_step`."""
    cone, growth, dt_min, dt_max = pace[0], pace[1], pace[2], pace[3]
    u = t / dt_min
    if cone > 0.0 and t * cone > dt_min:
        u = 1.0 / cone + ti.log(ti.min(t * cone, dt_max) / dt_min) / growth
        u += ti.max(t - dt_max / cone, 0.0) / dt_max
    return u


@ti.func
def lattice_interval(i, u0, pace):
    """Middle and length of interval i of a ray's lattice."""
    t = time_of_step(u0 + ti.cast(i, float), pace)
    dt = step_size(t, pace)
    return t + 0.5 * dt, dt


@ti.func
def lattice_origin(r, seed, t0, pace):
    """u_0 of ray r: less than a step behind t0, at random; at t0 if seed < 0."""
    u0 = step_of_time(t0, pace)
    if seed >= 0:
        u0 += uniform(seed, r)
    return u0


@ti.func
def lattice_index(t, u0, pace):
    """The first lattice index whose interval has its middle at t or behind, or one before it."""
    return ti.cast(ti.ceil(step_of_time(t, pace) - u0 - SHORT), ti.i32)


@ti.func
def reciprocal(d):
    """1 / d, finite for a ray parallel to a face."""
    return 1.0 / ti.select(ti.abs(d) < TINY, TINY, d)


@ti.func
def ray_of(origins: ti.template(), directions: ti.template(), r):
    """Origin and direction of ray r, and the reciprocals of the direction. One that is not finite misses every cube."""
    o = ti.Vector([origins[r, 0], origins[r, 1], origins[r, 2]])
    d = ti.Vector([directions[r, 0], directions[r, 1], directions[r, 2]])
    if not is_finite(ti.abs(o).sum() + ti.abs(d).sum()):
        o, d = ti.Vector([OUT_OF_SIGHT, 0.0, 0.0]), ti.Vector([1.0, 0.0, 0.0])
    return o, d, ti.Vector([reciprocal(d[0]), reciprocal(d[1]), reciprocal(d[2])])


@ti.func
def ray_stretch(o, inverse, low, high, near, far):
    """(t0, t1) inside the box from `low` to `high` and between near and far; empty if t0 >= t1."""
    t0, t1 = near, far
    for axis in ti.static(range(3)):
        a = (low[axis] - o[axis]) * inverse[axis]
        b = (high[axis] - o[axis]) * inverse[axis]
        t0 = ti.max(t0, ti.min(a, b))
        t1 = ti.min(t1, ti.max(a, b))
    return t0, t1
