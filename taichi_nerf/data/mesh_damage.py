"""What is wrong with the file of a mesh, in words: its readers say it by their exceptions, or ask the memory for it.

What a file states of its sizes is held against what it has, before anybody reads it:

    .glb    "glTF", version, length; parts of length, kind and content: the JSON, then the numbers ("BIN")
    .gltf   the JSON: accessors are of bufferViews, these of buffers, and these of files beside it
    .ply    a head of elements, each of so many rows; the rows
    .stl    80 bytes, a number of triangles, 50 bytes each; or "solid" and text

Of an OBJ, which states none, the lines are looked at when it cannot be read (`fault_of_lines`).
"""

import contextlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from ..errors import UserError

__all__ = ["ELSE", "Damaged", "check_sizes", "fault_of_lines", "readable"]

MOST = 2**27  # values of an accessor without numbers in the file, rows of a PLY file
COMPONENTS = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}  # bytes of each type
NUMBERS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
PLY_BYTES = {"char": 1, "int8": 1, "uchar": 1, "uint8": 1, "short": 2, "int16": 2, "ushort": 2, "uint16": 2, "int": 4,
             "int32": 4, "uint": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8}
LONGEST_HEAD = 2**16
ELSE = "what it holds does not fit together"


class Damaged(ValueError):
    """What a file states and has do not fit; the message says what."""


@contextlib.contextmanager
def readable(path: Path, what: str, remedy: str, otherwise: str = ELSE) -> Iterator[None]:
    """Within this context the readers of others read a file of geometry.

    Raises UserError that says in words why they cannot: `path` cannot be read as `what`; `remedy`. `otherwise` is the
    reason where no better one is found.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes of a reader of twenty formats
        raise UserError(f"{path} cannot be read as {what} ({_reason(path, error) or otherwise}); {remedy}") from None


def _reason(path: Path, error: Exception) -> str | None:
    if isinstance(error, Damaged):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if path.stat().st_size == 0:
        return "it is empty"
    if path.suffix.lower() == ".obj":
        return fault_of_lines(path.read_bytes())
    return None


def check_sizes(path: Path) -> None:
    """Raises Damaged where the file has less than it states, or is of another format than its name says."""
    data = path.read_bytes()
    if not data:
        raise Damaged("it is empty")
    suffix = path.suffix.lower()
    if suffix == ".glb":
        _check_glb(data, path.parent)
    elif suffix == ".gltf":
        _check_content(_json(data), None, path.parent)
    elif suffix == ".ply":
        _check_ply(data)
    elif suffix == ".stl":
        _check_stl(data)


def _check_glb(data: bytes, folder: Path) -> None:
    if data[:4] != b"glTF":
        raise Damaged("it does not begin with glTF, as a GLB file does")
    if len(data) < 20:
        raise Damaged("it ends within its head")
    version, length, size, kind = struct.unpack_from("<III4s", data, 4)
    if version != 2:
        raise Damaged(f"it is of version {version} of glTF, and version 2 is read")
    if max(length, 20 + size) > len(data):
        raise Damaged(f"it ends after {len(data):,} of {max(length, 20 + size):,} bytes")
    if kind != b"JSON":
        raise Damaged("its first part is not the JSON")
    numbers = None
    if len(data) >= 28 + size:
        (stated,) = struct.unpack_from("<I", data, 20 + size)
        numbers = min(stated, len(data) - 28 - size)
    _check_content(_json(data[20 : 20 + size]), numbers, folder)


def _json(data: bytes) -> dict:
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        raise Damaged(f"its JSON is damaged in line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError):
        raise Damaged("its JSON is no text, or brackets within brackets without end") from None
    if not isinstance(content, dict):
        raise Damaged("its JSON holds no object")
    return content


def _check_content(content: dict, numbers: int | None, folder: Path) -> None:
    """`numbers`: so many bytes are in the second part of a GLB, if it has one."""
    buffers = _objects(content, "buffers")
    for n, buffer in enumerate(buffers):
        stated, there = _count(buffer, "byteLength", f"buffer {n}"), _bytes_of(buffer, n, numbers, folder)
        if there is not None and there < stated:
            raise Damaged(f"buffer {n} has {there:,} of {stated:,} bytes")
    views = _objects(content, "bufferViews")
    for n, view in enumerate(views):
        what = f"bufferView {n}"
        buffer = _chosen(view, "buffer", buffers, what)
        if _count(view, "byteOffset", what, 0) + _count(view, "byteLength", what) > buffer["byteLength"]:
            raise Damaged(f"{what} ends behind its buffer")
    accessors = _objects(content, "accessors")
    for n, accessor in enumerate(accessors):
        _check_accessor(accessor, views, f"accessor {n}")
    for n, mesh in enumerate(_objects(content, "meshes")):
        for primitive in _objects(mesh, "primitives"):
            attributes = primitive.get("attributes")
            if not isinstance(attributes, dict):
                raise Damaged(f"mesh {n} has no attributes")
            for name in attributes:
                _chosen(attributes, name, accessors, f"mesh {n}")
            if "indices" in primitive:
                _chosen(primitive, "indices", accessors, f"mesh {n}")


def _check_accessor(accessor: Mapping, views: Sequence[dict], what: str) -> None:
    count, start = _count(accessor, "count", what), _count(accessor, "byteOffset", what, 0)
    size = COMPONENTS.get(accessor.get("componentType"), 0) * NUMBERS.get(accessor.get("type"), 0)
    if size == 0:
        raise Damaged(f"{what} has no type of numbers that there is")
    if "bufferView" not in accessor:
        if count > MOST:
            raise Damaged(f"{what} states {count:,} values, and has none of them")
        return
    view = _chosen(accessor, "bufferView", views, what)
    stride = _count(view, "byteStride", what, 0) or size
    if count > 0 and start + (count - 1) * stride + size > view["byteLength"]:
        raise Damaged(f"{what} states {count:,} values, more than its bufferView has")


def _bytes_of(buffer: Mapping, n: int, numbers: int | None, folder: Path) -> int | None:
    """Of buffer number n; None where nobody knows before it is read."""
    uri = buffer.get("uri")
    if uri is None:
        if n > 0:  # of an extension
            return None
        if numbers is None:
            raise Damaged(f"buffer {n} is missing: there is no part with its numbers")
        return numbers
    if not isinstance(uri, str):
        raise Damaged(f"buffer {n} names no file")
    if uri.startswith("data:"):
        return None
    place = PurePosixPath(unquote(uri).replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in uri:
        raise Damaged(f"buffer {n} is in {_short(uri)}, out of the folder of the file")
    file = folder / place
    if not file.is_file():
        raise Damaged(f"buffer {n} is missing: there is no {_short(uri)} beside it")
    return file.stat().st_size


def _objects(content: Mapping, name: str) -> list[dict]:
    """A list of objects, which may be left out."""
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Damaged(f"its {name} are no list of objects")
    return found


def _count(values: Mapping, name: str, what: str, default: int | None = None) -> int:
    value = values.get(name, default)
    if type(value) is not int or value < 0:
        raise Damaged(f"the {name} of {what} is {_short(value)}, no whole number from 0")
    return value


def _chosen(values: Mapping, name: str, among: Sequence[dict], what: str) -> dict:
    number = _count(values, name, what)
    if number >= len(among):
        raise Damaged(f"{what} has {name} {number}, and there are {len(among)} such")
    return among[number]


def _check_ply(data: bytes) -> None:
    end = data[:LONGEST_HEAD].find(b"end_header")
    if not data.startswith(b"ply"):
        raise Damaged("it does not begin with ply, as a PLY file does")
    if end < 0:
        raise Damaged("it ends within its head")
    lines = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    rows = {}  # of each element: how many, and the least bytes of one
    for words in lines:
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdecimal() or int(words[2][:12]) > MOST:
                raise Damaged(f"its head has the line: {_short(' '.join(words))}")
            element = words[1]
            rows[element] = [int(words[2]), 0]
        elif words[:1] == ["property"] and rows:
            kind = words[2] if words[1:2] == ["list"] and len(words) > 2 else words[1] if len(words) > 1 else ""
            if kind not in PLY_BYTES:
                raise Damaged(f"a property of its head has the type {_short(kind)}")
            rows[element][1] += PLY_BYTES[kind]
    if not rows:
        raise Damaged("its head names no element")
    rest = data[end + len(b"end_header") :]
    if ["format", "ascii"] in [words[:2] for words in lines]:
        stated, there = sum(count for count, _ in rows.values()), sum(1 for line in rest.splitlines() if line.strip())
        if there < stated:
            raise Damaged(f"it ends after {there:,} of {stated:,} lines")
    elif len(rest) < sum(count * size for count, size in rows.values()):
        raise Damaged("it ends before the last row that its head states")


def _check_stl(data: bytes) -> None:
    if data.lstrip()[:5].lower() == b"solid":
        return
    if len(data) < 84:
        raise Damaged("it ends within its head")
    (count,) = struct.unpack_from("<I", data, 80)
    if 84 + 50 * count > len(data):
        raise Damaged(f"it states {count:,} triangles, and has {(len(data) - 84) // 50:,}")


def fault_of_lines(data: bytes) -> str | None:
    """What is wrong with an OBJ file, if one of its lines is."""
    if b"\0" in data[:LONGEST_HEAD]:
        return "it is no text"
    corners, faces = 0, []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        words = line.split()
        if words[:1] == ["v"]:
            corners += 1
            if len(words) < 4 or not all(map(_is_number, words[1:4])):
                return f"line {number} is no place of three numbers: {_short(line)}"
        elif words[:1] == ["f"]:
            named = [_whole_number(word.partition("/")[0]) for word in words[1:]]
            if len(named) < 3 or not all(named):
                return f"line {number} is no face of three corners: {_short(line)}"
            faces.append((number, max(named), min(named), corners))
    for number, last, first, before in faces:
        if last > corners or -first > before:
            return f"line {number} names the corner {last if last > corners else first}, and there are {corners}"
    return None if corners else "it has no line with a corner (v X Y Z)"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _whole_number(word: str) -> int:
    """0 for what is none."""
    try:
        return int(word)
    except ValueError:
        return 0


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
