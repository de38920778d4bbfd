"""Points of a PLY file: x, y and z of its vertices and, where they have them, red, green and blue, and normals.

    ply
    format ascii 1.0                    or binary_little_endian, binary_big_endian
    element vertex P
    property float x                    ... in any order, with others between them
    end_header

Elements after the vertices are not read.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .opening import check_regular

MOST_POINTS = 2**27
_TYPES = {"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
          "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
          "double": "f8", "float64": "f8"}
_LONGEST_HEAD = 2**16
_AXES, _COLOURS, _NORMAL = ("x", "y", "z"), ("red", "green", "blue"), ("nx", "ny", "nz")
_SURFACES = (b"face", b"tristrips")  # elements of meshes


class _Head(NamedTuple):
    form: str
    count: int
    types: np.dtype
    size: int
    """Bytes."""


class PlyPoints(NamedTuple):
    """What is known of the vertices of a file."""

    position: np.ndarray
    """[P, 3] float64, finite."""
    colour: np.ndarray | None
    """[P, 3] uint8"""
    normal: np.ndarray | None
    """[P, 3] float64, as it stands in the file."""
    names: tuple[str, ...]
    """Of all properties."""
    left_out: int
    """Vertices whose position is not finite."""


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions [P, 3] float64, those that are not finite left out, and their colours [P, 3] uint8 or None.

    Raises UserError.
    """
    points = read_ply_points(path)
    return points.position, points.colour


def is_point_cloud(path: Path) -> bool:
    """Whether `path` is a PLY file that has vertices and no faces."""
    try:
        check_regular(path)
        with open(path, "rb") as file:
            data = file.read(_LONGEST_HEAD)
    except OSError:
        return False
    head = [line.split() for line in data[: max(data.find(b"end_header"), 0)].splitlines()]
    counts = {words[1]: words[2] for words in head if len(words) == 3 and words[0] == b"element"}
    return data.startswith(b"ply") and b"vertex" in counts and all(
        counts.get(name, b"0").strip(b"0") == b"" for name in _SURFACES)


def read_ply_points(path: Path) -> PlyPoints:
    """All of it. Raises UserError."""
    try:
        check_regular(path)
        data = path.read_bytes()
        head = _head(data)
        rows = _ascii(data, head) if head.form == "ascii" else _binary(data, head)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); put it there or take it "
                        "out of the file that names it") from None
    except (ValueError, IndexError, struct.error, OverflowError) as error:
        raise UserError(f"{path} is no PLY file with points ({error}); export it again") from None
    position = np.stack([rows[axis].astype(np.float64) for axis in _AXES], axis=1)
    kept = np.isfinite(position).all(axis=1) & (np.abs(position) < 1e30).all(axis=1)
    names = rows.dtype.names if isinstance(rows, np.ndarray) else tuple(rows)
    normal = None
    if set(_NORMAL) <= set(names):
        normal = np.stack([rows[axis].astype(np.float64) for axis in _NORMAL], axis=1)[kept]
    return PlyPoints(position[kept], _colour(rows, names, kept), normal, names, int((~kept).sum()))


def _head(data: bytes) -> _Head:
    end = data[:_LONGEST_HEAD].find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise ValueError("its head is missing")
    lines = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    form = next((words[1] for words in lines if len(words) > 1 and words[0] == "format"), "not stated")
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise ValueError(f"its format is {form[:40]}")
    elements = [n for n, words in enumerate(lines) if words[:1] == ["element"]]
    if not elements or lines[elements[0]][1:2] != ["vertex"]:
        raise ValueError("its first element is not vertex")
    count = int(lines[elements[0]][2])
    if not 0 <= count <= MOST_POINTS:
        raise ValueError(f"it states {count} points")
    order = ">" if form == "binary_big_endian" else "<"
    last = elements[1] if len(elements) > 1 else len(lines)
    types = [(words[-1], order + _type(words[1])) for words in lines[elements[0]:last] if words[:1] == ["property"]]
    if not set(_AXES) <= {name for name, _ in types}:
        raise ValueError("its points lack x, y or z")
    newline = data.index(b"\n", end)
    return _Head(form, count, np.dtype(types), newline + 1)


def _type(name: str) -> str:
    if name not in _TYPES:
        raise ValueError(f"a property of the type {name[:40]}")
    return _TYPES[name]


def _binary(data: bytes, head: _Head) -> np.ndarray:
    if head.count * head.types.itemsize > len(data) - head.size:
        raise ValueError("it ends before its last point")
    return np.frombuffer(data, head.types, head.count, head.size)


def _ascii(data: bytes, head: _Head) -> dict[str, np.ndarray]:
    words = data[head.size :].split()
    columns = len(head.types)
    if head.count * columns > len(words):
        raise ValueError("it ends before its last point")
    table = np.array(words[: head.count * columns], dtype="S").astype(np.float64).reshape(head.count, columns)
    return dict(zip(head.types.names, table.T))


def _colour(rows, names: tuple[str, ...], kept: np.ndarray) -> np.ndarray | None:
    if not set(_COLOURS) <= set(names):
        return None
    colour = np.stack([np.asarray(rows[name]) for name in _COLOURS], axis=1)[kept]
    whole = not isinstance(rows, np.ndarray) or rows.dtype["red"].kind != "f"
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(colour if whole else 255 * colour).clip(0, 255).astype(np.uint8)
