"""Rays through an octree in plain PyTorch, every ray against every leaf: what the operations must equal.

R rays, L leaves; offset and scale [3] are those of tree = offset + scale * world.
"""

import torch

from .octree import leaf_cubes
from .spherical_harmonics import spherical_harmonics


def stretches(origins, directions, corners, sides, near=0.0):
    """(t_in, t_out) [R, L] of rays in leaves; empty, both 0, where there is none.

    A ray parallel to an axis is in the leaf whose lower face it is on.
    """
    o, d = origins[:, None], directions[:, None]  # [R, 1, 3]
    low, high = corners, corners + sides[:, None]  # [L, 3]
    parallel = d.abs() < 1e-12
    a, b = ((face - o) / torch.where(parallel, 1.0, d) for face in (low, high))
    within = (low <= o) & (o < high)
    infinity = torch.tensor(torch.inf, dtype=o.dtype)
    enter = torch.where(parallel, torch.where(within, -infinity, infinity), torch.minimum(a, b)).amax(2)
    leave = torch.where(parallel, infinity, torch.maximum(a, b)).amin(2)
    enter = enter.clamp_min(near)
    there = enter < leave
    return torch.where(there, enter, 0.0), torch.where(there, leave, 0.0)


def render_octree(child, density, coefficients, origins, directions, offset, scale, near=0.0, early_stop=0.0, skip=0.0):
    """Colour [R, 3] over black, opacity, depth [R]; and the weights [R, L] of the leaves, with their cells [L]."""
    cells, corners, sides = leaf_cubes(child)
    t_in, t_out = stretches(offset + scale * origins, scale * directions, corners.to(origins), sides.to(origins), near)
    order = t_in.argsort(dim=1, stable=True)
    sigma = density[cells]
    tau = torch.where(sigma > skip, sigma, 0.0) * (t_out - t_in)  # [R, L]
    passed = tau.gather(1, order).cumsum(1)
    through = torch.exp(-torch.cat([torch.zeros_like(passed[:, :1]), passed], dim=1))
    weights = (through[:, :-1] - through[:, 1:]) * (through[:, :-1] >= early_stop)
    weights = torch.zeros_like(tau).scatter(1, order, weights)
    basis = spherical_harmonics(directions, round((coefficients.shape[1] / 3) ** 0.5))  # [R, B]
    colour = torch.einsum("rb,lcb->rlc", basis, coefficients[cells].unflatten(1, (3, -1))).sigmoid()
    return ((weights[..., None] * colour).sum(1), weights.sum(1), (weights * (t_in + t_out) / 2).sum(1), weights, cells)
