"""Density and colour on a grid, for simulations and planners: an OpenVDB file (`vdb`), or an npz file of these arrays

    density    [N0, N1, N2] float32 per unit of length, at the places of the grid
    colour     [N0, N1, N2, 3] uint8 sRGB, the mean of six directions
    occupied   [N0, N1, N2] bool: a cube of a grid's cell around the place hides more than a tenth of what is behind it
    transform  [4, 4] float64: from indices (i, j, k, 1) to coordinates
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.hdr import linear_from_srgb
from ..errors import UserError
from ..pictures import written_aside
from ..query import Field
from .libraries import openvdb
from .mesh import Grid
from .vdb import write_vdb

__all__ = ["BYTES_A_PLACE", "OCCUPIED", "VOLUME_FILES", "grid_in", "write_volume"]

VOLUME_FILES = (".npz", ".vdb")
BYTES_A_PLACE = {".npz": 16, ".vdb": 60}
OCCUPIED = 0.1  # opacity of a cell


def grid_in(box: np.ndarray, resolution: int) -> Grid:
    """Of so many places along the longest side of a box [2, 3], each in the middle of its cell."""
    cell = float((box[1] - box[0]).max()) / resolution
    shape = tuple(max(round(float(side)), 1) for side in (box[1] - box[0]) / cell)
    return Grid(corner=box[0] + 0.5 * cell, cell=cell, shape=shape)


def write_volume(path: Path, field: Field, grid: Grid, *, scale: float = 1.0, time: float | None = None,
                 on_layer: Callable[[int, int], None] | None = None) -> float:
    """Write a new file, whose ending is one of VOLUME_FILES; there is never half of it.

    Args:
        grid: in the world of the splits.
        scale: coordinates in the file are those of the scene's file times this.
        time: as of `Field.at`. on_layer: is told how many layers are done, and how many there are.

    Returns:
        The part of the places that are occupied.

    Raises:
        UserError: none is, or the library of .vdb files is missing.
    """
    vdb = openvdb() if path.suffix.lower() == ".vdb" else None
    density, colour = np.zeros(grid.shape, np.float32), np.zeros((*grid.shape, 3), np.uint8)
    for number in range(grid.shape[0]):
        index = np.stack(np.meshgrid([number], *(np.arange(side) for side in grid.shape[1:]), indexing="ij"), axis=-1)
        found = field.at(grid.places(index.reshape(-1, 3)) + field.scene.origin, time=time)
        density[number] = found.density.reshape(grid.shape[1:])
        colour[number] = (255 * np.clip(found.colour, 0, 1) + 0.5).reshape(*grid.shape[1:], 3)
        if on_layer is not None:
            on_layer(number + 1, grid.shape[0])
    occupied = density > -math.log(1 - OCCUPIED) / grid.cell
    if not occupied.any():
        raise UserError("the field is empty in the box: nothing there hides anything; train longer, or give another "
                        "--box")
    transform = np.diag([*[grid.cell * scale] * 3, 1.0])
    transform[:3, 3] = (grid.corner + field.scene.origin) * scale
    density /= np.float32(scale)
    with written_aside(path) as aside:
        if vdb is not None:
            write_vdb(aside, vdb, density, linear_from_srgb(colour / np.float32(255)), transform)
        else:
            with aside.open("wb") as stream:
                np.savez_compressed(stream, density=density, colour=colour, occupied=occupied, transform=transform)
    return float(occupied.mean())
