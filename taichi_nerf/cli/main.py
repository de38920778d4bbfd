"""From the arguments to a command and its exit code.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 2 bad input or a full disk, 130 and
143 stopped by a signal, 1 a mistake of the program, or what `doctor` and `bench` find to be wrong.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, get_args

import tyro
from tyro.conf import AvoidSubcommands, subcommand

from ..config import ENCODINGS, PRESETS, SYSTEMS, SettingError
from ..errors import UserError
from .bench import Bench, bench
from .doctor import Doctor, doctor
from .eval import Eval, eval
from .info import Info, info
from .options import Backend
from .process import Process, process
from .render import Render, render
from .train import Train, train, train_defaults

DESCRIPTION = "Images with poses in; a trained radiance field, scores, new views and a video out."
COMMANDS: dict[type, Callable[[Any], int]] = {
    Train: train,
    Eval: eval,
    Render: render,
    Process: process,
    Info: info,
    Doctor: doctor,
    Bench: bench,
}
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


def _command_type(argv: list[str]):
    """The union of the commands; the defaults that --help shows are those of the choices in `argv`."""
    defaults = train_defaults(
        _chosen(argv, "--backend", get_args(Backend)) or "auto",
        _chosen(argv, "--model", tuple(SYSTEMS)) or "instant-ngp",
        _chosen(argv, "--preset", PRESETS), _chosen(argv, "--encoding", ENCODINGS))
    return Annotated[
        Annotated[Train, subcommand("train", default=defaults)]
        | Annotated[Eval, subcommand("eval")]
        | Annotated[Render, subcommand("render")]
        | Annotated[Process, subcommand("process")]
        | Annotated[Info, subcommand("info")]
        | Annotated[Doctor, subcommand("doctor")]
        | Annotated[Bench, subcommand("bench")],
        AvoidSubcommands,  # of train's settings: a model and its batch are chosen by --model
    ]


def _chosen(argv: list[str], flag: str, choices: tuple[str, ...]) -> str | None:
    """The last value of `flag` in `argv`, if it is one; what else it may be the parser refuses."""
    values = [value for name, value in pairwise(argv) if name == flag]
    values += [part.removeprefix(f"{flag}=") for part in argv if part.startswith(f"{flag}=")]
    return values[-1] if values and values[-1] in choices else None


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code. `argv` defaults to the arguments of the process."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        command = _parsed(argv)
        if isinstance(command, int):
            return command
        code = COMMANDS[type(command)](command)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:  # who read stdout has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        sentence = sentence_for(error)
        if sentence is None or "--debug" in argv:
            raise
        return _fail(sentence, 2)


def sentence_for(error: Exception) -> str | None:
    """What to tell about an error that the user can mend; None if it is a mistake of the program."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
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
    if isinstance(error, OSError) and error.errno in FULL | REFUSED:
        reason = "the disk is full" if error.errno in FULL else (error.strerror or text).lower()
        return f"{error.filename or 'a file'} cannot be written or read: {reason}; mend that and try again"
    return None


def _parsed(argv: list[str]) -> "Train | Eval | Render | Process | Info | Doctor | Bench | int":
    """The command, or the exit code of a parser that has said all there is to say."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(_command_type(argv), prog="taichi-nerf", args=argv, description=DESCRIPTION)
    except (SettingError, SystemExit) as end:
        refused = _setting_error(end)
        if refused is not None:  # the parser would print it as a box of several lines
            raise UserError(f"{refused}; see taichi-nerf {argv[0]} --help") from refused
        sys.stderr.write(said.getvalue())
        return 2 if end.code else 0


def _setting_error(error: BaseException | None) -> SettingError | None:
    """The refused setting among the causes of `error`."""
    while error is not None and not isinstance(error, SettingError):
        error = error.__cause__ or error.__context__
    return error


def _fail(sentence: str, code: int) -> int:
    print(f"taichi-nerf: {sentence}", file=sys.stderr, flush=True)
    return code
