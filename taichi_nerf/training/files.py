"""Files of a run: each is replaced as a whole, and checked when it is read.

A file is written in a folder aside, flushed to the disk and renamed: whoever reads meets the old one or the new one,
whole. What a killed process leaves aside, the next one that writes beside it removes.
"""

import errno
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from ..data.aside import folder_aside
from ..data.opening import check_regular
from ..errors import UserError

MODEL_FILE, STATE_FILE = "model.safetensors", "training_state.safetensors"  # of a run, as `checkpoint` writes them
BLOCKS_FILE = "blocks.json"  # in the place of a model, where a run is cut into blocks (`blocks`)
ASIDE = ".taichi-nerf-aside-"  # how the names of folders aside begin
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", None))
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_json(path: Path, content) -> None:
    """Replace `path` by `content` as a whole. Raises UserError where it cannot be written."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` as a whole. Raises UserError where it cannot be written."""
    replace(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict:
    """The object in a JSON file, whose numbers are all finite.

    Raises UserError naming the file if it is missing or damaged.
    """
    try:
        check_regular(path)
        content = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give the folder of a run of taichi-nerf train") from None
    except json.JSONDecodeError as error:
        place = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise UserError(f"{path} is not valid JSON: {place}; restore it or train again") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not finite
        raise UserError(f"{path} cannot be read ({error}); restore it or train again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold one JSON object; restore it or train again")
    return content


def parsed(text: str):
    """What a JSON text says. Raises ValueError, also for a number that is not finite, and for brackets within brackets
    without end."""
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it has brackets within brackets without end") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text if len(text) <= 24 else text[:20] + '...'}")
    return value


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file aside, and rename it to `path` once it is on the disk.

    Raises UserError where that is not possible; the file that was there is then as it was.
    """
    try:
        os.stat(path.parent)  # a folder that is gone stays gone
        with folder_aside(path.parent, ASIDE) as folder:
            aside = folder / path.name
            aside.touch()
            mode = aside.stat().st_mode
            write(aside)
            os.chmod(aside, mode)  # safetensors makes files that the user alone may read
            _flush(aside)
            os.replace(aside, path)
            _flush(path.parent)
    except (OSError, SafetensorError) as error:
        reason, remedy = write_trouble(error, path.parent)
        kept = "; the one from before is as it was" if os.path.lexists(path) else ""
        raise UserError(f"{path} could not be written: {reason}{kept}; {remedy}") from error


def _flush(path: Path):
    if os.name == "nt" and path.is_dir():  # Windows has no handle for a folder
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_trouble(error: Exception, folder: Path) -> tuple[str, str]:
    """Why nothing could be written into `folder`, in the system's words, and what its user can do about it.

    Errors of safetensors have the system's number in their text alone.
    """
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"os error (\d+)", str(error))):
        number = int(found[1])
    reason = os.strerror(number).lower() if number else str(error)
    if number in _FULL:
        return "the disk is full", f"make room in {folder}, or write to another folder"
    if number == errno.EFBIG:
        return reason, "raise the limit on the size of files (ulimit -f), or write to another folder"
    if number in _REFUSED:
        return reason, f"see to it that you may write into {folder}, or write to another folder"
    return reason, "mend that, or write to another folder"
