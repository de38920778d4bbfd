"""Octrees as they are drawn: leaf after leaf, from the root. What `taichi_nerf.ops.octree` must equal."""

import torch


def leaves(child):
    """(cell, corner [3], side) of every leaf of child [n, 8], by walking down from the root."""
    found, under_way = [], [(0, torch.zeros(3, dtype=torch.float64), 0.5)]
    while under_way:
        node, low, side = under_way.pop()
        for k in range(8):
            corner = low + side * torch.tensor([k >> 2 & 1, k >> 1 & 1, k & 1], dtype=torch.float64)
            step = int(child[node, k])
            if step == 0:
                found.append((8 * node + k, corner, side))
            else:
                under_way.append((node + step, corner, side / 2))
    return sorted(found, key=lambda leaf: leaf[0])


def leaf_cubes(child):
    """The same as tensors: cells [L], corners [L, 3], sides [L] in float64."""
    cells, corners, sides = zip(*leaves(child))
    return torch.tensor(cells), torch.stack(corners), torch.tensor(sides, dtype=torch.float64)


def descend(points, child):
    """Cells [M] and depths [M] of the leaves that hold points [M, 3]; -1 and 0 for those that none does."""
    cells, corners, sides = leaf_cubes(child)
    cube = points[:, None] - corners
    holds = ((cube >= 0) & (cube < sides[:, None])).all(2)  # [M, L]
    leaf = holds.int().argmax(1)
    found = holds.any(1)
    depth = -torch.log2(sides).round().int()
    return torch.where(found, cells[leaf], -1).int(), torch.where(found, depth[leaf], 0).int()


def insert_points(points, child, depth):
    """Corners and sides of the leaves of the tree in which each point's leaf has at least `depth`, as a set."""
    def parts(corner, side):
        inside = ((points >= corner) & (points < corner + side)).all(1).any()
        if side <= 0.5**depth or not inside:
            return {(*corner.tolist(), side)}
        halves = [torch.tensor([k >> 2 & 1, k >> 1 & 1, k & 1]) for k in range(8)]
        return set().union(*(parts(corner + side / 2 * half, side / 2) for half in halves))

    return set().union(*(parts(corner, side) for _, corner, side in leaves(child)))
