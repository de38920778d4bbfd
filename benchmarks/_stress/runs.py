"""Damaged run folders: info, eval, render and --resume refuse them in a sentence, or work as on the whole folder."""

import json
import os
import random
import struct
from pathlib import Path

import numpy as np

from . import damage
from .box import Box
from .folders import check_weights
from .originals import STEPS, pixels_of
from .verdicts import Fault

MATTERS = {  # to a command
    "info": {"config.json", "cameras.json", "metrics.json", "model.safetensors"},
    "eval": {"config.json", "cameras.json", "model.safetensors"},
    "render": {"config.json", "cameras.json", "model.safetensors"},
    "resume": {"config.json", "cameras.json", "training_state.safetensors"},
}
LENGTHS = [2**64 - 1, 2**63, 2**40, 10**8, 1, 0]  # of a safetensors head


def attempt(box: Box) -> str:
    """Damage a file or two of the run, and use it."""
    rng = box.rng
    run = box.copy(box.originals.run, "run")
    harmed = {_harm(run, rng, box) for _ in range(rng.choice([1, 1, 1, 2]))}
    what = rng.choices(["info", "eval", "render", "resume"], [4, 3, 4, 2])[0]
    same = all(_cannot_matter(name, run, box.originals.run, what) for name in harmed)
    verdict = {"info": _info, "eval": _eval, "render": _render, "resume": _resume}[what](box, run, same)
    if verdict == "stopped" and not _may_last(what, harmed, run):
        raise Fault("hang", f"{what} had to be stopped")
    return verdict


def _info(box: Box, run: Path, same: bool) -> str:
    return box.command("info", run, *box.rng.choice([[], ["--json"]])).verdict


def _eval(box: Box, run: Path, same: bool) -> str:
    pictures = box.folder / "out"
    options = ["--pictures", pictures] if box.rng.random() < 0.2 else []
    ended = box.command("eval", run, "--json", *options, may_write=[pictures])
    if ended.code == 0 and same and (psnr := json.loads(ended.out)["psnr"]) != box.originals.facts["psnr"]:
        raise Fault("changed", f"a PSNR of {psnr}, not {box.originals.facts['psnr']}")
    return ended.verdict


def _render(box: Box, run: Path, same: bool) -> str:
    pictures, own_size = box.folder / "out", box.rng.random() < 0.7
    ended = box.command("render", run, "--frames", "1", "-o", pictures, *(["--size", "8", "8"] if own_size else []),
                        may_write=[pictures])
    if ended.code == 0 and same and not np.array_equal(pixels_of(pictures), box.originals.picture()):
        raise Fault("changed", "another picture")
    return ended.verdict


def _resume(box: Box, run: Path, same: bool) -> str:
    ended = box.command("train", "--resume", run, "--steps", STEPS + 2, "--orbit-frames", "0", may_write=[run])
    if ended.code == 0 and same:
        check_weights(run, box.originals.on)
    return ended.verdict


def _may_last(what: str, harmed: set[str], run: Path) -> bool:
    """Whether the damage may ask for more: other settings, or pictures of another size."""
    asked = harmed & {"config.json", "cameras.json"}
    return what != "info" and bool(asked) and all((run / name).is_file() for name in asked)


def _cannot_matter(name: str, run: Path, original: Path, what: str) -> bool:
    """Whether a command that accepts the damage must give what it gave before: weights have a digest."""
    if name not in MATTERS[what] or name.endswith(".safetensors"):
        return True
    if not (run / name).is_file():
        return False
    try:
        return json.loads((run / name).read_text()) == json.loads((original / name).read_text())
    except (OSError, ValueError, RecursionError):
        return False


def _harm(run: Path, rng: random.Random, box: Box) -> str:
    """Do something to a file; its name."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and not path.is_symlink()]
    path = rng.choices(files, [1 if path.suffix == ".png" else 5 for path in files])[0]
    name = str(path.relative_to(run))
    if rng.random() < 0.1:
        box.say(f"{name} is {_other_thing(path, rng)}")
        return name
    content = path.read_bytes()
    harm = {".safetensors": _of_weights, ".json": damage.of_json, ".jsonl": _of_log}.get(path.suffix, damage.of_bytes)
    path.write_bytes(harm(content, rng))
    box.say(f"{name} is damaged")
    return name


def _of_weights(content: bytes, rng: random.Random) -> bytes:
    """Of a safetensors file: the length of its head, its head, or any bytes."""
    how, length = rng.randrange(4), int.from_bytes(content[:8], "little")
    if how == 0:
        return struct.pack("<Q", rng.choice(LENGTHS)) + content[8:]
    if how == 1 and 0 < length < len(content):
        head = damage.of_json(content[8 : 8 + length].strip(), rng)
        return struct.pack("<Q", len(head)) + head + content[8 + length :]
    if how == 2 and 0 < length < len(content):
        at = 8 + rng.randrange(length)
        return content[:at] + bytes([rng.randrange(32, 127)]) + content[at + 1 :]
    return damage.of_bytes(content, rng)


def _of_log(content: bytes, rng: random.Random) -> bytes:
    """Of lines of JSON: one of them, or any bytes."""
    lines = content.splitlines(keepends=True)
    if not lines or rng.random() < 0.3:
        return damage.of_bytes(content, rng)
    n = rng.randrange(len(lines))
    lines[n] = damage.of_json(lines[n].strip(), rng) + b"\n"
    return b"".join(lines)


def _other_thing(path: Path, rng: random.Random) -> str:
    """In the place of a file: what is none, or has no end."""
    how = rng.choice(["a pipe", "a folder", "a circle of links", "a link to /dev/zero", "empty", "gone"])
    path.unlink()
    if how == "a pipe":
        os.mkfifo(path)
    elif how == "a folder":
        path.mkdir()
    elif how == "a circle of links":
        path.symlink_to(path.name)
    elif how == "a link to /dev/zero":
        path.symlink_to("/dev/zero")
    elif how == "empty":
        path.touch()
    return how
