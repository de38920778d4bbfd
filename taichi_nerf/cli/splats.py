"""`taichi-nerf export --what splats`: Gaussians instead of a field, fitted to its photos for a while."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..output import quoted, result, say
from ..progress import Progress
from .options import make_folder
from .stop import Stop

if TYPE_CHECKING:
    import numpy as np

    from ..query import Field
    from ..training.folder import RunFolder
    from ..training.splats import PlainPhotos

__all__ = ["export_splats", "lights_differ"]

BYTES_A_RAY = 128  # of what a view sees, and what sorts it
BYTES_A_NUMBER = 16  # of a Gaussian that learns: itself, its gradient, and two moments
BYTES_A_SUM = 24  # of least squares: a sum, what is added to it, and the solution
PICTURE = 640  # pixels along a side


def export_splats(run: "RunFolder", field: "Field", output: Path, beside: Path, *, count: int, degree: int,
                  steps: int | None, seconds: float, rays: int, box: "np.ndarray | None", unit: float | None,
                  time: float | None) -> None:
    """Make, fit, score and write the Gaussians of a run, with a picture, `beside`. The first Ctrl-C ends the fitting
    alone. Raises UserError."""
    from .. import paths
    from ..export.splat_files import write_splats
    from ..export.splats import learnable, splats_of, surface_splats
    from ..pictures import write_png
    from ..training.photos import GREY
    from ..training.splats import picture_of, plain_photos

    scene, fitted = field.scene, steps != 0 and (steps is not None or seconds > 0)
    if fitted and time is not None:
        raise UserError(f"{run.path} has photos of other times than --time {time:g}, to which its splats cannot be "
                        "fitted; give --steps 0")
    _say_memory(count, degree, rays)
    if fitted:
        _say_what_photos_show(run)
    photos = plain_photos(run.training_scene().splits["train"]) if fitted else None  # before anything takes long
    test = _test_photos(run, needed=fitted, time=time)
    with Progress("looking") as line:
        made = surface_splats(field, scene.splits["train"].cameras, rays=rays, count=count, bands=degree + 1, box=box,
                              time=time, on_view=lambda done, total: line.show(
                                  done / total, f"{done} of {total} looks, {line.left(done / total)}"))
    background = GREY[scene.background]
    splats = learnable(made, scene.near / scene.scale)
    scores = [_score(splats, test, background)]
    if photos is not None:
        done = _fitted(splats, photos, steps, None if steps is not None else seconds)
        scores.append(_score(splats, test, background))
        say(f"fitted to {len(photos)} photos in {done} steps")
    make_folder(output.parent)
    write_splats(output, splats_of(splats).moved(scene.origin, unit or 1.0))
    camera = scene.world_cameras(paths.orbit(scene, 8, size=(PICTURE, PICTURE))).subset([1])
    picture = write_png(beside, picture_of(splats, camera, 0, background))
    result(f"{len(splats)} Gaussians, {output.stat().st_size / 2**20:.1f} MiB{_scores(scores, test)}: "
           f"{quoted(output)}, picture {quoted(picture)}")


def lights_differ(run: "RunFolder") -> bool:
    """Whether each training photo has a light or an exposure of its own."""
    return bool(getattr(run.config.model, "appearance", 0)) or run.config.training.exposure.learned


def _say_what_photos_show(run: "RunFolder") -> None:
    """Say what the photos have that the field has not, and splats that are fitted to them get."""
    shown = ["lights or exposures of their own"] * lights_differ(run)
    shown += ["what --robust left out of them"] * run.config.training.robust
    if shown:
        say(f"taichi-nerf: the photos of {run.path} have {' and '.join(shown)}, to which splats are fitted as well; "
            "--steps 0 leaves these as the field makes them")


def _say_memory(count: int, degree: int, rays: int) -> None:
    from .. import runtime

    functions = (degree + 1) ** 2
    numbers = 11 + 3 * functions
    needed = BYTES_A_RAY * rays + count * (BYTES_A_NUMBER * numbers + BYTES_A_SUM * functions * (functions + 3))
    runtime.require_memory(needed, f"{count} Gaussians of {rays} rays", "use a smaller --count, or fewer --rays")
    say(f"at most {count} Gaussians: {4 * (numbers + 3) * count / 2**20:.1f} MiB on the disk, {needed / 2**20:.0f} MiB "
        "of memory")


def _test_photos(run: "RunFolder", needed: bool, time: float | None) -> "PlainPhotos | None":
    """The test views that training scored, where there are any; of a `time` there are none."""
    if time is not None:
        say(f"the test views of {run.path} are of other times than --time {time:g}: nothing is scored")
        return None
    from ..training.evaluate import chosen_views
    from ..training.splats import plain_photos

    if not len(run.cameras_scene().splits.get("test", ())):
        say(f"{run.path} has no test views: nothing is scored")
        return None
    try:
        scene, _, left = run.split("test")
    except UserError as error:
        if needed:
            raise
        say(f"nothing is scored: {error}")
        return None
    return plain_photos(chosen_views(scene, "test", left))


def _score(splats, test: "PlainPhotos | None", background: float) -> float | None:
    from ..training.splats import score

    return None if test is None else score(splats, test, background)


def _scores(scores: list[float | None], test: "PlainPhotos | None") -> str:
    if test is None:
        return ""
    after = "" if len(scores) == 1 else f", {scores[1]:.2f} dB after"
    return f", PSNR of {len(test)} test views {scores[0]:.2f} dB before fitting{after}"


def _fitted(splats, photos: "PlainPhotos", steps: int | None, seconds: float | None) -> int:
    """The number of steps; they end early where the user says so."""
    from ..training.splats import fine_tune

    with Stop() as stop, Progress("fitting") as line:
        done = fine_tune(splats, photos, steps=steps, seconds=seconds, stopped=stop,
                         on_step=lambda step, share: line.show(share, f"{step} steps, {line.left(share)}"))
    if stop():
        say(f"stopped after {done} steps; what was learned is kept")
    return done
