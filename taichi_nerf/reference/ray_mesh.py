"""Rays and triangles in plain PyTorch, every ray with every triangle: what `taichi_nerf.ops.ray_mesh` must equal."""

import torch


def intersect_ray_mesh(vertices, faces, origins, directions, near: float = 0.0, limit=None):
    """t [R] (infinite where nothing is met), triangle [R] (-1) and barycentric coordinates [R, 3] (0) of the first hit
    from `near` on and before `limit` [R], by Moeller and Trumbore's equations."""
    if len(faces) == 0:
        return (torch.full_like(origins[:, 0], torch.inf), torch.full_like(origins[:, 0], -1, dtype=torch.int32),
                torch.zeros_like(origins))
    v0, v1, v2 = vertices[faces.long()].unbind(dim=1)  # [F, 3]
    e1, e2 = v1 - v0, v2 - v0
    p = torch.linalg.cross(directions[:, None], e2[None])  # [R, F, 3]
    volume = (p * e1).sum(-1)
    flat = volume.abs() < 1e-14
    scale = 1 / torch.where(flat, 1.0, volume)
    from_corner = origins[:, None] - v0
    b1 = scale * (p * from_corner).sum(-1)
    q = torch.linalg.cross(from_corner, e1[None].expand_as(from_corner))
    b2 = scale * (q * directions[:, None]).sum(-1)
    t = scale * (q * e2).sum(-1)
    end = torch.full_like(origins[:, 0], torch.inf) if limit is None else limit
    met = ~flat & (b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1) & (t >= near) & (t < end[:, None])
    distance, triangle = torch.where(met, t, torch.inf).min(dim=1)
    hit = torch.isfinite(distance)
    here = torch.arange(len(origins), device=origins.device)
    b = torch.stack([1 - b1 - b2, b1, b2], dim=-1)[here, triangle]
    return (distance, torch.where(hit, triangle, -1).int(), torch.where(hit[:, None], b, 0.0))
