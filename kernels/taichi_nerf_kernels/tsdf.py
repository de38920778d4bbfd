"""Truncated signed distances: depth pictures become a surface on a grid.

    V views of H x W pixels, each a distance along its ray; a grid of N0 x N1 x N2 places x, `cell` apart

    r     distance of x from the camera of a view, (u, v) the pixel that it falls into
    d     distance that the view has there, between pixels where the four around belong to one surface
    s     (d - r) / truncation: 1 and more in front of the surface, 0 on it, negative behind it
    sum       += w min(s, 1)   for s > -1; what lies farther behind is hidden from the view
    weight    += w
    w     the pixel's weight, behind the surface times 1 + s: less is known of what it hides

sum / weight is zero on the surface. A pixel that shows no surface has a distance of BEYOND or more, and says that all
that it sees is in front of one. Cameras are pinholes, OpenGL axes, pixel centres at + 0.5.

One task per place. Curless and Levoy 1996 (A Volumetric Method for Building Complex Models from Range Images).
"""

from .bounds import entry_in, is_finite
from .engine import ti
from .launch import kernel

BEYOND = 1e9
NEAR = 1e-6  # along the optical axis


@ti.func
def _sampled(distance: ti.template(), view, u, v, truncation):
    """Distance of a view at (u, v), which lies in its picture: from the four pixels around where these are of one
    surface, else of the pixel itself."""
    height, width = distance.shape[1], distance.shape[2]
    found = distance[view, entry_in(ti.floor(v, int), height), entry_in(ti.floor(u, int), width)]
    x0, y0 = ti.floor(u - 0.5, int), ti.floor(v - 0.5, int)
    if x0 >= 0 and y0 >= 0 and x0 + 1 < width and y0 + 1 < height:
        a, b = distance[view, y0, x0], distance[view, y0, x0 + 1]
        c, d = distance[view, y0 + 1, x0], distance[view, y0 + 1, x0 + 1]
        lowest, highest = ti.min(ti.min(a, b), ti.min(c, d)), ti.max(ti.max(a, b), ti.max(c, d))
        if highest < BEYOND and highest - lowest < truncation:
            x, y = u - 0.5 - x0, v - 0.5 - y0
            found = (1.0 - y) * ((1.0 - x) * a + x * b) + y * ((1.0 - x) * c + x * d)
    return found


@kernel
def integrate_depth(
    distance: ti.types.ndarray(ndim=3),  # [V, H, W] along the rays
    pixel_weight: ti.types.ndarray(ndim=3),  # [V, H, W] >= 0
    camera_to_world: ti.types.ndarray(ndim=3),  # [V, 3, 4]
    focal: ti.types.ndarray(ndim=2),  # [V, 2]
    principal: ti.types.ndarray(ndim=2),  # [V, 2]
    corner: ti.types.ndarray(ndim=1),  # [3] the first place
    total: ti.types.ndarray(ndim=3),  # in out [N0, N1, N2] sum of w min(s, 1)
    weight: ti.types.ndarray(ndim=3),  # in out [N0, N1, N2] sum of w
    cell: float,
    truncation: float,
):
    """Add what the views know to a grid."""
    for i, j, k in total:
        place = ti.Vector([corner[0] + cell * i, corner[1] + cell * j, corner[2] + cell * k])
        added, weighed = 0.0, 0.0
        for view in range(distance.shape[0]):
            away = place - ti.Vector([camera_to_world[view, axis, 3] for axis in range(3)])
            right, up, back = 0.0, 0.0, 0.0
            for axis in ti.static(range(3)):
                right += camera_to_world[view, axis, 0] * away[axis]
                up += camera_to_world[view, axis, 1] * away[axis]
                back += camera_to_world[view, axis, 2] * away[axis]
            if -back > NEAR:
                u = principal[view, 0] - focal[view, 0] * right / back
                v = principal[view, 1] + focal[view, 1] * up / back
                if u >= 0.0 and v >= 0.0 and u < distance.shape[2] and v < distance.shape[1]:
                    d = _sampled(distance, view, u, v, truncation)
                    w = pixel_weight[view, entry_in(ti.floor(v, int), distance.shape[1]),
                                     entry_in(ti.floor(u, int), distance.shape[2])]
                    s = (d - away.norm()) / truncation
                    if is_finite(d) and is_finite(w) and s > -1.0:
                        w *= ti.min(1.0 + s, 1.0)
                        added += w * ti.min(s, 1.0)
                        weighed += w
        total[i, j, k] += added
        weight[i, j, k] += weighed
