"""Training as an assembly of parts: a clock, batches of pixels, terms of the loss, optimisers, an average, and what
takes a step. Which model it is no part knows; what differs from model to model, the model says (`models.model.Model`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from .. import runtime
from ..config import ModelConfig, SparsityConfig, TrainingConfig, check_fit
from ..data.scene import Scene
from ..errors import UserError
from ..models.model import Model, ParameterGroup
from ..resident import resident_step, why_not_resident
from ..types import Rays
from .average import WeightAverage
from .batches import PhotoRays, PixelBatches, batches_for
from .clock import Clock
from .corrections import Corrections
from .depth import KnownDistances, settled_depth
from .near_camera import NearCamera
from .optimisers import Optimisers, rate_factor
from .photos import photos_of
from .shared import check_ranks, shared
from .sparsity import Sparsity, settled_sparsity
from .step import AutogradStep, Step
from .team import ALONE, Team, part_of
from .totals import Tally, Totals
from .trimming import Trimming, patch_for, trimming_for

__all__ = ["Trainer", "can_exchange", "check_same_tensors", "has_explicit_steps", "trainer_for"]

PACE = ("marched_per_ray", "samples_per_ray")
STATE_NUMBERS = ("steps_done", "seconds", "skipped_steps", *PACE)


class Trainer:
    """Trains `model` by the steps of `taker`; `step()` takes one, `progress` says how much of the budget is spent."""

    def __init__(self, model: Model, *, batches: PixelBatches, corrections: Corrections, optimisers: Optimisers,
                 average: WeightAverage, clock: Clock, tally: Tally, taker: Step,
                 distances: KnownDistances | None = None, trimming: Trimming | None = None):
        self.model, self.batches, self.corrections, self.optimisers = model, batches, corrections, optimisers
        self.average, self.clock, self.tally, self.taker = average, clock, tally, taker
        self.distances, self.trimming = distances, trimming
        self._settled = 0  # steps done when the device was last waited for

    @property
    def steps_done(self) -> int:
        return self.clock.steps_done

    @property
    def team(self) -> Team:
        """All ranks of it take the same steps, ask for totals and states at the same steps."""
        return self.clock.team

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self.clock.seconds

    @property
    def progress(self) -> float:
        """Spent part of the budget, in [0, 1]."""
        return self.clock.progress

    def step(self) -> None:
        """Take one step, and count its time."""
        with self.clock.running():
            self.taker.take(self.clock.standing)
            self.clock.steps_done += 1
            self.average.update(self.clock.steps_done, self.taker.move_average())

    def some_rays(self, rays: int) -> Rays:
        """Rays of the training images, always the same."""
        return self.batches.source.some(rays)

    def totals(self) -> Totals:
        """Sums over all steps and ranks; waits for the device, which counts as time of training."""
        with self.clock.running(counts=self._settled != self.steps_done):  # asked again, there is nothing to wait for
            self.taker.add_totals()
            totals = self.tally.totals(self.optimisers.overflowed_entries, self.team)
        self._settled = self.steps_done
        return totals

    @contextmanager
    def averaged(self) -> Iterator[Model]:
        """Within the context the model has its averaged weights, which render better than those of a single step; all
        of it is on every rank."""
        self._pull()
        with self.average.in_place() as model, self.optimisers.team.whole(model):
            yield model

    def state_dict(self) -> dict[str, dict]:
        """All that a trainer needs to go on as this one would: `tensors` and `numbers`, by name, not copied. Where
        ranks share the model rank 0 has those of all, and the others their own."""
        self._pull()
        tensors = {f"{part}.{name}": value for part, values in self._parts().items() for name, value in values.items()}
        tensors |= {f"optimiser.{name}": value for name, value in self.optimisers.state().items()}
        tensors = {name: value for of_rank in self.optimisers.team.collected(tensors)
                   for name, value in of_rank.items()}
        return {"tensors": tensors, "numbers": {name: getattr(self._owner(name), name) for name in STATE_NUMBERS}}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Take over what `state_dict` of a trainer of the same model gave; the tensors are copied.

        Raises ValueError naming the tensor that is missing, unknown, or of another shape or dtype; then nothing
        has changed.
        """
        tensors = {name: value for name, value in state["tensors"].items() if self._holds(name)}
        numbers = state["numbers"]
        of_optimisers = {name.removeprefix("optimiser."): value for name, value in tensors.items()
                         if name.startswith("optimiser.")}
        expected = {f"{part}.{name}": value for part, values in self._parts().items()
                    for name, value in values.items()}
        expected |= {f"optimiser.{name}": value
                     for name, value in self.optimisers.expected_state(of_optimisers).items()}
        check_same_tensors(tensors, expected)
        if set(numbers) != set(STATE_NUMBERS):
            raise ValueError(f"numbers must be {', '.join(STATE_NUMBERS)}, got {', '.join(numbers)}")
        for part, values in self._parts().items():
            for name, value in values.items():
                value.copy_(tensors[f"{part}.{name}"])
        self.optimisers.load_state(of_optimisers)
        for name, value in numbers.items():
            setattr(self._owner(name), name, value)
        self._settled = self.clock.steps_done
        self.taker.push()

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        """What is saved besides the state of the optimisers: tensors by name, by part."""
        here = self.model.holds
        return {"model": {name: value for name, value in self.model.state_dict().items() if here(name)},
                "average": {name: value for name, value in self.average.named().items() if here(name)},
                "correction": self.corrections.state_dict(),
                "trimming": {} if self.trimming is None else self.trimming.state()}

    def _holds(self, name: str) -> bool:
        """Whether the tensor of this name in a state is one of this rank."""
        return self.model.holds(name.partition(".")[2])

    def _owner(self, number: str) -> object:
        """Whose number it is."""
        if number in PACE:
            return self.batches
        return self.tally if number == "skipped_steps" else self.clock

    def _pull(self) -> None:
        if self.clock.steps_done > 0:
            self.totals()  # waits for the steps under way, which is time of training
        self.taker.pull()


def trainer_for(model: Model, scene: Scene, config: TrainingConfig, team: Team = ALONE) -> Trainer:
    """What trains `model` on the training images of `scene` as the settings say, together with the others of `team`:
    each rank makes one, and draws its part of each batch.

    A step is taken by autograd, or where the model has one by a resident step: by kernels on arrays of the device,
    which has the same gradients, and is the one way that never leaves a Vulkan device.

    Raises SettingError where `config` cannot train `model`, and UserError where it cannot train on `scene`.
    """
    check_fit(model.config, config)
    check_ranks(model.config, team)
    own = shared(model, team)
    cameras, photos, settings = scene.model_cameras("train"), photos_of(scene), config.optimiser
    corrections = Corrections(cameras, config, scene.splits["train"].photos).to(runtime.current().device)
    source = PhotoRays(photos, corrections, cones=model.sees_cones)
    depth = settled_depth(config.depth, scene)
    distances = KnownDistances(scene, source, model, depth) if depth.weight > 0 else None
    pull = settled_sparsity(config.sparsity, scene, model.moves)
    sparsity = Sparsity(model, _own_points(pull, own)) if pull.weight > 0 else None
    near_camera = NearCamera(model, config.near_camera) if config.near_camera.weight > 0 else None
    model.know(photos.shots)
    groups = [*model.parameter_groups(), *corrections.parameter_groups(partial(rate_factor, settings))]
    _check_all_are_trained(model, groups)
    patch = patch_for(scene, config.trim) if config.robust else 1
    batches = batches_for(model, source, part_of(config.batch, own), patch)
    trimming = trimming_for(scene, batches, config.trim, own.world) if config.robust else None
    parts = {"batches": batches, "corrections": corrections, "optimisers": Optimisers(groups, settings, own),
             "tally": Tally()}
    average = WeightAverage(model, settings.average_decay, settings.average_every)
    model.before_training(cameras)
    if scene.points is not None:
        points = torch.from_numpy(scene.to_model(scene.points.position)).float()
        model.know_points(points.to(runtime.current().device))
    explicit = has_explicit_steps(model.config, config, can_exchange(team))
    if explicit and not can_exchange(team):
        raise UserError("--gradients explicit keeps its arrays on a Vulkan device, where ranks cannot exchange them; "
                        "use autograd or auto, or one rank")
    if explicit:
        taker = resident_step(model, config, average=average, distances=distances, sparsity=sparsity,
                              near_camera=near_camera, trimming=trimming, **parts)
    else:
        terms = [model, corrections, *(term for term in (distances, sparsity, near_camera) if term is not None)]
        taker = AutogradStep(model.render, terms=terms, trimming=trimming,
                             before=partial(corrections.open_levels, model), after=model.after_step, **parts)
    clock = Clock(steps=config.steps, seconds=config.seconds, seed=config.seed, team=team)
    return Trainer(model, average=average, clock=clock, taker=taker, distances=distances, trimming=trimming,
                   **parts)


def has_explicit_steps(model: ModelConfig, config: TrainingConfig, exchanges: bool = True) -> bool:
    """Whether the steps of `config` get their gradients by a resident step, and not by autograd; `exchanges`: as of
    `can_exchange`."""
    if config.gradients == "auto":
        return exchanges and why_not_resident(model, config) is None
    return config.gradients == "explicit"


def can_exchange(team: Team) -> bool:
    """Whether arrays of a resident step are tensors, as what ranks exchange must be."""
    return team.world == 1 or runtime.current().backend != "vulkan"


def _own_points(config: SparsityConfig, team: Team) -> SparsityConfig:
    """As many points as are this rank's."""
    return replace(config, points=-(-config.points // team.world))


def _check_all_are_trained(model: Model, groups: Sequence[ParameterGroup]) -> None:
    """Raises ValueError naming a parameter of `model` that none of the `groups` has."""
    trained = {id(parameter) for group in groups for parameter in group.parameters}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in trained:
            raise ValueError(f"the parameter '{name}' of {type(model).__name__} is in no group of parameter_groups()")


def check_same_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor]):
    """Raises ValueError naming a tensor that is missing, unknown, or of another shape or dtype than expected."""
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise ValueError(f"tensor '{name}' is {'missing' if name in expected else 'unknown'}")
    for name, like in expected.items():
        if tensors[name].shape != like.shape or tensors[name].dtype != like.dtype:
            raise ValueError(f"tensor '{name}' must have shape {list(like.shape)} and type {like.dtype}, "
                             f"got {list(tensors[name].shape)} and {tensors[name].dtype}")
