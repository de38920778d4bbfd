"""Octrees in the npz files of svox and volrend (Yu et al. 2021, PlenOctrees): read and written with numpy alone.

n nodes of 8 cells each, cell = 8 * node + 4 x + 2 y + z; B numbers of each channel in spherical harmonics, whose basis
and order are those of `ops.spherical_harmonics`. A file has

    child           [n, 2, 2, 2] int32: 0 at a leaf, else how many nodes further on the cell's own node is
    parent_depth    [n, 2] int32: the cell whose node this is, the node's depth
    data            [n, 2, 2, 2, 3 B + 1]: harmonics of red, of green, of blue, and the density per unit of length
    data_format     SH and B; RGBA has a colour and a density, and no harmonics
    offset          [3], and invradius3 [3], or invradius (): tree = offset + invradius * world

or, in place of `data`, as volrend's compressor writes it, `sigma` [n, 2, 2, 2], the first harmonics as they are,
`data_retained` [r, n, 2, 2, 2, 3], and of each other one `quant_map` [B - r, n, 2, 2, 2], the row in `quant_colors`
[B - r, 65536, 3].
"""

import math
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..devices import free_memory
from ..errors import UserError
from .opening import check_regular, reason_of

__all__ = ["SvoxTree", "read_svox", "write_svox"]

DEEPEST = 20  # halvings of the box
BASES = (1, 4, 9, 16, 25)
Y0 = 0.5 / math.sqrt(math.pi)  # the harmonic that is the same in all directions
LARGEST_HALF = 65504.0
SMALLEST = 1e-4  # of a colour and of what it lacks of 1, where a logit stands for it
FREE_FOR_READING = 4  # bytes in the memory for a byte of the file's arrays
DAMAGED = (OSError, ValueError, EOFError, KeyError, TypeError, IndexError, NotImplementedError, RuntimeError,
           OverflowError, struct.error, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True)
class SvoxTree:
    """An octree, cell by cell; what belongs to cells that are no leaves has no meaning."""

    child: np.ndarray
    """[n, 8] int32"""
    parent_depth: np.ndarray
    """[n, 2] int32"""
    density: np.ndarray
    """[8 n] float32, per unit of length in the world."""
    coefficients: np.ndarray
    """[8 n, 3 B] float32, those of red, of green, of blue; a colour is the sigmoid of their sum."""
    offset: tuple[float, float, float]
    scale: tuple[float, float, float]
    """tree = offset + scale * world, in [0, 1]^3"""


def write_svox(path: Path, tree: SvoxTree) -> None:
    """Write `tree` for svox and volrend, in half precision; the file appears when it is complete.

    Numbers beyond the range of half precision are moved onto it. Raises UserError where the file cannot be written.
    """
    path, nodes = Path(path), len(tree.child)
    basis = tree.coefficients.shape[1] // 3
    leaf = (tree.child.reshape(-1) == 0)[:, None]
    data = np.where(leaf, np.concatenate([tree.coefficients, tree.density[:, None]], axis=1), 0)
    arrays = {
        "data_dim": np.int64(3 * basis + 1),
        "data_format": np.str_(f"SH{basis}"),
        "child": np.ascontiguousarray(tree.child, np.int32).reshape(nodes, 2, 2, 2),
        "parent_depth": np.ascontiguousarray(tree.parent_depth, np.int32),
        "n_internal": np.int64(nodes),
        "n_free": np.int64(0),
        "invradius3": np.asarray(tree.scale, np.float32),
        "offset": np.asarray(tree.offset, np.float32),
        "depth_limit": np.int64(max(10, int(tree.parent_depth[:, 1].max()) + 1)),
        "geom_resize_fact": np.float64(1.0),
        "data": np.clip(data, -LARGEST_HALF, LARGEST_HALF).astype(np.float16).reshape(nodes, 2, 2, 2, -1),
    }
    try:
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".npz")
        try:
            with os.fdopen(descriptor, "wb") as file:  # which has a position: volrend wants sizes in front of the data
                np.savez_compressed(file, **arrays)
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason_of(error)}; choose another place") from None


def read_svox(path: Path) -> SvoxTree:
    """The octree in a file of svox or volrend, as it is or compressed by volrend.

    The links are checked, and nodes that no link leads to are left out. Colours of the format RGBA are shown as they
    are, as volrend does, if all lie in [0, 1], and else are logits, as svox has them.

    Raises UserError for a file that is missing, damaged, no such octree, or one of another kind.
    """
    path = Path(path)
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            _check_memory(path, archive)
            return _tree_of(_Arrays(archive))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give an npz file of svox or volrend") from None
    except DAMAGED as error:
        raise UserError(f"{path} cannot be read as an octree of svox: {reason_of(error)}; give an npz file that svox "
                        "or volrend wrote") from None


def _check_memory(path: Path, archive: zipfile.ZipFile) -> None:
    """By the sizes that the archive declares; more than that is never unpacked."""
    needed, free = FREE_FOR_READING * sum(member.file_size for member in archive.infolist()), free_memory()
    if free is not None and needed > free:
        raise UserError(f"{path} says that it needs {needed / 2**30:.1f} GiB of memory, of which {free / 2**30:.1f} "
                        "GiB are free; give a smaller octree")


class _Arrays(Mapping):
    """The arrays of an npz file by name, each of the size that its header has; nothing in them is executed."""

    def __init__(self, archive: zipfile.ZipFile):
        self.archive, self.names = archive, [name.removesuffix(".npy") for name in archive.namelist()]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(f"it has no '{name}'")
        member = self.archive.getinfo(f"{name}.npy")
        with self.archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read:
                raise ValueError(f"'{name}' has an unknown version of the npy format")
            shape, fortran, dtype = read[version](file)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or size > member.file_size:
                raise ValueError(f"'{name}' is no array of its size")
            values = np.frombuffer(file.read(size), dtype)
        return values.reshape(shape, order="F" if fortran else "C")

    def __iter__(self):
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def floats(self, name: str, *shape: int | None) -> np.ndarray:
        """Finite float32 numbers of this shape; None: any size."""
        values = self._of_kind(name, "f", shape).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError(f"'{name}' has values that are not finite")
        return values

    def integers(self, name: str, *shape: int | None) -> np.ndarray:
        return self._of_kind(name, "iu", shape).astype(np.int64)

    def _of_kind(self, name: str, kinds: str, shape: tuple[int | None, ...]) -> np.ndarray:
        values = self[name]
        if values.dtype.kind not in kinds:
            raise ValueError(f"'{name}' has numbers of the type {values.dtype}")
        if len(values.shape) != len(shape) or any(s not in (None, t) for s, t in zip(shape, values.shape)):
            wanted = ", ".join("*" if s is None else str(s) for s in shape)
            raise ValueError(f"'{name}' has the shape {values.shape}, not ({wanted})")
        return values


def _tree_of(arrays: _Arrays) -> SvoxTree:
    child = arrays.integers("child", None, None, None, None)
    nodes, *cells = child.shape
    if nodes == 0:
        raise ValueError("it has no node")
    if cells != [2, 2, 2]:
        raise ValueError(f"it divides a cell into {' x '.join(map(str, cells))}, where 2 x 2 x 2 is needed")
    density, coefficients = _data_of(arrays, nodes)
    kept, child, parent_depth = _checked_links(child.reshape(nodes, 8))
    cells = (8 * kept[:, None] + np.arange(8)).reshape(-1)
    scale = (arrays.floats("invradius3", 3) if "invradius3" in arrays
             else np.broadcast_to(arrays.floats("invradius"), 3))
    if scale.min() <= 0:
        raise ValueError("the radius of its box is not above 0")
    return SvoxTree(child=child, parent_depth=parent_depth, density=density[cells], coefficients=coefficients[cells],
                    offset=tuple(map(float, arrays.floats("offset", 3))), scale=tuple(map(float, scale)))


def _checked_links(child: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nodes that are reached, [m] in order; and child [m, 8] and parent_depth [m, 2] of these alone.

    Raises ValueError unless the links [n, 8] make a tree.
    """
    nodes = len(child)
    target = np.where(child == 0, 0, np.arange(nodes)[:, None] + child)
    if target.min() < 0 or target.max() >= nodes:
        raise ValueError("a link of 'child' leads out of the array")
    known = target[child != 0]
    if (known == 0).any() or len(np.unique(known)) < len(known):
        raise ValueError("links of 'child' run in a circle, or two lead to one node")
    parent, depth, level = np.zeros(nodes, np.int64), np.full(nodes, -1), np.array([0])
    for reached in range(DEEPEST + 1):
        if len(level) and reached == DEEPEST:
            raise ValueError(f"its tree is deeper than {DEEPEST} levels")
        depth[level] = reached
        cells = (8 * level[:, None] + np.arange(8)).reshape(-1)
        cells = cells[child.reshape(-1)[cells] != 0]
        level = target.reshape(-1)[cells]
        parent[level] = cells
        if not len(level):
            break
    kept = np.flatnonzero(depth >= 0)
    number = np.zeros(nodes, np.int64)
    number[kept] = np.arange(len(kept))
    moved = np.where(child[kept] == 0, 0, number[target[kept]] - np.arange(len(kept))[:, None])
    above = 8 * number[parent[kept] // 8] + parent[kept] % 8
    above[0] = 0
    return kept, moved.astype(np.int32), np.stack([above, depth[kept]], axis=1).astype(np.int32)


def _data_of(arrays: _Arrays, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Density [8 n] and coefficients [8 n, 3 B]."""
    if "data" not in arrays and "quant_map" in arrays:
        return _quantised(arrays, nodes)
    data = arrays.floats("data", nodes, 2, 2, 2, None)
    data = data.reshape(8 * nodes, -1)
    layout = str(arrays["data_format"]) if "data_format" in arrays else ""
    if layout == "RGBA" or (not layout and data.shape[1] == 4):
        if data.shape[1] != 4:
            raise ValueError(f"it has {data.shape[1]} numbers a leaf, not the 4 of RGBA")
        return data[:, 3], _of_colours(data[:, :3])
    _check_basis(layout or f"SH{(data.shape[1] - 1) // 3}", data.shape[1] - 1)
    return data[:, -1], data[:, :-1]


def _check_basis(layout: str, numbers: int) -> None:
    """Raises ValueError unless a `layout` of spherical harmonics has so many numbers for three channels."""
    found = re.fullmatch(r"SH(\d+)", layout)
    if found is None:
        raise ValueError(f"its colours are {layout!r}, of which only spherical harmonics (SH) and RGBA are read")
    if int(found[1]) not in BASES or 3 * int(found[1]) != numbers:
        raise ValueError(f"its colours are {layout}, with {numbers} numbers a leaf: B must be 1, 4, 9, 16 or 25, and a "
                         "leaf have 3 B")


def _of_colours(colours: np.ndarray) -> np.ndarray:
    """[8 n, 3] coefficients of colours, or of logits where a number is no colour."""
    if colours.min() >= 0 and colours.max() <= 1:
        colours = np.clip(colours, SMALLEST, 1 - SMALLEST)
        colours = np.log(colours / (1 - colours))
    return colours / Y0


def _quantised(arrays: _Arrays, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """As of `_data_of`, of a file that volrend's compressor wrote."""
    where = arrays.integers("quant_map", None, nodes, 2, 2, 2).reshape(-1, 8 * nodes)
    rows = arrays.floats("quant_colors", len(where), None, 3)
    if where.size and (where.min() < 0 or where.max() >= rows.shape[1]):
        raise ValueError("'quant_map' leads out of 'quant_colors'")
    numbers = [row[place] for row, place in zip(rows, where)]  # [8 n, 3] each
    if "data_retained" in arrays:
        numbers = [*arrays.floats("data_retained", None, nodes, 2, 2, 2, 3).reshape(-1, 8 * nodes, 3), *numbers]
    if not numbers:
        raise ValueError("it has no colours")
    coefficients = np.stack(numbers, axis=2).reshape(8 * nodes, -1)  # channel after channel
    _check_basis(str(arrays["data_format"]) if "data_format" in arrays else f"SH{len(numbers)}", 3 * len(numbers))
    return arrays.floats("sigma", nodes, 2, 2, 2).reshape(-1), coefficients
