"""Truncated signed distances in plain PyTorch: what `taichi_nerf.ops.tsdf` must equal."""

import torch

BEYOND = 1e9


def integrate_depth(distance, pixel_weight, camera_to_world, focal, principal, corner, total, weight, cell, truncation):
    """`total` and `weight` [N0, N1, N2] with what views [V, H, W] add to them."""
    axes = [torch.arange(side, dtype=corner.dtype, device=corner.device) for side in total.shape]
    places = corner + cell * torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)  # [M, 3]
    height, width = distance.shape[1:]
    for view in range(len(distance)):
        away = places - camera_to_world[view, :, 3]
        right, up, back = (away @ camera_to_world[view, :, :3]).T
        seen = -back > 1e-6
        depth = torch.where(seen, -back, 1.0)
        u = principal[view, 0] + focal[view, 0] * right / depth
        v = principal[view, 1] - focal[view, 1] * up / depth
        seen = seen & (u >= 0) & (v >= 0) & (u < width) & (v < height)
        found = _sampled(distance[view], torch.where(seen, u, 0.0), torch.where(seen, v, 0.0), truncation)
        of_pixel = pixel_weight[view][torch.where(seen, v, 0.0).long(), torch.where(seen, u, 0.0).long()]
        s = (found - away.norm(dim=1)) / truncation
        w = torch.where(seen & (s > -1), of_pixel * (1 + s).clamp(max=1), 0.0)
        total = total + (w * s.clamp(max=1)).view_as(total)
        weight = weight + w.view_as(weight)
    return total, weight


def _sampled(distance, u, v, truncation):
    height, width = distance.shape
    x0, y0 = (u - 0.5).floor().long(), (v - 0.5).floor().long()
    inner = (x0 >= 0) & (y0 >= 0) & (x0 + 1 < width) & (y0 + 1 < height)
    left, top = x0.clamp(0, max(width - 2, 0)), y0.clamp(0, max(height - 2, 0))
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    around = torch.stack([distance[top, left], distance[top, right], distance[bottom, left], distance[bottom, right]])
    lowest, highest = around.amin(dim=0), around.amax(dim=0)
    x, y = u - 0.5 - x0, v - 0.5 - y0
    between = (1 - y) * ((1 - x) * around[0] + x * around[1]) + y * ((1 - x) * around[2] + x * around[3])
    smooth = inner & (highest < BEYOND) & (highest - lowest < truncation)
    return torch.where(smooth, between, distance[v.long().clamp(max=height - 1), u.long().clamp(max=width - 1)])
