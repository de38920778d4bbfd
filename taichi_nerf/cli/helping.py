"""The texts of --help as lines of the terminal's width: the parser breaks them where lines of the source end."""

import contextlib
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator

import docstring_parser

from ..output import Unfailing

_BOX, _ESCAPE, _KEPT = tuple("╭╰│─"), "\x1b", "\0"


@contextlib.contextmanager
def paragraphs_of_docstrings() -> Iterator[None]:
    """Within this context docstring_parser, which reads those of settings for the parser, gives paragraphs as single
    lines: the parser would keep a break before every line that is indented or begins with no letter."""
    original = docstring_parser.parse_from_object

    def parsed(obj, *arguments, **settings):
        found = original(obj, *arguments, **settings)
        for param in found.params:
            param.description = param.description and one_line_each(param.description)
        return found

    docstring_parser.parse_from_object = parsed
    try:
        yield
    finally:
        docstring_parser.parse_from_object = original


def one_line_each(text: str) -> str:
    """`text` with each paragraph on a line of its own."""
    return "\n\n".join(" ".join(each.split()) for each in re.split(r"\n[ \t]*\n", inspect.cleandoc(text)))


class Wrapped(Unfailing):
    """A stream for help: what stands in no box is wrapped at the width of the terminal, but for `commands`, each of
    which stays on one line, to be copied."""

    def write(self, text: str) -> int:
        width = shutil.get_terminal_size().columns
        super().write("\n".join(line if line.startswith(_BOX) or _ESCAPE in line else _wrapped(line, width)
                                for line in text.split("\n")))
        return len(text)


def _wrapped(line: str, width: int) -> str:
    whole = re.sub("`[^`]*`", lambda command: command[0].replace(" ", _KEPT), line)
    wrapped = textwrap.fill(whole, width, break_long_words=False, break_on_hyphens=False, drop_whitespace=True)
    return wrapped.replace(_KEPT, " ")
