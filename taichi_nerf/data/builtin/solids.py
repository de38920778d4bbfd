"""The solids as functions of a point or a ray in their own frame: distance, intersection, normal.

    p        point in the frame of the solid, whose axis is z
    o, d     ray p = o + t d with unit d
    shape    (x, y, z, ring, edge, taper, cosine): the seven numbers of `Solid.shape`
    t        distance along the ray; FAR where it misses

All solids are one: a box of half extents (x, y, z), grown by `edge` on all sides, which rounds it. The kinds
from CYLINDER on are solids of revolution: the box is two-dimensional, its first axis is the distance from a
circle of radius `ring` about the axis, and its sides may lean. A sphere is a grown point, a capsule a grown
line, a torus a grown circle. Distances are exact but outside the edges of a leaning side (Quilez, distance
functions), so what has no closed form is met by sphere tracing (Hart 1996).
"""

from taichi_nerf_kernels.engine import ti

from .world import CAPSULE, CYLINDER

FAR = 1e9
TRACE_STEPS = 64
TRACE_ACCURACY = 2e-6  # of a distance to the surface
TRACE_ACCEPTED = 1e-4  # a grazing ray that came this close has met it


@ti.func
def _beyond_box(kind, shape, p):
    """How far `p` lies beyond the sides of the box before it grows: per axis, negative inside."""
    q = ti.abs(p) - ti.Vector([shape[0], shape[1], shape[2]])
    if kind >= CYLINDER:
        rho = ti.Vector([p[0], p[1]]).norm()
        q[0] = (ti.abs(rho - shape[3]) - shape[0] + shape[5] * p[2]) * shape[6]
        q[1] = q[0]
    return q


@ti.func
def signed_distance(kind, shape, p):
    """Distance from `p` to the solid, negative inside."""
    q = _beyond_box(kind, shape, p)
    inside = ti.min(q.max(), 0.0)
    q = ti.max(q, 0.0)
    if kind >= CYLINDER:
        q[1] = 0.0
    return q.norm() + inside - shape[4]


@ti.func
def surface_normal(kind, shape, p):
    """Outward unit normal at the surface point `p`."""
    q = _beyond_box(kind, shape, p)
    if shape[4] > 0.0:  # rounded: away from the nearest point of the box
        q = ti.max(q, 0.0)
    else:  # flat: of the side on which the point lies
        largest = q.max()
        q = ti.cast(q >= largest, float)
    n = q
    for i in ti.static(range(3)):
        if p[i] < 0.0:
            n[i] = -q[i]
    if kind >= CYLINDER:
        rho = ti.max(ti.Vector([p[0], p[1]]).norm(), 1e-12)
        side = q[0]
        if rho < shape[3]:
            side = -side
        n = ti.Vector([side * p[0] / rho, side * p[1] / rho, n[2] + side * shape[5]])
    return n.normalized()


@ti.func
def intersect(kind, shape, bound, o, d):
    """Distance along the ray, which starts outside, to the first point of the solid's surface, or FAR.

    `bound` is the radius of a sphere around the solid.
    """
    middle = -o.dot(d)
    closest = o + middle * d  # point of the ray nearest to the centre: small numbers keep their digits
    t = FAR
    if kind == CAPSULE:
        t = _capsule(shape, closest, d)
    else:
        reach = ti.sqrt(ti.max(bound * bound - closest.norm_sqr(), 0.0))
        across = ti.select(ti.abs(d[2]) < 1e-7, 1e-7, d[2])
        planes = -closest[2] / across  # between its lowest and its highest plane
        half = (shape[2] + shape[4]) / ti.abs(across)
        start, end = ti.max(-reach, planes - half), ti.min(reach, planes + half)
        if kind == CYLINDER:
            chord_middle, chord = _chord(shape[0], closest, d)
            enter = ti.max(chord_middle - ti.sqrt(ti.max(chord, 0.0)), planes - half)
            if chord > 0.0 and enter < ti.min(chord_middle + ti.sqrt(chord), planes + half):
                t = enter
        elif start < end:
            t = _sphere_trace(kind, shape, closest, d, start, end)
    if t < FAR:
        t += middle
        if t <= 0.0:
            t = FAR
    return t


@ti.func
def _chord(radius, o, d):
    """The ray's chord in an infinite cylinder: its middle, and half of it squared (negative: it misses)."""
    a = ti.max(d[0] * d[0] + d[1] * d[1], 1e-12)
    middle = -(o[0] * d[0] + o[1] * d[1]) / a
    x, y = o[0] + middle * d[0], o[1] + middle * d[1]
    return middle, (radius * radius - x * x - y * y) / a


@ti.func
def _capsule(shape, o, d):
    """The side, if the ray meets it between the ends, else the sphere at the end that it passes."""
    radius = shape[4]
    middle, chord = _chord(radius, o, d)
    t = FAR
    if chord > 0.0:
        t = middle - ti.sqrt(chord)
        z = o[2] + t * d[2]
        if ti.abs(z) >= shape[2]:
            end = ti.Vector([0.0, 0.0, shape[2]])
            if z < 0.0:
                end = -end
            middle = (end - o).dot(d)
            chord = radius * radius - (o + middle * d - end).norm_sqr()
            t = FAR
            if chord > 0.0:
                t = middle - ti.sqrt(chord)
    return t


@ti.func
def _sphere_trace(kind, shape, o, d, start, end):
    t = start
    distance = FAR
    for _ in range(TRACE_STEPS):
        distance = signed_distance(kind, shape, o + t * d)
        if distance < TRACE_ACCURACY or t > end:
            break
        t += distance
    if distance > TRACE_ACCEPTED or t > end:
        t = FAR
    return t
