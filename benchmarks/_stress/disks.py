"""Disks that are full: what a command writes ends in the midst of it, at any byte.

On a small file system, where there is one, and otherwise by the system's limit on the size of a file.
"""

import contextlib
import fcntl
import math
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from .box import Box
from .folders import check_whole, go_on
from .originals import SPARING, STEPS

LEAST, MOST = 4096, 400_000  # bytes; less, and the program could not even say what is wrong
FILLER = "stress-filler"


def attempt(box: Box) -> str:
    """A command for which there is too little room, or not; then there is room, and it goes on."""
    small = box.small_disk if box.rng.random() < 0.7 else None
    with _alone(box.folder.with_name("disk.lock")) if small else contextlib.nullcontext():
        return _attempt(box, small)


def _attempt(box: Box, small: Path | None) -> str:
    rng = box.rng
    place = box.folder if small is None else small / f"stress-{os.getpid()}"
    place.mkdir(exist_ok=True)
    run, out = place / "run", place / "out"
    name = rng.choice(["train", "train", "resume", "eval", "render", "film", "info"])
    try:
        if name != "train":
            shutil.copytree(box.originals.run, run)
        room = _room(small, rng)
        box.say(f"{'room' if small else 'files'} of {room} bytes")
        with _filled(small, room) if small else _limited(room):
            ended = box.command(*_argv(name, run, out, box), may_write=[run, out])
        for folder in (run, out):
            check_whole(folder, ended=ended.code == 0)
        if name in ("train", "resume") and run.exists():
            steps, like = (STEPS, box.originals.run) if name == "train" else (STEPS + 2, box.originals.on)
            go_on(box, run, steps, like)
        return ended.verdict
    finally:
        if small is not None:
            shutil.rmtree(place, ignore_errors=True)


def _argv(name: str, run: Path, out: Path, box: Box) -> list:
    return {
        "train": ["train", box.originals.scene, "--steps", STEPS, "-o", run, *SPARING],
        "resume": ["train", "--resume", run, "--steps", STEPS + 2, "--checkpoint-seconds", "0"],
        "eval": ["eval", run, "--pictures", out],
        "render": ["render", run, "--frames", "2", "-o", out],
        "film": ["render", run, "--frames", "20", "--size", "64", "64", "-o", out / "film.mp4"],
        "info": ["info", run, "--picture", out / "cameras.png"],
    }[name]


def _room(small: Path | None, rng) -> int:
    """Bytes, as likely few as many."""
    least = LEAST if small is None else 1
    return round(math.exp(rng.uniform(math.log(least), math.log(MOST))))


@contextlib.contextmanager
def _limited(room: int) -> Iterator[None]:
    """No file may grow beyond `room` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def _filled(disk: Path, room: int) -> Iterator[None]:
    """All but `room` bytes of the file system are taken."""
    filler = disk / FILLER
    with filler.open("wb") as file:
        free = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - room))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time fills the disk."""
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
