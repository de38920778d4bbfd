"""Locks between processes, which the system releases however a process ends.

A lock is on an open file. Some systems (Windows) and file systems have none: there, everyone goes on as if alone.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_TRIES = 100


def lock(descriptor: int) -> bool | None:
    """Lock an open file: True if it is locked now, False where another one has it, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def holding(file: Path) -> Iterator[bool]:
    """Within this context nobody else holds `file`, which is made for it and gone afterwards; False without locks.

    Raises BlockingIOError where another one holds it, and OSError where it cannot be made.
    """
    descriptor, alone = _held(file)
    try:
        yield alone
    finally:
        if not alone:
            os.close(descriptor)  # Windows removes no file that is open
        try:
            with contextlib.suppress(OSError):
                file.unlink()
        finally:  # even where Ctrl-C comes in between
            if alone:
                os.close(descriptor)  # not before: the file that is removed must be nobody else's


def is_held(file: Path) -> bool:
    """Whether somebody holds `file`; False where there are no locks."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        return lock(descriptor) is False
    finally:
        os.close(descriptor)


def _held(file: Path) -> tuple[int, bool]:
    """The descriptor of the file of that name, and whether it is locked, which it is where there are locks."""
    for _ in range(_TRIES):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        locked = lock(descriptor)
        if locked is None or (locked and _is_named(descriptor, file)):
            return descriptor, locked is True
        os.close(descriptor)
        if locked is False:
            break
        # whoever held it removed it meanwhile: what was locked has no name any more
    raise BlockingIOError(f"{file} is held by another one")


def _is_named(descriptor: int, file: Path) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False
