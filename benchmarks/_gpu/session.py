"""A folder of results, and the minutes that are left to add to it.

DIR/NAME.json   what came of a row: status (done, failed, out of time, left out), figures, command, device, versions
DIR/NAME.log    what its process said
DIR/runs/NAME   what it made: the folder of a training run
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from .boxes import run_in_box, write
from .figures import Found
from .jobs import JOBS, SCENES, TARGET, Row

ROOT = Path(__file__).resolve().parents[2]
ASKING_SECONDS = 180.0
CACHES = ("TI_OFFLINE_CACHE_FILE_PATH", "CUDA_CACHE_PATH", "__GL_SHADER_DISK_CACHE_PATH")  # of compiled kernels


class Trouble(Exception):
    """One sentence on why nothing can be done."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a machine has, by backend."""

    missing: dict[str, str | None]
    """Why it cannot be used."""
    devices: dict[str, str | None]
    small: dict[str, bool]
    """Whether a job is only rehearsed there."""
    versions: dict[str, str | None]

    @classmethod
    def asked(cls, environment: dict[str, str]) -> "Machine":
        """As `machine.py` says. Raises Trouble where it breaks off."""
        command = [sys.executable, str(Path(__file__).with_name("machine.py"))]
        try:
            done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True,
                                  timeout=ASKING_SECONDS)
        except subprocess.TimeoutExpired:
            raise Trouble(f"what this machine has is not known after {ASKING_SECONDS:g} s: a driver hangs") from None
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise Trouble(f"{sys.executable} cannot say what this machine has: {said[-1]}")
        return cls(**json.loads(done.stdout.splitlines()[-1]))


def environment_for(folder: Path, data: Path | None) -> dict[str, str]:
    """That of this process, with the code of this checkout and places for what kernels compile to."""
    paths = [str(ROOT), str(ROOT / "kernels"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    if data is not None:
        environment["TAICHI_NERF_DATA"] = str(data)
    if not os.access(os.path.expanduser("~"), os.W_OK):  # each job would compile all kernels anew
        for name in CACHES:
            environment.setdefault(name, str(folder / "cache"))
    return environment


def commit() -> str | None:
    """Of this checkout, with `-dirty` where it was changed; None where git does not know it."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=ROOT,
                              capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


class Session:
    """One call of `benchmarks/gpu.py` on `folder`. Results of rows named in `stale` do not count until done anew."""

    def __init__(self, folder: Path, data: Path | None, seconds: float, stale: set[str]):
        self.folder, self.data, self.stale = folder, data, stale
        self.deadline = time.monotonic() + seconds
        self.environment = environment_for(folder, data)
        self.machine = Machine.asked(self.environment)
        self.commit = commit()

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self.deadline - time.monotonic())

    def kept(self, name: str) -> dict:
        """The result of the row `name`; empty if there is none."""
        file = self.folder / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def is_done(self, row: Row) -> bool:
        """Not if it was done small, and can be done whole."""
        kept = {} if row.name in self.stale else self.kept(row.name)
        return kept.get("status") == "done" and kept["small"] <= self.machine.small[row.backend]

    def limits(self, row: Row) -> tuple[float, float]:
        return row.limits(self.machine.small[row.backend])

    def grows(self, row: Row) -> bool:
        return row.grows(self.machine.small[row.backend])

    def box(self, row: Row, rest: list[Row]) -> float | None:
        """Seconds for `row`, before the `rest`; None where those left are too few.

        What grows shares what the others do not need at the least, in the ratio of `most`.
        """
        least, most = self.limits(row)
        if self.left < least:
            return None
        if not self.grows(row):
            return min(most, self.left)
        free = self.left - sum(self.limits(other)[0] for other in rest if not self.grows(other))
        wanted = most + sum(self.limits(other)[1] for other in rest if self.grows(other))
        return min(most, max(least, free * most / wanted))

    def why_never(self, row: Row) -> str | None:
        """Why this machine cannot do `row`."""
        if self.machine.missing[row.backend]:
            return self.machine.missing[row.backend]
        if row.job.real and self._real_scene(row) is None:
            return f"needs --data DIR with {SCENES[row.job.scene][0]}"
        return None

    def why_not_now(self, row: Row) -> str | None:
        """Why what is known makes `row` impossible or idle."""
        if row.job.shows and not (self._run_shown(row) / "model.safetensors").is_file():
            return f"needs the run of {row.job.shows}-{row.backend}, which is not there"
        return self._why_decided(row) if row.job.trained else None

    def _why_decided(self, row: Row) -> str | None:
        for job in JOBS:
            name = f"{job.name}-{row.backend}"
            psnr = None if name in self.stale else self.kept(name).get("figures", {}).get("psnr")
            if job.way == row.job.way and psnr is not None:
                if job.trained < row.job.trained and psnr >= TARGET:
                    return f"{job.name} has come to {TARGET:g} dB in less time"
                if job.trained > row.job.trained and psnr < TARGET:
                    return f"{job.name} has not come to {TARGET:g} dB in more time"
        return None

    def _real_scene(self, row: Row) -> Path | None:
        scene = self.data / SCENES[row.job.scene][0] if self.data and row.job.scene else None
        return scene if scene and scene.is_dir() else None

    def _run_shown(self, row: Row) -> Path:
        return self.folder / "runs" / f"{row.job.shows}-{row.backend}"

    def what(self, row: Row) -> str:
        """What is done, with the scene that stands for one that is not here."""
        instead = row.job.scene and self._real_scene(row) is None
        return row.job.what + (f", on {SCENES[row.job.scene][1]} instead" if instead else "")

    def command(self, row: Row, box: float) -> list[str]:
        real = self._real_scene(row)
        places = {"work": str(self.folder / "runs" / row.name), "run": str(self._run_shown(row)),
                  "scene": str(real or SCENES[row.job.scene][1]) if row.job.scene else "",
                  "data": f"--data={self.data}" if real else ""}
        return [sys.executable, *row.words(self.machine.small[row.backend], box, places)]

    def take(self, row: Row, box: float) -> dict:
        """Do `row` within `box` seconds, and write down what came of it."""
        work, log = self.folder / "runs" / row.name, self.folder / f"{row.name}.log"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        command, start = self.command(row, box), time.monotonic()
        code = run_in_box(command, self.environment, ROOT, log, box)
        seconds = time.monotonic() - start
        result = self._about(row, {"seconds": round(seconds, 1), "box": round(box, 1), "exit_code": code,
                                   "command": command, **read(row, work, log, code)})
        self.stale.discard(row.name)
        self._write(result)
        return result

    def leave_out(self, row: Row, reason: str) -> dict:
        """Write down why `row` is not done, unless there is a result of it."""
        result = self._about(row, {"status": "left out", "found": reason})
        if self.kept(row.name).get("status", "left out") == "left out":
            self._write(result)
        return result

    def _about(self, row: Row, came: dict) -> dict:
        return {"name": row.name, "what": self.what(row), **came, "small": self.machine.small[row.backend],
                "device": self.machine.devices[row.backend], "commit": self.commit,
                "date": datetime.now().astimezone().isoformat(timespec="seconds"), "versions": self.machine.versions}

    def _write(self, result: dict):
        write(self.folder / f"{result['name']}.json", json.dumps(result, indent=1) + "\n")


def read(row: Row, work: Path, log: Path, code: int | None) -> dict:
    """Status, figures, a sentence and a table of a job that has ended with `code`; None if its time was over."""
    text = log.read_text(encoding="utf-8", errors="replace")
    status = {None: "out of time", 0: "done"}.get(code, "failed")
    try:
        found = row.job.reads(work, text)
    except Exception as error:  # whatever a job has left, the next ones are to be done
        found, status = Found(sentence=f"its figures cannot be read: {error!r}"), "failed"
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
    if status == "done" and not found.sentence:
        found, status = Found(sentence=f"it left no figures; {last}"), "failed"
    if status == "failed" and code:
        found = replace(found, sentence="; ".join(filter(None, [found.sentence, f"exit code {code}: {last}"])))
    return {"status": status, "found": found.sentence or last, "figures": found.figures, "table": found.table}
