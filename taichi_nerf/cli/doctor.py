"""`taichi-nerf doctor`: which backends work here."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from ..config import SettingError
from .options import RealBackend


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say which backends work on this machine and why others do not, and check every kernel on each.

    Values and gradients are held to a slow float64 implementation. Every backend has a process of its own, so that
    a driver that crashes is a line in the table. The exit code is 0 if the CPU is healthy and no check failed.
    """

    backends: tuple[RealBackend, ...] = ("cpu", "cuda", "vulkan")
    """Which to look at."""
    kernels: Annotated[tuple[str, ...], arg(metavar="NAME..")] = ()
    """Which kernels to check; by default all."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """Processor threads; by default as many as this process may use."""
    timeout: Annotated[float, arg(metavar="S")] = 180.0
    """Seconds after which a backend is given up; the first run on a machine compiles every kernel."""
    json: bool = False
    """Print one JSON object instead of tables."""
    debug: Annotated[bool, arg(name="debug")] = False
    """Show where in the program an error came from."""

    def __post_init__(self):
        if not self.backends:
            raise SettingError("backends must name at least one of cpu, cuda, vulkan")
        if not 0 < self.timeout < 1e6:
            raise SettingError(f"timeout must be above 0 and below a million seconds, got {self.timeout}")


def doctor(command: Doctor) -> int:
    """`taichi-nerf doctor`"""
    from ..checks.report import doctor as check_backends

    return check_backends(command.backends, kernels=command.kernels, threads=command.threads, timeout=command.timeout,
                          as_json=command.json)
