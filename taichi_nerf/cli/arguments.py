"""The options of a command, and why arguments do not fit them: a sentence, where the parser has a box of many lines."""

import dataclasses
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional, Suppress

from ..config import LARGEST, SettingError
from .meant import meant, meant_by_name

LARGEST_FLOAT = 3.4028234e38  # of kernels
_POSITIONAL, _SUPPRESSED = (get_args(marker[int])[1] for marker in (Positional, Suppress))
_NOUNS = {int: "whole number", float: "number"}


class AtMost(NamedTuple):
    """A note on an option: so many values are all that it takes."""

    count: int


class Option(NamedTuple):
    """A field of a command, as it is given on the command line."""

    path: str
    """Dotted names of the fields that lead to it."""
    names: tuple[str, ...]
    """How it is spelled; of a positional argument what stands for it."""
    kind: Any
    """Its type, without None."""
    optional: bool
    """None is one of its values."""
    positional: bool
    required: bool
    most: int | None = None
    """The largest number of values, where it is no fixed one and there is one."""
    empty: bool = False
    """By default it has no values."""

    @property
    def count(self) -> int | None:
        """How many values it takes; None: any number."""
        if self.kind is bool and not self.optional:
            return 0
        if get_origin(self.kind) is not tuple:
            return 1
        return None if ... in get_args(self.kind) else len(get_args(self.kind))

    @property
    def wanted(self) -> str:
        """What it takes."""
        each = self._each
        if get_origin(each) is Literal:
            return f"{'one' if self.count == 1 else 'any'} of {', '.join(map(str, get_args(each)))}"
        noun = _NOUNS.get(each, "value")
        if self.most is not None:
            return f"{' or '.join(map(str, range(1, self.most + 1)))} {noun}s"
        return f"a {noun}" if self.count == 1 else f"{self.count or 'any number of'} {noun}s"

    def reads(self, word: str) -> bool:
        """Whether `word` is one of its values."""
        if self.optional and word == "None":
            return True
        if get_origin(self._each) is Literal:
            return word in map(str, get_args(self._each))
        try:
            return self._each not in _NOUNS or self._each(word) is not None
        except ValueError:
            return False

    @property
    def _each(self):
        each = get_args(self.kind)[0] if get_origin(self.kind) is tuple else self.kind
        return Literal[True, False] if each is bool else each


def options_of(command: Any, path: str = "", prefix: str = "") -> Iterator[Option]:
    """Of a command: its class, or an instance whose settings have the types of its defaults."""
    hints = get_type_hints(command if isinstance(command, type) else type(command), include_extras=True)
    for field in dataclasses.fields(command):
        hint = hints[field.name]
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if _SUPPRESSED in notes:
            continue
        name = next((note.name for note in notes if getattr(note, "name", None) is not None), field.name)
        name = f"{prefix}{name.replace('_', '-')}"
        value = None if isinstance(command, type) else getattr(command, field.name)
        if dataclasses.is_dataclass(value):
            yield from options_of(value, f"{path}{field.name}.", f"{name}." if name else "")
            continue
        of_union = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        positional = _POSITIONAL in notes
        shown = next((note.metavar for note in notes if getattr(note, "metavar", None)), field.name.upper())
        aliases = [alias for note in notes for alias in getattr(note, "aliases", None) or ()]
        names = (shown,) if positional else (f"--{name}", *aliases)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        most = next((note.count for note in notes if isinstance(note, AtMost)), None)
        empty = (field.default if isinstance(command, type) else value) == ()
        yield Option(path + field.name, names, next(each for each in of_union if each is not type(None)),
                     type(None) in of_union, positional, required, most, empty)


def refusal(argv: Sequence[str], commands: Mapping[str, Any],
            variants: Callable[[], tuple[str, Mapping[str, Any]]] | None = None) -> str | None:
    """Why `argv` is none of `commands`, which are given as to `options_of`; None where it looks right. `variants`: of
    the command, which of them this is, and the others by name, whose options it has not."""
    if not argv or argv[0] not in commands:
        found = f"{argv[0]} is no command" if argv else "the command is missing"
        return f"{found}; there are {', '.join(commands)}{_close(argv[0], commands) if argv else ''}"
    options = list(options_of(commands[argv[0]]))
    return next(_faults(argv[0], list(argv[1:]), options, variants), None)


def given(words: Sequence[str], command: Any) -> dict[str, Option]:
    """The options of `command` among the words after it, by path."""
    known = _by_name(options_of(command))
    names = (_name_of(word) for word in words if _is_option(word))
    return {known[name].path: known[name] for name in names if name in known}


def with_section(sentence: str, options: Iterable[Option]) -> str:
    """A sentence that begins with the name of a setting, with that of one of `options` in its place, as the user wrote
    it, which says whose setting it is; one of several such may be meant."""
    name, space, rest = sentence.partition(" ")
    found = [full for full in (option.names[0] for option in options)
             if full.removeprefix("--").rpartition(".")[2] == name]
    return " or ".join(found or [name]) + space + rest


def check_values(command: Any, said: Mapping[str, Option]) -> None:
    """Raises SettingError for more values than an option takes, for an option without values that is among those that
    are `said`, as of `given`, and for a number that no kernel can have: infinite, none at all, or beyond 32 bits."""
    for option in options_of(command):
        value = attrgetter(option.path)(command)
        if value == () and option.path in said and said[option.path].empty:
            raise SettingError(f"{option.names[0]} has no value, as of a variable of the shell that is not set; give "
                               "it one, or leave it out")
        if option.most is not None and len(value) > option.most:
            raise SettingError(f"{option.names[0]} takes {option.wanted}, got {' '.join(map(str, value))}")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not abs(number) <= LARGEST_FLOAT:
                raise SettingError(f"{option.names[0]} must be finite, got {number}")
            if isinstance(number, int) and abs(number) > LARGEST:
                raise SettingError(f"{option.names[0]} must be below 2^31, got {number}")


def _faults(command: str, words: list[str], options: list[Option],
            variants: Callable[[], tuple[str, Mapping[str, Any]]] | None) -> Iterator[str]:
    """What is wrong with the words after `command`, as they come."""
    known, found, loose, flag = _by_name(options), set(), [], None
    while words:
        word = words.pop(0)
        if not _is_option(word):
            loose.append((word, flag))
            flag = None
            continue
        name, (_, equals, attached) = _name_of(word), word.partition("=")
        option = known.get(name)
        if option is None:
            of_others = None if variants is None else _of_others(name, *variants())
            unnamed = [option.names[0].strip("[]") for option in options if option.positional]
            if of_others is not None:
                yield of_others + _asked(meant_by_name(name, known))
            else:
                yield f"{name} is no option of {command}{_close(name, known, unnamed)}"
            return
        found.add(option)
        values = [attached] if equals else []
        while words and not _is_option(words[0]) and (option.count is None or len(values) < option.count):
            values.append(words.pop(0))
        flag = name if option.count == 0 else None  # what follows may be meant for it
        yield from _wrong_values(name, option, values)
    positional = [option for option in options if option.positional]
    if len(loose) > len(positional):
        shown = " and ".join(option.names[0].strip("[]") for option in positional) or "no argument without a name"
        word, flag = loose[len(positional)]
        also = "" if flag is None else f"{flag} takes no value, and "
        yield f"{word} is one argument too many: {also}{command} takes {shown}"
    yield from (f"{command} needs {option.names[0]}" for option in positional[len(loose) :] if option.required)
    yield from (f"{command} needs {option.names[0]}" for option in options
                if option.required and not option.positional and option not in found)


def _of_others(name: str, chosen: str, others: Mapping[str, Any]) -> str | None:
    """Which of the other variants have an option, if any does."""
    having = [each for each, command in others.items() if name in _by_name(options_of(command))]
    if not having:
        return None
    *most, last = having
    return f"{name} is of {', '.join(most) + ' and ' if most else ''}{last}, not of {chosen}"


def _wrong_values(name: str, option: Option, values: list[str]) -> Iterator[str]:
    if option.count == 0 and values:
        yield f"{name} takes no value, got {values[0]}"
    elif option.count is not None and len(values) < option.count:
        yield f"{name} takes {option.wanted}, got {' '.join(values) or 'none'}"
    yield from (f"{name} takes {option.wanted}, got {value}" for value in values if not option.reads(value))


def _is_option(word: str) -> bool:
    return re.match("--?[A-Za-z]", word) is not None


def _name_of(word: str) -> str:
    """Of an option, without a value that is attached to it."""
    return word.partition("=")[0].replace("_", "-")


def _by_name(options: Iterable[Option]) -> dict[str, Option]:
    """Those that have names, by each of them."""
    known = {name: option for option in options if not option.positional for name in option.names}
    return known | {f"--{_negated(option.names[0])}": option for option in known.values() if option.kind is bool}


def _negated(name: str) -> str:
    """`--a.no-b` of `--a.b`, without the dashes."""
    *groups, last = name.removeprefix("--").split(".")
    return ".".join([*groups, f"no-{last}"])


def _close(word: str, known: Mapping[str, Any], unnamed: Iterable[str] = ()) -> str:
    """What may have been meant."""
    return _asked(meant(word, known, unnamed))


def _asked(found: Sequence[str]) -> str:
    """Whether one of them was meant; nothing where there is none."""
    *others, last = found or [""]
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if last else ""
