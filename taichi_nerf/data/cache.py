"""Decoded pixels that stay on disk and are read as if they were in memory: for images that do not fit into it.

    pixels.bin    [P, 4] uint8            allowed.bin   [A] int32, where there are masks
    about.json    what they were decoded from (sizes and times of the files), and a checksum of each image

A cache has a folder of its own, named after the files and how they were decoded, in `.taichi-nerf-cache` of the
scene's folder or, where that cannot be written, in the user's cache folder; the environment variable
TAICHI_NERF_CACHE names another place. A cache whose files have changed since, or which is damaged, is built anew.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..errors import UserError
from .aside import finish, folder_aside
from .opening import check_regular

CacheMode = Literal["auto", "memory", "disk"]
MEMORY_SHARE = 0.5  # of the memory: pixels that need more stay on disk
FOLDER, VARIABLE = ".taichi-nerf-cache", "TAICHI_NERF_CACHE"
VERSION = 1
_BLOCK = 2**24  # bytes
CHECKED_IMAGES = 16  # whose checksums are looked at when a cache is opened


class Pixels(NamedTuple):
    """What was decoded: of `Images`, and the files that could not be read."""

    pixels: np.ndarray
    """[P, 4] uint8."""
    allowed: np.ndarray | None
    """[A] int32, None where all pixels are."""
    has_alpha: bool
    failed: list[tuple[int, str]]
    """Number and reason."""


class Facts(NamedTuple):
    """What filling a buffer has shown."""

    has_alpha: bool
    failed: list[tuple[int, str]]
    masked: bool
    """Whether it handed over allowed pixels."""


Fill = Callable[[np.ndarray, Callable[[np.ndarray], object]], Facts]
"""`fill(pixels, add_allowed)` writes all pixels, and hands over the allowed ones image by image, ascending."""


def fill_memory(fill: Fill, count: int) -> Pixels:
    """`count` pixels in memory."""
    pixels, parts = np.zeros((count, 4), np.uint8), []
    facts = fill(pixels, parts.append)
    allowed = np.concatenate([np.zeros(0, np.int32), *parts]) if facts.masked else None
    return Pixels(pixels, allowed, facts.has_alpha, facts.failed)


@dataclass(frozen=True, kw_only=True)
class ImageCache:
    """Where the pixels of a scene's images are kept."""

    scene: Path
    """Folder of the scene."""
    mode: CacheMode = "auto"
    """auto: on disk where they need more than half of the memory."""

    def keeps_on_disk(self, count: int) -> bool:
        """Whether `count` pixels are to stay on disk."""
        too_large = self.mode == "auto" and 4 * count > MEMORY_SHARE * memory_bytes()
        return count > 0 and (self.mode == "disk" or too_large)

    def open(self, files: Sequence[Path], how: dict, count: int, offset: np.ndarray, fill: Fill) -> Pixels:
        """`count` pixels on disk, from the last time or by `fill`.

        Args:
            files: that the pixels are decoded from; a change of one makes the cache stale.
            how: plain values that say what is done to them.
            offset: [N], the first pixel of each image.

        Raises:
            UserError: the disk has no room, or cannot be written.
        """
        names = [str(file.absolute()) for file in files]
        name = hashlib.sha256(json.dumps([VERSION, names, how]).encode()).hexdigest()[:20]
        stamp = [_stamp(file) for file in files]
        for folder in cache_folders(self.scene):
            found = _read(folder / name, stamp, count, offset)
            if found is not None:
                return found
        folder = next(folder for folder in cache_folders(self.scene) if _is_writable(folder))
        try:
            _build(folder, name, stamp, count, offset, fill)
        except OSError as error:
            raise UserError(
                f"the pixel cache {folder / name} cannot be written ({error.strerror or error}); make "
                f"room, name another folder in {VARIABLE}, or use a larger --downscale or --cache memory"
            ) from None
        built = _read(folder / name, stamp, count, offset)
        if built is None:
            raise UserError(f"the pixel cache {folder / name} differs from what was written; check the disk, or use "
                            "--cache memory")
        return built


def _stamp(file: Path) -> list[int] | None:
    """What changes when a file does; None for one that is missing, which whoever reads it will say."""
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def memory_bytes() -> int:
    """The memory that this process may use: that of the machine, or of its control group."""
    limits = []
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        limits.append(2**34)
    return min(limits)


def cache_folders(scene: Path) -> list[Path]:
    """Where a cache of the scene may lie, the first choice first."""
    if os.environ.get(VARIABLE):
        return [Path(os.environ[VARIABLE])]
    return [scene / FOLDER, _user_folder() / "taichi-nerf"]


def _user_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _is_writable(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return (folder.name != FOLDER) or (there.is_dir() and os.access(there, os.W_OK | os.X_OK))


def _build(folder: Path, name: str, stamp: list, count: int, offset: np.ndarray, fill: Fill):
    """The cache appears when it is complete, in the place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    old, needed = folder / name, 4 * count
    shutil.rmtree(old, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"it needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free")
    with folder_aside(folder, f"{name}-") as aside:
        _reserve(aside / "pixels.bin", needed)
        pixels = np.memmap(aside / "pixels.bin", np.uint8, "r+", shape=(count, 4))
        with (aside / "allowed.bin").open("wb") as file:
            facts = fill(pixels, lambda indices: file.write(np.ascontiguousarray(indices, np.int32)))
            allowed = file.tell() // 4
        ends = [*offset[1:], count]
        about = {
            "version": VERSION,
            "stamp": stamp,
            "pixels": count,
            "allowed": allowed if facts.masked else None,
            "has_alpha": facts.has_alpha,
            "failed": facts.failed,
            "checksums": [zlib.crc32(pixels[start:end]) for start, end in zip(offset, ends)],
        }
        pixels.flush()
        del pixels
        (aside / "about.json").write_text(json.dumps(about), encoding="utf-8")
        finish(aside, old)


def _reserve(path: Path, size: int):
    """A file whose every byte has its place on the disk: to write into a mapping of one that has not, when the disk is
    full, would end the process. Raises OSError."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        for start in range(0, size, _BLOCK):
            file.write(bytes(min(_BLOCK, size - start)))


def _read(folder: Path, stamp: list, count: int, offset: np.ndarray) -> Pixels | None:
    """The cache in `folder`; None if there is none, or it is stale or damaged."""
    try:
        check_regular(folder / "about.json")
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if [about["version"], about["stamp"], about["pixels"]] != [VERSION, stamp, count]:
            return None
        if (folder / "pixels.bin").stat().st_size != 4 * count:
            return None
        pixels, allowed = np.memmap(folder / "pixels.bin", np.uint8, "r", shape=(count, 4)), None
        if about["allowed"] is not None:
            if (folder / "allowed.bin").stat().st_size != 4 * about["allowed"]:
                return None
            allowed = np.memmap(folder / "allowed.bin", np.int32, "r") if about["allowed"] else np.zeros(0, np.int32)
        ends = [*offset[1:], count]
        for n in np.unique(np.linspace(0, len(offset) - 1, CHECKED_IMAGES).astype(int)):
            if zlib.crc32(pixels[offset[n] : ends[n]]) != about["checksums"][n]:
                return None
        return Pixels(pixels, allowed, bool(about["has_alpha"]), [(int(n), str(why)) for n, why in about["failed"]])
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
