"""What a GPU is asked for, in order of worth: the jobs of `benchmarks/gpu.py`.

Two sizes. On a card a job is as large as the figures of docs/benchmarks.md are; in small (a CPU, or Vulkan by
software) it is only rehearsed: the same command with little to do. A row is a job on a backend.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import figures
from .figures import Found

BACKENDS = ("cuda", "vulkan", "cpu")
SMALL_LEAST, SMALL_MOST = 10.0, 120.0  # seconds of a box in a rehearsal
TARGET = 35.0  # dB, on lego
# ways to that: how a pixel is seen, and the options
WAYS = {"rays": ("four rays a pixel", "--model.rays-per-pixel 4"), "widths": ("widths", "--model.widths level")}
# what stands for a scene without --data
SCENES = {"lego": ("nerf_synthetic/lego", "builtin:still-life"), "bonsai": ("mip360_bonsai", "builtin:open-field")}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command, what it may take, and what is read from it."""

    name: str
    what: str
    worth: str
    """Why it is done at all, and stands where it does."""
    backends: tuple[str, ...]
    command: str
    """Words after `python`. In braces: backend, scene, data (an option or nothing), work (a folder of its own), run
    (the folder of the run that `shows` names), seconds (of training that its box leaves)."""
    card: str
    """Further words on a card, and in small."""
    small: str
    least: float
    """Seconds without which it is not begun, on a card."""
    most: float
    """Seconds after which it is ended, on a card."""
    grows: bool = False
    """Whether more time brings more, on a card. Its box is then a share of the time left; others have `most`."""
    besides: float = 0.0
    """Seconds of the box for all but training, on a card."""
    scene: str | None = None
    """Of SCENES."""
    real: bool = False
    """Worth nothing with a scene that is built in."""
    shows: str | None = None
    """The job whose run it needs, on the same backend."""
    trained: float | None = None
    """Seconds of training, for the time to TARGET."""
    way: str | None = None
    """Of WAYS, of which each has a time of its own."""
    reads: Callable[[Path, str], Found]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job on a backend."""

    job: Job
    backend: str

    @property
    def name(self) -> str:
        return f"{self.job.name}-{self.backend}"

    def limits(self, small: bool) -> tuple[float, float]:
        """Least and most seconds of its box."""
        return (SMALL_LEAST, SMALL_MOST) if small else (self.job.least, self.job.most)

    def grows(self, small: bool) -> bool:
        return self.job.grows and not small

    def words(self, small: bool, box: float, places: dict[str, str]) -> list[str]:
        """The words after `python`; `places` has all that is in braces but the seconds."""
        training = max(1.0, box - self.job.besides)
        text = f"{self.job.command} {self.job.small if small else self.job.card}"
        words = (word.format(**places, backend=self.backend, seconds=f"{training:.0f}") for word in text.split())
        return [word for word in words if word]


ALL, NO_VULKAN = ("cuda", "vulkan", "cpu"), ("cuda", "cpu")
PYTEST = "-m pytest -v --tb=short -p no:cacheprovider"
TRAIN = "-m taichi_nerf train {scene} --backend {backend} --output {work} --orbit-frames 0"
SHORT = "--preset small --downscale 16 --test-every 200"
FEW = (f"{SHORT} --steps 5 --batch.samples 1024 --batch.marched 8192 --batch.max-rays 128 "
       "--model.field.hash-grid.levels 2")
FEW_RAYS = f"{SHORT} --steps 5 --batch.rays 32"
UNTRIED = "a preset that nobody has run to its end is a guess"


def to_target(seconds: int, worth: str, way: str = "rays") -> Job:
    what, options = WAYS[way]
    return Job(
        name=f"lego-{way}-{seconds}", what=f"lego at 400 x 400 for {seconds} s, {what}", worth=worth,
        backends=NO_VULKAN, command=f"{TRAIN} {options}", card=f"--seconds {seconds}", small=FEW, least=35 + seconds,
        most=90, scene="lego", real=True, trained=seconds, way=way, reads=figures.training)


def paper(name: str, scene: str, options: str, besides: float = 50) -> Job:
    return Job(
        name=name, what=f"{scene}, settings of the paper: {options}", worth=UNTRIED, backends=NO_VULKAN,
        command=f"{TRAIN} {options}", card="--preset paper --seconds {seconds}", small=FEW_RAYS, least=50 + besides,
        most=600 + besides, grows=True, besides=besides, scene=scene, reads=figures.training)


JOBS = (
    Job(name="tests-kernels", what="tests of kernels, operations and checks",
        worth="no speed counts while a gradient is wrong", backends=ALL, command=PYTEST,
        card="-k {backend} tests/kernels tests/ops tests/checks", small="-k {backend}-f tests/ops/test_ray_aabb.py",
        least=120, most=300, grows=True, reads=figures.tests),
    Job(name="step", what="the training step, kernel by kernel, beside its floors", worth="what most changes are about",
        backends=NO_VULKAN, command="benchmarks/step.py --backend {backend} {data} --json {work}/figures", card="",
        small="--settle 1 --steps 3 --downscale 16", least=45, most=90, scene="lego", reads=figures.step),
    to_target(15, f"the headline: {TARGET:g} dB"),
    Job(name="tests-models", what="tests of fields, models and training runs", worth="as the tests of kernels",
        backends=ALL, command=PYTEST, card="-k {backend} tests/fields tests/models tests/training",
        small="-k {backend}-f tests/fields/test_hash_field.py", least=60, most=300, grows=True, reads=figures.tests),
    Job(name="lego", what="lego at 400 x 400 for 15 s, one ray a pixel",
        worth="what backends are compared by; on Vulkan, that training works on the card", backends=ALL, command=TRAIN,
        card="--seconds 15", small=FEW, least=50, most=120, scene="lego", reads=figures.training),
    Job(name="render", what="a frame of 800 x 800 of that run, by both renderers", worth="what auto is to take",
        backends=ALL, command="benchmarks/render.py {run} --backend {backend} --json {work}/figures",
        card="--size 800 800", small="--size 8 8", least=30, most=90, shows="lego", reads=figures.render),
    Job(name="octree-made-up", what="a frame of 800 x 800 of an octree that is made up, as large as lego's",
        worth="3 ms are wanted; it needs no run", backends=ALL,
        command="benchmarks/octree.py --backend {backend} --json {work}/figures", card="--size 800 800",
        small="--size 8 8 --depth 3", least=20, most=60, reads=figures.octree_frame),
    # on CUDA alone: the few steps of a rehearsal leave nothing of which an octree could be made
    Job(name="octree", what="the octree of the run of lego, trained further", worth="what its frame is of",
        backends=("cuda",), command="-m taichi_nerf octree {run} --backend {backend} --output {work}",
        card="--seconds 20", small="--seconds 1", least=60, most=180, shows="lego", reads=figures.octree),
    Job(name="octree-frame", what="a frame of 800 x 800 of that octree", worth="3 ms are wanted", backends=("cuda",),
        command="benchmarks/octree.py {run} --backend {backend} --json {work}/figures", card="--size 800 800",
        small="--size 8 8", least=20, most=60, shows="octree", reads=figures.octree_frame),
    to_target(10, f"the time to {TARGET:g} dB, by runs of their own, since the learning rate falls until the end"),
    to_target(12, "if 10 s do not suffice"),
    to_target(8, "if 10 s suffice"),
    to_target(20, "if 15 s do not suffice"),
    to_target(15, "one ray that is as wide as its pixel, instead of four", "widths"),
    to_target(10, "if 15 s suffice so", "widths"),
    to_target(20, "if 15 s do not suffice so", "widths"),
    Job(name="bench", what="every kernel's speed, and its share of a copy", worth="which kernel has fallen behind",
        backends=ALL, command="-m taichi_nerf bench --backends {backend} --json", card="--seconds 15",
        small="--seconds 1 --kernels ray_aabb", least=80, most=180, reads=figures.bench),
    Job(name="doctor", what="every kernel's error against float64", worth="the first thing that a user runs",
        backends=ALL, command="-m taichi_nerf doctor --backends {backend} --json", card="", small="--kernels ray_aabb",
        least=60, most=200, reads=figures.doctor),
    Job(name="instant-ngp", what="lego, settings of the paper: 20,000 steps",
        worth="a row of docs/benchmarks.md, with the finest level of today", backends=NO_VULKAN, command=TRAIN,
        card="--preset paper --steps 20000", small=FEW, least=100, most=200, scene="lego", reads=figures.training),
    paper("mip-nerf-360-hash", "bonsai", "--model mip-nerf-360 --encoding hash --downscale 2"),
    paper("nerf", "lego", "--model nerf"),
    paper("mip-nerf", "lego", "--model mip-nerf"),
    paper("mip-nerf-360", "bonsai", "--model mip-nerf-360 --downscale 2", besides=100),
)


def rows_of(backends: tuple[str, ...]) -> list[Row]:
    """The plan: each job on each of `backends` that it is for."""
    return [Row(job=job, backend=backend) for job in JOBS for backend in job.backends if backend in backends]
