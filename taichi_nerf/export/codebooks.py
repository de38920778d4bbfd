"""Codebooks: N vectors as numbers of the K rows that are nearest to them, by k-means (Lloyd 1982).

    x_i ~ row[index_i]      the rows minimise  sum_i weight_i |x_i - row[index_i]|^2
"""

import numpy as np
import torch

__all__ = ["codebook", "nearest_rows"]

ROUNDS = 4  # of Lloyd's algorithm
SAMPLES = 8  # vectors for each row that it looks at
PIECE = 2**20  # distances that are computed at a time: they stay in the cache


def codebook(vectors: np.ndarray, weights: np.ndarray, rows: int, *, seed: int = 0) -> np.ndarray:
    """[K, C] float32, K <= `rows`: the codebook of `vectors` [N, C] with `weights` [N].

    The rows stand in the order of their part along the direction in which they are spread most, so that vectors that
    are alike have numbers that are.
    """
    vectors, weights = vectors.astype(np.float32), weights.astype(np.float32)
    draw = np.random.default_rng(seed)
    if len(vectors) > SAMPLES * rows:
        chosen = draw.choice(len(vectors), SAMPLES * rows, replace=False)
        vectors, weights = vectors[chosen], weights[chosen]
    distinct = np.unique(vectors, axis=0)
    if len(distinct) <= rows:
        return _ordered(distinct)
    centres = distinct[draw.choice(len(distinct), rows, replace=False)]
    for _ in range(ROUNDS):
        index = nearest_rows(vectors, centres)
        total = np.bincount(index, weights, rows)
        sums = [np.bincount(index, weights * column, rows) for column in vectors.T]
        mean = np.stack(sums, axis=1) / np.maximum(total, 1e-12)[:, None]
        centres = np.where(total[:, None] > 0, mean, centres).astype(np.float32)
        _reseed(centres, total, vectors, weights * np.square(vectors - centres[index]).sum(axis=1))
    return _ordered(centres)


def nearest_rows(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[N] int64: the row of [K, C] nearest to each of `vectors` [N, C]."""
    points, against = torch.from_numpy(vectors), torch.from_numpy(rows)
    half, across = 0.5 * against.square().sum(1), -against.T
    pieces = points.split(max(1, PIECE // len(rows)))  # |x - r|^2 / 2, but for |x|^2 / 2
    return torch.cat([torch.addmm(half, piece, across).argmin(1) for piece in pieces]).numpy()


def _reseed(centres: np.ndarray, total: np.ndarray, vectors: np.ndarray, error: np.ndarray) -> None:
    """Move the rows that nothing is nearest to onto the vectors that are served worst."""
    unused = np.flatnonzero(total == 0)
    centres[unused] = vectors[np.argsort(error)[len(error) - len(unused) :]]


def _ordered(rows: np.ndarray) -> np.ndarray:
    direction = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][0]
    return rows[np.argsort(rows @ direction, kind="stable")]
