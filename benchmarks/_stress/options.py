"""Odd command lines, for every command: each is refused, or does what it says."""

import contextlib
import dataclasses
import os
import random
from collections.abc import Iterator
from pathlib import Path

from taichi_nerf import cli
from taichi_nerf.cli import bench, doctor, eval, info, process, render
from taichi_nerf.config import flattened

from .box import Box
from .originals import SPARING, STEPS

VALUES = ["", " ", "nan", "inf", "-inf", "-1", "0", "1", "2", "3.5", "1e400", "1e-400", "-0", str(2**31), str(2**63),
          "9" * 400, "0x10", "1_000", "\uff11\uff12", "true", "None", "auto", "cpu", "..", "/dev/null", "/dev/full",
          "/dev/zero", "/dev/null/x", "/proc/x", "builtin:", "builtin:none", "\x1b[31mred", "two\nlines", "\udcff",
          "x" * 5000, "-", "--", "=", "--help", "{}", "[]", "%s", "$HOME", "~nobody", "\u00e9", "\u202e"]
PLAIN = ["-1", "0", "1", "2", "3", "0.5", "1e-3", "True", "False"]  # that many an option takes
UNKNOWN = ["hlep", "no-such", "step", "Output", "output_", "-output", ""]
LONG = ("steps", "seconds", "frames", "size", "samples", "marched", "rays", "scales", "levels", "width", "resolution",
        "timeout", "layers", "depth")  # what takes as long as it says
CHOSEN = {"backend", "backends", "mlp", "output", "resume", "run", "path", "source", "moved", "kernels", "preset",
          "encoding", "model_name"}  # by the line that is made odd
FIELDS = {"eval": eval.Eval, "render": render.Render, "info": info.Info, "process": process.Process,
          "doctor": doctor.Doctor, "bench": bench.Bench}
WEIGHTS = {"train": 6, "resume": 2, "eval": 4, "render": 5, "info": 4, "process": 1, "doctor": 1, "bench": 1}


def attempt(box: Box) -> str:
    """A command line that would work, made odd in one place or more."""
    rng = box.rng
    name = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    argv = _plain(name, box)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        argv = _odd(argv, name, rng)
    with _inside(box.folder):  # where a name without a folder goes
        ended = box.command(*argv, may_write=[box.folder], parser=True,
                            codes=(0, 1, 2) if name in ("doctor", "bench") else (0, 2))
    return "done" if ended.code == 1 else ended.verdict


def _plain(name: str, box: Box) -> list[str]:
    """A command line that works, or nearly."""
    scene, out = box.originals.scene, box.folder / "out"
    run = box.copy(box.originals.run, "run") if name in ("resume", "eval", "render") else box.originals.run
    argv = {
        "train": ["train", scene, "--steps", 2, "-o", out, *SPARING],
        "resume": ["train", "--resume", run, "--steps", STEPS + 1, "--orbit-frames", 0],
        "eval": ["eval", run],
        "render": ["render", run, "--frames", 1, "--size", 8, 8, "-o", out],
        "info": ["info", box.rng.choice([scene, run])],
        "process": ["process", scene / "images", "-o", out, "--max-images", 2],
        "doctor": ["doctor", "--backends", "cpu", "--kernels", "none"],
        "bench": ["bench", "--backends", "cpu", "--kernels", "none"],
    }[name]
    return [str(word) for word in argv]


def _odd(argv: list[str], name: str, rng: random.Random) -> list[str]:
    """With an option and a value that it was not made for; or with words lost, doubled, exchanged, or cut off."""
    how, at = rng.random(), rng.randrange(max(1, len(argv)))
    if how < 0.7 or name in ("doctor", "bench"):  # which without what they are told here take minutes
        flag, value = rng.choice(_flags(name)), rng.choice(rng.choice([VALUES, PLAIN]))
        if value.isdigit() and len(value) > 6 and any(word in flag for word in LONG):
            value = f"-{value}"  # else it would do as it is told, for ever
        return [*argv, *rng.choice([[f"--{flag}={value}"], [f"--{flag}", value], [f"--{flag}", value], [f"--{flag}"]])]
    if how < 0.76:
        return argv[:at] + argv[at + 1 :]
    if how < 0.82:
        return argv[: at + 1] + argv[at:]
    if how < 0.9:
        return [*argv[:at], rng.choice(VALUES), *argv[at + 1 :]]
    if how < 0.94:
        return [*argv, f"--{rng.choice(UNKNOWN)}"]
    return rng.sample(argv, len(argv)) if how < 0.97 else argv[:at]


def _flags(name: str) -> list[str]:
    """Names of the options of a command, without dashes in front."""
    if name in ("train", "resume"):
        names = [dotted.removeprefix("training.").removeprefix("scene.") for dotted in
                 flattened(cli.train_defaults("cpu"))]
    else:
        names = [field.name for field in dataclasses.fields(FIELDS[name])]
    return sorted({word.replace("_", "-") for word in names if word not in CHOSEN and not word.endswith("kind")})


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    here = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
