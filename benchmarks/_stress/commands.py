"""A command of taichi-nerf in this process, and whether it ended as a command should."""

import contextlib
import os
import re
import sys
import tempfile
import traceback
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from taichi_nerf import runtime
from taichi_nerf.cli import main, sentence_for
from taichi_nerf.config import SettingError
from taichi_nerf.data import builtin, load
from taichi_nerf.errors import UserError
from taichi_nerf.training import run

from .verdicts import Fault
from .watch import Watch

LONGEST = 2500  # characters of a message
WARNING = re.compile(r"^\S+:\d+: \w*Warning: .*", re.MULTILINE)
PLACE = re.compile(r'File "([^"]+)", line \d+, in (\S+)')
STOPPED = (130, 143)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit code, and what it said."""

    code: int
    out: str
    err: str

    @property
    def verdict(self) -> str:
        return {0: "done", 2: "refused"}.get(self.code, "stopped")


def be_quick():
    """From now on, commands on one thread of the CPU find the runtime that runs, since to start anew takes seconds;
    what a command does where it is told of no scene and no end is small."""
    original = runtime.init
    run.DEFAULT_SECONDS = 0.2
    load.BUILTIN_RESOLUTION, builtin.views_of = 8, lambda name: (3, 1, 1)

    def init(backend="auto", dtype=torch.float32, threads=None, seed=0, mlp="auto", debug=None):
        running = runtime._current
        plain = backend in ("auto", "cpu") and threads in (None, 1) and mlp == "auto"
        if plain and running is not None and (running.backend, running.threads, running.mlp) == ("cpu", 1, "auto"):
            return running
        return original(backend if backend != "auto" else "cpu", dtype, threads or 1, seed, mlp)

    runtime.init = init


def command(watch: Watch, *argv: object, may_write: list[Path], codes: tuple[int, ...] = (0, 2),
            parser: bool = False, on_change=None) -> Ended:
    """Run `taichi-nerf ARGV`.

    Args:
        may_write: folders in which it may change anything; it may nowhere else.
        codes: exit codes that are right.
        parser: the parser may refuse it, which takes more than a sentence.
        on_change: is called before each change of a file.

    Raises Fault where it does not end as a command should.
    """
    shown = None
    with watch.watching(may_write, on_change) as found, captured() as said:
        try:
            code = main([str(part) for part in argv])
        except SystemExit as end:
            raise Fault("exit code", f"SystemExit {end.code}") from None
        except (UserError, SettingError) as error:  # which --debug shows with its traceback
            if "--debug" not in argv:
                raise Fault("traceback", traceback.format_exc()) from None
            code, shown = 2, str(error)
        except Exception:
            raise Fault("traceback", traceback.format_exc()) from None
    ended = Ended(code=code, **said)
    if found:
        raise Fault("outside", "; ".join(found[:5]))
    if shown is not None:
        return Ended(code=code, out="", err=shown)
    if code not in (*codes, *STOPPED):
        raise Fault("exit code", f"{code}: {ended.err[-1000:]}")
    check_tidy(ended.out + ended.err)
    if code == 2:
        check_refusal(ended.err, parser)
    return ended


def refusal_of(error: Exception) -> str:
    """The sentence with which the command line would refuse; what it does to control characters in names is its own
    business. Raises Fault where there is none."""
    sentence = sentence_for(error)
    if sentence is None:
        raise Fault("traceback", "".join(traceback.format_exception(error)))
    if len(sentence) > LONGEST:
        raise Fault("untidy", sentence[:LONGEST])
    return sentence


def check_refusal(said: str, parser: bool):
    """The last line is the sentence; a box of the parser has several."""
    if "Traceback (most recent call last)" in said:
        raise Fault("traceback", said[-4000:])
    lines = said.strip().splitlines()
    if not lines:
        raise Fault("untidy", "exit code 2, and nothing was said")
    if not lines[-1].startswith("taichi-nerf: ") and not (parser and lines[-1][:1] in "╰+"):
        raise Fault("untidy", f"the last line is no sentence: {said[-1000:]}")
    if len(lines[-1]) > LONGEST:
        raise Fault("untidy", f"{len(lines[-1])} characters: {lines[-1][:1000]}")


def check_tidy(said: str):
    """No control characters, with which a name could write into the terminal, and no warning of Python."""
    control = next((c for c in said if unicodedata.category(c) == "Cc" and c not in "\n\t\r"), None)
    if control is not None:
        at = said.index(control)
        raise Fault("untidy", f"the control character {control!r} in {said[max(0, at - 200) : at + 100]!r}")
    if (warning := WARNING.search(said)) is not None:
        raise Fault("untidy", warning[0][:500])


def signature(fault: Fault) -> str:
    """The verdict and where it shows: the innermost function of the package, or what a message begins with."""
    if fault.verdict in ("traceback", "crash", "hang"):
        places = [f"{Path(file).name}:{name}" for file, name in PLACE.findall(fault.text) if "taichi_nerf" in file]
        last = fault.text.strip().splitlines()[-1] if fault.text.strip() else ""
        kind = last.partition(":")[0] if fault.verdict == "traceback" else ""
        return " ".join(filter(None, [fault.verdict, kind, places[-1] if places else ""]))
    return f"{fault.verdict} {re.sub(r'[0-9]+|/[^ ]*', '~', fault.text.partition(' in ')[0])[:60]}"


@contextlib.contextmanager
def captured() -> Iterator[dict[str, str]]:
    """What is said to both streams, by native code, too; there when the context ends."""
    said, kept = {"out": "", "err": ""}, {}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = {"out": (1, sys.stdout, out), "err": (2, sys.stderr, err)}
        for name, (number, stream, file) in files.items():
            stream.flush()
            kept[name] = os.dup(number)
            os.dup2(file.fileno(), number)
        try:
            yield said
        finally:
            for name, (number, stream, file) in files.items():
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
                os.dup2(kept[name], number)
                os.close(kept[name])
                file.seek(0)
                said[name] = file.read().decode("utf-8", "backslashreplace")
