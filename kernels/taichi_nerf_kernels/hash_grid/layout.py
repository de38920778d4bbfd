"""Where each level lies in the table, and how fine it is."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class HashGridLayout:
    """Where each level lies in the table, and how fine it is. Raises ValueError for levels that would lead outside."""

    features: int
    """Features of an entry, F."""
    levels: np.ndarray
    """[L, 4] int32: first entry, number of entries, resolution, hashed."""
    scales: np.ndarray
    """[L] float64: cells along the unit cube."""

    def __post_init__(self):
        levels, scales = np.asarray(self.levels, np.int64), np.ascontiguousarray(self.scales, np.float64)
        if self.features < 1 or levels.shape != (len(levels), 4) or scales.shape != (len(levels),) or not len(levels):
            raise ValueError(f"a layout needs features, levels [L, 4] and scales [L], got {self.features}, "
                             f"{levels.shape} and {scales.shape}")
        first, size, resolution, hashed = levels.T
        dense = (hashed == 0) & (2 <= resolution) & (resolution <= 2**10) & (resolution**3 <= size)
        power = (hashed == 1) & (2 <= resolution) & (resolution <= 2**20 + 1) & (size > 0) & (size & (size - 1) == 0)
        if not np.all(dense | power) or not np.array_equal(first, np.cumsum(size) - size):
            raise ValueError("levels must follow one another, each dense, with an entry for each of its vertices, or "
                             f"hashed, with a power of two of them, got {levels.tolist()}")
        if (first[-1] + size[-1]) * self.features >= 2**31:
            raise ValueError("a hash grid must have fewer than 2^31 parameters, got "
                             f"{(first[-1] + size[-1]) * self.features}")
        object.__setattr__(self, "levels", np.ascontiguousarray(levels, np.int32))
        object.__setattr__(self, "scales", scales)

    @property
    def entries(self) -> int:
        """Entries of all levels together, E."""
        return int(self.levels[-1, 0] + self.levels[-1, 1])

    @property
    def outputs(self) -> int:
        """Features of an encoded point, L * F."""
        return len(self.scales) * self.features

    def coarsest(self, levels: int) -> "HashGridLayout":
        """Its first `levels` alone."""
        return HashGridLayout(features=self.features, levels=self.levels[:levels], scales=self.scales[:levels])


def hash_grid_layout(*, levels: int = 16, features: int = 2, log2_entries: int = 19, base_resolution: int = 16,
                     max_resolution: int = 2048) -> HashGridLayout:
    """The layout of a grid whose resolution grows geometrically from `base_resolution` to `max_resolution`.

    Resolutions follow tiny-cuda-nn: scale_l = base * b^l - 1, resolution_l = ceil(scale_l) + 1 vertices, entries_l =
    min(resolution_l^3 rounded up to 8, 2^log2_entries). Raises ValueError for a grid that cannot be indexed.
    """
    if levels < 1 or features < 1 or not 3 <= log2_entries <= 30:
        raise ValueError(f"a hash grid needs levels >= 1, features >= 1 and 3 <= log2_entries <= 30, "
                         f"got {levels}, {features}, {log2_entries}")
    if not 2 <= base_resolution <= max_resolution <= 2**20:
        raise ValueError(f"a hash grid needs 2 <= base_resolution <= max_resolution <= 2^20, "
                         f"got {base_resolution}, {max_resolution}")
    growth = math.exp(math.log(max_resolution / base_resolution) / max(levels - 1, 1))
    rows, scales, first = [], [], 0
    for level in range(levels):
        scale = base_resolution * growth**level - 1
        # a scale that is whole up to rounding must not gain a vertex
        resolution = math.ceil(round(scale, 6)) + 1
        hashed = resolution**3 > 2**log2_entries
        entries = 2**log2_entries if hashed else -(-(resolution**3) // 8) * 8
        rows.append((first, entries, resolution, int(hashed)))
        scales.append(scale)
        first += entries
    return HashGridLayout(features=features, levels=np.array(rows), scales=np.array(scales))
