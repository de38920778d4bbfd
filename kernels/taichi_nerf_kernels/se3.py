"""Rigid motions from twists: the exponential map of se(3).

A twist (w, v) is the velocity of a rigid body: w its rotation about the origin, axis times angle in radians, and v the
velocity of the origin. Moved for a unit of time, a point x comes to R x + p:

    s = |w|^2,  w^ the matrix of the cross product,  w^ w^ = w w^T - s I
    R = I + c1 w^ + c2 w^ w^
    p = v + c2 w x v + c3 w x (w x v)

    c_n(s) = sum_k (-s)^k / (2k + n)!       c0 = cos |w|, c1 = sin |w| / |w|, c2 = (1 - cos |w|) / |w|^2, ..

The c_n are Stumpff's functions. They are entire in s: neither R, p nor their derivatives have anything special at
w = 0, though the closed forms divide by zero there and cancel near it. So for s < 1 the series gives c4 and c5 to the
last digit and the recurrence runs downwards, beyond it runs upwards from the closed forms:

    c_n = 1 / n! - s c_{n+2},     dc_n / ds = (n c_{n+2} - c_{n+1}) / 2

With G = dL/dR and g = dL/dp,

    dL/dv = g - c2 w x g + c3 w x (w x g)
    dL/dw = c1 (G_zy - G_yz, G_xz - G_zx, G_yx - G_xy) + c2 ((G + G^T) w - 2 tr(G) w + v x g)
            + c3 ((w.v) g + (g.w) v - 2 (g.v) w) + 2 w (c1' G:w^ + c2' (G:w^w^ + g.(w x v)) + c3' g.(w x (w x v)))

A point x, wherever its twist comes from, is displaced by what its velocity q = w x x + v adds up to on the way,

    d = V(w) q,     V(w) = I + c2 w^ + c3 w^ w^

which divides by nothing, and is as exact for hardly any motion as for a large one. Where twists depend on x its slopes
are the derivatives of d along w_j, v_j and e_j, so that those of R and p are never asked for. The backward pass of a
slope is that of d, itself differentiated in that direction: the gradient of g.(V q),

    dL/dq = V(-w) g
    dL/dw = c2 q x g + c3 ((w x q) x g + q x (g x w)) + 2 w (c2' g.(w x q) + c3' g.(w x (w x q)))

Murray, Li and Sastry 1994, A mathematical introduction to robotic manipulation, section 2.3; Stumpff 1959.
"""

import math

from .engine import ti
from .launch import kernel

__all__ = ["displacement_backward", "displacement_forward", "exponential", "exponential_backward", "se3_backward",
           "se3_forward", "slopes_backward", "slopes_forward", "stumpff"]

TERMS = 9  # of the series of c4 and c5 for s < 1: the next is below 1e-20


@ti.func
def _series(s, n: ti.template()):
    """c_n(s) for s < 1."""
    total = 0.0
    for k in ti.static(range(TERMS - 1, -1, -1)):
        total = ti.static(1 / math.factorial(2 * k + n)) - s * total
    return total


@ti.func
def stumpff(s):
    """(c1, c2, c3, c4, c5) at s >= 0."""
    c = ti.Vector([0.0, 0.0, 0.0, 0.0, 0.0])
    if s < 1.0:
        c[3] = _series(s, 4)
        c[4] = _series(s, 5)
        c[2] = 1.0 / 6.0 - s * c[4]
        c[1] = 0.5 - s * c[3]
        c[0] = 1.0 - s * c[2]
    else:
        angle = ti.sqrt(s)
        c[0] = ti.sin(angle) / angle
        c[1] = (1.0 - ti.cos(angle)) / s
        c[2] = (1.0 - c[0]) / s
        c[3] = (0.5 - c[1]) / s
        c[4] = (1.0 / 6.0 - c[2]) / s
    return c


@ti.func
def _cross_matrix(w):
    return ti.Matrix([[0.0, -w.z, w.y], [w.z, 0.0, -w.x], [-w.y, w.x, 0.0]])


@ti.func
def exponential(w, v):
    """R and p of a twist."""
    s = w.dot(w)
    c = stumpff(s)
    identity = ti.Matrix.identity(float, 3)
    rotation = identity + c[0] * _cross_matrix(w) + c[1] * (w.outer_product(w) - s * identity)
    position = v + c[1] * w.cross(v) + c[2] * (w.dot(v) * w - s * v)
    return rotation, position


@ti.func
def exponential_backward(w, v, rotation_gradient, position_gradient):
    """Gradients with respect to w and v, given those of R and p."""
    s = w.dot(w)
    c = stumpff(s)
    turn, g = rotation_gradient, position_gradient
    trace = turn.trace()
    axial = ti.Vector([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    at_c1 = axial.dot(w)
    at_c2 = w.dot(turn @ w) - s * trace + g.dot(w.cross(v))
    at_c3 = g.dot(w) * w.dot(v) - s * g.dot(v)
    # c_n' = (n c_{n+2} - c_{n+1}) / 2, and ds = 2 w.dw
    at_s = 0.5 * (at_c1 * (c[2] - c[1]) + at_c2 * (2.0 * c[3] - c[2]) + at_c3 * (3.0 * c[4] - c[3]))
    at_w = (c[0] * axial + c[1] * (turn @ w + turn.transpose() @ w - 2.0 * trace * w + v.cross(g))
            + c[2] * (w.dot(v) * g + g.dot(w) * v - 2.0 * g.dot(v) * w) + 2.0 * at_s * w)
    at_v = g - c[1] * w.cross(g) + c[2] * (w.dot(g) * w - s * g)
    return at_w, at_v


@kernel
def se3_forward(
    twists: ti.types.ndarray(ndim=2),  # [N, 6] rotation, velocity
    transforms: ti.types.ndarray(ndim=3),  # [N, 3, 4] out: R | p
):
    """The rigid motion of every twist."""
    for n in range(twists.shape[0]):
        rotation, position = exponential(ti.Vector([twists[n, 0], twists[n, 1], twists[n, 2]]),
                                         ti.Vector([twists[n, 3], twists[n, 4], twists[n, 5]]))
        for i in ti.static(range(3)):
            for j in ti.static(range(3)):
                transforms[n, i, j] = rotation[i, j]
            transforms[n, i, 3] = position[i]


@kernel
def se3_backward(
    twists: ti.types.ndarray(ndim=2),  # [N, 6]
    transforms_gradient: ti.types.ndarray(ndim=3),  # [N, 3, 4]
    twists_gradient: ti.types.ndarray(ndim=2),  # [N, 6] out
):
    """Gradient with respect to the twists."""
    for n in range(twists.shape[0]):
        at_rotation = ti.Matrix([[transforms_gradient[n, i, j] for j in range(3)] for i in range(3)])
        at_position = ti.Vector([transforms_gradient[n, i, 3] for i in range(3)])
        at_w, at_v = exponential_backward(ti.Vector([twists[n, 0], twists[n, 1], twists[n, 2]]),
                                          ti.Vector([twists[n, 3], twists[n, 4], twists[n, 5]]), at_rotation,
                                          at_position)
        for i in ti.static(range(3)):
            twists_gradient[n, i] = at_w[i]
            twists_gradient[n, 3 + i] = at_v[i]


@ti.func
def _powers(w, q, a, b):
    """V(w) q with a and b in the place of c2 and c3, and without q itself."""
    turned = w.cross(q)
    return a * turned + b * w.cross(turned)


@ti.func
def _powers_along(w, q, dw, dq, a, b):
    """Its derivative along dw and dq."""
    turned, turning = w.cross(q), dw.cross(q) + w.cross(dq)
    return a * turning + b * (dw.cross(turned) + w.cross(turning))


@ti.func
def _to_rotation(w, q, g, a, b):
    """Gradient of g . _powers with respect to w, but for what a and b are of."""
    return a * q.cross(g) + b * (w.cross(q).cross(g) + q.cross(g.cross(w)))


@ti.func
def _to_rotation_along(w, q, g, dw, dq, a, b):
    """Its derivative along dw and dq."""
    turning = dw.cross(q) + w.cross(dq)
    return a * dq.cross(g) + b * (turning.cross(g) + dq.cross(g.cross(w)) + q.cross(g.cross(dw)))


@ti.func
def travel(w, q):
    """V(w) q."""
    c = stumpff(w.dot(w))
    return q + _powers(w, q, c[1], c[2])


@ti.func
def travel_backward(w, q, g):
    """Gradients of g . V(w) q with respect to w and q."""
    c = stumpff(w.dot(w))
    slope2, slope3 = 0.5 * (2.0 * c[3] - c[2]), 0.5 * (3.0 * c[4] - c[3])  # of c2 and c3
    at_w = _to_rotation(w, q, g, c[1], c[2]) + 2.0 * g.dot(_powers(w, q, slope2, slope3)) * w
    return at_w, g + _powers(-w, g, c[1], c[2])


@ti.func
def travel_along(w, q, dw, dq):
    """Derivative of V(w) q along dw and dq."""
    c = stumpff(w.dot(w))
    slope2, slope3 = 0.5 * (2.0 * c[3] - c[2]), 0.5 * (3.0 * c[4] - c[3])
    ds = 2.0 * w.dot(dw)
    return dq + _powers_along(w, q, dw, dq, c[1], c[2]) + ds * _powers(w, q, slope2, slope3)


@ti.func
def travel_backward_along(w, q, g, dw, dq):
    """Derivative of `travel_backward` along dw and dq: gradients of g . `travel_along` with respect to w and q."""
    s = w.dot(w)
    c = stumpff(s)
    c6, c7 = 0.0, 0.0
    if s < 1.0:
        c6, c7 = _series(s, 6), _series(s, 7)
    else:
        c6, c7 = (1.0 / 24.0 - c[3]) / s, (1.0 / 120.0 - c[4]) / s
    slope2, slope3 = 0.5 * (2.0 * c[3] - c[2]), 0.5 * (3.0 * c[4] - c[3])
    slope4, slope5 = 0.5 * (4.0 * c6 - c[4]), 0.5 * (5.0 * c7 - c6)
    bend2, bend3 = 0.5 * (2.0 * slope4 - slope3), 0.5 * (3.0 * slope5 - slope4)  # of slope2 and slope3
    ds = 2.0 * w.dot(dw)
    at_s = g.dot(_powers(w, q, slope2, slope3))
    at_s_along = g.dot(_powers_along(w, q, dw, dq, slope2, slope3)) + ds * g.dot(_powers(w, q, bend2, bend3))
    at_w = (_to_rotation_along(w, q, g, dw, dq, c[1], c[2]) + ds * _to_rotation(w, q, g, slope2, slope3)
            + 2.0 * (at_s * dw + at_s_along * w))
    at_q = _powers_along(-w, g, -dw, ti.Vector([0.0, 0.0, 0.0]), c[1], c[2]) + ds * _powers(-w, g, slope2, slope3)
    return at_w, at_q


@ti.func
def _three(values: ti.template(), n, start: ti.template()):
    return ti.Vector([values[n, start + i] for i in range(3)])


@kernel
def displacement_forward(
    twists: ti.types.ndarray(ndim=2),  # [N, 6]
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    moved: ti.types.ndarray(ndim=2),  # [N, 3] out
):
    """By how much each point is displaced by its twist."""
    for n in range(twists.shape[0]):
        w, v, x = _three(twists, n, 0), _three(twists, n, 3), _three(points, n, 0)
        d = travel(w, v + w.cross(x))
        for i in ti.static(range(3)):
            moved[n, i] = d[i]


@kernel
def displacement_backward(
    twists: ti.types.ndarray(ndim=2),  # [N, 6]
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    moved_gradient: ti.types.ndarray(ndim=2),  # [N, 3]
    twists_gradient: ti.types.ndarray(ndim=2),  # [N, 6] out
    points_gradient: ti.types.ndarray(ndim=2),  # [N, 3] out
):
    """Gradients with respect to twists and points."""
    for n in range(twists.shape[0]):
        w, v, x = _three(twists, n, 0), _three(twists, n, 3), _three(points, n, 0)
        at_w, at_q = travel_backward(w, v + w.cross(x), _three(moved_gradient, n, 0))
        at_w += x.cross(at_q)
        at_x = at_q.cross(w)
        for i in ti.static(range(3)):
            twists_gradient[n, i] = at_w[i]
            twists_gradient[n, 3 + i] = at_q[i]
            points_gradient[n, i] = at_x[i]


@kernel
def slopes_forward(
    twists: ti.types.ndarray(ndim=2),  # [N, 6]
    tangents: ti.types.ndarray(ndim=3),  # [N, 3, 6] derivative of the twist along each axis
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    slopes: ti.types.ndarray(ndim=3),  # [N, 3, 3] out: of the displacement, along each axis
):
    """Derivatives of the displacement along the three axes, where the twists change from point to point."""
    for n in range(twists.shape[0]):
        w, v, x = _three(twists, n, 0), _three(twists, n, 3), _three(points, n, 0)
        for j in range(3):
            dw = ti.Vector([tangents[n, j, i] for i in range(3)])
            dv = ti.Vector([tangents[n, j, 3 + i] for i in range(3)])
            axis = ti.Vector([ti.select(i == j, 1.0, 0.0) for i in range(3)])
            slope = travel_along(w, v + w.cross(x), dw, dv + dw.cross(x) + w.cross(axis))
            for i in ti.static(range(3)):
                slopes[n, i, j] = slope[i]


@kernel
def slopes_backward(
    twists: ti.types.ndarray(ndim=2),  # [N, 6]
    tangents: ti.types.ndarray(ndim=3),  # [N, 3, 6]
    points: ti.types.ndarray(ndim=2),  # [N, 3]
    slopes_gradient: ti.types.ndarray(ndim=3),  # [N, 3, 3]
    twists_gradient: ti.types.ndarray(ndim=2),  # [N, 6] out
    tangents_gradient: ti.types.ndarray(ndim=3),  # [N, 3, 6] out
    points_gradient: ti.types.ndarray(ndim=2),  # [N, 3] out
):
    """Gradients with respect to twists, their derivatives and the points."""
    for n in range(twists.shape[0]):
        w, v, x = _three(twists, n, 0), _three(twists, n, 3), _three(points, n, 0)
        q = v + w.cross(x)
        all_w, all_v, all_x = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        for j in range(3):
            g = ti.Vector([slopes_gradient[n, i, j] for i in range(3)])
            dw = ti.Vector([tangents[n, j, i] for i in range(3)])
            dv = ti.Vector([tangents[n, j, 3 + i] for i in range(3)])
            axis = ti.Vector([ti.select(i == j, 1.0, 0.0) for i in range(3)])
            at_dw, at_dq = travel_backward(w, q, g)
            at_w, at_q = travel_backward_along(w, q, g, dw, dv + dw.cross(x) + w.cross(axis))
            at_dw += x.cross(at_dq)
            all_w += at_w + x.cross(at_q) + axis.cross(at_dq)
            all_v += at_q
            all_x += at_q.cross(w) + at_dq.cross(dw)
            for i in ti.static(range(3)):
                tangents_gradient[n, j, i] = at_dw[i]
                tangents_gradient[n, j, 3 + i] = at_dq[i]
        for i in ti.static(range(3)):
            twists_gradient[n, i] = all_w[i]
            twists_gradient[n, 3 + i] = all_v[i]
            points_gradient[n, i] = all_x[i]
