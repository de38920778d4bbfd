"""What the program does to files, to other programs and to the network, as Python's audit events tell it.

Native code is not seen: safetensors' writer (whose file Python touches first and renames at last), Taichi's cache of
compiled kernels.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Which arguments of an event are paths that are changed, and which one is the descriptor of the folder they lie in.
CHANGES = {"os.rename": ((0, 1), 2), "os.remove": ((0,), 1), "os.mkdir": ((0,), 2), "os.rmdir": ((0,), 1),
           "os.symlink": ((1,), 2), "os.link": ((1,), 3), "os.truncate": ((0,), None), "os.chmod": ((0,), 2)}
FOLLOWING = {"open", "os.truncate", "os.chmod"}  # what changes the file behind a link; all else changes the link
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo", "pickle.find_class"}
TOOLS = ("ffmpeg", "python")  # the package starts them: for videos and linear light; doctor and bench, for a backend
ALWAYS = ("/dev/null", "/dev/shm", "/proc/self")


class Watch:
    """Audits this process from its making on, between `watching` and its end."""

    def __init__(self, passing: Path):
        """`passing`: a folder for files that anybody may write, as TMPDIR is."""
        self._always = (*ALWAYS, str(passing.resolve()))
        self._allowed: tuple[str, ...] | None = None
        self._on_change: Callable[[str], object] | None = None
        self._found: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self, may_write: list[Path], on_change: Callable[[str], object] | None = None) -> Iterator[list[str]]:
        """A list to which is added whatever is done that is not allowed; `on_change(path)` is called before each
        change of a file in `may_write`."""
        self._found, self._on_change = [], on_change
        self._allowed = tuple(str(path.resolve()) for path in may_write)
        try:
            yield self._found
        finally:
            self._allowed = self._on_change = None

    def _hear(self, event: str, args: tuple):
        if self._allowed is None:
            return
        if event == "open":
            if isinstance(args[2], int) and args[2] & WRITING:
                self._changed(event, args[0], None)
        elif event in CHANGES:
            paths, folder = CHANGES[event]
            for n in paths:
                self._changed(event, args[n], None if folder is None or folder >= len(args) else args[folder])
        elif event == "subprocess.Popen":
            if not os.path.basename(os.fsdecode(args[0] or args[1][0])).startswith(TOOLS):
                self._found.append(f"started {args[1]!r}"[:300])
        elif event in FORBIDDEN:
            self._found.append(f"{event} {args!r}"[:300])

    def _changed(self, event: str, path, folder: int | None):
        if isinstance(path, int) or path is None:
            return
        path = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        try:
            within, name = os.path.split(os.path.abspath(path))
            real = os.path.realpath(path) if event in FOLLOWING else os.path.join(os.path.realpath(within), name)
        except ValueError:  # no file can have this name
            return
        if _within(real, self._allowed):
            if self._on_change is not None:
                self._on_change(real)
        elif not _within(real, self._always) and "/__pycache__" not in real:
            self._found.append(f"wrote {real}")


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)
