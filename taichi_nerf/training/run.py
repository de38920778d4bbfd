"""A training run from the first step to the last: compiling first, then steps, reports and checkpoints."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from .. import runtime
from ..config import ModelConfig, TrainingConfig, preset_for, recipe
from ..data.scene import Scene
from ..models.family import box_of, build_model, check_scene, counts_of, settled
from ..models.model import Model
from .shared import own_parts
from .team import ALONE, Team
from .totals import Totals
from .trainer import Trainer, trainer_for

DEFAULT_SECONDS, DEFAULT_STEPS_CUDA = 90.0, 20_000


@dataclass(frozen=True, kw_only=True)
class Report:
    """How training goes: the mean over the steps since the report before."""

    step: int
    """Steps done."""
    seconds: float
    """Of training so far."""
    seconds_left: float
    """Estimated."""
    progress: float
    """Spent part of the budget, in [0, 1]."""
    loss: float
    psnr: float | None
    """Of the training rays, in dB; none where they are met exactly."""
    rays_per_second: float
    samples_per_ray: float
    """Visible samples, which were trained on."""
    skipped_steps: int
    """Steps so far in which no ray met a sample: they changed nothing."""
    overflowed_entries: int
    """Entries of the hash table so far that were left alone in a step because their gradient overflowed."""
    left_out: float | None = None
    """With --robust the share of the pixels that did not count, as the other photos do not agree with them."""

    def as_json(self) -> dict:
        """Plain values for a line of the log."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        left = round(self.seconds_left)
        psnr = "" if self.psnr is None else f"{self.psnr:.1f} dB, "
        left_out = "" if self.left_out is None else f", {self.left_out:.0%} left out"
        return (
            f"step {self.step}, {left // 60}:{left % 60:02d} left, loss {self.loss:.5f}, {psnr}"
            f"{self.rays_per_second / 1000:.1f}k rays/s, {self.samples_per_ray:.1f} samples/ray{left_out}"
        )


def _plain(value):
    """A number as JSON has it: None for one that is infinite or none."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


class Meter:
    """Makes a `Report` of what a trainer's steps did; the host waits for the device only then."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        totals = trainer.totals()
        self.overflowed_before = totals.overflowed_entries
        self._begin(totals)

    @property
    def steps(self) -> int:
        """Since the last report."""
        return self.trainer.steps_done - self.steps_before

    def report(self) -> Report:
        """The report of the steps since the last one, at least one."""
        trainer, totals = self.trainer, self.trainer.totals()
        did = totals - self.before
        error = did.squared_error / self.steps
        spent = max(trainer.seconds - self.seconds_before, 1e-9)
        report = Report(
            step=trainer.steps_done,
            seconds=trainer.seconds,
            seconds_left=_seconds_left(trainer, spent / self.steps),
            progress=trainer.progress,
            loss=did.loss / self.steps,
            psnr=-10 * math.log10(error) if error > 0 else None,
            rays_per_second=did.rays / spent,
            samples_per_ray=did.samples / max(did.rays, 1),
            skipped_steps=totals.skipped_steps,
            overflowed_entries=totals.overflowed_entries - self.overflowed_before,
            left_out=None if trainer.trimming is None else did.left_out / self.steps,
        )
        self._begin(totals)
        return report

    def _begin(self, totals: Totals):
        self.before = totals
        self.steps_before, self.seconds_before = self.trainer.steps_done, self.trainer.seconds


def make_model(scene: Scene, config: ModelConfig | None = None, *, seed: int = 0, team: Team = ALONE) -> Model:
    """An untrained model of what `scene` shows, on the current runtime; by default Instant-NGP. Of one that the ranks
    of `team` share it has the parts of this rank.

    Raises UserError where such a model cannot represent the scene.
    """
    here = runtime.current()
    config = config or recipe(preset=preset_for(here.backend)).model
    check_scene(config, scene)
    model = build_model(settled(config, scene), box_of(scene), seed, counts_of(scene),
                        own=own_parts(config, team)).to(here.device)
    if here.device.type == "cpu":
        numbers = sum(parameter.numel() for parameter in model.parameters() if not parameter.is_meta)
        runtime.require_memory(3 * 4 * numbers, f"Adam, with the average of {numbers} weights,",
                               "use a smaller model (--preset small)")
    return model


def default_training(model: ModelConfig, **settings) -> TrainingConfig:
    """How a model of this kind and encoding is trained on the current runtime; `settings` are of TrainingConfig."""
    found = recipe(model.kind, preset_for(runtime.current().backend, model.kind), model.encoding)
    return TrainingConfig(**{"batch": found.batch, "optimiser": found.optimiser, **settings})


def with_budget(config: TrainingConfig) -> TrainingConfig:
    """`config`, with the default of this device where it bounds neither steps nor seconds."""
    if config.steps is not None or config.seconds is not None:
        return config
    if runtime.current().backend == "cuda":
        return replace(config, steps=DEFAULT_STEPS_CUDA)
    return replace(config, seconds=DEFAULT_SECONDS)


def fit(
    model: Model,
    scene: Scene,
    config: TrainingConfig | None = None,
    *,
    on_report: Callable[[Report], None] | None = None,
) -> Report | None:
    """Train `model` on the training images of `scene`, and leave it with the averaged weights to render with.

    Args:
        config: by default 90 seconds of training, or 20000 steps on CUDA.
        on_report: is told every second how it goes.

    Returns:
        The last report; None if the budget is no step.
    """
    config = config or default_training(model.config)
    trainer = trainer_for(model, scene, with_budget(config))
    last = None

    def keep(report: Report):
        nonlocal last
        last = report
        if on_report is not None:
            on_report(report)

    warm_up(trainer)
    train(trainer, on_report=keep)
    keep_average(trainer)
    return last


def train(
    trainer: Trainer,
    *,
    on_report: Callable[[Report], object] | None = None,
    report_seconds: float = 1.0,
    save: Callable[[], object] | None = None,
    checkpoint_seconds: float = 30.0,
    stopped: Callable[[], bool] = lambda: False,
    between: Callable[[], object] = lambda: None,
) -> bool:
    """Take steps until the budget is spent, or until `stopped()`; return whether the budget is spent.

    `on_report` is told how it goes every `report_seconds` and at the end; `save` is called every
    `checkpoint_seconds` and at the end; `between` after every step. None of them counts as training time. Of several
    ranks rank 0 decides when, and all of them call what they were given.
    """
    meter, team = Meter(trainer), trainer.team
    reported = saved = time.monotonic()
    (stops,) = team.agreed(stopped())
    while trainer.progress < 1 and not stops:
        trainer.step()
        between()
        now = time.monotonic()
        stops, reports, saves = team.agreed(stopped(), now - reported >= report_seconds,
                                            now - saved >= checkpoint_seconds)
        if on_report is not None and reports:
            on_report(meter.report())
            reported = now
        if save is not None and saves:
            save()
            saved = time.monotonic()
    if on_report is not None and meter.steps > 0:
        on_report(meter.report())
    if save is not None:
        save()
    return trainer.progress >= 1


def warm_up(trainer: Trainer) -> None:
    """Let every kernel of training and rendering be compiled, and leave `trainer` exactly as it was.

    It takes the steps that the model names, and renders a few rays.
    """
    state = trainer.state_dict()
    state = {
        "tensors": {name: value.clone() for name, value in state["tensors"].items()},
        "numbers": state["numbers"],
    }
    for step in trainer.model.rehearsal():
        trainer.clock.steps_done = step
        trainer.step()
    if trainer.model.rays_per_pixel > 1:  # which a pixel has in the end
        trainer.clock.go_to_end()
        trainer.step()
    with torch.no_grad(), trainer.averaged() as model:
        model.render(trainer.some_rays(16))
    trainer.load_state_dict(state)


@torch.no_grad()
def keep_average(trainer: Trainer) -> None:
    """Leave the model with its averaged weights for good: the end of training."""
    with trainer.averaged() as model:
        averaged = [parameter.clone() for parameter in model.parameters()]
    for parameter, average in zip(trainer.model.parameters(), averaged):
        parameter.copy_(average)


def _seconds_left(trainer: Trainer, seconds_per_step: float) -> float:
    clock, left = trainer.clock, []
    if clock.budget_steps is not None:
        left.append((clock.budget_steps - clock.steps_done) * seconds_per_step)
    if clock.budget_seconds is not None:
        left.append(clock.budget_seconds - clock.seconds)
    return max(0.0, min(left, default=0.0))
