"""Normalised device coordinates, for cameras that all look along -z: the frustum in front of the plane z = -near
becomes a cube, and a ray one whose t runs from 0 at that plane to 1 at infinity. With (fx, fy) focal lengths and (W, H)
the size of the pictures, s = (2 fx / W, 2 fy / H), and o moved along d onto the plane,

    origin = (s_x o_x / near, s_y o_y / near, -1),   direction = (-s_x (d_x / d_z + o_x / near), same for y, 2)

(Mildenhall et al. 2020, supplement C, with o_z = -near.)
"""

from ..engine import ti
from ..launch import kernel


@kernel
def ndc_rays_forward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3] with z below 0
    scale_x: float,
    scale_y: float,
    near: float,
    ndc_origins: ti.types.ndarray(ndim=2),  # [R, 3] out
    ndc_directions: ti.types.ndarray(ndim=2),  # [R, 3] out
):
    """The rays in normalised device coordinates."""
    for ray in range(origins.shape[0]):
        forward = near + origins[ray, 2]
        for axis in ti.static(range(2)):
            scale = ti.Vector([scale_x, scale_y])[axis]
            slope = directions[ray, axis] / directions[ray, 2]
            on_plane = (origins[ray, axis] - forward * slope) / near
            ndc_origins[ray, axis] = scale * on_plane
            ndc_directions[ray, axis] = -scale * (slope + on_plane)
        ndc_origins[ray, 2] = -1.0
        ndc_directions[ray, 2] = 2.0


@kernel
def ndc_rays_backward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    scale_x: float,
    scale_y: float,
    near: float,
    ndc_origins_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    ndc_directions_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    origins_gradient: ti.types.ndarray(ndim=2),  # [R, 3] out
    directions_gradient: ti.types.ndarray(ndim=2),  # [R, 3] out
):
    """Gradient with respect to origins and directions."""
    for ray in range(origins.shape[0]):
        forward = near + origins[ray, 2]
        at_forward, at_z = 0.0, 0.0
        for axis in ti.static(range(2)):
            scale = ti.Vector([scale_x, scale_y])[axis]
            slope = directions[ray, axis] / directions[ray, 2]
            at_plane = scale * (ndc_origins_gradient[ray, axis] - ndc_directions_gradient[ray, axis]) / near
            at_slope = -scale * ndc_directions_gradient[ray, axis] - forward * at_plane
            origins_gradient[ray, axis] = at_plane
            directions_gradient[ray, axis] = at_slope / directions[ray, 2]
            at_forward -= slope * at_plane
            at_z -= at_slope * slope / directions[ray, 2]
        origins_gradient[ray, 2] = at_forward
        directions_gradient[ray, 2] = at_z
