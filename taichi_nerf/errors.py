"""Errors that a user can mend: the command line prints their one sentence and ends with code 2."""

import shlex
from pathlib import Path


class UserError(Exception):
    """Bad input: the message names the file or the argument, says what is wrong with it and what to do."""


def quoted(path: Path | str) -> str:
    """A path in a sentence, as it is typed into a shell."""
    return shlex.quote(str(path))
