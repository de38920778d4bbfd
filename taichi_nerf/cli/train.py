"""`taichi-nerf train`: from images with poses to a trained model, with scores, pictures and a video."""

import contextlib
import dataclasses
import math
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Fixed, Suppress, arg

from ..config import (
    LARGEST,
    MOST_REGIONS,
    SYSTEMS,
    Encoding,
    InstantNGPConfig,
    ModelConfig,
    Preset,
    RunConfig,
    SceneConfig,
    SettingError,
    TrainingConfig,
    above,
    few_view_settings,
    flattened,
    preset_for,
    recipe,
    system_of,
    with_appearance,
    with_few_views,
    with_regions,
    within,
)
from ..devices import pytorch_is_for_cuda
from ..errors import RankLost, UserError
from ..output import quoted, result, say
from ..progress import Progress
from .arguments import options_of, with_section
from .blocks import Share, train_blocks
from .options import MOST_FRAMES, STARTED, Backend, Common, at_once, option_for
from .stop import Stop
from .trained import tell_disk
from .viewing import Shown, check_port, nobody, require_viewer, shown_training

if TYPE_CHECKING:
    from ..data.blocks import Block
    from ..data.scene import Scene
    from ..training.folder import RunFolder
    from ..training.run import Report
    from ..training.team import Team
    from ..training.trainer import Trainer

MOST_BLOCKS = 1000
SWITCHES = {  # that say whether the others of their part count
    "training.depth.weight",
    "training.depth.of",
    "training.refine.poses",
    "training.refine.lenses",
    "training.exposure.learned",
    "training.sparsity.weight",
    "training.near_camera.weight",
}
FREE_ON_RESUME = {
    "resume",
    "given",
    "training.steps",
    "training.seconds",
    "backend",
    "threads",
    "mlp",
    "debug",
    "checkpoint_seconds",
    "orbit_frames",
    "moved",
    "view",
    "host",
    "port",
}


@dataclass(frozen=True, kw_only=True)
class Train(Common):
    """Train a model on images with poses; leave scores, pictures and a video in a folder.

    SCENE is a folder: with transforms_train/val/test.json (Blender, D-NeRF), transforms.json (instant-ngp,
    nerfstudio) or metadata.json (multi-scale, mip-NeRF), a COLMAP model beside images, or the folder of LLFF, Nerfies,
    Phototourism, NSVF or Mega-NeRF. Without it the built-in still life is computed and trained; `builtin:satin` has no
    mirrors, `builtin:open-field` has no end, `builtin:crowd` is photographed in many lights and past
    people, `builtin:moving` moves, `builtin:street` is long.

    Try `taichi-nerf train`, or `taichi-nerf train lego --downscale 4 --seconds 60`, and later
    `taichi-nerf train --resume runs/lego-20260101-120000 --seconds 120`. Several processes or machines train one model
    by `torchrun --standalone --nproc-per-node 2 -m taichi_nerf train lego`.

    The settings below are those that --model, --preset and --encoding choose: `taichi-nerf train --model nerf --help`
    shows those of NeRF.
    """

    output: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder of the run, which must be new or empty; by default runs/SCENE-TIME."""
    resume: Annotated[Path | None, arg(metavar="RUN")] = None
    """Go on with this run exactly where it stood, with its settings; --steps or --seconds set another end."""
    moved: Annotated[str | None, arg(name="scene", metavar="PATH")] = None
    """With --resume: where the scene is now, if it has moved since training began."""
    # quoted, so that it is evaluated when arguments are parsed: by then there may be more systems
    model_name: "Annotated[Literal[tuple(SYSTEMS)], arg(name='model')]" = "instant-ngp"
    """What is trained: instant-ngp is the quickest; nerf, mip-nerf and mip-nerf-360, which has all of space, are as in
    their papers; nerf-w is for photos of many people, block-nerf for streets, regions what --regions makes; t-nerf,
    d-nerf, nerfies and hypernerf are for what moves. A plenoctree is made out of another one, by taichi-nerf octree."""
    preset: Preset = "small"
    """Settings as a whole: those that two processor cores train in minutes, or those of the paper, which CUDA has by
    default, and for instant-ngp Vulkan on a card."""
    encoding: Encoding | None = None
    """What represents space: sines and cosines before a deep network, or a hash grid before a small one, which is
    many times faster on a processor; by default what the model's paper has."""
    checkpoint_seconds: Annotated[float, arg(metavar="S")] = 30.0
    """Seconds between two checkpoints: what a run that is killed can lose."""
    few_views: bool = False
    """Settings for few training views of an object that stands free in its box, each where it is not given by itself:
    nothing right before the cameras, and colours that change less with the direction."""
    appearance: bool = False
    """Allow for photos in different light: by a code of each photo, for other cameras and times of day, or by an
    exposure of each, for one camera that meters each photo anew. The first lines say which, and why."""
    blocks: Annotated[int, arg(metavar="N")] = 0
    """Cut the scene into so many blocks along where its cameras stand, and train a model of each, one after the other,
    or one by each rank of torchrun; pictures are then made of all of them. Any model can be cut; block-nerf is made for
    it. 0: one model of everything."""
    block_size: Annotated[float | None, arg(metavar="LENGTH")] = None
    """The same with as many blocks as it takes so that none is longer, in units of the scene's file."""
    regions: Annotated[int | None, arg(metavar="N")] = None
    """Divide space into so many boxes with equal numbers of the scene's points, each with a field of its own, all
    trained as one model; under torchrun each process has its own of them. Pictures are of one model, without seams;
    codes of appearance are common to all."""
    orbit_frames: Annotated[int, arg(metavar="N")] = 60
    """Frames of the orbit video at the end; 0: no video. They are smaller, and then fewer, where it would take over a
    minute, and longer than the training."""
    view: Annotated[bool, arg(name="view")] = False
    """Show the training in a browser as it goes on; the command then ends when nobody looks any more."""
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """With --view: where it listens; by default for this machine alone."""
    port: Annotated[int | None, arg(metavar="N")] = None
    """With --view: by default 7007, or the next one that is free."""
    training: Annotated[TrainingConfig, arg(name="")] = dataclasses.field(default_factory=TrainingConfig)
    scene: Annotated[SceneConfig, arg(name="")] = dataclasses.field(default_factory=SceneConfig)
    model: ModelConfig = dataclasses.field(default_factory=InstantNGPConfig)
    given: Annotated[frozenset[str], Suppress, Fixed] = frozenset()
    """Settings that the command line names, whatever their values, by dotted name."""

    def __post_init__(self):
        within(self, 0, LARGEST, "checkpoint_seconds")
        within(self, 0, MOST_FRAMES, "orbit_frames")
        within(self, 0, MOST_BLOCKS, "blocks")
        within(self, 1, MOST_REGIONS, "regions")
        above(self, 0, LARGEST, "block_size")
        if self.blocks and self.block_size is not None:
            raise SettingError("blocks says how many there are, and --block-size how long they may be; give one of "
                               "them")
        if self.regions is not None and self.cut:
            raise SettingError("regions are parts of one model, and blocks are models of their own; give one of them")
        if self.cut and self.scene.block is not None:
            raise SettingError("block is of one block of a scene, and --blocks and --block-size cut it themselves; "
                               "give one of them")
        if self.view and self.cut:
            raise SettingError("--view shows the training of one model, not of blocks; leave it out, and look at the "
                               "run when it is trained")
        check_port(self)
        if self.resume is not None and (self.scene.path is not None or self.output is not None):
            raise SettingError(
                "--resume takes the scene and the folder from the run; leave SCENE and --output out"
            )
        if self.moved is not None and self.resume is None:
            raise SettingError("--scene says where that of a run to --resume is now; give a scene to train on as SCENE")

    @property
    def cut(self) -> bool:
        """Whether the scene is to be cut into blocks."""
        return self.blocks > 0 or self.block_size is not None


def train_defaults(
    backend: Backend, model: str = "instant-ngp", preset: Preset | None = None, encoding: Encoding | None = None
) -> Train:
    """What `taichi-nerf train` does unless told otherwise. With `auto`, a driver on the path stands for the device, if
    PyTorch is one for CUDA."""
    if backend == "auto":
        backend = "cuda" if shutil.which("nvidia-smi") and pytorch_is_for_cuda() else "cpu"
    preset = preset or preset_for(backend, model)
    found = recipe(model, preset, encoding)
    training = TrainingConfig(batch=found.batch, optimiser=found.optimiser)
    return Train(model_name=model, preset=preset, encoding=encoding, training=training, model=found.model)


def train(command: Train) -> int:
    """`taichi-nerf train`"""
    at_once(lambda: _new_config(command) if command.resume is None else _resumed_run(command))
    from ..training.folder import check_run, is_cut, writing
    from ..training.team import team_of

    # of the ranks, and of the run's folder, as long as this writes into it
    with team_of() as team, contextlib.ExitStack() as held:
        command = _going_on(command, team)
        if command.view:
            _check_alone(team, "--view shows what is trained",
                         "look at the run from another process, with taichi-nerf view")
            require_viewer(command.host, command.port)
        if command.resume is None:
            run, scene = _begun(command, held, team)
        else:
            with team.together():
                check_run(command.resume)
                if team.first:
                    held.enter_context(writing(command.resume))
                run, scene = _resumed(command)
            _check_same(team, run.config, scene)
        try:
            if command.cut or is_cut(run.path):
                return _blocks_trained(command, run, scene, team)
            return _trained(command, run, scene, team)
        except RankLost as error:
            resume = f"go on with: taichi-nerf train --resume {quoted(run.path)}"
            raise RankLost(f"{error}; {resume if run.has_checkpoint else 'train anew'}") from error


def _blocks_trained(command: Train, run: "RunFolder", scene: "Scene", team: "Team") -> int:
    """The exit code, after the training of a model of each block and what follows it."""
    from ..training.team import ALONE

    def trained(block: "RunFolder", part: "Scene", goes_on: bool, share: Share) -> int:
        own = dataclasses.replace(command, resume=block.path if goes_on else None)
        return _trained(own, block, part, ALONE, share)

    return train_blocks(run, scene, trained, team)


def _cut(command: Train, scene: "Scene") -> "list[Block]":
    from ..data.blocks import blocks_of, blocks_of_size

    return blocks_of(scene, command.blocks) if command.blocks else blocks_of_size(scene, command.block_size)


def _going_on(command: Train, team: "Team") -> Train:
    """`command`; where torchrun has started the ranks again, one that goes on with the run that they had begun."""
    from ..training.folder import CONFIG_FILE

    begun = team.told(team.remembered())
    if begun is None or command.resume is not None or not (Path(begun) / CONFIG_FILE).is_file():
        return command
    say(f"taichi-nerf: the ranks were started again, and go on with {begun}")
    same = {name: getattr(command, name) for name in ("backend", "threads", "mlp", "debug", "checkpoint_seconds")}
    return dataclasses.replace(train_defaults(command.backend), resume=Path(begun), **same)


def _check_alone(team: "Team", what: str, remedy: str):
    """Raises UserError where several ranks would do `what` one process does."""
    if team.world > 1:
        raise UserError(f"{what} in one process, and these are {team.world} ranks; {remedy}")


def _trained(command: Train, run: "RunFolder", scene: "Scene", team: "Team",
             share: Share | None = None) -> int:
    """The exit code, after the training and what follows it, of which a run of blocks may be the whole."""
    from .. import runtime
    from ..training import checkpoint
    from ..training.run import make_model, warm_up
    from ..training.trainer import trainer_for

    config = run.config
    team.use(runtime.current().device)
    with team.together():
        model = make_model(scene, config.model, seed=config.training.seed, team=team)
        trainer = trainer_for(model, scene, config.training, team)
    with team.together():
        if run.has_checkpoint:
            checkpoint.load_training(run.path, trainer)
            say(f"{run.path} stands at step {trainer.steps_done}, after {trainer.seconds:.1f} s of training")
        if command.resume is not None and team.first:
            run.cut_log(trainer.steps_done)
            run.write_config()
    _tell_times(config, scene)
    _tell(config, scene)
    _tell_regions(config, scene, team)
    _tell_few_views(config, scene)
    if config.appearance is not None:
        say(f"--appearance: {config.appearance}")
    _tell_distances(scene, trainer)
    _tell_trimming(scene, trainer)
    _tell_gradients(config.training, team)
    if trainer.progress < 1:
        with Progress("compiling") as line:
            line.wait("what is new of the kernels; Ctrl-C is heard when one is done")
            warm_up(trainer)
        waited = time.perf_counter() - STARTED
        ranks = f"{team.world} ranks, each " if team.world > 1 else ""
        say(f"training in {run.path} on {ranks}{_runtime_name()}; the first step begins after {waited:.1f} s")
    elif command.resume is not None:
        say("nothing is left to train, by the number of steps or of seconds; it is scored and shown anew")
    viewer = shown_training(trainer, scene, run.path, command.host, command.port) if command.view else nobody()
    with viewer as shown:
        return _run(command, run, scene, trainer, shown, share)


def _run(command: Train, run: "RunFolder", scene: "Scene", trainer: "Trainer", shown: Shown,
         share: Share | None) -> int:
    """The exit code, after the steps and what follows them, while somebody may look."""
    from ..training.run import train as run_training

    again, title, after = (run.path, "training", 0) if share is None else (share.run, share.title, share.after)
    with Stop() as stop, Progress(title) as line:
        shown.stopped = stop
        done = run_training(
            trainer,
            on_report=_Reporter(run, line, shown, after) if trainer.team.first else lambda report: None,
            save=lambda: _save(run, scene, trainer),
            checkpoint_seconds=command.checkpoint_seconds,
            stopped=stop,
            between=shown.between,
        )
    if not done:
        which = "" if share is None else f" {share.title}"
        say(
            f"taichi-nerf: stopped and saved{which} at step {trainer.steps_done}; go on with: "
            f"taichi-nerf train --resume {quoted(again)}"
        )
        return 128 + trainer.team.told(stop.signal)
    try:
        with trainer.averaged():
            _finish(command, run, scene, trainer, shown)
            if share is None and trainer.team.first:
                tell_disk(run)
            shown.until_nobody_looks()
    except KeyboardInterrupt:
        if share is not None:  # of a whole, whose other blocks may be missing: who trains them says so
            raise
        say(
            "taichi-nerf: stopped after the training; score and render with: "
            f"taichi-nerf train --resume {quoted(again)}"
        )
        return 130
    return 0


class _Reporter:
    """Writes reports to the log, the progress line and the viewer, and says when something was skipped or came to
    nothing."""

    def __init__(self, run: "RunFolder", line: Progress, shown: Shown, after: int = 0):
        """`after`: so many trainings as long as this one follow it."""
        self.run, self.line, self.shown, self.after = run, line, shown, after
        self.noted, self.not_finite, self.mostly_left_out = {}, 0, 0

    def __call__(self, report: "Report"):
        self.run.log(report.as_json())
        text = str(report)
        if self.after and report.progress > 0:
            text += f"; of all {self.line.left(report.progress / (1 + self.after))}"
        self.line.show(report.progress, text)
        self.shown.tell(report.progress, str(report))
        self.not_finite += not math.isfinite(report.loss)
        self.mostly_left_out += (report.left_out or 0) > 0.5
        self._note(report, report.skipped_steps, "steps so far met no sample on any ray and were skipped")
        self._note(
            report,
            report.overflowed_entries,
            "times so far the gradient of an entry of the hash table overflowed, "
            "and the entry was left alone",
        )
        self._note(report, self.mostly_left_out, "reports so far left out more than half of the pixels; a "
                   "--trim.quantile nearer to 1 leaves out fewer")
        self._note(report, self.not_finite, "reports so far have a loss that is not finite; if that goes on, train "
                   "anew with a smaller --optimiser.learning-rate")

    def _note(self, report: "Report", count: int, text: str):
        """Say how often something has happened: the first time, and when it has doubled."""
        if count >= max(1, 2 * self.noted.get(text, 0)):
            self.noted[text] = count
            self.line.note(f"step {report.step}: {count} {text}")


def _begun(command: Train, held: contextlib.ExitStack, team: "Team") -> "tuple[RunFolder, Scene]":
    """A new run, whose folder is held: by rank 0, which makes it."""
    from ..training.blocks import BlockOnDisk, write_blocks
    from ..training.files import BLOCKS_FILE
    from ..training.folder import RunFolder, writing
    from ..training.shared import check_ranks

    with team.together():
        config, scene, there = _settled(command)
        check_ranks(config.model, team)
    _check_same(team, config, scene)
    run = None
    with team.together():
        if team.first:
            path = _made([command.output] if command.output is not None else _default_folders(scene), there)
            held.enter_context(writing(path))
            team.remember(str(path.absolute()))
            if command.cut:  # before the settings: with these a run has begun
                write_blocks(path, [BlockOnDisk(block=block) for block in _cut(command, scene)])
            else:
                (path / BLOCKS_FILE).unlink(missing_ok=True)  # of a beginning that was killed
            run = RunFolder.create(path, config, scene)
    return team.told(run), scene


def _check_same(team: "Team", config: RunConfig, scene: "Scene"):
    """Raises UserError where the ranks of a team differ in what they are to train, or on what."""
    from .. import runtime
    from ..training.cameras_file import digest, training_values

    if team.world == 1:
        return
    here = runtime.current()
    team.check_same("the backend", f"{here.backend} {here.dtype}")
    team.check_same("the settings", digest(dataclasses.asdict(config)))
    team.check_same("the scene", digest(training_values(scene.splits["train"])))


def _settled(command: Train) -> "tuple[RunConfig, Scene, bool]":
    """The settings of a new run, its scene, and whether its folder is there already; the runtime is started."""
    from .. import runtime
    from ..data.photometry import judge_light
    from ..models.family import settled
    from ..training.depth import known_pixels, settled_depth
    from ..training.folder import load_training_scene
    from ..training.run import with_budget
    from ..training.sparsity import settled_sparsity

    config = _new_config(command)
    there = command.output is not None and command.output.is_dir()  # and as good as empty
    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    config = dataclasses.replace(config, training=with_budget(config.training))
    checked = []

    def check(undecoded: "Scene"):
        _check(command, config, undecoded)
        checked.append(undecoded)

    with Progress("loading") as line:
        line.wait(config.scene.path or "the built-in scene")
        scene = load_training_scene(config.scene, on_image=line.decoded, check=check)
    if not checked:  # it is computed, of --scales or a --block
        _check(command, config, scene)
    depth = settled_depth(config.training.depth, scene)
    if depth.weight > 0:
        known_pixels(scene, depth.of)  # or say that there are none, before there is a folder
    model = config.model if command.cut else settled(config.model, scene)  # of blocks it is for each by itself
    sparsity = settled_sparsity(config.training.sparsity, scene, system_of(config.model).moves)
    config = dataclasses.replace(config, model=model, training=dataclasses.replace(
        config.training, depth=depth, sparsity=sparsity))
    _tell_idle(command, config.training, scene)
    if command.training.sparsity.weight is None and sparsity.weight > 0:
        say(f"images of {scene.name} have no alpha, so that few deny fog of the background's colour: a pull towards "
            f"empty space counts with the weight {sparsity.weight:g}; without it: --sparsity.weight 0")
    if command.appearance:
        light = judge_light(scene.splits["train"])
        config = with_appearance(config, light.differing, light.why, command.given)
    return config, scene, there


def _check(command: Train, config: RunConfig, scene: "Scene"):
    """Raises UserError for what `scene` cannot be trained as, but for what its pixels tell."""
    from ..models.family import check_scene
    from ..training.depth import check_depth
    from ..training.trimming import patch_for

    check_scene(config.model, scene)
    if config.training.robust:
        patch_for(scene, config.training.trim)
    if command.cut:
        _cut(command, scene)
    check_depth(config.training.depth, scene)


def _check_no_run(path: str | None):
    """Raises UserError where the scene is a run."""
    from ..training.folder import CONFIG_FILE

    if path is not None and (Path(path) / CONFIG_FILE).is_file():
        raise UserError(f"{path} is a run, not a scene; go on with it by taichi-nerf train --resume {quoted(path)}, or "
                        "give the folder of a scene")


def _check_trained_on_images(model: ModelConfig, what: str):
    """Raises UserError for a model that is made out of another one."""
    made_by = system_of(model).made_by
    if made_by is not None:
        raise UserError(f"{what} is not trained on images alone: train another model, and make it out of that by "
                        f"{made_by}")


def _save(run: "RunFolder", scene: "Scene", trainer: "Trainer"):
    """The checkpoint, and the cameras as they are now."""
    from ..training import checkpoint

    checkpoint.save(run.path, trainer)
    if trainer.corrections.cameras is not None and trainer.team.first:
        run.write_refined(scene, trainer.corrections.cameras.refined())


def _resumed(command: Train) -> "tuple[RunFolder, Scene]":
    """A run that is there already, and its scene; the runtime is started."""
    from .. import runtime

    run = _resumed_run(command)
    backend = run.runtime["backend"] if command.backend == "auto" else command.backend
    threads = command.threads or min(run.runtime["threads"], runtime.usable_cpus())
    runtime.init(backend, threads=threads, mlp=command.mlp)
    with Progress("loading") as line:
        line.wait(run.config.scene.path or "the built-in scene")
        scene = run.training_scene(on_image=line.decoded)
    return run, scene


def _resumed_run(command: Train) -> "RunFolder":
    """A run that is there already, with another end if the command says so. Raises UserError where its folder tells
    that it cannot go on."""
    from ..training.folder import RunFolder

    run, end = RunFolder.open(command.resume), command.training
    _check_trained_on_images(run.config.model, f"{command.resume}, a run of {run.config.model.kind},")
    if command.moved is not None:
        scene = dataclasses.replace(run.config.scene, path=str(Path(command.moved).expanduser().absolute()))
        run.config = dataclasses.replace(run.config, scene=scene)
    default = flattened(train_defaults(command.backend))
    for name, value in flattened(command).items():
        if name not in FREE_ON_RESUME and (name in command.given or value != default.get(name)):
            raise UserError(
                f"{option_for(name)} cannot be changed by --resume, which takes the settings of {run.path}; leave it "
                "out, or train anew"
            )
    if end.steps is not None or end.seconds is not None:
        with _settings_errors(command):
            training = dataclasses.replace(run.config.training, steps=end.steps, seconds=end.seconds)
            run.config = dataclasses.replace(run.config, training=training)
    if "orbit_frames" in command.given:
        run.config = dataclasses.replace(run.config, orbit_frames=command.orbit_frames)
    run.check_place()
    run.check_resumable()
    return run


def _new_config(command: Train) -> RunConfig:
    """The settings of a new run, with the scene where it is found from any folder.

    Raises UserError for what cannot be, as far as the command tells, and a look at the folders that it names.
    """
    from ..data.load import check_place
    from ..training.folder import check_new

    _check_no_run(command.scene.path)
    _check_trained_on_images(command.model, f"--model {command.model.kind}")
    if command.output is not None:
        check_new(command.output)
    with _settings_errors(command):
        config = _config_of(command)
    check_place(config.scene)
    return config


def _config_of(command: Train) -> RunConfig:
    """Raises SettingError for settings that do not go together."""
    scene = command.scene
    if scene.path is not None:
        scene = dataclasses.replace(scene, path=str(Path(scene.path)))
    if scene.builtin is None:
        scene = dataclasses.replace(scene, path=str(Path(scene.path).expanduser().absolute()))
    run = RunConfig(scene=scene, model=command.model, training=command.training, orbit_frames=command.orbit_frames)
    run = with_few_views(run, command.given) if command.few_views else run
    return run if command.regions is None else with_regions(run, command.regions)


@contextlib.contextmanager
def _settings_errors(command: Train):
    """What a configuration refuses is the user's to mend."""
    try:
        yield
    except ValueError as error:
        given = (option for option in options_of(command) if option.path in command.given)
        raise UserError(f"{with_section(str(error), given)}; see taichi-nerf train --help") from error


def _finish(command: Train, run: "RunFolder", scene: "Scene", trainer: "Trainer", shown: Shown):
    """Scores, pictures and the video."""
    from ..training.evaluate import evaluate
    from ..training.files import write_json
    from ..training.folder import METRICS_FILE
    from .scores import plain_scores, summary, unknown_light

    if "test" in scene.splits:
        with Progress("evaluating") as line:
            evaluation = evaluate(trainer.model, trainer.corrections.carry(scene), folder=run.path / "test",
                                  on_view=shown.beside(line.count), on_part=line.part, team=trainer.team)
        about = {"steps": trainer.steps_done, "seconds": trainer.seconds}
        scores = plain_scores(evaluation, about, run.default_every("test"))
        if trainer.team.first:
            write_json(run.path / METRICS_FILE, scores)
        result(*summary(scores), *unknown_light(run, trainer.model, scene.splits["test"]))
    else:
        say("there are no test images: nothing is scored")
    if trainer.team.first:
        if "appearance" in trainer.model.codes:
            _map_lights(run, scene, trainer)
        _show_photos(run, scene, trainer, shown)
        _name_strangers(scene, trainer)
    if run.config.orbit_frames > 0:
        _film(run, scene, trainer, run.config.orbit_frames, shown)
    result(f"{run.path}: trained {trainer.steps_done} steps in {trainer.seconds:.1f} s")


def _map_lights(run: "RunFolder", scene: "Scene", trainer: "Trainer"):
    """A map of the photos by their light."""
    import torch

    from ..export.lights import light_map
    from ..models.shots import ids_of
    from ..pictures import write_png
    from ..training.folder import LIGHTS_FILE

    split, codes = scene.splits["train"], trainer.model.codes["appearance"]
    ids = torch.from_numpy(ids_of(split)["appearance"]).to(codes.table.device)
    write_png(run.path / LIGHTS_FILE, light_map(codes(ids, len(ids)), split))


def _show_photos(run: "RunFolder", scene: "Scene", trainer: "Trainer", shown: Shown):
    """Pages of training photos: what was left out of them, and what the model is unsure of, as far as either is."""
    from ..pictures import write_png
    from ..training.folder import MASKS_FILE, UNCERTAINTY_FILE
    from ..training.photo_pages import has_pages, look_at, mask_page, some_photos, squares_across, uncertainty_page

    if not has_pages(trainer):
        return
    split = scene.splits["train"]
    numbers, seen = some_photos(len(split)), []
    with Progress("looking at photos") as line:
        across, told = squares_across(trainer, len(numbers)), shown.beside(line.count)
        for number in numbers:
            seen.append(look_at(trainer, split, number, across))
            told(len(seen), len(numbers))
    if seen[0].kept is not None:
        write_png(run.path / MASKS_FILE, mask_page(seen))
    if seen[0].uncertainty is not None:
        write_png(run.path / UNCERTAINTY_FILE, uncertainty_page(seen))


def _name_strangers(scene: "Scene", trainer: "Trainer"):
    """Which photos the training has not come to terms with, while it has with the others."""
    from ..training.strangers import photo_errors, strangers

    split = scene.splits["train"]
    found = [split.images.names[number] for number in strangers(photo_errors(trainer, split))]
    if found:
        listed = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        say(f"warning: {listed}: the model comes far less near to {'it' if len(found) == 1 else 'them'} than to the "
            "other photos, as to photos of another place or with wrong poses; look, and leave out what does not belong")


def _film(run: "RunFolder", scene: "Scene", trainer: "Trainer", frames: int, shown: Shown):
    """The closing video: in smaller frames where they would keep the user waiting."""
    from ..export import orbit
    from ..training.evaluate import GREY

    full, background, around = orbit.frame_size(scene), GREY[scene.background], run.cameras_scene()
    plan, seconds = trainer.team.told(orbit.planned(
        trainer.model, around, full, frames, background=background, trained=trainer.seconds))
    if plan != orbit.Orbit(full, frames):
        say(f"orbit.mp4 gets {plan.frames} frames of {plan.size[0]} x {plan.size[1]} pixels, since {frames} of "
            f"{full[0]} x {full[1]} would take {seconds:.0f} s; these can be had with: taichi-nerf render "
            f"{quoted(run.path)}")
    with Progress("orbit video") as line:
        orbit.orbit_video(trainer.model, around, run.path / "orbit.mp4", plan, background=background,
                          on_view=shown.beside(line.count), on_part=line.part, team=trainer.team)


def _made(paths: Iterable[Path], there: bool) -> Path:
    """The first of `paths` that nobody else has made; one that is `there` already is taken."""
    from ..training.folder import make_folder

    for path in paths:
        try:
            make_folder(path, exist_ok=there)
            return path
        except FileExistsError:
            taken = path
    raise UserError(f"{taken} was made by another process just now; choose another --output")


def _default_folders(scene: "Scene") -> Iterator[Path]:
    """runs/SCENE-TIME, and more for those who begin in the same second."""
    name = "".join(c if c.isalnum() or c in "_." else "-" for c in scene.name).strip("-.") or "scene"
    stem = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return (stem if n == 1 else stem.with_name(f"{stem.name}-{n}") for n in range(1, 1000))


def _tell_times(config: RunConfig, scene: "Scene"):
    """That what moves will be smeared, where it will be."""
    from ..data.times import for_times, has_times

    if has_times(scene) and not system_of(config.model).moves:
        say(f"photos have times: what moves is smeared by {config.model.kind}, which knows none; try {for_times()}")


def _tell(config: RunConfig, scene: "Scene"):
    """What a scene from disk was taken for, and what looks wrong with it."""
    from ..data.inspect import describe
    from ..models.family import space_of

    if scene.format == "built-in":
        return
    say(f"{scene.name}: {'; '.join(scene.notes)}")
    for finding in describe(scene, beyond=space_of(config.model, scene).beyond):
        if finding.severity == "warning":
            say(f"warning: {finding.text}")


def _tell_regions(config: RunConfig, scene: "Scene", team: "Team"):
    """Where the regions of a model are, and who has them."""
    from ..data.regions import regions_of
    from .regions import region_words

    if config.model.parts == 1:
        return
    by = regions_of(scene, config.model.parts).by
    if by != "points":
        say(f"{scene.name} has no points of structure from motion: its regions are cut by "
            f"{'where its cameras are' if by == 'cameras' else 'their size alone'}")
    dealt = f", dealt to {team.world} ranks" if team.world > 1 else ""
    say(f"{region_words(config.model, scene)}{dealt}")


def _tell_few_views(config: RunConfig, scene: "Scene"):
    """That the settings for few views were chosen, which they are, and which of them were given otherwise."""
    if not config.few_views:
        return
    wanted, values = few_view_settings(config), flattened(config)
    chosen, given = ([f"{option_for(name)} {values[name]:g}" for name in wanted if (values[name] == wanted[name]) == on]
                     for on in (True, False))
    views = f"{scene.splits['train'].views} training views"
    if not chosen:
        say(f"{views}: --few-views changes nothing, as {' and '.join(given)} are given")
        return
    said = f"; as given: {', '.join(given)}" if given else ""
    say(f"{views}: few-view settings are on: {', '.join(chosen)}{said}")


def _tell_distances(scene: "Scene", trainer: "Trainer"):
    """Whose distances count in the training, and how much."""
    term = trainer.distances
    if term is None:
        return
    seen, depth = len(term.distance), term.config
    whose = f"{len(scene.points)} points of structure from motion, seen {seen} times," if depth.of == "points" else (
        f"the depth images, which know {seen} pixels,")
    course = "to the end" if depth.until == 1 else f"in the first {depth.until:.0%} of the training"
    fall = "" if depth.final == 1 else f", which falls to {depth.weight * depth.final:g} {course}"
    say(f"{whose} count in the training with the weight {depth.weight:g}{fall}; without them: --depth.weight 0")


def _tell_idle(command: Train, training: TrainingConfig, scene: "Scene"):
    """Which options change nothing, as what they are of is not on; `training` is settled."""
    depth, refine = training.depth, training.refine
    parts = {
        "depth": (depth.weight > 0, "no distances count, as " + (
            "--depth.weight is 0" if command.training.depth.weight == 0 else
            f"{scene.name} has no points of structure from motion that its training images saw")),
        "trim": (training.robust, "nothing is left out without --robust"),
        "refine": (refine.active, "no camera is corrected without --refine.poses or --refine.lenses"),
        "exposure": (training.exposure.learned or command.appearance, "none is learned without --exposure.learned"),
        "sparsity": (training.sparsity.weight > 0, "nothing is pulled towards empty space without --sparsity.weight"),
        "near_camera": (training.near_camera.weight > 0,
                        "nothing is pulled towards empty space there without --near-camera.weight"),
    }
    for part, (on, why) in parts.items():
        idle = sorted(name for name in command.given if name.startswith(f"training.{part}.")) if not on else []
        idle = [option_for(name) for name in idle if name not in SWITCHES]
        if idle:
            say(f"{' and '.join(idle)} {'changes' if len(idle) == 1 else 'change'} nothing: {why}")
    if depth.weight > 0 and depth.final == 1 and "training.depth.until" in command.given:
        why = "with --depth.final 1" if command.training.depth.final == 1 else "that --depth.weight gives"
        say(f"--depth.until changes nothing: a weight {why} stays to the end; with --depth.final 0 it falls to nothing "
            "by then")
    if refine.active and training.steps and refine.start_step >= training.steps:
        say(f"warning: no camera is corrected, as that begins with step {refine.start_step}, and the training has "
            f"{training.steps}; give a smaller --refine.start-step")


def _tell_trimming(scene: "Scene", trainer: "Trainer"):
    """Where --robust has nothing to go by."""
    if trainer.trimming is not None and trainer.trimming.helpless:
        say(f"warning: --robust leaves out nothing, as no part of a photo of {scene.name} is in the view of "
            f"{trainer.trimming.config.views} other cameras; it needs more photos of one place")


def _tell_gradients(config: TrainingConfig, team: "Team"):
    """That several ranks take another step than one would."""
    from ..training.trainer import can_exchange

    if config.gradients == "auto" and not can_exchange(team):
        say("--gradients auto is autograd, as ranks cannot exchange what lies on a Vulkan device")


def _runtime_name() -> str:
    from .. import runtime

    started = runtime.current()
    return f"{started.backend} with {started.threads} {'thread' if started.threads == 1 else 'threads'}"
