"""One camera: the direction in which a pixel looks, and the pixel that sees a point."""

from ..engine import ti
from .lens import FISHEYE, bend, bend_backward, distort, undistort, undistort_backward, unfolded

SHEET_CHECKS = 8


@ti.func
def camera_direction(pixel, focal, principal, k, lens):
    """Direction in which `pixel` looks, in camera axes, not of unit length; and its undistorted point."""
    p = (pixel - principal) / focal
    if k.norm_sqr() > 0.0:
        p = undistort(p, k, lens)
    return bend(p, lens), p


@ti.func
def camera_direction_backward(pixel, focal, principal, k, lens, p, gradient):
    """Gradients of focal and principal from that of `camera_direction`; `p` is its second result."""
    target = (pixel - principal) / focal
    g = bend_backward(p, lens, gradient)
    if k.norm_sqr() > 0.0:
        g = undistort_backward(p, target, k, lens, g)
    return -g * target / focal, -g / focal


@ti.func
def world_direction(rotation, c):
    """Unit direction in the world."""
    return (rotation @ c).normalized()


@ti.func
def project(point, rotation, translation, focal, principal, k, lens):
    """Pixel that sees the world point, its depth along the optical axis, and 1 if the lens shows it, else 0.

    The lens shows what lies before it (perspective) and inside the first fold of its distortion; whether the
    pixel lies inside the picture is for the caller to see.
    """
    c = rotation.transpose() @ (point - translation)
    depth = -c[2]
    p = ti.Vector([c[0], -c[1]])
    visible = 1
    if lens == FISHEYE:
        r = p.norm()
        if r > 0.0:
            p *= ti.atan2(r, depth) / r
    else:
        visible = ti.cast(depth > 1e-6, int)
        p /= ti.max(depth, 1e-6)
    distorted, _ = distort(p, k, lens)
    if visible == 1 and k.norm_sqr() > 0.0:
        visible = on_first_sheet(p, k, lens)
    return principal + focal * distorted, depth, visible


@ti.func
def on_first_sheet(p, k, lens):
    """1 if the lens does not fold anywhere between the axis and `p`, as far as a few points tell, else 0."""
    inside = 1
    for i in range(SHEET_CHECKS):
        q = p * ((i + 1.0) / SHEET_CHECKS)
        _, jacobian = distort(q, k, lens)
        if not unfolded(q, jacobian, lens):
            inside = 0
    return inside
