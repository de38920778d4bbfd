"""Gaussians of conical frustums in plain PyTorch: what `taichi_nerf.ops.conical_frustum` must equal."""

import math

import torch

from .camera import camera_direction, undistort


def frustum_moments(fenceposts, radius, shape="cone"):
    """t_mean, t_variance, radial_variance [R, S]: the moments of the solid, power after power of its end points.

    For a cone the area of a section grows with t^2, so that the mean of t^n is the integral of t^(n + 2) over that of
    t^2. These are the textbook formulas, which lose digits where the interval is short.
    """
    t_0, t_1, radius = fenceposts[:, :-1], fenceposts[:, 1:], radius[:, None]
    if shape == "cylinder":
        return (t_0 + t_1) / 2, (t_1 - t_0) ** 2 / 12, (radius**2 / 4).expand_as(t_0)

    def integral(n):
        return (t_1 ** (n + 1) - t_0 ** (n + 1)) / (n + 1)

    t_mean, t_square = integral(3) / integral(2), integral(4) / integral(2)
    return t_mean, t_square - t_mean**2, radius**2 / 4 * t_square


def frustum_gaussians(fenceposts, origins, directions, radius, shape="cone"):
    """mean and diagonal variance [R, S, 3]."""
    t_mean, t_variance, radial_variance = (m[..., None] for m in frustum_moments(fenceposts, radius, shape))
    d = directions[:, None]
    square = d**2
    mean = origins[:, None] + t_mean * d
    return mean, t_variance * square + radial_variance * (1 - square / square.sum(-1, keepdim=True))


def cone_radii(image_index, pixel, focal, principal, distortion, lens):
    """Radius [R] at unit distance of the cone of each pixel."""
    n = image_index.long()

    def direction(u, v):
        target = (pixel + pixel.new_tensor([u, v]) - principal[n]) / focal[n]
        return camera_direction(undistort(target, distortion[n], lens[n]), lens[n])

    here = direction(0, 0)
    width = ((direction(1, 0) - here).norm(dim=1) + (direction(0, 1) - here).norm(dim=1)) / 2
    return 2 / math.sqrt(12) * width / here.norm(dim=1)


def points_in_frustum(t_0, t_1, origin, direction, radius, count, generator):
    """[count, 3] points drawn uniformly from one conical frustum."""
    u = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    t = (t_0**3 + u[:, 0] * (t_1**3 - t_0**3)) ** (1 / 3)
    across = torch.linalg.svd(direction[None])[2][1:]  # two unit vectors perpendicular to the direction
    distance, angle = radius * t * u[:, 1].sqrt(), 2 * math.pi * u[:, 2]
    disc = torch.stack([distance * angle.cos(), distance * angle.sin()], dim=1)
    return origin + t[:, None] * direction + disc @ across
