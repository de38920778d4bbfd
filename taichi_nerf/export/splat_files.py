"""3D Gaussians as the PLY file that viewers of splats open, and back: `write_splats`, `read_splats`.

Binary, little endian, single precision; of each of N Gaussians with B = bands^2 functions, in this order

    x y z                  mean
    nx ny nz               0, which nobody reads
    f_dc_0 .. f_dc_2       first harmonic of red, green, blue
    f_rest_0 ..            the others: all of red, all of green, all of blue
    opacity                logit
    scale_0 .. scale_2     natural logarithms of the standard deviations
    rot_0 .. rot_3         quaternion w, x, y, z

The colour is 1/2 + 0.28209479 f_dc + ..., as of Kerbl et al. 2023.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..pictures import written_aside

__all__ = ["Splats", "read_splats", "write_splats"]

HEAD_BYTES = 2**14  # a head is no longer
BANDS = (1, 2, 3, 4)
TYPES = {"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8", "uchar": "u1", "uint8": "u1",
         "int": "<i4", "int32": "<i4"}


@dataclass(frozen=True, kw_only=True)
class Splats:
    """N Gaussians, float32, in the coordinates of the scene's file or in metres."""

    means: np.ndarray
    """[N, 3]"""
    log_scales: np.ndarray
    """[N, 3]"""
    quaternions: np.ndarray
    """[N, 4] w, x, y, z."""
    logits: np.ndarray
    """[N] of the opacity."""
    harmonics: np.ndarray
    """[N, 3, B]"""
    left_out: int = 0
    """Others of the file that was read, with values that are no numbers."""

    def __len__(self) -> int:
        return len(self.means)

    def moved(self, offset: np.ndarray, scale: float) -> "Splats":
        """Of each mean plus `offset` [3], times `scale`."""
        return Splats(means=((self.means + offset) * scale).astype(np.float32), quaternions=self.quaternions,
                      log_scales=self.log_scales + np.float32(math.log(scale)), logits=self.logits,
                      harmonics=self.harmonics)


def _names(functions: int) -> list[str]:
    return [*"xyz", "nx", "ny", "nz", *(f"f_dc_{n}" for n in range(3)),
            *(f"f_rest_{n}" for n in range(3 * (functions - 1))), "opacity", *(f"scale_{n}" for n in range(3)),
            *(f"rot_{n}" for n in range(4))]


def write_splats(path: Path, splats: Splats) -> None:
    """Write a new file; there is never half of it. Raises UserError where that fails."""
    functions = splats.harmonics.shape[2]
    columns = [splats.means, np.zeros_like(splats.means), splats.harmonics[:, :, 0],
               splats.harmonics[:, :, 1:].reshape(len(splats), 3 * (functions - 1)), splats.logits[:, None],
               splats.log_scales, splats.quaternions]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(splats)}",
            *(f"property float {name}" for name in _names(functions)), "end_header", ""]
    with written_aside(path) as aside:
        aside.write_bytes("\n".join(head).encode() + np.concatenate(columns, axis=1).astype("<f4").tobytes())


def read_splats(path: Path) -> Splats:
    """Those of a file whose values are all finite. Raises UserError, which says what, for a file that is not one of
    Gaussians, or is damaged."""
    try:
        with path.open("rb") as stream:
            count, kinds, start = _head(path, stream.read(HEAD_BYTES))
            size = os.fstat(stream.fileno()).st_size
            if size < start + count * kinds.itemsize:
                raise _damaged(path, f"it ends after {max(size - start, 0) // kinds.itemsize} of {count} Gaussians")
            stream.seek(start)
            rows = np.frombuffer(stream.read(count * kinds.itemsize), kinds)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{path} cannot be read ({reason}); give another file") from None
    functions = _functions(path, kinds.names)
    values = {name: rows[name].astype(np.float32) for name in _names(functions)[:3] + _names(functions)[6:]}
    kept = np.isfinite(list(values.values())).all(axis=0)
    if count and not kept.any():
        raise _damaged(path, f"each of its {count} Gaussians has a value that is no number")
    values = {name: column[kept] for name, column in values.items()}

    def stacked(names: list[str]) -> np.ndarray:
        return np.stack([values[name] for name in names], axis=1) if names else np.zeros((kept.sum(), 0), np.float32)

    rest = stacked([f"f_rest_{n}" for n in range(3 * (functions - 1))]).reshape(kept.sum(), 3, functions - 1)
    base = stacked([f"f_dc_{n}" for n in range(3)])[:, :, None]
    return Splats(means=stacked(list("xyz")), log_scales=stacked([f"scale_{n}" for n in range(3)]),
                  quaternions=stacked([f"rot_{n}" for n in range(4)]), logits=values["opacity"],
                  harmonics=np.concatenate([base, rest], axis=2), left_out=int((~kept).sum()))


def _head(path: Path, begin: bytes) -> tuple[int, np.dtype, int]:
    """How many rows there are, of what, and where they start."""
    head, mark, _ = begin.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    if not mark or not lines or lines[0].strip() != "ply":
        raise UserError(f"{path} is no PLY file of Gaussians: its head is another; give one that export --what splats "
                        "or a trainer of splats wrote")
    if "format binary_little_endian 1.0" not in lines:
        raise _damaged(path, "it is not binary and little endian")
    elements = [line.split() for line in lines if line.startswith("element ")]
    properties = [line.split() for line in lines if line.startswith("property ")]
    if len(elements) != 1 or len(elements[0]) != 3 or elements[0][1] != "vertex" or not elements[0][2].isdecimal():
        raise _damaged(path, "it has other elements than vertices")
    if any(len(words) != 3 or words[1] not in TYPES for words in properties):
        raise _damaged(path, "a property is no plain number")
    names = [words[2] for words in properties]
    if len(set(names)) < len(names) or not names:
        raise _damaged(path, "its properties are not each there once")
    return int(elements[0][2]), np.dtype([(words[2], TYPES[words[1]]) for words in properties]), len(head) + len(mark)


def _functions(path: Path, names: tuple[str, ...]) -> int:
    """B, if the properties of so many functions are there."""
    rest = sum(name.startswith("f_rest_") for name in names)
    functions = rest // 3 + 1
    missing = [name for name in _names(functions) if name not in names and not name.startswith("n")]
    if missing or rest % 3 or functions not in [bands**2 for bands in BANDS]:
        what = f"it has no {missing[0]}" if missing else f"it has {rest} f_rest, of no whole number of bands"
        raise _damaged(path, what)
    return functions


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is no PLY file of Gaussians, or damaged: {what}; export it again")
