"""All that is printed: results on stdout, all else on stderr. Nothing of it ends what the program does.

Names come from files and from other people: what a terminal would obey (escape sequences, line ends, marks that turn
the direction of writing) is printed as its escape, such as \\x1b, and so is a byte that is no UTF-8, and what the
encoding of the stream does not have. A stream that takes nothing more, as a pipe whose reader has gone, loses what
follows; `loss` says so when all is done.
"""

import contextlib
import json
import os
import re
import shlex
import sys

_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_lost: OSError | None = None
_hushed = False


def hush() -> None:
    """Print nothing from now on: of processes that work together one alone speaks."""
    global _hushed
    _hushed = True


def speak() -> None:
    """Print again."""
    global _hushed
    _hushed = False


def result(*lines: str) -> None:
    """Print lines of what was asked for."""
    _write(sys.stdout, "".join(f"{visible(line)}\n" for line in lines), results=True)


def result_json(value) -> None:
    """Print what was asked for as one line of JSON."""
    _write(sys.stdout, json.dumps(value).replace("\x7f", "\\u007f") + "\n", results=True)


def say(text: str) -> None:
    """Print a line beside the results."""
    _write(sys.stderr, f"{visible(text)}\n")


def visible(text: object) -> str:
    """`text` as one line that a terminal shows and does not obey."""
    return _OBEYED.sub(_escaped, str(text))


def quoted(path) -> str:
    """A path as it is typed into a shell."""
    return shlex.quote(str(path))


def _escaped(found: re.Match) -> str:
    character = found[0]
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte of a name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def loss() -> OSError | None:
    """Why results were lost since the last call; None if they were not."""
    global _lost
    error, _lost = _lost, None
    return error


class Unfailing:
    """A stream for libraries that print by themselves: it does not raise, and sends what they style to a terminal."""

    def __init__(self, stream, *, results: bool = False):
        self._stream, self._results = stream, results
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        _write(self._stream, text, results=self._results)
        return len(text)

    def flush(self) -> None:
        """Every `write` does."""

    def isatty(self) -> bool:
        return is_terminal(self._stream)

    def fileno(self) -> int:
        return self._stream.fileno()


def is_terminal(stream) -> bool:
    """Whether a person watches; a program without a console has no stream at all."""
    return not _hushed and stream is not None and not stream.closed and stream.isatty()


def open_closed_streams() -> None:
    """Let what is printed to a stream that was closed go nowhere: the next file that is opened would take its number,
    and what a library prints."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            stream = open(number, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)  # which Taichi compares with


def _write(stream, text: str, *, results: bool = False) -> None:
    global _lost
    if _hushed or stream is None or stream.closed:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        _lost = error if results else _lost
        _give_up(stream)


def _give_up(stream) -> None:
    """Let what was not written, and what follows, go nowhere: Python would try again at its end."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
