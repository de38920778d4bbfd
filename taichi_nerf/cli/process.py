"""`taichi-nerf process`: from photos to a scene."""

import dataclasses
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..config import LARGEST, within
from ..devices import MOST_THREADS
from ..output import quoted, result, result_json, say
from .stop import Terminated

if TYPE_CHECKING:
    from ..capture.process import Processed

CameraModel = Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"]


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
    moving: bool = False
    """Something moves in the video: it is found and left out of matching, and each frame gets its time, so that models
    of what moves can learn it."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """Processor threads; by default as many as this process may use."""
    json: bool = False
    """Print one JSON object instead of sentences."""
    debug: Annotated[bool, arg(name="debug")] = False
    """Show where in the program an error came from."""

    def __post_init__(self):
        within(self, 3, LARGEST, "max_images")
        within(self, 64, 16384, "max_size")
        within(self, 1, MOST_THREADS, "threads")


def process(command: Process) -> int:
    """`taichi-nerf process`"""
    from ..capture import process as process_capture

    try:
        with Terminated.as_exception():
            done = process_capture(
                command.source,
                command.output,
                **{name: getattr(command, name) for name in
                   ("max_images", "max_size", "camera_model", "single_camera", "matching", "moving", "threads")},
            )
    except Terminated:
        say("taichi-nerf: stopped")
        return 128 + signal.SIGTERM
    if command.json:
        result_json({**dataclasses.asdict(done), "folder": str(done.folder)})
        return 0
    model = " --model t-nerf" if command.moving else ""
    result(
        *(f"no pose for {name}: {reason}" for name, reason in done.unplaced.items()),
        *(f"warning: {finding.text}" for finding in done.findings),
        f"{done.placed} of {done.images} images have a pose; {done.points} points, reprojection error "
        f"{done.reprojection_error:.2f} pixels",
        *_of_what_moves(done),
        f"{done.folder}: train on it with: taichi-nerf train {quoted(done.folder)}{model}",
    )
    return 0


def _of_what_moves(done: "Processed") -> list[str]:
    """What was left out of matching, and how the scene lies in the model: its box, near and far, and what is suspicious
    about that, of a video of something that moves."""
    from ..data import load_scene
    from ..data.inspect import describe

    if done.moving is None:
        return []
    scene = load_scene(done.folder, strict=False)
    left = f"{done.moving:.1%} of the pixels move, and were left out of matching: {done.folder / 'moving.jpg'}"
    return [left, *(f"warning: {fact.text}" if fact.severity == "warning" else fact.text for fact in describe(scene))]
