"""A process that attempts inputs, one a line of its stdin: what came of it is a line of its stdout.

    python -m _stress.worker ORIGINALS PASSING

PASSING is a folder for files that pass. It says a line when it is ready.
"""

import faulthandler
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from .box import Box
from .commands import be_quick, captured, command, main, signature
from .originals import SPARING, STEPS, Originals, write_scenes
from .process import Partner
from .verdicts import Fault, Outcome
from .watch import Watch

MEMORY = 8 * 2**30  # bytes of addresses: an input that asks for more is refused them
LONGEST = 8000  # characters of a text


class Worker:
    """Answers questions."""

    def __init__(self, originals: Path, passing: Path):
        self.originals, self.watch, self.passing = Originals(originals), Watch(passing), passing
        self.partner = Partner(originals, passing.with_name("partner"))
        self._busy = False
        signal.signal(signal.SIGINT, self._stop)

    def answer(self, message: dict) -> dict:
        return getattr(self, message.pop("do"))(**message)

    def prepare(self) -> dict:
        """Make the originals, if they are not there."""
        home = self.originals
        if not (home.folder / "facts.json").is_file():
            shutil.rmtree(home.folder, ignore_errors=True)
            write_scenes(home.folder / "scenes")
            changes = []
            self._run("train", home.scene, "--steps", STEPS, "-o", home.run, *SPARING, on_change=changes.append)
            self._run("render", home.run, "--frames", "1", "--size", "8", "8", "-o", home.folder / "picture")
            scores = json.loads(self._run("eval", home.run, "--json").out)
            shutil.copytree(home.run, home.on)
            self._run("train", "--resume", home.on, "--steps", STEPS + 2, "--orbit-frames", "0")
            (home.folder / "facts.json").write_text(json.dumps({"psnr": scores["psnr"], "changes": len(changes)}))
        return {}

    def warm_up(self) -> dict:
        """Compile what commands need, so that no input waits for it."""
        run = self.passing / "run"
        shutil.rmtree(run, ignore_errors=True)
        self._run("train", self.originals.scene, "--steps", 1, "-o", run, *SPARING)
        self._run("eval", run)
        self._run("render", run, "--frames", 1)
        shutil.rmtree(run)
        return {}

    def command(self, argv: list[str]) -> dict:
        """Run it, whatever comes of it."""
        with captured() as said:
            try:
                code = main(argv)
            except Exception:
                traceback.print_exc()
                code = 1
        return {"code": code, "said": said["err"][-LONGEST:]}

    def attempt(self, kind: str, seed: int, number: int, folder: str, small_disk: str | None) -> dict:
        """Make and use one input."""
        Path(folder).mkdir(parents=True)
        box = Box(Path(folder), random.Random(f"{seed} {kind} {number}"), self.originals, self.watch,
                  small_disk=None if small_disk is None else Path(small_disk), partner=self.partner)
        attempt = importlib.import_module(f"_stress.{kind}").attempt
        start, fault, self._busy = time.perf_counter(), None, True
        try:
            verdict = attempt(box)
        except Fault as found:
            verdict, fault = found.verdict, found
        except KeyboardInterrupt:
            verdict = "stopped"
        except Exception:
            fault = Fault("traceback", traceback.format_exc())
            verdict = fault.verdict
        finally:
            self._busy = False
        return Outcome(
            verdict=verdict, what=box.what[:LONGEST], seconds=time.perf_counter() - start,
            text="" if fault is None else fault.text[-LONGEST:], signature="" if fault is None else signature(fault),
        ).as_json()

    def _run(self, *argv: object, **options):
        return command(self.watch, *argv, may_write=[self.originals.folder, self.passing], codes=(0,), **options)

    def _stop(self, number, frame):
        if self._busy:
            raise KeyboardInterrupt


def main_loop():
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is said outside of a command goes into the log
    log = os.fdopen(os.dup(2), "w")  # where it dies or hangs is said there, within a command, too
    faulthandler.enable(log)
    faulthandler.register(signal.SIGUSR1, log, all_threads=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    be_quick()
    worker = Worker(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main_loop()
