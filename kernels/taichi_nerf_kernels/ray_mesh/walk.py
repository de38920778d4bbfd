"""Rays through the hierarchy, nearest half first, and the gradients of their distances."""

from ..bounds import entry_in, is_finite
from ..engine import ti
from ..launch import kernel

MISS = -1  # the triangle of a ray that meets none
FAR = 1e30  # its distance, in place of infinity, which fast arithmetic does not know
PARALLEL = 1e-20  # of a direction's component: as good as 0
WIDER = 1.0 + 5e-7  # by which a ray leaves a box later than computed: what rounding may take from it
FLATTEST = 1e-30  # |d.n| below it has no gradient


@ti.func
def _row(array: ti.template(), n, first: ti.template()):
    return ti.Vector([array[n, first + i] for i in range(3)])


@ti.func
def _inverse(d):
    """1 / d of each component, finite: where it is (nearly) 0 the slab is left far away on either side."""
    result = 0.0 * d
    for i in ti.static(range(3)):
        x = d[i]
        if ti.abs(x) < PARALLEL:
            x = PARALLEL if x >= 0.0 else -PARALLEL
        result[i] = 1.0 / x
    return result


@ti.func
def _entry(boxes: ti.template(), node, o, inverse, near, limit):
    """Where the ray enters the box of a node, or FAR if it does not meet it between `near` and `limit`."""
    a = (_row(boxes, node, 0) - o) * inverse
    b = (_row(boxes, node, 3) - o) * inverse
    first, last = ti.min(a, b).max(), ti.max(a, b).min() * WIDER
    first = ti.max(first, near)
    return first if first <= ti.min(last, limit) else FAR * 1.0


@ti.func
def _side(p, q, rounding):
    """p_x q_y - p_y q_x, 0 where that may be rounding: an edge belongs to both triangles that share it."""
    a, b = p[0] * q[1], p[1] * q[0]
    value = a - b
    return value if ti.abs(value) > rounding * (ti.abs(a) + ti.abs(b)) else 0.0 * value


@ti.func
def _corner(corners: ti.template(), slot, first: ti.template(), o, axes, shear):
    """A corner as the ray sees it: across it, across it, and along its longest axis."""
    z = corners[slot, first + axes[2]] - o[2]
    return ti.Vector([corners[slot, first + axes[0]] - o[0] - shear[0] * z,
                      corners[slot, first + axes[1]] - o[1] - shear[1] * z, z])


@ti.func
def _meet(corners: ti.template(), slot, o, axes, shear, rounding):
    """(t, b_1, b_2) of the triangle, and whether its plane is met within it; `o` in the order of `axes`."""
    a = _corner(corners, slot, 0, o, axes, shear)
    b = _corner(corners, slot, 3, o, axes, shear)
    c = _corner(corners, slot, 6, o, axes, shear)
    u, v, w = _side(b, c, rounding), _side(c, a, rounding), _side(a, b, rounding)
    whole = u + v + w
    within = (ti.min(u, v, w) >= 0.0 or ti.max(u, v, w) <= 0.0) and whole != 0.0
    t, b1, b2 = 0.0 * u, 0.0 * u, 0.0 * u
    if within:
        t = shear[2] * (u * a[2] + v * b[2] + w * c[2]) / whole
        b1, b2 = v / whole, w / whole
    return t, b1, b2, within


@ti.func
def _axes(d):
    """Two axes and, last, the one along which the direction reaches farthest, in cyclic order."""
    x, y, z = ti.abs(d[0]), ti.abs(d[1]), ti.abs(d[2])
    last = 2
    if x >= ti.max(y, z):
        last = 0
    elif y >= z:
        last = 1
    return ti.Vector([(last + 1) % 3, (last + 2) % 3, last])


@ti.func
def _is_sound(o, d):
    sound = d.norm_sqr() > 0.0
    for i in ti.static(range(3)):
        sound = sound and is_finite(o[i]) and is_finite(d[i])
    return sound


@ti.func
def _next(node, trail):
    """The node to go on with when all of `node` is done: the sibling nearest above that is still to come; 0: none."""
    while node > 1 and trail & 1 == 0:
        node >>= 1
        trail >>= 1
    return (node ^ 1, trail ^ 1) if node > 1 else (0, 0)


@kernel
def ray_mesh_forward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    limit: ti.types.ndarray(ndim=1),  # [R] hits lie before it
    near: float,
    boxes: ti.types.ndarray(ndim=2),  # [2^(D+1), 6]
    starts: ti.types.ndarray(ndim=1),  # [2^D + 1] i32
    corners: ti.types.ndarray(ndim=2),  # [F, 9]
    order: ti.types.ndarray(ndim=1),  # [F] i32
    rounding: float,  # relative error of a sum of two products
    t: ti.types.ndarray(ndim=1),  # out [R]: FAR where nothing is met
    triangle: ti.types.ndarray(ndim=1),  # out [R] i32: MISS where nothing is met
    barycentric: ti.types.ndarray(ndim=2),  # out [R, 3]: 0 where nothing is met
    any_hit: ti.template(),  # any triangle will do, not the nearest
):
    """The first triangle that each ray meets. F must be above 0."""
    for ray in range(origins.shape[0]):
        o, d = _row(origins, ray, 0), _row(directions, ray, 0)
        inverse, leaves = _inverse(d), starts.shape[0] - 1
        best, slot, b1, b2 = ti.min(limit[ray], FAR), MISS, 0.0, 0.0
        axes = _axes(d)
        shear = ti.Vector([directions[ray, axes[0]], directions[ray, axes[1]], 1.0]) / directions[ray, axes[2]]
        start = ti.Vector([origins[ray, axes[0]], origins[ray, axes[1]], origins[ray, axes[2]]])
        node, trail = 0, 0
        if _is_sound(o, d) and _entry(boxes, 1, o, inverse, near, best) < FAR:
            node = 1
        while node > 0:
            if node >= leaves:
                begin = entry_in(starts[node - leaves], corners.shape[0])
                end = ti.min(starts[node - leaves + 1], corners.shape[0])
                for k in range(begin, end):
                    at, c1, c2, within = _meet(corners, k, start, axes, shear, rounding)
                    if within and at >= near and at < best:
                        best, slot, b1, b2 = at, k, c1, c2
                if ti.static(any_hit):
                    if slot != MISS:
                        node = 1  # where the walk ends
                        trail = 0
                node, trail = _next(node, trail)
            else:
                first = _entry(boxes, 2 * node, o, inverse, near, best)
                second = _entry(boxes, 2 * node + 1, o, inverse, near, best)
                if ti.min(first, second) >= FAR:
                    node, trail = _next(node, trail)
                else:
                    node = 2 * node + (1 if second < first else 0)
                    trail = 2 * trail + (1 if ti.max(first, second) < FAR else 0)
        t[ray] = FAR
        triangle[ray] = MISS
        for i in ti.static(range(3)):
            barycentric[ray, i] = 0.0
        if slot != MISS:
            t[ray] = best
            triangle[ray] = order[slot]
            barycentric[ray, 0] = 1.0 - b1 - b2
            barycentric[ray, 1] = b1
            barycentric[ray, 2] = b2


@kernel
def ray_mesh_backward(
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    vertices: ti.types.ndarray(ndim=2),  # [V, 3]
    faces: ti.types.ndarray(ndim=2),  # [F, 3] i32
    t: ti.types.ndarray(ndim=1),  # [R]
    triangle: ti.types.ndarray(ndim=1),  # [R] i32
    barycentric: ti.types.ndarray(ndim=2),  # [R, 3]
    t_gradient: ti.types.ndarray(ndim=1),  # [R]
    origins_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    directions_gradient: ti.types.ndarray(ndim=2),  # out [R, 3]
    vertices_gradient: ti.types.ndarray(ndim=2),  # [V, 3], added to
    serial: ti.template(),  # sum in the order of the rays by one thread (a CPU), else by atomic adds (a GPU)
):
    """dt/do = -n / d.n, dt/dd = t dt/do, dt/dv_i = -b_i dt/do."""
    for ray in range(directions.shape[0]):
        g = ti.Vector([0.0, 0.0, 0.0])
        if triangle[ray] >= 0:
            face = entry_in(triangle[ray], faces.shape[0])
            v0 = _row(vertices, entry_in(faces[face, 0], vertices.shape[0]), 0)
            v1 = _row(vertices, entry_in(faces[face, 1], vertices.shape[0]), 0)
            v2 = _row(vertices, entry_in(faces[face, 2], vertices.shape[0]), 0)
            n = (v1 - v0).cross(v2 - v0)
            fall = n.dot(_row(directions, ray, 0))
            if ti.abs(fall) > FLATTEST:
                g = -t_gradient[ray] / fall * n
        for i in ti.static(range(3)):
            origins_gradient[ray, i] = g[i]
            directions_gradient[ray, i] = t[ray] * g[i]
    ti.loop_config(serialize=serial)
    for ray in range(directions.shape[0]):
        if triangle[ray] >= 0:
            face = entry_in(triangle[ray], faces.shape[0])
            for k in ti.static(range(3)):
                v = entry_in(faces[face, k], vertices.shape[0])
                for i in ti.static(range(3)):
                    value = -barycentric[ray, k] * origins_gradient[ray, i]
                    if ti.static(serial):
                        vertices_gradient[v, i] = vertices_gradient[v, i] + value
                    else:
                        ti.atomic_add(vertices_gradient[v, i], value)
