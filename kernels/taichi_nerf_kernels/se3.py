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

Murray, Li and Sastry 1994, A mathematical introduction to robotic manipulation, section 2.3; Stumpff 1959.
"""

import math

from .engine import ti
from .launch import kernel

__all__ = ["exponential", "exponential_backward", "se3_backward", "se3_forward", "stumpff"]

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
