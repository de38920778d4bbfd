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


FARTHEST = 1e4  # |u|inf at which the farthest leaves end


def contract(u):
    """[N, 3] in [-2, 2]^3 of u [N, 3]: the largest component bends, the others shrink with it (MERF, section 3.2)."""
    out = u.clone()
    for row, point in zip(out, u):
        size, axis = point.abs().max(0)
        if size > 1:
            row[:] = point / size
            row[axis] = point[axis].sign() * (2 - 1 / size)
    return out


def changes(u, v, faces, near):
    """The distances behind `near` at which a ray u + t v passes into another leaf or bends, and the last, in order.

    Whatever can happen does so where two linear functions of t are equal: components, +-1, and faces [F] in [-2, 2].
    """
    found = []

    def equal(a, b, c, d):  # a + b t = c + d t
        if abs(b - d) > 1e-12:
            found.append((c - a) / (b - d))

    for a in range(3):
        for sign in (-1, 1):
            equal(u[a], v[a], sign, 0)
            for b in range(3):
                equal(u[a], v[a], sign * u[b], sign * v[b])
            for face in faces:
                if abs(face) <= 1:
                    equal(u[a], v[a], face, 0)
                    for b in range(3):
                        equal(u[a], v[a], sign * face * u[b], sign * face * v[b])
                elif abs(face) < 2:
                    equal(u[a], v[a], sign / (2 - abs(face)), 0)
    end = min((sign * FARTHEST - u[a]) / v[a] for a in range(3) for sign in (-1, 1) if sign * v[a] > 0)
    return sorted({float(near), float(end), *(float(t) for t in found if near < t < end)})


def render_contracted(child, density, coefficients, origins, directions, offset, scale, near=0.0, early_stop=0.0,
                      skip=0.0):
    """As `render_octree`, without weights, of a tree that all of space is contracted into."""
    cells, corners, sides = leaf_cubes(child)
    faces = {float(4 * face - 2) for face in torch.cat([corners, corners + sides[:, None]]).flatten()}
    basis = spherical_harmonics(directions, round((coefficients.shape[1] / 3) ** 0.5))
    colours, opacities, depths = [], [], []
    for ray in range(len(origins)):
        u, v = 4 * (offset + scale * origins[ray]) - 2, 4 * scale * directions[ray]
        t = torch.tensor(changes(u, v, faces, near), dtype=u.dtype)
        middle = u + (t[1:] + t[:-1])[:, None] / 2 * v
        cube = (0.5 + contract(middle) / 4)[:, None] - corners
        leaf = ((cube >= 0) & (cube < sides[:, None])).all(2).int().argmax(1)
        region = torch.where(middle.abs().amax(1) > 1, 2 * middle.abs().argmax(1) + (middle.gather(
            1, middle.abs().argmax(1)[:, None])[:, 0] > 0), -1)
        new = torch.ones(len(leaf), dtype=torch.bool)
        new[1:] = (leaf.diff() != 0) | (region.diff() != 0)
        first = new.nonzero()[:, 0]
        t_in, t_out, leaf = t[first], torch.cat([t[first[1:]], t[-1:]]), leaf[first]
        sigma = density[cells[leaf]]
        tau = torch.where(sigma > skip, sigma, 0.0) * (t_out - t_in)
        through = torch.exp(-torch.cat([tau.new_zeros(1), tau.cumsum(0)]))
        weights = (through[:-1] - through[1:]) * (through[:-1] >= early_stop)
        raw = (coefficients[cells[leaf]].unflatten(1, (3, -1)) * basis[ray]).sum(2)
        colours.append((weights[:, None] * raw.sigmoid()).sum(0))
        opacities.append(weights.sum())
        depths.append((weights * (t_in + t_out) / 2).sum())
    if not colours:
        return origins.new_zeros(0, 3), origins.new_zeros(0), origins.new_zeros(0)
    return torch.stack(colours), torch.stack(opacities), torch.stack(depths)
