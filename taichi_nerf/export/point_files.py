"""Points as files: PLY, binary and little endian, or LAS, where laspy is there."""

from pathlib import Path

import numpy as np

from ..pictures import written_aside
from .libraries import library
from .points import PointCloud

__all__ = ["POINT_FILES", "write_points"]

FAR = 1e4  # coordinates from which on single precision would lose what matters


def write_points(path: Path, points: PointCloud) -> None:
    """Write a new file of one of `POINT_FILES`; there is never half of it. Raises UserError where that fails."""
    with written_aside(path) as aside:
        POINT_FILES[path.suffix.lower()](aside, points)


def _write_ply(path: Path, points: PointCloud) -> None:
    wide = bool(np.abs(points.position).max() > FAR)
    kinds = [*((axis, "<f8" if wide else "<f4") for axis in "xyz"), *((f"n{axis}", "<f4") for axis in "xyz"),
             *((name, "u1") for name in ("red", "green", "blue")), ("confidence", "<f4")]
    rows = np.zeros(len(points), kinds)
    columns = (*points.position.T, *points.normal.T, *points.colour.T, points.confidence)
    for (name, _), column in zip(kinds, columns):
        rows[name] = column
    names = {"<f8": "double", "<f4": "float", "u1": "uchar"}
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}",
            *(f"property {names[kind]} {name}" for name, kind in kinds), "end_header", ""]
    path.write_bytes("\n".join(head).encode() + rows.tobytes())


def _write_las(path: Path, points: PointCloud) -> None:
    """Normals and confidence as extra dimensions."""
    laspy = library("laspy", "LAS")
    header = laspy.LasHeader(point_format=2, version="1.4")
    lowest, highest = points.position.min(axis=0), points.position.max(axis=0)
    header.offsets, header.scales = lowest, np.maximum(highest - lowest, 1e-9) / 2**30
    header.add_extra_dims([laspy.ExtraBytesParams(name=name, type=np.float32)
                           for name in ("nx", "ny", "nz", "confidence")])
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.position.T
    las.red, las.green, las.blue = (points.colour.astype(np.uint16) * 257).T
    las.nx, las.ny, las.nz = points.normal.T
    las.confidence = points.confidence
    with path.open("wb") as stream:
        las.write(stream)


POINT_FILES = {".ply": _write_ply, ".las": _write_las}
