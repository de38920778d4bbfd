"""`taichi-nerf eval`: the scores of a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..config import LARGEST, within
from ..output import result, result_json
from ..progress import Progress
from .options import Common, Renderer, at_once, check_renderer

if TYPE_CHECKING:
    from ..data.co_seen import Onlookers
    from ..data.scene import Scene
    from ..training.folder import RunFolder
    from ..training.half_image import HalfImageFit


@dataclass(frozen=True, kw_only=True)
class Eval(Common):
    """Score a trained model: PSNR, SSIM and, where its package is installed, LPIPS. Ranks of torchrun share the views.

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
    """What renders the views, as of `render`."""
    half_image: bool = False
    """Score right halves of images, after poses and exposures, where training corrected them, and appearances, where
    the model has them, were fitted to the left halves."""
    json: bool = False
    """Print one JSON object instead of a table."""

    def __post_init__(self):
        within(self, 1, LARGEST, "every")


def eval(command: Eval) -> int:
    """`taichi-nerf eval`"""
    at_once(lambda: _checked(command))
    from .. import runtime
    from ..training.blocks import load_any
    from ..training.evaluate import evaluate
    from ..training.team import team_of
    from .scores import lines, plain_scores, summary, unknown_light

    with team_of() as team:
        with team.together():
            run = _checked(command)
            runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
            model, about = load_any(run.path)  # at once: a training may replace the file
            scene, every, left = run.split(command.split, path=command.scene, every=command.every)
        with Progress("evaluating") as line:
            halves = _fitted_halves(model, scene, command.split, left, run, line) if command.half_image else None
            onlookers = _onlookers(model, scene, command, run, line)
            line.restart()
            evaluation = evaluate(
                model, scene, split=command.split, every=left, folder=command.pictures, on_view=line.count,
                on_part=line.part, renderer=command.renderer, halves=halves, onlookers=onlookers, team=team,
            )
    scores = plain_scores(evaluation, about, every)
    if command.json:
        result_json(scores)
    else:
        light = [] if command.half_image else unknown_light(run, model, scene.splits[command.split])
        result(*lines(scores), *summary(scores), *light)
    return 0


def _checked(command: Eval) -> "RunFolder":
    """The run, if nothing that its folder tells speaks against scoring it. Raises UserError."""
    from ..training.folder import RunFolder, check_output

    run = RunFolder.open(command.run)
    check_renderer(run, command.renderer)
    if command.scene is None:
        run.check_place()
    if command.pictures is not None:
        check_output(command.pictures, option="--pictures")
    return run


def _onlookers(model, scene: "Scene", command: Eval, run: "RunFolder", line: Progress) -> "Onlookers | None":
    """What the training views see as the model has it, where the scene has times and does not know it exactly."""
    from ..training.onlookers import MOST_VIEWS, onlookers_of

    split = scene.splits.get(command.split)
    if command.split == "train" or not split or split.time is None or split.co_seen is not None:
        return None
    every = max(1, len(run.cameras_scene().splits["train"]) // MOST_VIEWS)  # other images are not opened
    training = run.split("train", path=command.scene, every=every)[0].splits["train"]
    return onlookers_of(model, scene, training, lambda done, total: line.count(done, total, "training views"))


def _fitted_halves(
    model, scene: "Scene", split: str, every: int, run: "RunFolder", line: Progress
) -> "HalfImageFit":
    """What the run corrected of its training images, fitted to the left halves of those that are scored."""
    from ..training.evaluate import chosen_views
    from ..training.half_image import fit_left_halves

    training = run.config.training
    return fit_left_halves(model, scene, chosen_views(scene, split, every), poses=training.refine.poses,
                           exposure=training.exposure.learned,
                           appearance="appearance" in model.codes, seed=training.seed,
                           on_step=lambda done, total: line.show(done / total, (
                               f"{done} of {total} steps of fitting left halves, {line.left(done / total)}")))
