"""Which pixels triangles cover, in numpy: for atlases and for a look at what was exported."""

import numpy as np

__all__ = ["rasterised"]

AT_ONCE = 2**22  # pixels of boxes around triangles that are looked at together


def rasterised(triangles: np.ndarray, width: int, height: int, margin: float = 0.0
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels whose centres lie in triangles [F, 3, 2], in pixels to the right and down.

    Args:
        margin: also those that lie outside by so much in barycentric coordinates.

    Returns:
        pixel [M], row by row, face [M] and barycentric coordinates [M, 3]; a pixel of several triangles several times.
    """
    lowest = np.clip(np.floor(triangles.min(axis=1) - 0.5), 0, (width, height)).astype(np.int64)
    highest = np.clip(np.ceil(triangles.max(axis=1) + 0.5), 0, (width, height)).astype(np.int64)
    across, down = (highest - lowest).clip(min=0).T
    count = across * down
    found = [_covered(triangles, lowest, across, count, part, width, margin) for part in _parts(count)]
    pixel, face, barycentric = (np.concatenate(columns) for columns in zip(*found)) if found else (
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))
    return pixel, face, barycentric


def _parts(count: np.ndarray):
    """Triangles [some], about AT_ONCE pixels at a time."""
    total = np.cumsum(count)
    edges = np.searchsorted(total, np.arange(AT_ONCE, (total[-1] if len(total) else 0) + AT_ONCE, AT_ONCE))
    first = 0
    for edge in edges:
        last = min(edge + 1, len(count))
        if last > first:
            yield np.arange(first, last)
        first = last


def _covered(triangles, lowest, across, count, part, width, margin):
    face = np.repeat(part, count[part])
    start = np.cumsum(count[part]) - count[part]
    within = np.arange(len(face)) - np.repeat(start, count[part])
    x, y = lowest[face, 0] + within % across[face], lowest[face, 1] + within // across[face]
    a, b, c = triangles[face].transpose(1, 0, 2)
    ab, ac, ap = b - a, c - a, np.stack([x + 0.5, y + 0.5], axis=1) - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = np.where(np.abs(area) > 1e-12, area, np.inf)
    of_b, of_c = (ap[:, 0] * ac[:, 1] - ap[:, 1] * ac[:, 0]) / area, (ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]) / area
    barycentric = np.stack([1 - of_b - of_c, of_b, of_c], axis=1)
    inside = (barycentric >= -margin).all(axis=1) & np.isfinite(area)
    return (y * width + x)[inside], face[inside], barycentric[inside]
