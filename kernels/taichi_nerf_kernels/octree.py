"""Octrees in flat arrays: where a point is, where a leaf is, and the splitting of leaves.

    p               a point of the tree, in [0, 1)^3
    n nodes         node 0 is the root, the whole cube; each has 8 cells of half its side
    cell            8 * node + 4 x + 2 y + z, with x, y, z in {0, 1} the half in which it lies
    child           [n, 8] int32: 0 at a leaf, else how many nodes further on the cell's own node is
    parent_depth    [n, 2] int32: the cell whose node this is, and the depth of the node; (0, 0) of the root
    q               [3] int32: floor(2^LEVELS p); the bits of q from the highest on say which cell to take
    level           the bit of q that tells the cells of a node apart: LEVELS - 1 at the root, then one less each time

A leaf at depth d, that of its node plus 1, has the side 2^-d. The layout is that of svox and of PlenOctrees (Yu et al.
2021), whose trees lie in files. A link that leads out of the arrays counts as the nearest node that there is.
"""

from typing import NamedTuple

from .bounds import entry_in, is_finite
from .engine import ti
from .integers import wrapping_add_signed
from .launch import kernel

LEVELS = 20  # halvings of the cube that are told apart
CELLS = 1 << LEVELS
NOWHERE = -1


class Tree(NamedTuple):
    """What a walk through a tree needs."""

    child: ti.types.ndarray
    parent_depth: ti.types.ndarray


@ti.func
def half_of(q, level):
    """4 x + 2 y + z of the cell that holds q, in a node whose cells differ in bit `level`."""
    x, y, z = (q[0] >> level) & 1, (q[1] >> level) & 1, (q[2] >> level) & 1
    return x << 2 | y << 1 | z


@ti.func
def integer_point(p):
    """q of a point; one outside of the cube is moved onto it."""
    q = ti.Vector([0, 0, 0])
    for axis in ti.static(range(3)):
        q[axis] = ti.cast(ti.floor(ti.min(ti.max(p[axis] * CELLS, 0.0), CELLS - 1.0)), ti.i32)
    return q


@ti.func
def go_down(q, node, level, child: ti.template()):
    """(cell, node, level) of the leaf that holds q, from a node on that does."""
    half = half_of(q, level)
    step = child[node, half]
    while step != 0 and level > 0:
        node = entry_in(wrapping_add_signed(node, step), child.shape[0])
        level -= 1
        half = half_of(q, level)
        step = child[node, half]
    return node * 8 + half, node, level


@ti.func
def go_up(changed, node, level, parent_depth: ti.template()):
    """(node, level) of the nearest node above that holds the new q, too, which differs from the old in the bits
    `changed`."""
    while (changed >> (level + 1)) != 0 and level < LEVELS - 1:
        node = entry_in(parent_depth[node, 0] >> 3, parent_depth.shape[0])
        level += 1
    return node, level


@ti.func
def leaf_of(p, child: ti.template()):
    """(cell, depth) of the leaf at a point; NOWHERE for a point outside, or one that is not finite."""
    cell, depth = NOWHERE, 0
    inside = is_finite(ti.abs(p).sum())
    for axis in ti.static(range(3)):
        inside = inside and p[axis] >= 0.0 and p[axis] < 1.0
    if inside:
        found, _, level = go_down(integer_point(p), 0, LEVELS - 1, child)
        cell, depth = found, LEVELS - level
    return cell, depth


@kernel
def descend_forward(
    points: ti.types.ndarray(ndim=2),  # [M, 3]
    child: ti.types.ndarray(ndim=2),  # [n, 8] int32
    cells: ti.types.ndarray(ndim=1),  # out [M] int32
    depths: ti.types.ndarray(ndim=1),  # out [M] int32
):
    """Leaf and depth of every point; NOWHERE and 0 outside."""
    for m in range(points.shape[0]):
        cells[m], depths[m] = leaf_of(ti.Vector([points[m, 0], points[m, 1], points[m, 2]]), child)


@kernel
def cell_cubes_forward(
    parent_depth: ti.types.ndarray(ndim=2),  # [n, 2] int32
    corner: ti.types.ndarray(ndim=2),  # out [n * 8, 3]
    side: ti.types.ndarray(ndim=1),  # out [n * 8]
):
    """The lowest corner and the side of every cell, halved along the way up to the root."""
    for cell in range(parent_depth.shape[0] * 8):
        low, length, above = ti.Vector([0.0, 0.0, 0.0]), 1.0, cell
        for _ in range(ti.min(ti.max(parent_depth[cell >> 3, 1], 0), LEVELS - 1) + 1):
            half = ti.Vector([above >> 2 & 1, above >> 1 & 1, above & 1])
            low = 0.5 * (low + ti.cast(half, float))
            length *= 0.5
            above = ti.max(parent_depth[entry_in(above >> 3, parent_depth.shape[0]), 0], 0)
        for axis in ti.static(range(3)):
            corner[cell, axis] = low[axis]
        side[cell] = length


@kernel
def mark_leaves_of_points(
    points: ti.types.ndarray(ndim=2),  # [M, 3]
    child: ti.types.ndarray(ndim=2),  # [n, 8] int32
    depth: int,
    marks: ti.types.ndarray(ndim=1),  # in and out [n * 8] int32
):
    """Write 1 at the leaves less deep than `depth` that hold a point."""
    for m in range(points.shape[0]):
        cell, found = leaf_of(ti.Vector([points[m, 0], points[m, 1], points[m, 2]]), child)
        if cell >= 0 and found < depth:
            ti.atomic_max(marks[cell], 1)  # for Vulkan an array that is only written has no past


@kernel
def mark_leaves_of_cells(
    cells: ti.types.ndarray(ndim=1),  # [K] int32
    child: ti.types.ndarray(ndim=2),  # [n, 8] int32
    parent_depth: ti.types.ndarray(ndim=2),  # [n, 2] int32
    marks: ti.types.ndarray(ndim=1),  # in and out [n * 8] int32
):
    """Write 1 at those of `cells` that are leaves which can be split."""
    for k in range(cells.shape[0]):
        cell = cells[k]
        if cell >= 0 and cell < marks.shape[0]:
            if child[cell >> 3, cell & 7] == 0 and parent_depth[cell >> 3, 1] < LEVELS - 1:
                ti.atomic_max(marks[cell], 1)  # for Vulkan an array that is only written has no past


@kernel
def split_leaves(
    child: ti.types.ndarray(ndim=2),  # [n, 8] int32
    parent_depth: ti.types.ndarray(ndim=2),  # [n, 2] int32
    marks: ti.types.ndarray(ndim=1),  # [n * 8] int32, 1 at leaves to be split
    sums: ti.types.ndarray(ndim=1),  # [n * 8] int32, their running sum
    new_child: ti.types.ndarray(ndim=2),  # out [m, 8] int32, m = n + the last sum
    new_parent_depth: ti.types.ndarray(ndim=2),  # out [m, 2] int32
    source: ti.types.ndarray(ndim=1),  # out [m * 8] int32
):
    """The tree in which every marked leaf has a node, in the order of the leaves, behind those that there were; and of
    each new cell the old one that it is, or that it is a part of."""
    for cell in range(child.shape[0] * 8):
        node, half, step = cell >> 3, cell & 7, child[cell >> 3, cell & 7]
        source[cell] = cell
        if half == 0:
            for k in ti.static(range(2)):
                new_parent_depth[node, k] = parent_depth[node, k]
        if marks[cell] != 0:
            made = child.shape[0] + sums[cell] - 1
            step = made - node
            new_parent_depth[made, 0] = cell
            new_parent_depth[made, 1] = ti.min(parent_depth[node, 1], LEVELS) + 1
            for k in ti.static(range(8)):
                new_child[made, k] = 0
                source[made * 8 + k] = cell
        new_child[node, half] = step
