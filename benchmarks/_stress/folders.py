"""Whether a run folder is whole, and whether its weights are those of another."""

import json
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from taichi_nerf.errors import UserError
from taichi_nerf.training import checkpoint
from taichi_nerf.training.files import ASIDE
from taichi_nerf.training.folder import CONFIG_FILE, LOG_FILE

from .box import Box
from .verdicts import Fault


def check_whole(run: Path, *, ended: bool):
    """Raises Fault where a file under its final name is not whole, or, of a run that has ended, something is left
    that was written aside. The last line of the log may be cut where the run was killed."""
    for path in sorted(run.rglob("*")):
        if not path.is_file():
            continue
        if any(part.startswith(ASIDE) for part in path.parts):
            if ended:
                raise Fault("half-written", f"{path.relative_to(run)} is left, although the run has ended")
            continue
        try:
            _read(path, ended)
        except (ValueError, OSError, SyntaxError, UserError, SafetensorError) as error:
            raise Fault("half-written", f"{path.relative_to(run)}: {error}") from None


def _read(path: Path, ended: bool):
    if path.name.startswith("."):
        return
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.name == "model.safetensors":
        checkpoint.describe(path)
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            json.loads(file.metadata()["header"])
    elif path.name == LOG_FILE:
        lines = path.read_text().splitlines(keepends=True)
        steps = [json.loads(line)["step"] for line in (lines if ended else lines[:-1])]
        if ended and steps != sorted(set(steps)):
            raise ValueError(f"steps {steps} are not in order")
    elif path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".mp4" and b"moov" not in path.read_bytes():
        raise ValueError("it has no end")


def check_weights(run: Path, like: Path):
    """Raises Fault where the model of `run` has other weights than that of `like`."""
    found, expected = (load_file(folder / "model.safetensors") for folder in (run, like))
    for name, value in expected.items():
        if name not in found or not torch.equal(found[name], value):
            raise Fault("changed", f"the weights '{name}' are others than those of {like.name}")


def go_on(box: Box, run: Path, steps: int, like: Path) -> str:
    """Resume a run that was broken off, to the end; then it is whole, with the weights of `like`. One that was broken
    off before it had its settings is refused."""
    began = (run / CONFIG_FILE).is_file()
    ended = box.command("train", "--resume", run, "--steps", steps, "--checkpoint-seconds", "0", "--orbit-frames", "0",
                        may_write=[run])
    if ended.code:
        if began:
            raise Fault("half-written", f"it does not go on: {ended.err.strip()}")
        return "refused"
    check_whole(run, ended=True)
    check_weights(run, like)
    return "done"
