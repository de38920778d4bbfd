"""Files by the names that other machines gave them.

A file is looked for as it is spelled; then with one of the endings; then with Windows' backslashes as slashes; then
with capitals where it has small letters, or the other way round; and at last by the end of its path: `images/0001.png`
in the folder `images`, or a path of another machine.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

_LONGEST = 1000


def usable(name) -> bool:
    """Whether a file can have this name."""
    return isinstance(name, str) and bool(name.strip()) and "\0" not in name and len(name) < _LONGEST


def find_file(folder: Path, name: str, endings: Sequence[str] = (), *, tails: bool = True) -> Path | None:
    """The file called `name`, relative to `folder`, in one of the spellings above; None without.

    `tails` off: the end of the path alone is not enough.
    """
    if not usable(name):
        return None
    try:
        found = _exact(folder, name, endings) or _in_another_case(folder, name, endings)
        if found is None and tails:
            found = next((path for tail in _tails(name) if (path := _exact(folder, tail, endings))), None)
    except (OSError, ValueError):  # a name that no file can have
        return None
    return found


def _exact(folder: Path, name: str, endings: Sequence[str]) -> Path | None:
    for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
        for ending in ("", *endings):
            if (path := folder / (spelling + ending)).is_file():
                return path
    return None


def _in_another_case(folder: Path, name: str, endings: Sequence[str]) -> Path | None:
    """The only file whose path differs in capitals alone."""
    path = folder / name.replace("\\", "/")
    wanted = {(path.name + ending).lower() for ending in ("", *endings)}
    if not path.parent.is_dir():
        return None
    found = [other for other in path.parent.iterdir() if other.name.lower() in wanted and other.is_file()]
    return found[0] if len(found) == 1 else None


def _tails(name: str) -> Iterator[str]:
    """The ends of a path, the longest first, without what leads out of the folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    yield from ("/".join(parts[k:]) for k in range(1, len(parts)) if ".." not in parts[k:])


def printable(name) -> str:
    """The name with what is no UTF-8 replaced, for people and for other programs."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
