"""Occupancy grid, cell by cell: dense arrays [C, G, G, G] over (cascade, x, y, z) and their Morton-ordered
forms.

Sizes: C cascades of G^3 cells, M cells named, N cameras. Cascade k covers the cube [-0.5 * 2^k, 0.5 * 2^k]^3.
"""

import torch

from .random import uniform

__all__ = [
    "cell_positions",
    "dense_from_bits",
    "dense_from_values",
    "invisible_cells",
    "morton_decode",
    "morton_encode",
    "moving_maximum",
    "occupancy",
]


def morton_encode(cells: torch.Tensor) -> torch.Tensor:
    """(x, y, z) [..., 3] -> Morton index [...], bit 3 b + axis from bit b of the coordinate."""
    index = torch.zeros(cells.shape[:-1], dtype=torch.int64)
    for bit in range(10):
        for axis in range(3):
            index |= ((cells[..., axis].long() >> bit) & 1) << (3 * bit + axis)
    return index


def morton_decode(index: torch.Tensor) -> torch.Tensor:
    """Morton index [...] -> (x, y, z) [..., 3]."""
    cells = torch.zeros(*index.shape, 3, dtype=torch.int64)
    for bit in range(10):
        for axis in range(3):
            cells[..., axis] |= ((index.long() >> (3 * bit + axis)) & 1) << bit
    return cells


def dense_from_values(values: torch.Tensor, resolution: int) -> torch.Tensor:
    """[C * G^3] in Morton order -> [C, G, G, G]."""
    values = values.reshape(-1, resolution**3)
    x, y, z = morton_decode(torch.arange(resolution**3)).unbind(-1)
    dense = values.new_empty(values.shape[0], resolution, resolution, resolution)
    dense[:, x, y, z] = values
    return dense


def dense_from_bits(bits: torch.Tensor, resolution: int) -> torch.Tensor:
    """Words [C * G^3 / 32] int32 -> [C, G, G, G] bool."""
    flags = (bits.long()[:, None] >> torch.arange(32)) & 1
    return dense_from_values(flags.reshape(-1) == 1, resolution)


def cell_positions(cells: torch.Tensor, resolution: int, seed: int) -> torch.Tensor:
    """A random point in each cell [M] (cascade * G^3 + Morton index), float64 [M, 3]."""
    cascade = cells.long() // resolution**3
    corner = morton_decode(cells.long() % resolution**3)
    inside = uniform(seed, torch.arange(3 * cells.shape[0])).reshape(-1, 3)
    return ((corner + inside) / resolution - 0.5) * 2.0 ** cascade[:, None]


def moving_maximum(
    values: torch.Tensor, cells: torch.Tensor, fresh: torch.Tensor, decay: float
) -> torch.Tensor:
    """v < 0 ? v : max(decay * v, the fresh values of the cell)."""
    updated = torch.where(values < 0, values, decay * values)
    for cell, value in zip(cells.tolist(), fresh):
        if values[cell] >= 0:
            updated[cell] = torch.maximum(updated[cell], value)
    return updated


def occupancy(values: torch.Tensor, resolution: int, threshold: float) -> torch.Tensor:
    """[C, G, G, G] bool: v > min(threshold, mean of max(v, 0) in cascade 0), or so for a finer cell."""
    dense = dense_from_values(values, resolution)
    occupied = dense > min(threshold, dense[0].clamp(min=0).mean().item())
    low, high = resolution // 4, 3 * resolution // 4
    for cascade in range(1, len(dense)):
        pooled = torch.nn.functional.max_pool3d(occupied[cascade - 1][None].double(), 2)[0] > 0
        occupied[cascade, low:high, low:high, low:high] |= pooled
    return occupied


def invisible_cells(
    cells: torch.Tensor,
    resolution: int,
    camera_to_world: torch.Tensor,
    focal: torch.Tensor,
    principal: torch.Tensor,
    size: torch.Tensor,
    near: float,
    margin: float,
) -> torch.Tensor:
    """[M] bool: the ball around the cell lies outside of every camera's view (pinhole, OpenGL axes)."""
    cascade = cells // resolution**3
    scale = 2.0**cascade / resolution
    center = (morton_decode(cells % resolution**3) + 0.5 - 0.5 * resolution) * scale[:, None]
    radius = 0.75**0.5 * scale
    seen = torch.zeros(cells.shape, dtype=torch.bool)
    for pose, f, c, wh in zip(camera_to_world, focal, principal, size):
        right, up, back = ((center - pose[:, 3]) @ pose[:, :3]).unbind(-1)
        inside = -back > near - radius
        for axis, across in enumerate((right, -up)):
            low, high = c[axis] + margin * wh[axis], wh[axis] - c[axis] + margin * wh[axis]
            inside &= (f[axis] * across - low * back) / torch.hypot(f[axis], low) > -radius
            inside &= (-f[axis] * across - high * back) / torch.hypot(f[axis], high) > -radius
        seen |= inside
    return ~seen
