"""Trainings that are killed, or told to stop, at any moment: what they leave is whole, and goes on to the same end.

Most are ended at one of their changes of files: a kill -9 leaves what is on the disk then, which is kept aside while
the process lives on for the next input. Some are processes of their own, killed by the clock.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .box import Box
from .folders import check_whole, go_on
from .originals import SPARING, STEPS
from .verdicts import Fault

SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
BY_CLOCK = 0.06  # of the inputs: a process takes some seconds
STARTING, SAVING = 60.0, 1.5  # seconds at the most until a run has a folder, and within which it is then ended


class Gone(BaseException):
    """The process does not do what it was about to do."""


def attempt(box: Box) -> str:
    """End a training once, or its continuation again, and go on."""
    run = box.folder / "run"
    end = _by_clock if box.rng.random() < BY_CLOCK else _at_a_change
    argv = ["train", box.originals.scene, "--steps", STEPS, "-o", run, *SPARING]
    for _ in range(box.rng.choice([1, 1, 2, 3])):
        end(box, run, argv)
        if not run.exists():
            return "stopped"
        check_whole(run, ended=False)
        argv = ["train", "--resume", run, "--steps", STEPS, "--checkpoint-seconds", "0", "--orbit-frames", "2"]
    return go_on(box, run, STEPS, box.originals.run)


def _at_a_change(box: Box, run: Path, argv: list):
    """Ended before the n-th change of a file."""
    number, n = box.rng.choice(SIGNALS), box.rng.randrange(1, box.originals.facts["changes"] + 1)
    left, changes, gone = box.folder / "left", 0, False

    def before(path: str):
        nonlocal changes, gone
        changes += 1
        if changes != n:
            return
        dies = number == signal.SIGKILL or (number == signal.SIGTERM and signal.getsignal(number) == signal.SIG_DFL)
        if not dies:
            return signal.raise_signal(number)
        if run.exists():
            shutil.copytree(run, left)
        gone = True
        raise Gone

    box.say(f"{signal.Signals(number).name} before change {n}")
    with contextlib.suppress(Gone):
        box.command(*argv, may_write=[run], on_change=before)
    if gone:
        shutil.rmtree(run, ignore_errors=True)
        if left.exists():
            left.rename(run)


def _by_clock(box: Box, run: Path, argv: list):
    """A process of its own, ended at a moment of its start, or soon after it has a folder."""
    number, early = box.rng.choice(SIGNALS), box.rng.random() < 0.2
    wait = box.rng.uniform(0, 4) if early else box.rng.uniform(0, SAVING)
    box.say(f"a process, {signal.Signals(number).name} {wait:.3f} s after its {'start' if early else 'folder'}")
    with (box.folder / "said.txt").open("ab") as said:
        process = subprocess.Popen([sys.executable, "-m", "taichi_nerf", *map(str, argv)], stdin=subprocess.DEVNULL,
                                   stdout=said, stderr=said, env=os.environ)
        try:
            latest = time.monotonic() + STARTING
            while not early and not (run / "cameras.json").exists() and time.monotonic() < latest:
                if process.poll() is not None:
                    break
                time.sleep(0.002)
            time.sleep(wait)
            process.send_signal(number)
            code = process.wait(STARTING)
        except subprocess.TimeoutExpired:
            raise Fault("hang", f"a process does not end {STARTING:g} s after {signal.Signals(number).name}") from None
        finally:
            process.kill()
            process.wait()
    if code not in (0, 2, 130, 143, -number):
        raise Fault("exit code", f"{code}: {(box.folder / 'said.txt').read_text(errors='replace')[-2000:]}")
