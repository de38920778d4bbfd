"""Regions of one model in plain PyTorch: what `taichi_nerf.models.regions` must render.

    K boxes of space with a field each, R rays, S pieces of their samples

No region is composited by itself here: the pieces of all of them lie along a ray as those of a single field, whose
density and colour at a place are those of the region that has the place.
"""

import torch

from ..ray_aabb import intersect_ray_aabb
from ..ray_marching import march_rays
from ..volume_rendering import composite
from .fields import hash_colour, hash_density, part


def regions(state, o, d, boxes, occupied, ids=None, *, side, grid, degree, **marching):
    """Colour [R, 3], opacity [R], depth [R] and weights [S] of rays with origins o and directions d [R, 3], along them.

    `boxes` [K, 2, 3] with cells that are `occupied` [K, C, G, G, G]; `ids` [R]: appearances of the photos that the rays
    are of, where these have codes; `side` of the cube that is the space of the hash `grid` of each, the settings of
    which it is; `degree` of the harmonics of directions; `marching`: as of `reference.ray_marching`.
    """
    told = None if ids is None else state["codes.appearance.table"][ids]
    ray, owner, begin, end = pieces(o, d, boxes, occupied, **marching)
    t, dt = (begin + end) / 2, end - begin
    density, colour = torch.zeros_like(t), torch.zeros_like(t)[:, None].expand(-1, 3)
    for k in range(len(boxes)):
        mine = (owner == k).nonzero()[:, 0]
        w, along = part(state, f"parts.{k}.field"), d[ray[mine]]
        found, geometry = hash_density(w, o[ray[mine]] + t[mine, None] * along, side, grid)
        density = density.index_put((mine,), found)
        code = None if told is None else told[ray[mine]]
        colour = colour.index_put((mine,), hash_colour(w, geometry, along, degree, code))
    count = torch.bincount(ray, minlength=len(o))
    return composite(density, colour, t, dt, count.cumsum(0) - count, count, 0.0)


@torch.no_grad()
def pieces(o, d, boxes, occupied, **marching):
    """Ray and box [S] int64, begin and end [S] of what lies in each box of the intervals that its cells ask for, ray
    after ray from near to far."""
    columns = []
    for k, box in enumerate(boxes):
        _, t, dt, ray, *_ = march_rays(o, d, occupied[k], **marching)
        near, far = intersect_ray_aabb(o, d, box)
        begin, end = torch.maximum(t - dt / 2, near[ray]), torch.minimum(t + dt / 2, far[ray])
        columns.append((ray.long(), torch.full_like(ray, k).long(), begin, end))
    ray, owner, begin, end = (torch.cat(values) for values in zip(*columns))
    along = begin.argsort(stable=True)
    order = along[ray[along].argsort(stable=True)]
    order = order[begin[order] < end[order]]
    return ray[order], owner[order], begin[order], end[order]
