"""Rays of equirectangular pictures, which show all directions, for one eye or for either of two.

    u - cx = fx yaw      yaw to the right of where the camera looks, in [-pi, pi) over a whole turn
    cy - v = fy height   the angle above the horizon, in [-pi / 2, pi / 2]
    c = (cos height sin yaw, sin height, -cos height cos yaw)      camera axes: x right, y up, z back

Focal lengths are in pixels per radian. An eye lies on a circle around the camera, on the right (or left) of wherever it
looks: its rays begin at `eye` (cos yaw, 0, sin yaw), the viewing circle of omnidirectional stereo (Peleg et al. 2001).
Towards the poles, where a right and a left are no longer, the eyes come together, as in Blender.
"""

import math

import torch
from torch import Tensor

from .cones import PIXEL

__all__ = ["panorama_rays"]

APART, TOGETHER = math.radians(60), math.radians(75)  # heights between which the eyes come together


def panorama_rays(place: Tensor, pose: Tensor, focal: Tensor, principal: Tensor, *,
                  eye: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Origins [R, 3], unit directions [R, 3] and radii [R] of the cones at distance 1 at places [R, 2] of a picture.

    Args:
        place: (u, v) in pixels. pose: [3, 4] camera to world. focal: [2] pixels per radian. principal: [2] pixels.
        eye: radius of the viewing circle, below 0 for the left eye, in units of the world.
    """
    yaw, height = ((place - principal) / focal).unbind(dim=1)
    height = -height
    level = torch.stack([yaw.sin(), torch.zeros_like(yaw), -yaw.cos()], dim=1)  # where it looks, along the horizon
    right = torch.stack([yaw.cos(), torch.zeros_like(yaw), yaw.sin()], dim=1)
    up = torch.tensor([0.0, 1.0, 0.0]).to(place)
    directions = height.cos()[:, None] * level + height.sin()[:, None] * up
    apart = ((height.abs() - APART) / (TOGETHER - APART)).clamp(0, 1).mul(math.pi / 2).cos()  # 1 to 0
    origins = (eye * apart)[:, None] * right
    step = (height.cos().abs() / focal[0] + 1 / focal[1]) / 2  # mean of a pixel's width and height on the unit sphere
    return origins @ pose[:, :3].T + pose[:, 3], directions @ pose[:, :3].T, PIXEL * step
