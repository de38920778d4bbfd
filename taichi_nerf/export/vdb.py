"""A volume as an OpenVDB file, which Blender, Houdini and other programs open, by its own library.

    density    fog volume of float: per unit of length
    color      vec3s, in linear light as these programs have it, where there is any density

The places of the grid are the file's voxels, and its transform takes their indices to coordinates. Nothing is stored of
what is empty.
"""

from pathlib import Path
from types import ModuleType

import numpy as np

__all__ = ["VDB_NAMES", "write_vdb"]

VDB_NAMES = ("openvdb", "pyopenvdb")  # of the library's module, of late and before


def write_vdb(path: Path, library: ModuleType, density: np.ndarray, colour: np.ndarray, transform: np.ndarray) -> None:
    """Write a new file.

    Args:
        library: the module of OpenVDB, by either of VDB_NAMES.
        density: [N0, N1, N2] float32, not below 0. colour: [N0, N1, N2, 3] float32, linear.
        transform: [4, 4] from indices (i, j, k, 1) to coordinates.
    """
    density_grid, colour_grid = library.FloatGrid(), library.Vec3SGrid()
    density_grid.gridClass = library.GridClass.FOG_VOLUME
    for grid, name, values in ((density_grid, "density", density),
                               (colour_grid, "color", np.where(density[..., None] > 0, colour, np.float32(0)))):
        grid.name = name
        grid.copyFromArray(np.ascontiguousarray(values, np.float32))
        grid.transform = library.createLinearTransform(transform.T.tolist())  # rows there are columns here
    library.write(str(path), grids=[density_grid, colour_grid], metadata={"creator": "taichi-nerf"})
