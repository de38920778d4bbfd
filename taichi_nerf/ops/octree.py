"""Octrees: where points are, where leaves are, and trees with more leaves. Nothing here is differentiable.

n nodes of 8 cells each, M points in tree coordinates, which reach from 0 to 1. A cell is an int32, 8 * node + 4 x +
2 y + z. Operations give new trees, and with them `source`: of each cell of the new tree the cell of the old one whose
place it has, or in whose place it lies. What is known of cells, [8 n, ..], is handed on by `values[source]`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from taichi_nerf_kernels import octree as kernels
from taichi_nerf_kernels.scan import CHUNK, inclusive_scan

from ._check import check_index, check_tensor

__all__ = ["DEEPEST", "NOWHERE", "Octree", "cell_cubes", "descend", "insert_points", "refine_leaves", "root_of"]

DEEPEST = kernels.LEVELS
"""Depth of the smallest leaves that there can be; their side is 2^-DEEPEST."""
NOWHERE = kernels.NOWHERE
"""The cell of a point outside of the tree."""


@dataclass(frozen=True)
class Octree:
    """Which cells have a node of their own; the rest are leaves."""

    child: Tensor
    """[n, 8] int32: 0 at a leaf, else how many nodes further on the cell's node is."""
    parent_depth: Tensor
    """[n, 2] int32: the cell whose node this is, and the node's depth; (0, 0) of node 0, the root."""

    def __post_init__(self):
        child = check_tensor("child", self.child, (None, 8), torch.int32)
        check_tensor("parent_depth", self.parent_depth, (len(child), 2), torch.int32, like=child)
        if not len(child):
            raise ValueError("child must have at least one node")

    @property
    def cells(self) -> int:
        """8 n"""
        return self.child.numel()

    @property
    def leaves(self) -> Tensor:
        """[L] int64: the cells that are leaves, in order."""
        return (self.child.view(-1) == 0).nonzero().squeeze(1)

    @property
    def depth(self) -> int:
        """Of its smallest leaves; waits for the device."""
        return int(self.parent_depth[:, 1].max()) + 1


def root_of(device: torch.device | str = "cpu") -> Octree:
    """The tree of one node and 8 leaves."""
    return Octree(torch.zeros(1, 8, dtype=torch.int32, device=device),
                  torch.zeros(1, 2, dtype=torch.int32, device=device))


def descend(tree: Octree, points: Tensor) -> tuple[Tensor, Tensor]:
    """The leaves that hold points.

    Args:
        points: [M, 3]. A leaf holds its lower faces and not its upper ones.

    Returns:
        cells [M] int32, NOWHERE for a point outside of [0, 1)^3 or one that is not finite; and depths [M] int32, there
        0.

    Raises:
        TypeError, ValueError: points of another type, shape or device.
    """
    points = check_tensor("points", points, (None, 3))
    child = check_tensor("child", tree.child, (None, 8), torch.int32)
    _check_device(child, points)
    cells, depths = (torch.empty(len(points), dtype=torch.int32, device=points.device) for _ in range(2))
    if len(points):
        kernels.descend_forward(points, child, cells, depths)
    return cells, depths


def cell_cubes(tree: Octree, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """The lowest corners [8 n, 3] and the sides [8 n] of all cells."""
    parent_depth = check_tensor("parent_depth", tree.parent_depth, (None, 2), torch.int32)
    corner = torch.empty(tree.cells, 3, dtype=dtype, device=parent_depth.device)
    side = torch.empty(tree.cells, dtype=dtype, device=parent_depth.device)
    kernels.cell_cubes_forward(parent_depth, corner, side)
    return corner, side


def insert_points(tree: Octree, points: Tensor, depth: int) -> tuple[Octree, Tensor]:
    """The tree in which every point [M, 3] is in a leaf of at least `depth`, split level by level.

    Points outside are left out. New nodes stand behind the old ones, which keep their numbers.

    Returns:
        The tree, and `source` [8 n'] int32.

    Raises:
        TypeError, ValueError: points of another type, shape or device; a depth that is not from 1 to DEEPEST.
    """
    if not 1 <= depth <= DEEPEST:
        raise ValueError(f"depth must be from 1 to {DEEPEST}, got {depth}")
    points = check_tensor("points", points, (None, 3))
    _check_device(tree.child, points)
    source = torch.arange(tree.cells, dtype=torch.int32, device=points.device)
    for _ in range(depth - 1 if len(points) else 0):
        marks = torch.zeros(tree.cells, dtype=torch.int32, device=points.device)
        kernels.mark_leaves_of_points(points, tree.child.contiguous(), depth, marks)
        tree, one_step = _split(tree, marks)
        source = source.index_select(0, one_step)
    return tree, source


def refine_leaves(tree: Octree, cells: Tensor) -> tuple[Octree, Tensor]:
    """The tree in which each of `cells` [K] int32 that is a leaf less deep than DEEPEST has 8 in its place.

    A cell may be named often; those that are no leaves stay.

    Returns:
        The tree, and `source` [8 n'] int32.

    Raises:
        TypeError, ValueError: cells of another type, shape or device.
        IndexError: a cell that there is not (looked at on a CPU only; on a GPU it is left out).
    """
    cells = check_index("cells", cells, (None,), tree.cells, like=tree.child)
    marks = torch.zeros(tree.cells, dtype=torch.int32, device=cells.device)
    if len(cells):
        kernels.mark_leaves_of_cells(cells, tree.child.contiguous(), tree.parent_depth.contiguous(), marks)
    return _split(tree, marks)


def _split(tree: Octree, marks: Tensor) -> tuple[Octree, Tensor]:
    """The tree in which marked leaves [8 n] have nodes; waits for the device once, to know how many."""
    sums = torch.empty_like(marks)
    inclusive_scan(marks, marks.new_empty(len(marks) // CHUNK + 1), sums)
    nodes = len(tree.child) + int(sums[-1])
    if 8 * nodes >= 2**31:
        raise ValueError(f"a tree of {nodes} nodes has more than 2^31 cells: take a smaller depth or fewer points")
    child, parent_depth = (marks.new_empty(nodes, width) for width in (8, 2))
    source = marks.new_empty(8 * nodes)
    kernels.split_leaves(tree.child.contiguous(), tree.parent_depth.contiguous(), marks, sums, child, parent_depth,
                         source)
    return Octree(child, parent_depth), source


def _check_device(child: Tensor, points: Tensor) -> None:
    if child.device != points.device:
        raise ValueError(f"points must be on {child.device}, got {points.device}")
