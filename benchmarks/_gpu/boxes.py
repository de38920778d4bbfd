"""A command in a box of time, and a file that is whole or not there."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

GRACE = 6.0  # seconds from one signal to the next


def run_in_box(command: list[str], environment: dict[str, str], folder: Path, log: Path,
               seconds: float) -> int | None:
    """The exit code of `command`, run in `folder`, which speaks into `log`; None if `seconds` did not suffice.

    However it ends, nothing that it started is left.
    """
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end_group(process)


def end_group(process: subprocess.Popen) -> None:
    """End the whole session of `process`.

    First by SIGINT: a training saves itself, and Taichi writes what it has compiled, without which the same job would
    get no further the next time. Then by SIGTERM, and then by SIGKILL.
    """
    with contextlib.suppress(ProcessLookupError):
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(process.pid, number)
            latest = time.monotonic() + GRACE
            while time.monotonic() < latest:
                process.poll()
                os.killpg(process.pid, 0)  # is there anybody?
                time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def write(file: Path, text: str) -> None:
    """All of `text` or nothing, on the disk."""
    passing = file.with_name(f".{file.name}")
    with passing.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    passing.replace(file)
