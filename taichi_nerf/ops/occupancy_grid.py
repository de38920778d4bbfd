"""The sweeps of an occupancy grid, on tensors. Nothing here is differentiable.

Sizes: G cells per axis, C cascades, M cells named, N cameras. A cell is an int32:
cascade * G^3 + Morton index.
"""

import torch

from taichi_nerf_kernels import occupancy_grid as kernels

from ._check import check_in_place, check_index, check_tensor

__all__ = [
    "cell_positions",
    "check_grid_size",
    "choose_cells",
    "decay_occupancy",
    "mark_invisible_cells",
    "pack_occupancy",
    "splat_occupancy",
]

CASCADES = range(1, 9)


def check_grid_size(resolution: int, cascades: int) -> None:
    """Raise ValueError unless `resolution` is a power of two from 16 to 512 and `cascades` from 1 to 8."""
    if resolution not in (16, 32, 64, 128, 256, 512):
        raise ValueError(f"resolution must be a power of two from 16 to 512, got {resolution}")
    if cascades not in CASCADES:
        raise ValueError(f"cascades must be from 1 to 8, got {cascades}")


def _check_cells(values: torch.Tensor, resolution: int) -> None:
    """Raise TypeError and ValueError unless `values` holds whole cascades of a grid, and can be written in place."""
    check_grid_size(resolution, 1)
    check_in_place("values", values, (None,))
    if len(values) not in [cascades * resolution**3 for cascades in CASCADES]:
        raise ValueError(f"values must hold 1 to 8 cascades of {resolution}^3 cells, got {len(values)}")


def cell_positions(
    cells: torch.Tensor, *, resolution: int, seed: int, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """A point [M, 3] drawn uniformly inside each of `cells` [M] int32, with a hash of (seed, m, axis)."""
    check_grid_size(resolution, 1)
    cells = check_tensor("cells", cells, (None,), dtype=torch.int32)
    positions = torch.empty(cells.shape[0], 3, dtype=dtype, device=cells.device)
    if cells.shape[0] > 0:
        kernels.cell_positions_forward(cells, seed & 0x7FFFFFFF, resolution, positions)
    return positions


def choose_cells(bits: torch.Tensor, *, uniform_count: int, occupied_count: int, seed: int) -> torch.Tensor:
    """Cells [M] int32: `uniform_count` from the whole grid, then `occupied_count` from the occupied cells.

    Both are stratified: draw m of n comes from the m-th of n equal parts (in Morton order), so both are
    sorted. With fewer occupied cells than draws, cells come up repeatedly; with none, those draws too come
    from the whole grid.

    bits: [C * G^3 / 32] int32. Raises TypeError and ValueError for another type or number, or a count below 0.
    """
    bits = check_tensor("bits", bits, (None,), dtype=torch.int32)
    if len(bits) == 0 or len(bits) % 64 or len(bits) * 32 >= 2**31:
        raise ValueError(f"bits must hold whole cascades, a bit for each cell, got {len(bits)} words")
    if uniform_count < 0 or occupied_count < 0:
        raise ValueError(f"counts must be at least 0, got {uniform_count} and {occupied_count}")
    counts = torch.empty_like(bits)
    kernels.count_set_bits(bits, counts)
    cells = torch.empty(uniform_count + occupied_count, dtype=torch.int32, device=bits.device)
    if cells.shape[0] > 0:
        kernels.choose_cells_forward(
            bits, torch.cumsum(counts, 0, dtype=torch.int32), seed & 0x7FFFFFFF, uniform_count, cells
        )
    return cells


def decay_occupancy(values: torch.Tensor, decay: float) -> None:
    """v <- decay * v, in place; the mark -1 of an invisible cell stays. values: [C * G^3]."""
    check_in_place("values", values, (None,))
    kernels.decay_values(decay, values)


def splat_occupancy(
    values: torch.Tensor, cells: torch.Tensor, fresh: torch.Tensor, factor: float = 1.0
) -> None:
    """v <- max(v, factor * fresh), in place, in `cells` [M] int32; a cell may be named often, invisible ones
    are left.

    After `decay_occupancy` this is the moving maximum v <- max(decay * v, fresh). The order of `cells` does
    not matter. Raises TypeError and ValueError for a tensor of another type, shape or device, and IndexError for a cell
    that is none (looked at on a CPU only; on a GPU it is left out).
    """
    check_in_place("values", values, (None,))
    cells = check_index("cells", cells, (None,), len(values), like=values)
    fresh = check_tensor("fresh", fresh, (cells.shape[0],), like=values)
    if cells.shape[0] > 0:
        kernels.splat_max(cells, fresh, factor, values)


def pack_occupancy(
    values: torch.Tensor, bits: torch.Tensor, *, resolution: int, cascades: int, threshold: float
) -> None:
    """Write `bits` [C * G^3 / 32] int32: values > min(threshold, mean of max(v, 0) over cascade 0).

    A cell of a coarser cascade is also occupied if one of the finer cells inside it is.
    """
    check_grid_size(resolution, cascades)
    cube = resolution**3
    values = check_tensor("values", values, (cascades * cube,))
    check_in_place("bits", bits, (cascades * cube // 32,), dtype=torch.int32, like=values)
    kernels.pack_bits(threshold, cube, values, values.new_empty(cube // kernels.SPAN + 1), bits)
    for cascade in range(1, cascades):
        kernels.pool_bits(cascade, resolution, bits)


def mark_invisible_cells(
    values: torch.Tensor,
    camera_to_world: torch.Tensor,
    focal: torch.Tensor,
    principal: torch.Tensor,
    size: torch.Tensor,
    *,
    resolution: int,
    near: float = 0.0,
    margin: float = 0.1,
) -> None:
    """Write -1 into every cell of `values` [C * G^3] that no camera sees; cells seen get max(v, 0).

    A cell is seen if the ball around it touches a view: beyond `near`, inside the image widened by `margin`
    of its size on every side (for lens distortion). That includes every cell with a corner or its centre in
    view.

    Args:
        camera_to_world: [N, 3, 4], OpenGL axes. focal, principal, size: [N, 2] (x, y) in pixels.
    """
    _check_cells(values, resolution)
    cameras = [
        check_tensor("camera_to_world", camera_to_world, (None, 3, 4), like=values),
        check_tensor("focal", focal, (camera_to_world.shape[0], 2), like=values),
        check_tensor("principal", principal, (camera_to_world.shape[0], 2), like=values),
        check_tensor("size", size, (camera_to_world.shape[0], 2), like=values),
    ]
    if camera_to_world.shape[0] == 0:
        raise ValueError("camera_to_world must hold at least one camera")
    kernels.mark_invisible(*cameras, near, margin, resolution, values)
