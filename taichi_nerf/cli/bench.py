"""`taichi-nerf bench`: how fast every kernel is here."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from ..config import SettingError
from .options import RealBackend


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure every kernel and the training step on each backend of this machine.

    Throughput, its share of what the machine reaches in a copy and in a matrix product timed in the same run, the
    cost of a launch, and the same work by other libraries where they are installed: PyTorch (this project's
    reference, fewer items) and Dr.Jit. A speed is printed only for a kernel that has passed its check.

    Try `taichi-nerf bench --backends cpu --kernels hash_grid`.
    """

    backends: tuple[RealBackend, ...] = ("cpu", "cuda", "vulkan")
    """Which to measure; those that are missing say so."""
    kernels: Annotated[tuple[str, ...], arg(metavar="NAME..")] = ()
    """Which kernels to measure; by default all, and the training step."""
    seconds: Annotated[float, arg(metavar="S")] = 20.0
    """For the measurements on one backend; starting, compiling and checking come on top."""
    training: bool = True
    """Measure the training step, too."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """Processor threads; by default as many as this process may use."""
    json: bool = False
    """Print one JSON object instead of tables."""
    debug: Annotated[bool, arg(name="debug")] = False
    """Show where in the program an error came from."""

    def __post_init__(self):
        if not self.backends:
            raise SettingError("backends must name at least one of cpu, cuda, vulkan")
        if not 0 < self.seconds < 1e6:
            raise SettingError(f"seconds must be above 0 and below a million, got {self.seconds}")


def bench(command: Bench) -> int:
    """`taichi-nerf bench`"""
    from ..checks.report import bench as measure_backends

    return measure_backends(command.backends, kernels=command.kernels, threads=command.threads, seconds=command.seconds,
                            training=command.training, as_json=command.json)
