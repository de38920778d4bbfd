"""What the commands of the command line do. Each takes its settings and returns an exit code."""

import contextlib
import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np

from . import paths, runtime
from .checks.report import bench, doctor
from .cli import STARTED, Eval, Info, Process, Render, Train, train_defaults
from .config import RunConfig, SceneConfig, TrainingConfig, flattened
from .data import load_scene
from .data.foreign import quoted
from .data.inspect import Finding, describe, draw_frusta
from .data.multiscale import scale_words
from .data.scene import Cameras, Scene
from .errors import UserError
from .models.family import check_scene, settled
from .models.views import Renderer, View, render_view
from .pictures import VideoWriter, depth_limits, depth_picture, normal_picture, to_uint8, write_png
from .progress import Progress
from .training import checkpoint
from .training.depth import known_pixels
from .training.evaluate import GREY, Evaluation, chosen_views, evaluate, scored_sentence
from .training.folder import CONFIG_FILE, METRICS_FILE, RunFolder, check_output, load_training_scene
from .training.half_image import HalfImageFit, fit_left_halves
from .training.run import Report, make_model, warm_up, with_budget
from .training.run import train as run_training
from .training.trainer import Trainer

__all__ = ["bench", "doctor", "eval", "info", "process", "render", "render_pictures", "train"]

SPLITS = ("train", "val", "test")
DEFAULT_FRAMES = 60
VIDEO_SIDE, LEAST_VIDEO_SIDE = 512, 128  # pixels of the longer side of the orbit video
VIDEO_SECONDS = 60.0  # it may take, or as long as the training: a field that is fog still takes many times as long
PROBE = 4  # times as small on each side is the frame whose rendering says how long the video will take
FREE_ON_RESUME = {
    "resume",
    "steps",
    "seconds",
    "backend",
    "threads",
    "mlp",
    "debug",
    "checkpoint_seconds",
    "orbit_frames",
    "moved",
}
RENAMED = {"model_name": "model", "moved": "scene"}
NO_VIDEO = (".avi", ".gif", ".jpeg", ".jpg", ".mkv", ".mov", ".png", ".webm")


def train(command: Train) -> int:
    """`taichi-nerf train`"""
    run, scene = _resumed(command) if command.resume is not None else _begun(command)
    _tell(scene)
    config = run.config
    model = make_model(scene, config.model, seed=config.training.seed)
    trainer = Trainer(model, scene, config.training)
    if run.has_checkpoint:
        checkpoint.load_training(run.path, trainer)
        _say(f"{run.path} stands at step {trainer.steps_done}, after {trainer.seconds:.1f} s of training")
    if command.resume is not None:
        run.cut_log(trainer.steps_done)
        run.write_config()
    if trainer.progress < 1:
        warm_up(trainer)
        waited = time.perf_counter() - STARTED
        _say(f"training in {run.path} on {_runtime_name()}; the first step begins after {waited:.1f} s")
    with Stop() as stop, Progress("training") as line:
        done = run_training(
            trainer,
            on_report=_Reporter(run, line),
            save=lambda: _save(run, scene, trainer),
            checkpoint_seconds=command.checkpoint_seconds,
            stopped=stop,
        )
    if not done:
        _say(
            f"taichi-nerf: stopped and saved at step {trainer.steps_done}; go on with: "
            f"taichi-nerf train --resume {quoted(run.path)}"
        )
        return 128 + stop.signal
    try:
        with trainer.averaged():
            _finish(command, run, scene, trainer)
    except KeyboardInterrupt:
        _say(
            "taichi-nerf: stopped after the training; score and render with: "
            f"taichi-nerf train --resume {quoted(run.path)}"
        )
        return 130
    return 0


def eval(command: Eval) -> int:
    """`taichi-nerf eval`"""
    run = RunFolder.open(command.run)
    _check_renderer(run, command.renderer)
    if command.pictures is not None:
        check_output(command.pictures, option="--pictures")
    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    model, about = checkpoint.load(run.path), checkpoint.describe(run.path)["about"]
    scene, every, left = run.split(command.split, path=command.scene, every=command.every)
    with Progress("evaluating") as line:
        halves = _fitted_halves(model, scene, command.split, left, run, line) if command.half_image else None
        evaluation = evaluate(
            model, scene, split=command.split, every=left, folder=command.pictures, on_view=line.count,
            renderer=command.renderer, halves=halves,
        )
    scores = _scores(evaluation, about, every)
    print(json.dumps(scores) if command.json else "\n".join([*_lines(scores), _summary(scores)]))
    return 0


def render(command: Render) -> int:
    """`taichi-nerf render`"""
    run = RunFolder.open(command.run)
    if command.path not in ("orbit", "spiral", *SPLITS) and Path(command.path).suffix.lower() != ".json":
        raise UserError(
            f"--path {command.path} is no camera path; give orbit, spiral, train, val, test or a .json file"
        )
    _check_renderer(run, command.renderer)
    outputs = _outputs(command, run.path)
    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    model = checkpoint.load(run.path)
    scene, cameras = _path_cameras(command, run)
    if len(np.unique(cameras.size, axis=0)) > 1 and any(
        output.suffix == ".mp4" for output in outputs.values()
    ):
        raise UserError(
            f"--path {command.path} has pictures of several sizes; give one --size, or a folder as --output"
        )
    for output in outputs.values():
        _make_folder(output.parent if output.suffix == ".mp4" else output)
    with Progress("rendering") as line:
        render_pictures(model, cameras, GREY[scene.background], outputs, fps=command.fps, on_view=line.count,
                        renderer=command.renderer)
    width, height = cameras.size[0]
    print(
        f"{len(cameras)} frames of {width} x {height} pixels: "
        f"{', '.join(map(str, dict.fromkeys(outputs.values())))}"
    )
    return 0


def process(command: Process) -> int:
    """`taichi-nerf process`"""
    from .capture import process as process_capture

    try:
        with Terminated.as_exception():
            done = process_capture(
                command.source,
                command.output,
                **{name: getattr(command, name) for name in
                   ("max_images", "max_size", "camera_model", "single_camera", "matching", "threads")},
            )
    except Terminated:
        _say("taichi-nerf: stopped")
        return 128 + signal.SIGTERM
    if command.json:
        print(json.dumps({**dataclasses.asdict(done), "folder": str(done.folder)}))
        return 0
    for name, reason in done.unplaced.items():
        print(f"no pose for {name}: {reason}")
    for finding in done.findings:
        print(f"warning: {finding.text}")
    print(
        f"{done.placed} of {done.images} images have a pose; {done.points} points, reprojection error "
        f"{done.reprojection_error:.2f} pixels\n"
        f"{done.folder}: train on it with: taichi-nerf train {quoted(done.folder)}"
    )
    return 0


def info(command: Info) -> int:
    """`taichi-nerf info`"""
    if command.picture is not None and command.picture.exists():
        raise UserError(f"{command.picture} exists; choose another --picture")
    facts, scene = [], None
    if command.path is not None and (command.path / CONFIG_FILE).is_file():
        run = RunFolder.open(command.path)
        facts, scene = _run_facts(run), run.cameras_scene()
        settings = run.config.scene
    else:
        path = None if command.path is None else str(command.path)
        settings = SceneConfig(path=path, format=command.format, orient=command.orient, axes=command.axes,
                               world_to_camera=command.world_to_camera)
    try:
        if settings.builtin is not None:
            runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
            scene = load_training_scene(settings)
        else:
            names = ("format", "orient", "axes", "world_to_camera", "alpha")
            scene = load_scene(settings.path, strict=False, **{name: getattr(settings, name) for name in names})
        facts += describe(scene)
    except UserError as error:
        if scene is None:
            raise
        facts.append(Finding(severity="warning", text=f"the scene cannot be read: {error}"))
    if command.picture is not None:
        _make_folder(command.picture.parent)
        write_png(command.picture, draw_frusta(scene))
    if command.json:
        print(
            json.dumps(
                {
                    "name": scene.name,
                    "format": scene.format,
                    "findings": [dataclasses.asdict(finding) for finding in facts],
                }
            )
        )
    else:
        print("\n".join(f"warning: {f.text}" if f.severity == "warning" else f.text for f in facts))
    return 0


def render_pictures(
    model, cameras: Cameras, background: float, outputs: dict[str, Path], *, fps: float = 30.0, on_view=None,
    renderer: Renderer = "auto",
) -> None:
    """Render what all `cameras`, in model space, see.

    `outputs` says for `colour`, `depth`, `opacity` and `normals` where each goes: to a video `.mp4`, or to
    PNG files in a folder that exists. `on_view` is told how many views are done and how many there are.
    `renderer` as of `render_view`.
    """
    with contextlib.ExitStack() as stack:
        videos = {
            what: stack.enter_context(VideoWriter(output, fps=fps))
            for what, output in outputs.items()
            if output.suffix == ".mp4"
        }
        limits = None
        for n in range(len(cameras)):
            view = render_view(model, cameras, n, background=background, normals="normals" in outputs,
                               renderer=renderer)
            limits = limits or depth_limits(
                view.depth, view.opacity
            )  # of the first view: a video must not flicker
            for what, output in outputs.items():
                picture = _picture(view, what, limits)
                if what in videos:
                    videos[what].write(picture)
                else:
                    write_png(output / f"{what}_{n:04d}.png", picture)
            if on_view is not None:
                on_view(n + 1, len(cameras))


class Terminated(BaseException):
    """SIGTERM as an exception: what was begun is cleaned up on its way."""

    @classmethod
    @contextlib.contextmanager
    def as_exception(cls):
        """Within this context."""
        def end(number, frame):
            raise cls

        before = None
        with contextlib.suppress(ValueError):  # only the main thread may
            before = signal.signal(signal.SIGTERM, end)
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)


class Stop:
    """Within this context the first SIGINT or SIGTERM is only noted; the second interrupts."""

    signal = 0

    def __enter__(self) -> "Stop":
        self._before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # only the main thread may
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind, error, trace):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.signal != 0

    def _note(self, number, frame):
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


class _Reporter:
    """Writes reports to the log and the progress line, and says when something was skipped."""

    def __init__(self, run: RunFolder, line: Progress):
        self.run, self.line = run, line
        self.noted = {"skipped_steps": 0, "overflowed_entries": 0}

    def __call__(self, report: Report):
        self.run.log(report.as_json())
        self.line.show(report.progress, str(report))
        self._note(report, "skipped_steps", "steps so far met no sample on any ray and were skipped")
        self._note(
            report,
            "overflowed_entries",
            "times so far the gradient of an entry of the hash table overflowed, "
            "and the entry was left alone",
        )

    def _note(self, report: Report, name: str, text: str):
        count = getattr(report, name)
        if count >= max(1, 2 * self.noted[name]):
            self.noted[name] = count
            self.line.note(f"step {report.step}: {count} {text}")


def _begun(command: Train) -> tuple[RunFolder, Scene]:
    """A new run."""
    if command.output is not None:
        check_output(command.output)
    with _settings_errors():
        config = _new_config(command)
    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    config = dataclasses.replace(config, training=with_budget(config.training))
    with Progress("loading") as line:
        line.wait(config.scene.path or "the built-in scene")
        scene = load_training_scene(config.scene, on_image=line.decoded)
    check_scene(config.model, scene)
    config = dataclasses.replace(config, model=settled(config.model, scene))
    if config.training.depth.weight > 0:
        known_pixels(scene)  # or say that there are none, before there is a folder
    return RunFolder.create(command.output or _new_folder(scene), config, scene), scene


def _save(run: RunFolder, scene: Scene, trainer: Trainer):
    """The checkpoint, and the cameras as they are now."""
    checkpoint.save(run.path, trainer)
    if trainer.corrections.cameras is not None:
        run.write_refined(scene, trainer.corrections.cameras.refined())


def _resumed(command: Train) -> tuple[RunFolder, Scene]:
    """A run that is there already, with another end if the command says so."""
    run = RunFolder.open(command.resume)
    if command.moved is not None:
        scene = dataclasses.replace(run.config.scene, path=str(command.moved.expanduser().absolute()))
        run.config = dataclasses.replace(run.config, scene=scene)
    default = flattened(train_defaults(command.backend))
    for name, value in flattened(command).items():
        if name not in FREE_ON_RESUME and value != default.get(name):
            option = RENAMED.get(name, name).replace("_", "-")
            raise UserError(
                f"--{option} cannot be changed by --resume, which takes the settings of {run.path}; leave it out, or "
                "train anew"
            )
    if command.steps is not None or command.seconds is not None:
        with _settings_errors():
            training = dataclasses.replace(run.config.training, steps=command.steps, seconds=command.seconds)
            run.config = dataclasses.replace(run.config, training=training)
    backend = run.runtime["backend"] if command.backend == "auto" else command.backend
    threads = command.threads or min(run.runtime["threads"], runtime.usable_cpus())
    runtime.init(backend, threads=threads, mlp=command.mlp)
    with Progress("loading") as line:
        line.wait(run.config.scene.path or "the built-in scene")
        scene = run.training_scene(on_image=line.decoded)
    return run, scene


def _new_config(command: Train) -> RunConfig:
    path = None if command.scene is None else str(command.scene)
    if SceneConfig(path=path).builtin is None:
        path = str(command.scene.expanduser().absolute())
    scene = SceneConfig(
        path=path,
        **{name: getattr(command, name) for name in
           ("downscale", "scales", "test_every", "background", "format", "orient", "axes", "world_to_camera",
            "skip_missing", "alpha", "masks", "cut_out", "cache")},
        exposure=command.image_exposure,
    )
    training = TrainingConfig(
        steps=command.steps,
        seconds=command.seconds,
        seed=command.seed,
        gradients=command.gradients,
        batch=command.batch,
        optimiser=command.optimiser,
        refine=command.refine,
        exposure=command.exposure,
        depth=command.depth,
    )
    return RunConfig(scene=scene, model=command.model, training=training)


@contextlib.contextmanager
def _settings_errors():
    """What a configuration refuses is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{error}; see taichi-nerf train --help") from error


def _finish(command: Train, run: RunFolder, scene: Scene, trainer: Trainer):
    """Scores, pictures and the video."""
    if "test" in scene.splits:
        with Progress("evaluating") as line:
            evaluation = evaluate(trainer.model, scene, folder=run.path / "test", on_view=line.count)
        about = {"steps": trainer.steps_done, "seconds": trainer.seconds}
        scores = _scores(evaluation, about, run.default_every("test"))
        checkpoint.write_json(run.path / METRICS_FILE, scores)
        print(_summary(scores))
    else:
        _say("there are no test images: nothing is scored")
    if command.orbit_frames > 0:
        _render_orbit(run, scene, trainer, command.orbit_frames)
    print(f"{run.path}: trained {trainer.steps_done} steps in {trainer.seconds:.1f} s")


def _render_orbit(run: RunFolder, scene: Scene, trainer: Trainer, frames: int):
    """The closing video: in smaller frames where they would keep the user waiting."""
    size, background = _video_size(scene), GREY[scene.background]
    if max(size) > LEAST_VIDEO_SIDE:
        small = (max(1, size[0] // PROBE), max(1, size[1] // PROBE))
        start = time.perf_counter()
        render_view(trainer.model, paths.orbit(run.cameras_scene(), 1, size=small), 0, background=background)
        seconds = (time.perf_counter() - start) * size[0] * size[1] / (small[0] * small[1])
        full, size = size, affordable_size(size, seconds * frames, max(VIDEO_SECONDS, trainer.seconds))
        if size != full:
            _say(f"orbit.mp4 gets frames of {size[0]} x {size[1]} pixels, since {full[0]} x {full[1]} would take "
                 f"{seconds * frames:.0f} s; these can be had with: taichi-nerf render {quoted(run.path)}")
    cameras = paths.orbit(run.cameras_scene(), frames, size=size)
    with Progress("orbit video") as line:
        render_pictures(trainer.model, cameras, background, {"colour": run.path / "orbit.mp4"}, on_view=line.count)


def affordable_size(size: tuple[int, int], seconds: float, allowed: float) -> tuple[int, int]:
    """Width and height of frames that take the seconds that are `allowed` where those of `size` take `seconds`.

    They keep their shape, and a longer side of LEAST_VIDEO_SIDE pixels, or what they have.
    """
    least = min(1.0, LEAST_VIDEO_SIDE / max(size))
    ratio = min(1.0, max(least, (allowed / max(seconds, 1e-9)) ** 0.5))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _scores(evaluation: Evaluation, about: dict, every: int) -> dict:
    """Scores and their protocol as plain values; `seconds` are those of the training."""
    scores = evaluation.as_json()
    trained = {
        "seconds": round(float(about["seconds"]), 3),
        "steps": int(about["steps"]),
        "render_seconds": scores["seconds"],
    }
    return {**scores, **trained, "protocol": {**scores["protocol"], "every": every, **trained}}


def _fitted_halves(model, scene: Scene, split: str, every: int, run: RunFolder, line: Progress) -> HalfImageFit:
    """What the run corrected of its training images, fitted to the left halves of those that are scored."""
    training = run.config.training
    line.wait("fitting left halves")
    return fit_left_halves(model, scene, chosen_views(scene, split, every), poses=training.refine.poses,
                           exposure=training.exposure.learned,
                           appearance=getattr(model, "appearance", None) is not None, seed=training.seed)


def _lines(scores: dict) -> list[str]:
    """One line for each image."""
    names = [name for name in ("psnr", "ssim", "lpips") if name in scores]
    width = max(len(image["name"]) for image in scores["per_image"])
    return [
        f"{image['name']:{width}}  " + "  ".join(f"{name} {_number(image[name], name)}" for name in names)
        for image in scores["per_image"]
    ]


def _summary(scores: dict) -> str:
    """The means, also those of each scale, and what they were measured under."""
    p = scores["protocol"]
    scales = [
        f"scale {scale_words(means['scale']):5}  {_means(means)}: mean over {means['images']} images\n"
        for means in scores.get("per_scale", ())
    ]
    return (
        f"{''.join(scales)}{_means(scores)}: mean over {scores['images']} images\n"
        f"split {p['split']}, every {p['every']}, {p['resolution']} pixels, background {p['background']}, "
        f"{'masked: ' + p['masked'] + ', ' if 'masked' in p else ''}{scored_sentence(p)}; "
        f"trained {p['steps']} steps in {p['seconds']:.1f} s, rendered in {p['render_seconds']:.1f} s "
        f"on {p['device']} ({p['backend']}, {p['threads']} threads)"
    )


def _means(scores: dict) -> str:
    return ", ".join(
        f"{name.upper()} {_number(scores[name], name)}" for name in ("psnr", "ssim", "lpips") if name in scores
    )


def _number(value: float | None, name: str) -> str:
    if value is None:  # equal pictures, or pictures too small for the window of SSIM
        return "infinite" if name == "psnr" else "undefined"
    return f"{value:.4f}"


def _run_facts(run: RunFolder) -> list[Finding]:
    """What a run folder says of its training."""
    training, facts = run.config.training, []
    budget = [f"{training.steps} steps"] if training.steps is not None else []
    budget += [f"{training.seconds:g} s"] if training.seconds is not None else []
    facts.append(
        f"run of {run.config.model.kind} on {run.config.scene.path or 'the built-in scene'}, "
        f"downscale {run.config.scene.downscale}, for {' or '.join(budget)}, on {run.runtime['backend']} with "
        f"{run.runtime['threads']} threads"
    )
    warnings = []
    try:
        about = checkpoint.describe(run.path)["about"]
        facts.append(f"the model has had {about['steps']} steps in {about['seconds']:.1f} s")
        if (run.path / METRICS_FILE).is_file():
            scores = checkpoint.read_json(run.path / METRICS_FILE)
            facts.append(
                f"scores: PSNR {_number(scores.get('psnr'), 'psnr')}, SSIM {_number(scores.get('ssim'), 'ssim')} over "
                f"{scores.get('images')} images"
            )
    except UserError as error:
        warnings.append(str(error))
    return [
        *(Finding(severity="info", text=text) for text in facts),
        *(Finding(severity="warning", text=text) for text in warnings),
    ]


def _check_renderer(run: RunFolder, renderer: Renderer):
    kind = run.config.model.kind
    if renderer == "taichi" and kind != "instant-ngp":
        raise UserError(f"--renderer taichi is for instant-ngp alone, and {run.path} is a run of {kind}, which has no "
                        "kernel from rays to pixels; use --renderer auto")


def _path_cameras(command: Render, run: RunFolder) -> tuple[Scene, Cameras]:
    """The cameras to render, in model space."""
    if command.path in SPLITS:
        if command.frames is not None:
            raise UserError("--frames does not go with the poses of a split; use --every to render fewer")
        scene, _, left = run.split(command.path, path=command.scene, every=command.every)
        return scene, paths.of_split(scene, command.path, left, size=command.size)
    scene = run.cameras_scene()
    if command.path in ("orbit", "spiral"):
        make = paths.orbit if command.path == "orbit" else paths.spiral
        return scene, make(scene, command.frames or DEFAULT_FRAMES, size=command.size)
    return scene, paths.from_json(command.path, scene, size=command.size, frames=command.frames)


def _outputs(command: Render, run: Path) -> dict[str, Path]:
    """Where each thing that is shown goes: a new .mp4 file, or a new or empty folder for all of them."""
    whats = list(dict.fromkeys(command.what))
    output = command.output
    if output is None:
        stem, number = Path(command.path).stem, 1
        while any(
            (run / "renders" / f"{stem}{'' if number == 1 else f'_{number}'}{end}.mp4").exists()
            for end in ("", *(f"-{what}" for what in whats))
        ):
            number += 1
        output = run / "renders" / f"{stem}{'' if number == 1 else f'_{number}'}.mp4"
    if output.suffix.lower() in NO_VIDEO:
        raise UserError(f"--output {output} is neither a video (.mp4) nor a folder; give one of these")
    if output.suffix.lower() != ".mp4":
        check_output(output)
        return {what: output for what in whats}
    plain = output.with_suffix(".mp4")
    files = {
        what: plain if len(whats) == 1 else plain.with_name(f"{plain.stem}-{what}.mp4") for what in whats
    }
    for file in files.values():
        if file.exists():
            raise UserError(f"{file} exists; choose another --output")
        check_output(file)
    return files


def _picture(view: View, what: str, limits: tuple[float, float]) -> np.ndarray:
    """[H, W, 3] uint8"""
    if what == "depth":
        return depth_picture(view.depth, view.opacity, limits)
    return normal_picture(view.normals, view.opacity) if what == "normals" else to_uint8(getattr(view, what))


def _video_size(scene: Scene) -> tuple[int, int]:
    """Width and height of the first training image, or smaller."""
    width, height = (int(side) for side in scene.splits["train"].cameras.size[0])
    ratio = min(1.0, VIDEO_SIDE / max(width, height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _new_folder(scene: Scene) -> Path:
    """runs/SCENE-TIME, which does not exist."""
    name = "".join(c if c.isalnum() or c in "_." else "-" for c in scene.name).strip("-.") or "scene"
    stem = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = (stem if n == 1 else stem.with_name(f"{stem.name}-{n}") for n in range(1, 1000))
    return next(path for path in numbered if not path.exists())


def _make_folder(path: Path):
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be made: {(error.strerror or str(error)).lower()}; choose another one"
        ) from None


def _runtime_name() -> str:
    started = runtime.current()
    return f"{started.backend} with {started.threads} {'thread' if started.threads == 1 else 'threads'}"


def _tell(scene: Scene):
    """What a scene from disk was taken for, and what looks wrong with it."""
    if scene.format == "built-in":
        return
    _say(f"{scene.name}: {'; '.join(scene.notes)}")
    for finding in describe(scene):
        if finding.severity == "warning":
            _say(f"warning: {finding.text}")


def _say(text: str):
    print(text, file=sys.stderr, flush=True)
