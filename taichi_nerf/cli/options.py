"""What the commands share: options, and what they do with them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from ..config import SYSTEMS, SettingError, system_of
from ..devices import is_rank
from ..errors import UserError

if TYPE_CHECKING:
    from ..training.folder import RunFolder

STARTED = time.perf_counter()
MOST_FRAMES = 100_000  # of a video: an hour
LEAST_UNIT, MOST_UNIT = 1e-6, 1e6  # metres that a unit of a scene may have
Backend = Literal["auto", "cpu", "cuda", "vulkan"]
MLP = Literal["auto", "torch", "fused"]
RealBackend = Literal["cpu", "cuda", "vulkan"]
Renderer = Literal["auto", "torch", "taichi"]


@dataclass(frozen=True, kw_only=True)
class Common:
    """Of the commands that compute."""

    backend: Backend = "auto"
    """What the kernels run on; auto: CUDA where there is a device, else the CPU."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """Processor threads; by default as many as this process may use."""
    mlp: MLP = "auto"
    """What computes the networks: PyTorch, or fused kernels in single precision; auto: the faster, on a CPU PyTorch."""
    debug: Annotated[bool, arg(name="debug")] = False
    """Show where in the program an error came from."""


def at_once(check: Callable[[], object]) -> None:
    """Let `check`, which needs neither PyTorch nor Taichi, say what is wrong with a command before they are loaded,
    which takes many times as long. Ranks, which all have to know why one ends, check once they know each other."""
    if not is_rank():
        check()


def option_for(setting: str) -> str:
    """As it is on the command line, of a setting of Train by its dotted name."""
    plain = setting.removeprefix("training.").removeprefix("scene.")
    return f"--{'model' if plain == 'model_name' else plain.replace('_', '-')}"


def check_renderer(run: "RunFolder", renderer: Renderer) -> None:
    """Raises UserError where `renderer` has no kernel for the model of `run`."""
    kind = run.config.model.kind
    if renderer == "taichi" and not system_of(kind).one_launch:
        able = ", ".join(each for each, system in SYSTEMS.items() if system.one_launch)
        raise UserError(f"--renderer taichi is for {able} alone, and {run.path} is a run of {kind}, which has no "
                        "kernel from rays to pixels; use --renderer auto")


def check_unit(unit: float | None) -> None:
    """Raises SettingError for what is no number of metres of a unit of a scene."""
    if unit is not None and not LEAST_UNIT <= unit <= MOST_UNIT:
        raise SettingError(f"unit must be how many metres a unit of the scene has, from {LEAST_UNIT:g} to "
                           f"{MOST_UNIT:g}, got {unit:g}")


def make_folder(path: Path) -> None:
    """Make `path` and the folders above it. Raises UserError where that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be made: {(error.strerror or str(error)).lower()}; choose another one"
        ) from None
