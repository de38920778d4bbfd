"""The hierarchy of boxes around triangles, in numpy: all nodes of a level at once.

A node's triangles are halved at the median of their middles along the axis on which these spread the most. All leaves
lie at one depth, and hold LEAF triangles or a few less.
"""

from typing import NamedTuple

import numpy as np

LEAF = 4  # most triangles of a leaf


class MeshTree(NamedTuple):
    """F triangles in the order of the leaves, 2^D of them."""

    boxes: np.ndarray
    """[2^(D+1), 6] lowest and highest corner of node k; that of node 0 is empty."""
    starts: np.ndarray
    """[2^D + 1] int32: the first triangle of each leaf, and F."""
    corners: np.ndarray
    """[F, 9] v_0, v_1, v_2."""
    order: np.ndarray
    """[F] int32: which triangle of the mesh each is."""


def mesh_tree(vertices: np.ndarray, faces: np.ndarray) -> MeshTree:
    """That of a mesh with `vertices` [V, 3] float and `faces` [F, 3] integers in [0, V); F may be 0."""
    corners = vertices[faces]  # [F, 3, 3]
    low, high = corners.min(axis=1), corners.max(axis=1)
    depth = max(-(-len(faces) // LEAF) - 1, 0).bit_length()
    order = _halved((low + high) / 2, depth)
    starts = _starts(len(faces), depth)
    boxes = np.zeros((2 ** (depth + 1), 6), vertices.dtype)
    if len(faces):
        boxes[2**depth :, :3] = np.minimum.reduceat(low[order], starts[:-1])
        boxes[2**depth :, 3:] = np.maximum.reduceat(high[order], starts[:-1])
        for level in range(depth - 1, -1, -1):
            below = boxes[2 ** (level + 1) : 2 ** (level + 2)].reshape(-1, 2, 6)
            boxes[2**level : 2 ** (level + 1), :3] = below[:, :, :3].min(axis=1)
            boxes[2**level : 2 ** (level + 1), 3:] = below[:, :, 3:].max(axis=1)
    return MeshTree(boxes, starts.astype(np.int32), corners[order].reshape(-1, 9), order.astype(np.int32))


def _starts(count: int, level: int) -> np.ndarray:
    """[2^level + 1] int64: where the nodes of a level begin among `count` triangles in order, and `count`."""
    return (np.arange(2**level + 1) * count) >> level


def _halved(middle: np.ndarray, depth: int) -> np.ndarray:
    """[F] int64: triangles with `middle` [F, 3] in an order in which every node has those of one side."""
    order = np.arange(len(middle))
    for level in range(depth):
        starts = _starts(len(middle), level)
        placed = middle[order]
        low, high = np.minimum.reduceat(placed, starts[:-1]), np.maximum.reduceat(placed, starts[:-1])  # [2^level, 3]
        axis = (high - low).argmax(axis=1)
        node = np.repeat(np.arange(2**level), np.diff(starts))
        here = np.arange(2**level)
        extent = (high - low)[here, axis]
        along = (placed[np.arange(len(order)), axis[node]] - low[here, axis][node]) / np.maximum(extent, 1e-30)[node]
        order = order[np.argsort(node + 0.999 * along.astype(np.float64), kind="stable")]
    return order
