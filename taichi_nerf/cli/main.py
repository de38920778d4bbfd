"""From the arguments to a command and its exit code.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 2 bad input or a full disk, 130 and
143 stopped by a signal, 141 done, but who read stdout has gone, 1 a mistake of the program, a rank that has gone, or
what `doctor` and `bench` find to be wrong. Of the ranks that torchrun has started rank 0 alone prints.
"""

import contextlib
import errno
import io
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from importlib import metadata
from itertools import pairwise
from operator import or_
from typing import Annotated, Any, get_args

import tyro
from tyro.conf import AvoidSubcommands, subcommand

from ..config import ENCODINGS, PRESETS, SYSTEMS, SettingError, within
from ..devices import MOST_THREADS, is_rank, take_own_device
from ..errors import RankLost, UserError
from ..output import hush, loss, result, say
from .arguments import check_values, given, refusal, with_section
from .bench import Bench, bench
from .doctor import Doctor, doctor
from .eval import Eval, eval
from .export import Export, export
from .helping import Wrapped, one_line_each, paragraphs_of_docstrings
from .info import Info, info
from .locate import Locate, locate
from .octree import Octree, octree
from .options import Backend, Common
from .page import Page, page
from .process import Process, process
from .render import Render, render
from .train import Train, train, train_defaults
from .view import View, view

DESCRIPTION = "Photos with poses in; a trained radiance field, scores, views and a video out."
END = ("Begin with taichi-nerf train, which needs no data. taichi-nerf COMMAND --help has the options of a command, "
       "taichi-nerf --version says which release this is.")
COMMANDS: dict[type, Callable[[Any], int]] = {
    Train: train,
    Eval: eval,
    Render: render,
    View: view,
    Octree: octree,
    Page: page,
    Export: export,
    Locate: locate,
    Process: process,
    Info: info,
    Doctor: doctor,
    Bench: bench,
}
SHARED = (Train, Eval, Render)  # what the ranks of torchrun do together
LATER = 1.0  # seconds by which the silent ranks end later: torchrun ends all with the first, and rank 0 has to say why
_LONG = re.compile(r"(\S{200})\S+(\S{50})")  # nobody reads a word of thousands of letters
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", None)}
REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
}
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "failed to allocate",
             "allocate_memory_on_device")  # the last: Taichi, when a Vulkan device is full


def _defaults(argv: list[str]) -> Train:
    """Of train, under the choices in `argv`: those that --help shows."""
    return train_defaults(
        _chosen(argv, "--backend", get_args(Backend)) or "auto",
        _chosen(argv, "--model", tuple(SYSTEMS)) or "instant-ngp",
        _chosen(argv, "--preset", PRESETS), _chosen(argv, "--encoding", ENCODINGS))


def _command_type(defaults: Train):
    """The union of the commands."""
    def named(command: type, **given) -> Any:
        return Annotated[command, subcommand(_name(command), description=one_line_each(command.__doc__), **given)]

    first, *others = (named(each, **({"default": defaults} if each is Train else {})) for each in COMMANDS)
    union = reduce(or_, others, first)
    return Annotated[union, AvoidSubcommands]  # of train's settings: a model and its batch are chosen by --model


def _chosen(argv: list[str], flag: str, choices: tuple[str, ...]) -> str | None:
    """The last value of `flag` in `argv`, if it is one; what else it may be the parser refuses."""
    values = [value for name, value in pairwise(argv) if name == flag]
    values += [part.removeprefix(f"{flag}=") for part in argv if part.startswith(f"{flag}=")]
    return values[-1] if values and values[-1] in choices else None


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code. `argv` defaults to the arguments of the process."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if is_rank():
        take_own_device()
        if os.environ["RANK"] != "0":
            hush()
    try:
        command = _parsed(argv)
        _check_shared(command)
        code = 0 if command is None else COMMANDS[type(command)](command)
        return code or _code_of_loss(loss())
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except Exception as error:
        sentence = sentence_for(error)
        if sentence is None or "--debug" in argv:
            raise
        return _fail(sentence, 1 if isinstance(error, RankLost) else 2)


def _check_shared(command):
    """Raises UserError for what several ranks would do several times."""
    if command is not None and not isinstance(command, SHARED) and is_rank():
        if os.environ["RANK"] != "0":
            time.sleep(LATER)
        raise UserError(f"{_name(type(command))} is for one process; start it without torchrun, which is for "
                        f"{', '.join(map(_name, SHARED))}")


def sentence_for(error: Exception) -> str | None:
    """What to tell about an error that the user can mend; None if it is a mistake of the program."""
    if isinstance(error, (UserError, SettingError, RankLost)):
        return re.sub(r"[ \r\n]+", " ", str(error)).strip()
    if isinstance(error, ImportError) and error.name == "TAICHI_NERF_ENGINE":
        return str(error)
    text = str(error).lower()
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(s in text for s in NO_MEMORY)
    ):
        return (
            "the memory does not suffice; use smaller images (--downscale 2), smaller batches "
            "(--batch.samples, --batch.marched, --batch.rays) or a smaller model (--preset small)"
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return ("the system starts no further threads (ulimit -u and the limits of a container say how many); use "
                "fewer --threads, or end other programs")
    if isinstance(error, OSError) and error.errno in FULL | REFUSED:
        reason = "the disk is full" if error.errno in FULL else (error.strerror or text).lower()
        return f"{error.filename or 'a file'} cannot be written or read: {reason}; mend that and try again"
    return None


def _code_of_loss(error: OSError | None) -> int:
    """The exit code of a command whose work is done, where its results could not be printed for `error`."""
    if error is None:
        return 0
    if isinstance(error, BrokenPipeError):
        return 141  # as of a program that SIGPIPE ends
    return _fail(f"the results cannot be printed: {(error.strerror or str(error)).lower()}", 2)


def _help() -> list[str]:
    """What there is, a line or two a command."""
    width = min(shutil.get_terminal_size().columns, 100)
    lines = ["usage: taichi-nerf COMMAND [OPTIONS]", "", *textwrap.wrap(DESCRIPTION, width), ""]
    for command in COMMANDS:
        summary = command.__doc__.split("\n\n")[0]
        lines += textwrap.wrap(" ".join(summary.split()), width, initial_indent=f"  {_name(command):9}",
                               subsequent_indent=" " * 11)
    return [*lines, "", *textwrap.wrap(END, width)]


def _version() -> str:
    try:
        return metadata.version("taichi-nerf")
    except metadata.PackageNotFoundError:
        return "of a folder that is not installed"


def _name(command: type) -> str:
    return command.__name__.lower()


def _parsed(
    argv: list[str],
) -> "Train | Eval | Render | View | Octree | Page | Export | Locate | Process | Info | Doctor | Bench | None":
    """The command; None where the help was asked for, and is printed."""
    if argv[:1] == ["help"]:
        argv = ["--help"] if argv[1:2] in ([], ["help"]) else [argv[1], "--help"]
    if argv[:1] in (["-h"], ["--help"]):
        result(*_help())
        return None
    if argv[:1] == ["--version"]:
        result(f"taichi-nerf {_version()}")
        return None
    if "" in argv:
        raise UserError("an argument is empty, as of a variable of the shell that is not set; give it a value, or "
                        "leave it out")
    said, defaults = io.StringIO(), _defaults(argv)
    commands = {**{_name(each): each for each in COMMANDS}, "train": defaults}
    if argv and argv[0] not in commands:
        argv = argv[:1]  # what follows, as --help, cannot be of a command that there is not
    options = given(argv[1:], commands[argv[0]]) if argv[:1] and argv[0] in commands else {}
    try:
        shown = contextlib.redirect_stdout(Wrapped(sys.stdout, results=True))
        with contextlib.redirect_stderr(said), shown, paragraphs_of_docstrings():
            command = tyro.cli(_command_type(defaults), prog="taichi-nerf", args=argv, description=DESCRIPTION)
        check_values(command, options)
        if isinstance(command, Common):
            within(command, 1, MOST_THREADS, "threads")
        return replace(command, given=frozenset(options)) if isinstance(command, Train) else command
    except (SettingError, SystemExit) as end:
        refused = _setting_error(end)
        if refused is None and not end.code:
            return None
        # the parser would print either as a box of several lines
        of_models = partial(_of_other_models, defaults) if argv[:1] == ["train"] else None
        sentence = with_section(str(refused), options.values()) if refused else refusal(argv, commands, of_models)
        of_command = f" {argv[0]}" if argv and argv[0] in map(_name, COMMANDS) else ""
        sentence = str(sentence or _unboxed(said.getvalue()))
        more = f"see taichi-nerf{of_command} --help"
        raise UserError(f"{sentence}{' ' if sentence.endswith('?') else '; '}{more}") from refused


def _of_other_models(chosen: Train) -> tuple[str, dict[str, Train]]:
    """Which model `chosen` is for, and what train does by default for each of the others that it can train."""
    others = (kind for kind, system in SYSTEMS.items() if kind != chosen.model_name and system.made_by is None)
    return chosen.model_name, {kind: train_defaults(chosen.backend, kind) for kind in others}


def _unboxed(text: str) -> str:
    """The sentence in a box of the parser's."""
    inside = re.split("[─-]{9,}", re.sub("[╭╮╰╯│|]", " ", text))[1:2] or [text]
    return " ".join(inside[0].split())


def _setting_error(error: BaseException | None) -> SettingError | None:
    """The refused setting among the causes of `error`."""
    while error is not None and not isinstance(error, SettingError):
        error = error.__cause__ or error.__context__
    return error


def _fail(sentence: str, code: int) -> int:
    say("taichi-nerf: " + _LONG.sub(r"\1...\2", sentence))
    return code
