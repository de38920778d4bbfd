"""A process that attempts inputs, seen from outside: it is asked, and may die, or never answer."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
WORKER = ["-m", "_stress.worker"]
STARTING = 600.0  # seconds: kernels are compiled, on another day than the first from Taichi's cache
GRACE = 15.0  # seconds from being told to stop to being killed


class Died(Exception):
    """The process is gone; the text is the end of what it said."""


class Late(Died):
    """It did not answer in time, and was ended."""


class Process:
    """A worker that starts with the first question, and again after its death."""

    def __init__(self, originals: Path, folder: Path, *, own_session: bool = True):
        """`folder`: for its log, and for files that pass."""
        self._originals, self._folder, self._own_session = originals, folder, own_session
        self._process: subprocess.Popen | None = None

    def ask(self, message: dict, seconds: float, *, may_last: bool = False) -> dict:
        """The answer. Raises Died or Late; one that `may_last` is first told to stop."""
        self._send(message)
        answer = self._answer(seconds)
        if answer is None and may_last:
            self._process.send_signal(signal.SIGINT)
            answer = self._answer(GRACE)
        if answer is None:
            self._process.send_signal(signal.SIGUSR1)  # where are you?
            time.sleep(0.5)
            raise Late(self._end())
        return answer

    def begin(self, message: dict) -> Callable[[float], dict]:
        """Ask, and get the answer later: by a call with the seconds to wait at most."""
        self._send(message)

        def answer(seconds: float) -> dict:
            found = self._answer(seconds)
            if found is None:
                raise Late(self._end())
            return found

        return answer

    @property
    def alive(self) -> bool:
        """Whether it has been started, and has not died of a question."""
        return self._process is not None

    def kill(self):
        """From another thread, too: who waits for its answer hears that it died."""
        if (process := self._process) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if self._own_session else process.kill()

    def end(self):
        """However it is."""
        if self._process is not None:
            self._end()

    def _send(self, message: dict):
        if self._process is None:
            self._start()
        self._said = self._log.stat().st_size
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Died(self._end()) from None

    def _start(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = self._folder / "log.txt"
        passing = self._folder / "passing"
        passing.mkdir(exist_ok=True)
        paths = [str(BENCHMARKS), str(BENCHMARKS.parent), str(BENCHMARKS.parent / "kernels"),
                 *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(passing)}
        environment.pop("TORCHINDUCTOR_CACHE_DIR", None)  # which PyTorch sets for its children, outside of TMPDIR
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, *WORKER, str(self._originals), str(passing)],
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                                             env=environment, start_new_session=self._own_session)
        self._said = 0
        if self._answer(STARTING) is None:
            raise Died(self._end())

    def _answer(self, seconds: float) -> dict | None:
        """The next line; None if it does not come in time."""
        line, latest = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            left = latest - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                return None
            part = os.read(self._process.stdout.fileno(), 65536)
            if not part:
                raise Died(self._end())
            line += part
        return json.loads(line)

    def _end(self) -> str:
        """End it with all that it started; what it said since it was asked, and how it ended."""
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)  # one that dies is given the time
        code = process.poll()
        self.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        self._process = None
        with self._log.open("rb") as log:
            log.seek(self._said)
            said = log.read().decode("utf-8", "replace")
        return f"{said[-6000:]}\n{_how_it_ended(code)}".strip()


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "killed"
    return f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"


class Partner:
    """A second process for a worker, which runs commands beside it. It starts when it is first needed."""

    SECONDS = 60.0

    def __init__(self, originals: Path, folder: Path):
        self._process = Process(originals, folder, own_session=False)  # it dies with the worker

    def begin(self, argv: list[str], after: float) -> Callable[[], tuple[int, str]]:
        """Begin a command, and wait for so many seconds; a call then gives its exit code and what it said."""
        answer = self._process.begin({"do": "command", "argv": argv})
        time.sleep(after)

        def ended() -> tuple[int, str]:
            found = answer(self.SECONDS)
            return found["code"], found["said"]

        return ended
