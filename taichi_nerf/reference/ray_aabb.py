"""The slab test in plain PyTorch: what `taichi_nerf.ops.ray_aabb` must equal."""

import torch


def intersect_ray_aabb(origins, directions, box, minimum: float = 0.0):
    """t_near [R] and t_far [R] of rays [R, 3] and a box [2, 3]; (minimum, -1) where a ray misses."""
    parallel = directions.abs() < 1e-12
    inside = (origins >= box[0]) & (origins <= box[1])
    slope = torch.where(parallel, torch.ones_like(directions), directions)
    crossings = (box[:, None] - origins) / slope  # [2, R, 3]
    entry = torch.where(parallel, torch.where(inside, -1e30, 1e30), crossings.amin(0)).amax(1)
    leave = torch.where(parallel, torch.where(inside, 1e30, -1e30), crossings.amax(0)).amin(1)
    t_near = entry.clamp(min=minimum)
    hit = leave >= t_near
    return torch.where(hit, t_near, minimum), torch.where(hit, leave, -1.0)
