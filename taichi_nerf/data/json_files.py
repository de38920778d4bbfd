"""JSON files: read with the comments that people leave in them, and values checked one by one."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from .opening import check_regular

# A text in quotes, which stays, or a comment, as JavaScript has them.
_TEXT_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def read_json(path: Path):
    """What the JSON file `path` holds; comments (// and /* */) are passed over. Raises UserError."""
    try:
        check_regular(path)
        return _parsed(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({(error.strerror or str(error)).lower()}); check the path"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; export it again") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            "correct that line or export the file again"
        ) from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path} is not valid JSON ({type(error).__name__}); export it again") from None


def read_object(path: Path) -> dict:
    """The JSON object in `path`. Raises UserError."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; export it again or pick another file")
    return content


def _parsed(text: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if "//" not in text and "/*" not in text:
            raise
        return json.loads(_TEXT_OR_COMMENT.sub(_blanked, text))


def _blanked(match: re.Match) -> str:
    """Spaces in the place of a comment, so that lines and columns stay what they are."""
    found = match[0]
    return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)


def number_of(keys: Mapping, key: str, default: float | None, where: str) -> float:
    """The finite number under `key`, or the default. Raises UserError."""
    value = keys.get(key, default)
    if value is None and key not in keys:
        raise UserError(f"{where}: '{key}' is missing; add it")
    return finite(value, f"{where}: '{key}'")


def finite(value, what: str) -> float:
    """`value` as a float that single precision can hold. Raises UserError starting with `what`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{what} is {short(value)}, not a number; correct it")
    if abs(value) > 1e30 or not math.isfinite(value):
        raise UserError(f"{what} is {short(value)}, not a finite number; correct it")
    return float(value)


def rows_of(keys: Mapping, key: str, shapes: tuple[tuple[int, int], ...], where: str) -> np.ndarray | None:
    """The matrix under `key`, of one of the `shapes` (rows, columns); None without the key. Raises UserError."""
    rows = keys.get(key)
    if key not in keys:
        return None
    listed = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    if not listed or not any(len(rows) == r and all(len(row) == c for row in rows) for r, c in shapes):
        counts = " or ".join(str(r) for r, _ in shapes)
        raise UserError(f"{where}: '{key}' is not a list of {counts} rows of {shapes[0][1]} numbers; correct it or "
                        "take it out")
    return np.array([[finite(value, f"{where}: '{key}'") for value in row] for row in rows])


def flag_of(keys: Mapping, key: str, default: bool, where: str) -> bool:
    """The truth value under `key`. Raises UserError."""
    value = keys.get(key, default)
    if not isinstance(value, (bool, int)):
        raise UserError(f"{where}: '{key}' is {short(value)}; set it to true or false")
    return bool(value)


def short(value) -> str:
    """A value for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
