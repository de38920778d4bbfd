"""The command line: `taichi-nerf train | eval | render | process | info | doctor | bench`.

Images with poses in; a trained radiance field, scores, new views and a video out.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 2 bad input or a full disk, 130 and
143 stopped by a signal, 1 a mistake of the program, or what `doctor` and `bench` find to be wrong.
"""

import contextlib
import dataclasses
import errno
import io
import os
import shutil
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro
from tyro.conf import AvoidSubcommands, Positional, arg, subcommand

from .config import (
    BatchConfig,
    DepthConfig,
    ExposureConfig,
    InstantNGPConfig,
    ModelConfig,
    OptimiserConfig,
    Orientation,
    RayBatchConfig,
    RefineConfig,
    SceneFormat,
    SettingError,
)
from .devices import pytorch_is_for_cuda
from .errors import UserError
from .presets import ENCODINGS, MODELS, PRESETS, Encoding, ModelName, Preset, preset_for, recipe

STARTED = time.perf_counter()
Backend = Literal["auto", "cpu", "cuda", "vulkan"]
MLP = Literal["auto", "torch", "fused"]
RealBackend = Literal["cpu", "cuda", "vulkan"]
Renderer = Literal["auto", "torch", "taichi"]
CameraModel = Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"]
What = Literal["colour", "depth", "opacity", "normals"]
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", None)}
REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
}
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "failed to allocate",
             "allocate_memory_on_device")  # the last: Taichi, when a Vulkan device is full


@dataclass(frozen=True, kw_only=True)
class _Common:
    backend: Backend = "auto"
    """What the kernels run on; auto: CUDA where there is a device, else the CPU."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """Processor threads; by default as many as this process may use."""
    mlp: MLP = "auto"
    """What computes the networks: PyTorch, or fused kernels in single precision; auto: the faster, on a CPU PyTorch."""
    debug: Annotated[bool, arg(name="debug")] = False
    """Show where in the program an error came from."""


@dataclass(frozen=True, kw_only=True)
class Train(_Common):
    """Train a model on images with poses; leave scores, pictures and a video in a folder.

    SCENE is a folder: with transforms_train/val/test.json (Blender, D-NeRF), transforms.json (instant-ngp,
    nerfstudio) or metadata.json (multi-scale, mip-NeRF), a COLMAP model beside images, or the folder of LLFF, Nerfies,
    Phototourism or NSVF. Without it the built-in still life is computed and trained; `builtin:satin` has no
    mirrors, `builtin:open-field` has no end.

    Try `taichi-nerf train`, or `taichi-nerf train lego --downscale 4 --seconds 60`, and later
    `taichi-nerf train --resume runs/lego-20260101-120000 --seconds 120`.

    --model, --preset and --encoding choose the settings below: `taichi-nerf train --model nerf --help` shows those of
    NeRF.
    """

    scene: Annotated[Positional[Path | None], arg(metavar="[SCENE]")] = None
    """Folder of the scene, or its transforms file, or builtin:still-life, builtin:satin, builtin:open-field."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder of the run, which must be new or empty; by default runs/SCENE-TIME."""
    resume: Annotated[Path | None, arg(metavar="RUN")] = None
    """Go on with this run exactly where it stood, with its settings; --steps or --seconds set another end."""
    moved: Annotated[Path | None, arg(name="scene", metavar="PATH")] = None
    """With --resume: where the scene is now, if it has moved since training began."""
    model_name: Annotated[ModelName, arg(name="model")] = "instant-ngp"
    """What is trained."""
    preset: Preset = "small"
    """Settings as a whole: those that two processor cores train in minutes, or those of the paper, which CUDA has by
    default, and for instant-ngp Vulkan on a card."""
    encoding: Encoding | None = None
    """What represents space: sines and cosines before a deep network, or a hash grid before a small one, which is
    many times faster on a processor; by default what the model's paper has."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Stop after this many steps. With neither --steps nor --seconds: 90 seconds, or 20000 steps on CUDA."""
    seconds: Annotated[float | None, arg(metavar="S")] = None
    """Stop after this many seconds of training; loading, compiling and evaluating do not count."""
    downscale: Annotated[int, arg(metavar="N")] = 1
    """Make the images smaller by this factor."""
    scales: Annotated[int, arg(metavar="N")] = 1
    """Train and score on each view at so many sizes: as it is, 1/2, 1/4, ..., all in one pool; a pixel weighs as much
    as its area. mip-NeRF's multi-scale data are --scales 4."""
    test_every: Annotated[int | None, arg(metavar="K")] = None
    """Score every K-th test view or, in a format without splits, hold out every K-th image; 0: none.

    By default 8, and every test view of a built-in scene."""
    background: Literal["white", "black"] | None = None
    """Colour behind what is transparent; by default white where images have alpha."""
    format: SceneFormat | None = None
    """What the scene is read as, where its folder could be several; by default the first of these that it is."""
    orient: Orientation | None = None
    """Turn the scene: up: z up by the cameras' horizon; pca: z where the cameras are spread least; none: the axes of
    the file. By default none where the format fixes the axes (all but colmap, llff and phototourism), else up."""
    axes: Literal["opengl", "opencv"] = "opengl"
    """What the axes of cameras in transforms files are: x right, y up, z back, or right, down, forward."""
    world_to_camera: bool = False
    """The matrices of transforms files are world to camera."""
    skip_missing: bool = False
    """Leave out images that are not there. A few are left out in any case, with a warning."""
    image_exposure: Annotated[float, arg(name="exposure", metavar="STOPS")] = 0.0
    """Make images of more than 8 bits (16-bit PNG, OpenEXR, Radiance) brighter by as many stops."""
    alpha: Literal["auto", "background", "mask"] = "auto"
    """What a transparent pixel is: the background seen, or left out of training and scores; auto: the background where
    an object stands before it, left out where a few pixels are transparent, or empty corners."""
    masks: bool = True
    """Leave out of training and scores what the masks of the scene cover."""
    cut_out: bool = False
    """Take what the masks of an object cover for empty instead: the object stands alone before the background, and its
    outline tells its shape. Masks of moving things (dynamic_mask_*) still leave out."""
    cache: Literal["auto", "memory", "disk"] = "auto"
    """Where the decoded images are kept; auto: on disk, beside the scene, if they need more than half of the memory."""
    seed: int = 0
    """Of everything random."""
    gradients: Literal["auto", "autograd", "explicit"] = "auto"
    """How a step gets its gradients: by PyTorch's autograd, or explicitly, by kernels on arrays of the device, which
    only Instant-NGP has; auto: explicitly where that is faster. Both are the same."""
    checkpoint_seconds: Annotated[float, arg(metavar="S")] = 30.0
    """Seconds between two checkpoints: what a run that is killed can lose."""
    orbit_frames: Annotated[int, arg(metavar="N")] = 60
    """Frames of the orbit video at the end; 0: no video. They are smaller where it would take over a minute, and longer
    than the training."""
    batch: BatchConfig | RayBatchConfig = dataclasses.field(default_factory=BatchConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    refine: RefineConfig = dataclasses.field(default_factory=RefineConfig)
    exposure: ExposureConfig = dataclasses.field(default_factory=ExposureConfig)
    depth: DepthConfig = dataclasses.field(default_factory=DepthConfig)
    model: ModelConfig = dataclasses.field(default_factory=InstantNGPConfig)

    def __post_init__(self):
        if self.checkpoint_seconds < 0 or self.orbit_frames < 0:
            raise SettingError("checkpoint-seconds and orbit-frames must not be negative")
        if self.resume is not None and (self.scene is not None or self.output is not None):
            raise SettingError(
                "--resume takes the scene and the folder from the run; leave SCENE and --output out"
            )
        if self.moved is not None and self.resume is None:
            raise SettingError("--scene says where that of a run to --resume is now; give a scene to train on as SCENE")


@dataclass(frozen=True, kw_only=True)
class Eval(_Common):
    """Score a trained model: PSNR, SSIM and, where its package is installed, LPIPS.

    Try `taichi-nerf eval runs/lego-20260101-120000 --every 1`.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that train wrote."""
    split: Literal["train", "val", "test"] = "test"
    """Whose images are compared with."""
    every: Annotated[int | None, arg(metavar="K")] = None
    """Score every K-th view; by default the views that training scored."""
    scene: Annotated[Path | None, arg(metavar="PATH")] = None
    """Where the scene is now, if it has moved since training."""
    pictures: Annotated[Path | None, arg(metavar="DIR")] = None
    """Write each view beside its ground truth into this new folder."""
    renderer: Renderer = "auto"
    """As of `render`."""
    half_image: bool = False
    """Score right halves of images, after poses and exposures, where training corrected them, were fitted to the left
    halves."""
    json: bool = False
    """Print one JSON object instead of a table."""

    def __post_init__(self):
        if self.every is not None and self.every < 1:
            raise SettingError(f"every must be at least 1, got {self.every}")


@dataclass(frozen=True, kw_only=True)
class Render(_Common):
    """Render new views of a trained model: a video, or a folder of PNG files.

    Try `taichi-nerf render runs/lego-20260101-120000 --what colour depth --size 800 800 --frames 120`.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that train wrote."""
    path: Annotated[str, arg(metavar="orbit|spiral|train|val|test|FILE.json")] = "orbit"
    """Where the camera goes: around the scene, a spiral in front of it, the poses of a split, or those of a
    camera-path file."""
    what: tuple[What, ...] = ("colour",)
    """What is shown; each gets a video or its own pictures."""
    size: Annotated[tuple[int, int] | None, arg(metavar="W H")] = None
    """Width and height in pixels; by default those of the training images, or what the camera path says."""
    frames: Annotated[int | None, arg(metavar="N")] = None
    """Number of frames: of an orbit or spiral, by default 60, or through the poses of a camera-path file."""
    fps: Annotated[float, arg(metavar="N")] = 30.0
    """Frames per second of the video."""
    every: Annotated[int, arg(metavar="K")] = 1
    """Of a split, render every K-th view."""
    scene: Annotated[Path | None, arg(metavar="PATH")] = None
    """Where the scene is now, if it has moved; only the poses of a split need it."""
    renderer: Renderer = "auto"
    """torch: stage by stage, with PyTorch's networks; taichi: one kernel from rays to pixels, in single precision and
    without normals; auto: what suits the backend."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.mp4|DIR")] = None
    """A new video file, or a new folder for PNG files; by default a video in RUN/renders."""

    def __post_init__(self):
        if self.frames is not None and self.frames < 1:
            raise SettingError(f"frames must be at least 1, got {self.frames}")
        if self.every < 1:
            raise SettingError(f"every must be at least 1, got {self.every}")
        if not 0 < self.fps <= 1000:
            raise SettingError(f"fps must be above 0 and at most 1000, got {self.fps}")
        if self.size is not None and not all(1 <= side <= 16384 for side in self.size):
            raise SettingError(f"size must be from 1 to 16384 pixels, got {self.size[0]} {self.size[1]}")
        if self.renderer == "taichi" and "normals" in self.what:
            raise SettingError("renderer taichi gives no normals; use --renderer auto")
        if len(self.what) == 0:
            raise SettingError("what must name at least one of colour, depth, opacity, normals")


@dataclass(frozen=True, kw_only=True)
class Process:
    """Turn a folder of photos, or a video, into a scene that train reads: find out where the cameras stood.

    COLMAP does it (pip install 'taichi-nerf[colmap]'). Photos without a pose are listed with the likely reason.

    Try `taichi-nerf process photos -o garden`, then `taichi-nerf train garden`.
    """

    source: Annotated[Positional[Path], arg(metavar="PHOTOS|VIDEO")]
    """Folder of photos, or a video file, of which the sharpest frames are taken."""
    output: Annotated[Path, arg(aliases=["-o"], metavar="SCENE")]
    """Folder of the scene, which must be new or empty."""
    max_images: Annotated[int, arg(metavar="N")] = 200
    """Photos or frames at the most; of more, the sharpest of every few are taken."""
    max_size: Annotated[int, arg(metavar="PIXELS")] = 1600
    """Photos that are larger along a side are made smaller."""
    camera_model: CameraModel = "SIMPLE_RADIAL"
    """How the lens bends what it sees. More coefficients fit a real lens better, and need more and better photos."""
    single_camera: bool = True
    """Photos of one size were taken by one camera with one zoom."""
    matching: Literal["auto", "exhaustive", "sequential", "vocabulary"] = "auto"
    """Which photos are compared: all with all; with those that follow; with the most similar; auto: sequential for a
    video, all for up to 80 photos, the most similar for more."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """Processor threads; by default as many as this process may use."""
    json: bool = False
    """Print one JSON object instead of sentences."""
    debug: Annotated[bool, arg(name="debug")] = False
    """Show where in the program an error came from."""

    def __post_init__(self):
        if self.max_images < 3:
            raise SettingError(f"max-images must be at least 3, got {self.max_images}")
        if not 64 <= self.max_size <= 16384:
            raise SettingError(f"max-size must be from 64 to 16384 pixels, got {self.max_size}")
        if self.threads is not None and self.threads < 1:
            raise SettingError(f"threads must be at least 1, got {self.threads}")


@dataclass(frozen=True, kw_only=True)
class Info(_Common):
    """Say what is in a scene or a run, and what is suspicious about it.

    Without an argument it describes the built-in scene.
    """

    path: Annotated[Positional[Path | None], arg(metavar="[SCENE|RUN]")] = None
    """Folder of a scene, its transforms file, builtin:NAME, or a folder that train wrote."""
    format: SceneFormat | None = None
    """As of `train`."""
    orient: Orientation | None = None
    """As of `train`."""
    axes: Literal["opengl", "opencv"] = "opengl"
    """As of `train`."""
    world_to_camera: bool = False
    """As of `train`."""
    picture: Annotated[Path | None, arg(metavar="FILE.png")] = None
    """Draw the cameras' frusta into this new file."""
    json: bool = False
    """Print one JSON object instead of sentences."""


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
        if not 0 < self.timeout < 1e6:
            raise SettingError(f"timeout must be above 0 and below a million seconds, got {self.timeout}")


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
        if not 0 < self.seconds < 1e6:
            raise SettingError(f"seconds must be above 0 and below a million, got {self.seconds}")


def train_defaults(
    backend: Backend, model: ModelName = "instant-ngp", preset: Preset | None = None, encoding: Encoding | None = None
) -> Train:
    """What `taichi-nerf train` does unless told otherwise. With `auto`, a driver on the path stands for the device, if
    PyTorch is one for CUDA."""
    if backend == "auto":
        backend = "cuda" if shutil.which("nvidia-smi") and pytorch_is_for_cuda() else "cpu"
    preset = preset or preset_for(backend, model)
    found = recipe(model, preset, encoding)
    return Train(model_name=model, preset=preset, encoding=encoding, batch=found.batch, optimiser=found.optimiser,
                 model=found.model)


def _command_type(argv: list[str]):
    """The union of the commands; the defaults that --help shows are those of the choices in `argv`."""
    defaults = train_defaults(
        _chosen(argv, "--backend", get_args(Backend)) or "auto", _chosen(argv, "--model", MODELS) or "instant-ngp",
        _chosen(argv, "--preset", PRESETS), _chosen(argv, "--encoding", ENCODINGS))
    return Annotated[
        Annotated[Train, subcommand("train", default=defaults)]
        | Annotated[Eval, subcommand("eval")]
        | Annotated[Render, subcommand("render")]
        | Annotated[Process, subcommand("process")]
        | Annotated[Info, subcommand("info")]
        | Annotated[Doctor, subcommand("doctor")]
        | Annotated[Bench, subcommand("bench")],
        AvoidSubcommands,  # of train's settings: a model and its batch are chosen by --model
    ]


def _chosen(argv: list[str], flag: str, choices: tuple[str, ...]) -> str | None:
    """The last value of `flag` in `argv`, if it is one; what else it may be the parser refuses."""
    values = [value for name, value in pairwise(argv) if name == flag]
    values += [part.removeprefix(f"{flag}=") for part in argv if part.startswith(f"{flag}=")]
    return values[-1] if values and values[-1] in choices else None


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code. `argv` defaults to the arguments of the process."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        command = _parsed(argv)
        if isinstance(command, int):
            return command
        from . import commands

        code = getattr(commands, type(command).__name__.lower())(command)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:  # who read stdout has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        sentence = sentence_for(error)
        if sentence is None or "--debug" in argv:
            raise
        return _fail(sentence, 2)


def sentence_for(error: Exception) -> str | None:
    """What to tell about an error that the user can mend; None if it is a mistake of the program."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, ImportError) and error.name == "TAICHI_NERF_ENGINE":
        return str(error)
    text = str(error).lower()
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(s in text for s in NO_MEMORY)
    ):
        return (
            "the memory does not suffice; use smaller images (--downscale 2), smaller batches "
            "(--batch.samples, --batch.marched, --batch.rays) or a smaller model (--preset small)"
        )
    if isinstance(error, OSError) and error.errno in FULL | REFUSED:
        reason = "the disk is full" if error.errno in FULL else (error.strerror or text).lower()
        return f"{error.filename or 'a file'} cannot be written or read: {reason}; mend that and try again"
    return None


def _parsed(argv: list[str]) -> "Train | Eval | Render | Process | Info | Doctor | Bench | int":
    """The command, or the exit code of a parser that has said all there is to say."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(_command_type(argv), prog="taichi-nerf", args=argv, description=__doc__.split("\n\n")[1])
    except (SettingError, SystemExit) as end:
        refused = _setting_error(end)
        if refused is not None:  # the parser would print it as a box of several lines
            raise UserError(f"{refused}; see taichi-nerf {argv[0]} --help") from refused
        sys.stderr.write(said.getvalue())
        return 2 if end.code else 0


def _setting_error(error: BaseException | None) -> SettingError | None:
    """The refused setting among the causes of `error`."""
    while error is not None and not isinstance(error, SettingError):
        error = error.__cause__ or error.__context__
    return error


def _fail(sentence: str, code: int) -> int:
    print(f"taichi-nerf: {sentence}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
