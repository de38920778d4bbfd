"""`taichi-nerf octree`: an octree of a trained model, which is shown many times faster."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..config import LARGEST, ExtractionConfig, RunConfig, SettingError, TrainingConfig, recipe, system_of, within
from ..config.training import LONGEST
from ..errors import UserError
from ..output import quoted, result, say
from ..progress import Progress
from .options import Common
from .stop import Stop

if TYPE_CHECKING:
    from ..data.scene import Scene
    from ..models.model import Model
    from ..training.folder import RunFolder

SECONDS = 120.0  # of fine-tuning, at the most


@dataclass(frozen=True, kw_only=True)
class Octree(Common):
    """Make an octree of a trained model: pictures take a fraction of the time, and it fits into a page.

    It is made of what the training images see of the model, and trained further on them until views that were left out
    stop gaining. The result is a run like any other, which `eval`, `render`, `view` and `page` take. Models that were
    trained with --model.field.harmonics 2 lose least. Try `taichi-nerf octree runs/lego-20260101-120000`.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that train wrote."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder of the octree's run, which must be new or empty; by default RUN-octree."""
    seconds: Annotated[float | None, arg(metavar="S")] = None
    """Of training after the extraction, at the most; 0: none. By default 120; none with fewer than 4 training images,
    of which none can be left out."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Of training after the extraction, at the most; by default --seconds alone says when it ends."""
    npz: Annotated[Path | None, arg(metavar="FILE.npz")] = None
    """Also write the octree into this new file, as svox and volrend read it."""
    scene: Annotated[Path | None, arg(metavar="PATH")] = None
    """Where the scene is now, if it has moved since training."""
    extraction: Annotated[ExtractionConfig, arg(name="")] = dataclasses.field(default_factory=ExtractionConfig)

    def __post_init__(self):
        within(self, 0, LONGEST, "seconds")
        within(self, 1, LARGEST, "steps")
        if self.npz is not None and self.npz.suffix.lower() != ".npz":
            raise SettingError(f"npz must end in .npz, which is what is written, got {self.npz}")


def octree(command: Octree) -> int:
    """`taichi-nerf octree`"""
    from ..training.folder import RunFolder, check_output, make_folder, writing

    run = RunFolder.open(command.run)
    made_by = system_of(run.config.model).made_by
    if made_by is not None:
        raise UserError(f"{run.path} is made by {made_by} already; give a run of taichi-nerf train")
    if system_of(run.config.model).moves:
        raise UserError(f"{run.path} is a run of {run.config.model.kind}, whose scene moves, and an octree stands "
                        "still; give a run of a model of what stands still")
    output = command.output or run.path.absolute().with_name(f"{run.path.absolute().name}-octree")
    check_output(output)
    if command.npz is not None and command.npz.exists():
        raise UserError(f"{command.npz} exists; choose another --npz")
    if command.scene is not None:
        moved = dataclasses.replace(run.config.scene, path=str(command.scene.expanduser().absolute()))
        run.config = dataclasses.replace(run.config, scene=moved)
    run.check_place()
    from .. import runtime
    from ..export.octree import write_octree
    from ..training import checkpoint
    from ..training.extraction import extract, without_unseen
    from ..training.fine_tuning import without_validation

    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    model = checkpoint.load(run.path)
    with Progress("loading") as line:
        scene = run.training_scene(on_image=line.decoded)
    there = output.is_dir()
    with _Stages() as stages:
        made = extract(model, scene, command.extraction, stages)
    make_folder(output, exist_ok=there)
    with writing(output):
        found = recipe(made.config.kind)
        training = TrainingConfig(**_budget(command, scene), batch=found.batch, optimiser=found.optimiser)
        config = RunConfig(scene=run.config.scene, model=made.config, training=training)
        new = RunFolder.create(output, config, scene)
        file = output / checkpoint.MODEL_FILE
        checkpoint.save_model(file, made, steps=0, seconds=0.0)
        steps, seconds, stopped_by = 0, 0.0, 0
        if training.steps != 0:
            steps, seconds, stopped_by = _fine_tuned(made, *without_validation(scene), training)
            with _Stages() as stages:
                made = without_unseen(made, scene, command.extraction.threshold, stages)
            checkpoint.save_model(file, made, steps=steps, seconds=seconds)
        if command.npz is not None:
            write_octree(command.npz, made, scene)
        if stopped_by:
            say(f"taichi-nerf: stopped and saved after {steps} steps of fine-tuning; score the octree with: "
                f"taichi-nerf eval {quoted(output)}")
            return 128 + stopped_by
        _score(new, scene, made, run.path, {"steps": steps, "seconds": seconds})
    result(f"{output}: an octree of {made.sizes['nodes']} nodes; look at it with: taichi-nerf view {quoted(output)}")
    return 0


class _Stages:
    """A line of progress for each stage, one after the other."""

    def __init__(self):
        self._line = None

    def __enter__(self) -> "_Stages":
        return self

    def __exit__(self, *error):
        if self._line is not None:
            self._line.__exit__(*error)

    def __call__(self, name: str):
        """Begin the next; what is returned is told how much of how much is done."""
        self.__exit__(None, None, None)
        line = self._line = Progress(name).__enter__()
        return lambda done, total: line.show(done / total, line.left(done / total))


def _budget(command: Octree, scene: "Scene") -> dict[str, float | None]:
    """Steps and seconds of the fine-tuning, as of TrainingConfig."""
    from ..training.fine_tuning import leaves_out

    if command.seconds is None and command.steps is None and not leaves_out(scene):
        say(f"{len(scene.splits['train'])} training images are too few to leave one out, which would say when "
            "fine-tuning is to end: there is none; --seconds or --steps ask for it all the same")
        return {"steps": 0}
    if command.seconds == 0:
        return {"steps": 0}
    return {"steps": command.steps, "seconds": SECONDS if command.seconds is None else command.seconds}


def _fine_tuned(model: "Model", scene: "Scene", validation: "Scene | None",
                training: TrainingConfig) -> tuple[int, float, int]:
    """The steps that were taken, their seconds, and the signal that ended them, or 0. The model is the best that was
    found."""
    from ..training.fine_tuning import fine_tune
    from ..training.run import warm_up
    from ..training.trainer import trainer_for

    trainer = trainer_for(model, scene, training)
    warm_up(trainer)
    with Stop() as stop, Progress("fine-tuning") as line:
        before, after = fine_tune(trainer, validation, stopped=stop,
                                  told=lambda share, text: line.show(share, f"{text}, {line.left(share)}"))
    if validation is not None:
        say(f"views that were left out: {before:.2f} dB before and {after:.2f} dB after {trainer.steps_done} steps")
    return trainer.steps_done, trainer.seconds, stop.signal


def _score(run: "RunFolder", scene: "Scene", made: "Model", source: Path, about: dict) -> None:
    """The octree's scores, beside those that its model had in its run `source`, of the same views."""
    from ..training.evaluate import evaluate
    from ..training.files import read_json, write_json
    from ..training.folder import METRICS_FILE
    from .scores import checked_scores, means, plain_scores, summary

    if "test" not in scene.splits:
        say("there are no test images: nothing is scored")
        return
    with Progress("evaluating") as line:
        evaluation = evaluate(made, scene, folder=run.path / "test", on_view=line.count, on_part=line.part)
    scores = plain_scores(evaluation, about, run.default_every("test"))
    write_json(run.path / METRICS_FILE, scores)
    result(*summary(scores))
    known = source / METRICS_FILE
    if known.is_file():
        own = checked_scores(read_json(known), str(known))
        result(f"its model has {means(own)}")
