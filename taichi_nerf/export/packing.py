"""An octree with colours in spherical harmonics, in as few bytes as the eye allows.

The tree is one of svox (`data.svox`): node 0 is the cube [0, 1]^3, child[node, cell] says how many nodes further on the
child of a cell is, and is 0 at a leaf. n nodes, 8 cells each, B harmonics of a channel.

What is packed, N nodes and L leaves that are not empty, node after node in breadth-first order, cell after cell:

    children [N]        one byte a node: bit c is set where cell c has a child. The children of all nodes follow one
                        another in the same order, so that nobody need say where they are
    leaves   [N]        the same of the cells that are leaves and not empty
    sigma    [L]        one byte: low (high / low)^(q / 255), as the difference from the leaf before
    colour   [3, L]     one byte: the coefficient of band 0, of which 2 logit((q + 1/2) / 256) / Y_0 is the middle, as
                        the difference from the leaf before
    codebook [K_l, 2l + 1, 3]  float16, for each band l = 1 .. degree - 1
    row      [L]        for each band: which row of its codebook, the low byte of each and then the high byte

A leaf is empty if the whole tree full of its like would hide less than 1/255 of what is behind, or if it has no more
density than is given; a node is if all its cells are, and is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.svox import BASES, SvoxTree
from ..errors import UserError
from .codebooks import codebook, nearest_rows

__all__ = ["Packed", "pack"]

Y_0 = 0.28209479177387814  # the constant of band 0
ROWS = 2048  # of a codebook at the most: with four times as many the colours of lego gain 0.5 dB, at 54
DEEPEST = 16  # levels: finer cells than single precision tells apart along a ray
OPAQUE = 30.0  # optical thickness of a smallest cell from which on a leaf is as dense as any
SATURATED = 12.0  # coefficients beyond it differ no more than the sigmoid of what they give
INVISIBLE = 1 / 255
MOST = 2**24 - 1  # nodes, and leaves: in the shader a number has 24 bits
CELLS = np.array([(c >> 2, c >> 1 & 1, c & 1) for c in range(8)])  # [8, 3]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A packed tree."""

    nodes: int
    leaves: int
    depth: int
    """Levels of nodes: the smallest cells have the side 2^-depth."""
    basis: int
    """Coefficients of a channel."""
    sigma: tuple[float, float]
    """Of the bytes 0 and 255."""
    rows: tuple[int, ...]
    """Of the codebook of each band from the first on."""
    box: np.ndarray
    """[2, 3] float64: the lowest and the highest corner, in the world, of what is not empty."""
    content: bytes
    """As the module says."""


def pack(tree: SvoxTree, *, empty: float | None = None, on_stage: Callable[[int, int], None] | None = None) -> Packed:
    """Pack `tree`, whose leaves up to the density `empty` are empty. `on_stage` is told how many stages are done, and
    how many there are: a stage is a band.

    Raises:
        UserError: the arrays are not those of a tree, it is too deep, or empty, or has numbers that are not finite.
    """
    basis, child = _checked_basis(tree), tree.child
    levels = _levels(child)
    offset, scale = np.asarray(tree.offset, np.float64), np.asarray(tree.scale, np.float64)
    full = _full_cells(tree.density, INVISIBLE / np.linalg.norm(1 / scale) if empty is None else empty)  # [n, 8]
    alive = _alive(levels, child, full)  # [n]
    if not alive[0]:
        raise UserError("the octree is empty: no leaf of it has a density that could be seen; train it for longer, or "
                        "keep more of it")
    levels = [level[alive[level]] for level in levels]
    levels = [level for level in levels if len(level)]
    order = np.concatenate(levels)
    inner = _inner(order, child, alive)
    node, cell = np.nonzero(full[order])
    leaf = 8 * order[node] + cell  # [L]
    if max(len(order), len(leaf)) > MOST:
        raise UserError(f"the octree has {len(leaf)} leaves, and a page can number {MOST}; extract it with a smaller "
                        "--depth")
    sigma, coefficients = tree.density[leaf].astype(np.float32), tree.coefficients[leaf].astype(np.float32)
    if not (np.isfinite(sigma).all() and np.isfinite(coefficients).all()):
        raise UserError("the octree has leaves with numbers that are not finite; extract it again")
    depth = len(levels)
    smallest = 2.0**-depth / np.max(scale)  # the shortest side of a smallest cell, in the world
    low, high = float(sigma.min()), float(max(sigma.min(), min(sigma.max(), OPAQUE / smallest)))
    coefficients = np.clip(coefficients.reshape(-1, 3, basis), -SATURATED, SATURATED)
    weight = 1 - np.exp(-sigma * smallest)
    parts = [_bits(inner), _bits(full[order]), _steps(_log_bytes(sigma, low, high)),
             _steps(_colour_bytes(coefficients[:, :, 0].T))]
    rows, numbers = [], []
    for band in range(1, round(basis**0.5)):
        if on_stage is not None:
            on_stage(band - 1, round(basis**0.5) - 1)
        book, index = _coded(coefficients[:, :, band**2 : (band + 1) ** 2], weight)
        rows.append(len(book))
        parts.append(book)
        numbers += [index & 255, index >> 8]
    parts += [part.astype(np.uint8) for part in numbers]
    box = (_occupied(levels, child, alive, full) - offset) / scale
    return Packed(nodes=len(order), leaves=len(leaf), depth=depth, basis=basis, sigma=(low, high), rows=tuple(rows),
                  box=box, content=b"".join(part.tobytes() for part in parts))


def _checked_basis(tree: SvoxTree) -> int:
    """B of a tree whose arrays fit together."""
    n = len(tree.child)
    if tree.child.shape != (n, 8) or n == 0 or tree.child.dtype.kind != "i":
        raise UserError(f"the octree has children of shape {list(tree.child.shape)}, not [n, 8] whole numbers; extract "
                        "it again")
    basis = tree.coefficients.shape[-1] // 3
    if tree.density.shape != (8 * n,) or tree.coefficients.shape != (8 * n, 3 * basis) or basis not in BASES:
        raise UserError(f"the octree of {n} nodes has densities of shape {list(tree.density.shape)} and harmonics of "
                        f"shape {list(tree.coefficients.shape)}, not [{8 * n}] and [{8 * n}, 3 B] with B of 1, 4, 9, "
                        "16 or 25; extract it again")
    if not (np.isfinite(tree.offset).all() and np.isfinite(tree.scale).all() and np.min(tree.scale) > 0):
        raise UserError("the octree does not say where it lies: its offset and scale must be finite, its scale "
                        "positive; extract it again")
    return basis


def _levels(child: np.ndarray) -> list[np.ndarray]:
    """The nodes of each level, those of one parent one after the other. Raises UserError for what is no tree."""
    level, levels, seen = np.zeros(1, np.int64), [], np.zeros(len(child), bool)
    while len(level):
        if len(levels) == DEEPEST:
            raise UserError(f"the octree is deeper than {DEEPEST} levels, which a page cannot show; extract it with a "
                            "smaller --depth")
        levels.append(level)
        seen[level] = True
        steps = child[level].astype(np.int64)
        level = (level[:, None] + steps)[steps != 0]
        if len(level) and (level.min() < 0 or level.max() >= len(child) or seen[level].any()
                           or len(np.unique(level)) < len(level)):
            raise UserError("the octree is damaged: a node of it is the child of two, or of none that there is; "
                            "extract it again")
    return levels


def _full_cells(density: np.ndarray, empty: float) -> np.ndarray:
    """[n, 8] bool: cells with a density above `empty`, or that is no number."""
    return ~(density.reshape(-1, 8) <= empty)


def _alive(levels: list[np.ndarray], child: np.ndarray, full: np.ndarray) -> np.ndarray:
    """[n] bool: nodes below which something is not empty. Clears `full` where a cell has a child."""
    alive = np.zeros(len(child), bool)
    for level in reversed(levels):
        inner = child[level] != 0
        full[level] &= ~inner
        alive[level] = (full[level] | _inner(level, child, alive)).any(axis=1)
    return alive


def _inner(level: np.ndarray, child: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """[N, 8] bool: which cells of the nodes `level` [N] have a child that is alive."""
    steps = child[level]
    return (steps != 0) & alive[level[:, None] + steps]


def _bits(cells: np.ndarray) -> np.ndarray:
    """[N] uint8: bit c is cell c of [N, 8]."""
    return np.packbits(cells, axis=1, bitorder="little")[:, 0]


def _log_bytes(sigma: np.ndarray, low: float, high: float) -> np.ndarray:
    part = np.log(np.clip(sigma, low, high) / low) / max(np.log(high / low), 1e-12)
    return np.round(255 * part).astype(np.uint8)


def _colour_bytes(coefficient: np.ndarray) -> np.ndarray:
    """The sigmoid of half of what band 0 gives: its own is flat near black and white, and would be coarse there."""
    return np.minimum(256 / (1 + np.exp(-0.5 * Y_0 * coefficient)), 255).astype(np.uint8)


def _steps(values: np.ndarray) -> np.ndarray:
    """From each byte of the last axis to the next, modulo 256: neighbours are alike, and deflate packs that."""
    return np.diff(values, axis=-1, prepend=np.uint8(0))


def _coded(coefficients: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codebook [K, 2l + 1, 3] float16 of [L, 3, 2l + 1], and the row of each leaf."""
    vectors = np.ascontiguousarray(coefficients.transpose(0, 2, 1)).reshape(len(coefficients), -1)
    book = codebook(vectors, weight, ROWS).astype(np.float16)
    return book.reshape(len(book), -1, 3), nearest_rows(vectors, book.astype(np.float32))


def _occupied(levels: list[np.ndarray], child: np.ndarray, alive: np.ndarray, full: np.ndarray) -> np.ndarray:
    """[2, 3]: the box around the full cells, in the cube."""
    low, high = np.ones(3), np.zeros(3)
    corner = np.zeros((1, 3), np.int64)  # of each node of a level, in sides of its cells
    for depth, level in enumerate(levels):
        cells, side = 2 * corner[:, None] + CELLS, 0.5 ** (depth + 1)  # [N, 8, 3]
        filled = cells[full[level]]
        if len(filled):
            low, high = np.minimum(low, filled.min(axis=0) * side), np.maximum(high, (filled.max(axis=0) + 1) * side)
        corner = cells[_inner(level, child, alive)]
    return np.stack([low, high])
