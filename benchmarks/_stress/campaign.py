"""A campaign: worker processes that take one input after the other, and a record of what came of each.

DIR/results.json              counts by kind and verdict, and each fault with the command that repeats it
DIR/faults/KIND-NUMBER        the inputs that failed, a few of each fault
DIR/originals                 what is damaged, which the next campaign in DIR finds
"""

import contextlib
import json
import shutil
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from _gpu.boxes import write
from _gpu.session import commit

from .kinds import Kind
from .process import STARTING, Died, Late, Process
from .verdicts import GOOD, Outcome

WARM_UP = {"do": "warm_up"}
KEPT = 3  # inputs of the same fault
LAST_SECONDS = 20.0  # for the inputs that are under way when the time is over
WHAT = "what.txt"


@dataclass
class Tally:
    """What came of the inputs of a kind."""

    verdicts: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(self.verdicts.values())


@dataclass
class Finding:
    """Inputs that failed in the same way; the first of them in words."""

    kind: str
    number: int
    outcome: Outcome
    count: int = 0


class Campaign:
    """One call of `benchmarks/stress.py` in `folder`."""

    def __init__(self, folder: Path, kinds: list[Kind], *, seed: int, small_disk: Path | None = None,
                 workers: int = 2):
        self.folder, self.kinds, self.seed, self.small_disk = folder, kinds, seed, small_disk
        self.tallies = {kind.name: Tally() for kind in kinds}
        self.faults: dict[str, Finding] = {}
        self._next, self._spent = defaultdict(int), defaultdict(float)
        self._lock, self._over, self._news = threading.Lock(), threading.Event(), []
        self._threads: list[threading.Thread] = []
        self._prepared = False
        self._workers = [Process(folder / "originals", folder / f"worker-{n}") for n in range(workers)]

    @property
    def inputs(self) -> int:
        return sum(tally.inputs for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        return sum(fault.count for fault in self.faults.values())

    def prepare(self):
        """Let the originals be made, and the workers be ready. Raises Died where that cannot be."""
        self._workers[0].ask({"do": "prepare"}, STARTING)
        for answer in [worker.begin(WARM_UP) for worker in self._workers]:
            answer(STARTING)
        self._prepared = True

    def run(self, seconds: float, tell) -> None:
        """Take inputs for so long, and at least one of each kind; `tell(campaign, share, news)` hears how it goes."""
        began = time.monotonic()
        for worker in self._workers:
            self._threads.append(threading.Thread(target=self._work, args=(worker,), daemon=True))
            self._threads[-1].start()
        while any(thread.is_alive() for thread in self._threads):
            passed = time.monotonic() - began
            if passed >= seconds and all(tally.inputs for tally in self.tallies.values()):
                break
            tell(self, min(passed / seconds, 0.99), self._heard())
            time.sleep(0.2)
        self._over.set()
        for thread in self._threads:
            thread.join(LAST_SECONDS)
        tell(self, 1.0, self._heard())

    def attempt(self, worker: Process, kind: Kind, number: int) -> Outcome | None:
        """One input; its folder is gone afterwards, or kept among the faults. None if the campaign ended it."""
        box = self.folder / "boxes" / f"{kind.name}-{number}"
        _remove(box)
        start = time.monotonic()
        message = {"do": "attempt", "kind": kind.name, "seed": self.seed, "number": number, "folder": str(box),
                   "small_disk": self.small_disk and str(self.small_disk)}
        try:
            outcome = Outcome(**worker.ask(message, kind.seconds, may_last=kind.lasts))
        except Died as death:
            if self._over.is_set():
                return None
            verdict = "hang" if isinstance(death, Late) else "crash"
            what = box / WHAT
            outcome = Outcome(verdict=verdict, what=what.read_text() if what.is_file() else "", text=str(death),
                              signature=f"{verdict} {_innermost(str(death))}", seconds=time.monotonic() - start)
        self._record(kind, number, outcome, box)
        if self._prepared and not worker.alive:
            worker.ask(WARM_UP, STARTING)  # its successor
        return outcome

    def first_worker(self) -> Process:
        return self._workers[0]

    def end(self):
        """End all workers, whatever they do, and remove what passes."""
        self._over.set()
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            thread.join(LAST_SECONDS)
        for n, worker in enumerate(self._workers):
            worker.end()
            _remove(self.folder / f"worker-{n}")
        _remove(self.folder / "boxes")

    def repeat(self, kind: str, number: int) -> str:
        """The command that makes and uses one input again."""
        disk = f" --small-disk {self.small_disk}" if self.small_disk else ""
        return (f"python benchmarks/stress.py --seed {self.seed} --only {kind} --input {number} "
                f"--output {self.folder}{disk}")

    def write_results(self):
        """DIR/results.json."""
        kinds = {name: {"inputs": tally.inputs, "seconds": round(tally.seconds, 1),
                        "slowest": round(tally.slowest, 2), "verdicts": dict(tally.verdicts)}
                 for name, tally in self.tallies.items()}
        faults = [{"kind": fault.kind, "number": fault.number, "count": fault.count, **fault.outcome.as_json(),
                   "repeat": self.repeat(fault.kind, fault.number)} for fault in self.faults.values()]
        content = {"date": datetime.now().astimezone().isoformat(timespec="seconds"), "commit": commit(),
                   "seed": self.seed, "inputs": self.inputs, "failed": self.failed, "kinds": kinds, "faults": faults}
        write(self.folder / "results.json", json.dumps(content, indent=1) + "\n")

    def _work(self, worker: Process):
        while not self._over.is_set():
            with self._lock:
                kind = min(self.kinds, key=lambda kind: self._spent[kind.name] / kind.share)
                number = self._next[kind.name]
                self._next[kind.name] += 1
                self._spent[kind.name] += 0.02  # so that the other worker takes another kind meanwhile
            start = time.monotonic()
            try:
                self.attempt(worker, kind, number)
            except (OSError, Died) as error:  # no process can be started, or no file written
                with self._lock:
                    self._news += [] if self._over.is_set() else [f"a worker gives up: {error}"]
                return
            with self._lock:
                self._spent[kind.name] += time.monotonic() - start

    def _record(self, kind: Kind, number: int, outcome: Outcome, box: Path):
        with self._lock:
            tally = self.tallies[kind.name]
            tally.verdicts[outcome.verdict] += 1
            tally.seconds += outcome.seconds
            tally.slowest = max(tally.slowest, outcome.seconds)
            kept = False
            if not outcome.good:
                key = f"{kind.name}: {outcome.signature}"
                fault = self.faults.setdefault(key, Finding(kind.name, number, outcome))
                fault.count += 1
                kept = fault.count <= KEPT
                if fault.count == 1:
                    self._news.append(f"{key}\n    {self.repeat(kind.name, number)}")
        if kept:
            place = self.folder / "faults" / box.name
            _remove(place)
            place.parent.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):
                box.rename(place)
                write(place / "outcome.txt", f"{outcome.verdict}\n{outcome.what}\n\n{outcome.text}\n".encode(
                    "utf-8", "backslashreplace").decode())
        else:
            _remove(box)

    def _heard(self) -> list[str]:
        with self._lock:
            news, self._news = self._news, []
        return news


def _innermost(said: str) -> str:
    """Of what faulthandler wrote of a process: the innermost function of the package, or the last line."""
    places = [line.split() for line in said.splitlines() if line.startswith("  File ") and "/taichi_nerf" in line]
    if places:
        _, file, *_, function = places[0]
        return f"{Path(file.strip(chr(34) + ',')).name}:{function}"
    return said.splitlines()[-1] if said else ""


def _remove(path: Path):
    shutil.rmtree(path, ignore_errors=True)


def summary(campaign: Campaign) -> str:
    """A table of the kinds, and the faults below it."""
    lines = ["kind       inputs  a second  slowest  " + "  ".join(GOOD) + "  faults"]
    for name, tally in campaign.tallies.items():
        good = "  ".join(f"{tally.verdicts[verdict]:{len(verdict)}}" for verdict in GOOD)
        bad = sum(count for verdict, count in tally.verdicts.items() if verdict not in GOOD)
        pace = tally.inputs / max(tally.seconds, 1e-9)
        lines.append(f"{name:9} {tally.inputs:7}  {pace:8.1f}  {tally.slowest:5.1f} s  {good}  {bad:6}")
    for key, fault in campaign.faults.items():
        lines += ["", f"{key}: {fault.count} {'input' if fault.count == 1 else 'inputs'}",
                  f"    {campaign.repeat(fault.kind, fault.number)}"]
    return "\n".join(lines)


