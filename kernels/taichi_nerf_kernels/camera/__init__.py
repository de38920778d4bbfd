"""Rays from pixels and pixels from points, through lenses.

Notation
    pixel         (u, v), u to the right and v down, in pixels; the centre of the first pixel is (0.5, 0.5)
    intrinsics    x' = (u - cx) / fx, y' = (v - cy) / fy with focal (fx, fy) and principal (cx, cy) in pixels
    lens          (x', y') = distort(x, y); (x, y) to the right and down, free of distortion
    camera        OpenGL axes: x right, y up, z back
    pose          camera to world, [R | t]; a camera direction c gives direction = R c / |R c| and origin = t
    coefficients  k = (k1, k2, k3, k4, p1, p2)

Differentiable: origins and directions, by pose, focal and principal; those of `ndc_rays`, by the rays. Not: pixel,
distortion, lens, and what `ndc_rays` is told of the camera.
"""

from .gather import gather_rays, image_of_pixel
from .lens import FISHEYE, PERSPECTIVE, distort, undistort
from .ndc import ndc_rays_backward, ndc_rays_forward
from .rays import project_points, rays_backward, rays_forward
from .view import camera_direction, camera_direction_backward, project, world_direction

__all__ = [
    "FISHEYE",
    "PERSPECTIVE",
    "camera_direction",
    "camera_direction_backward",
    "distort",
    "gather_rays",
    "image_of_pixel",
    "ndc_rays_backward",
    "ndc_rays_forward",
    "project",
    "project_points",
    "rays_backward",
    "rays_forward",
    "undistort",
    "world_direction",
]
