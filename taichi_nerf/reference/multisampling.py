"""Six points of a conical frustum in plain PyTorch, by the paper's formulas: what `taichi_nerf.ops.multisampling` must
equal."""

import math

import torch

from .random import uniform

ORDER = (0, 2, 4, 3, 5, 1)


def distances(t_0, t_1):
    """t_j [N, 6]."""
    s, d = (t_0[:, None] + t_1[:, None]) / 2, (t_1[:, None] - t_0[:, None]) / 2
    j = torch.arange(6, dtype=t_0.dtype, device=t_0.device)
    spread = 3 / math.sqrt(7) * (2 * j / 5 - 1) * ((d**2 - s**2) ** 2 + 4 * s**4).sqrt()
    return t_0[:, None] + d / (d**2 + 3 * s**2) * (t_1[:, None] ** 2 + 2 * s**2 + spread)


def pattern(number, index, seed=None):
    """Whether each interval is reversed [N], and its turn [N], of its `number` in its ray and its `index` in all."""
    if seed is None:
        odd = number % 2 == 1
        return odd, math.pi / 6 * odd.double()
    draw = 2 * uniform(seed, index)
    return draw >= 1, 2 * math.pi * (draw % 1)


def across(directions, angles):
    """Unit vectors [N, 6, 3] perpendicular to directions [N, 3]: those of the plane z = 0 at `angles` [N, 6], mirrored
    such that the z axis falls on the direction."""
    z = directions.new_tensor([0.0, 0.0, 1.0])
    q = torch.nn.functional.normalize(directions, dim=1) - z
    square = q.square().sum(1)[:, None, None].clamp_min(1e-30)
    matrix = torch.eye(3, dtype=q.dtype, device=q.device) - 2 * q[:, :, None] * q[:, None, :] / square
    e = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=2)
    return e @ matrix  # which is symmetric


def multisample_cones(t_0, t_1, origins, directions, radius, ray_start=None, ray_count=None, seed=None):
    """positions [N, 6, 3] and widths [N, 6]."""
    rays, samples = len(origins), len(t_0)
    if ray_start is None:
        ray_count = torch.full((rays,), samples // max(rays, 1))
        ray_start = ray_count.cumsum(0) - ray_count
    ray = torch.repeat_interleave(torch.arange(rays), ray_count.cpu().long())
    index = torch.arange(samples)
    reverse, turn = (x.to(t_0.device) for x in pattern(index - ray_start.cpu().long()[ray], index, seed))
    ray = ray.to(t_0.device)
    t = distances(t_0, t_1)
    t = torch.where(reverse[:, None], t.flip(1), t)
    angles = turn.to(t)[:, None] + math.pi / 3 * t.new_tensor(ORDER)
    r = t * radius[ray, None] / math.sqrt(2)
    positions = origins[ray, None] + t[..., None] * directions[ray, None]
    return positions + r[..., None] * across(directions[ray], angles), r / 2
