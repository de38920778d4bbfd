"""A folder that is filled aside, and appears under its name when it is complete.

Whoever fills it holds a lock on a file in it, which the system releases however the process ends. The next one that
works in the same place removes what nobody holds: what a process left that was killed. Where the system has no such
locks, nothing is removed.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .locks import lock

MARK = ".taichi-nerf-unfinished"


@contextlib.contextmanager
def folder_aside(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is gone afterwards unless `finish` has moved it. Raises OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    aside = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    held = None
    try:
        held = _marked(aside)
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if held is not None:
            os.close(held)


def finish(aside: Path, target: Path):
    """Let the folder appear as `target`, where nothing or an empty folder is. Raises OSError."""
    (aside / MARK).unlink(missing_ok=True)
    aside.chmod(0o755)
    os.replace(aside, target)


def remove_abandoned(parent: Path):
    """Remove the folders in `parent` that were filled by processes that are gone."""
    for folder in [path.parent for path in parent.glob(f"*/{MARK}")]:
        held = None if folder.is_symlink() else _hold(folder / MARK)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _marked(folder: Path) -> int | None:
    """Mark `folder` as one that is filled; the lock on the mark, as its descriptor, None where there are no locks."""
    new = folder / f"{MARK}-new"  # nobody looks for it before it is locked
    new.touch(mode=0o600)
    held = _hold(new)
    if held is None:
        new.unlink()
    else:
        new.rename(folder / MARK)
    return held


def _hold(mark: Path) -> int | None:
    """A lock on the file, as its descriptor; None where another process has it, or there are no locks."""
    try:
        descriptor = os.open(mark, os.O_RDWR)
    except OSError:
        return None
    if lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None
