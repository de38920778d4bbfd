"""The training step, the same for every model: rays, samples, pixels, loss, gradients, optimiser.

Everything random is a function of (seed, step), so that a run that is continued takes the steps it would have taken.
"""

import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from .. import runtime
from ..config import TrainingConfig
from ..data.scene import Scene
from ..losses import huber
from ..models.instant_ngp import InstantNGP
from ..ops.adam import SparseAdam
from ..ops.camera import TrainingImages, TrainingRays, training_images, training_rays
from ..types import Rays
from .explicit_step import BETAS, EPSILON, ExplicitStep, StepSeeds

SMOOTHING = 0.8  # of the samples per ray, which decide the number of rays of the next step
RAYS, JITTER, BACKGROUND = range(3)  # purposes of random numbers
STATE_NUMBERS = ("steps_done", "seconds", "skipped_steps", "marched_per_ray", "samples_per_ray")
OPTIMISER_STATE = {"table_optimiser": ("first_moment", "second_moment", "step_count"),
                   "network_optimiser": ("step", "exp_avg", "exp_avg_sq")}


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the steps of a trainer did so far; sums over all of them."""

    rays: int
    marched: int
    """Samples in occupied cells."""
    samples: int
    """Of those, the visible ones, which were trained on."""
    skipped_steps: int
    """Steps in which no ray met a sample: they changed nothing."""
    overflowed_entries: int
    """Entries of the hash table that were left alone in a step because their gradient overflowed."""
    loss: float
    """Of a step: the mean over rays and channels."""
    squared_error: float
    """Likewise."""

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(**{name: value - getattr(other, name) for name, value in vars(self).items()})


class Trainer:
    """Trains `model` on the training split of `scene`.

    `step()` takes one step; `progress` says how much of the budget is spent. The batch adapts: its rays are as many as
    give the configured number of visible samples. A step is taken by autograd, or explicitly by kernels on the device
    (see `explicit_step`), which gives the same gradients and is the one way that never leaves a Vulkan device.
    """

    smoothing = SMOOTHING

    def __init__(self, model: InstantNGP, scene: Scene, config: TrainingConfig):
        self.model, self.config = model, config
        self.images, self.has_alpha = device_images(scene, "train")
        self.background = {"white": 1.0, "black": 0.0}[scene.background]
        self.steps_done = 0
        self.seconds = 0.0
        self.skipped_steps = 0
        self.marched_per_ray = self.samples_per_ray = float(model.config.sampling.steps)
        self._make_optimisers()
        self.average = [parameter.detach().clone() for parameter in model.parameters()]
        if model.config.sampling.mark_invisible:
            _mark_invisible(model, scene)
        self._rays = self._marched = self._samples = 0
        self._loss = self._squared_error = 0.0
        chosen = config.gradients
        if chosen == "auto":  # on CUDA explicit steps have not been measured
            chosen = "autograd" if runtime.current().backend == "cuda" else "explicit"
        self.explicit = ExplicitStep(self) if chosen == "explicit" else None

    @property
    def progress(self) -> float:
        """Spent part of the budget, in [0, 1]; of two bounds the one that is nearer."""
        parts = [0.0]
        if self.config.steps is not None:
            parts.append(self.steps_done / max(self.config.steps, 1) if self.config.steps else 1.0)
        if self.config.seconds is not None:
            parts.append(self.seconds / self.config.seconds)
        return min(max(parts), 1.0)

    @property
    def rays_per_step(self) -> int:
        """Rays of the next batch."""
        batch = self.config.batch
        rays = min(batch.samples / max(self.samples_per_ray, 1e-3), batch.marched / max(self.marched_per_ray, 1e-3))
        return max(16, min(int(rays), batch.max_rays))

    @property
    def random_background(self) -> bool:
        """Whether rays are composited over a random colour each."""
        return self.has_alpha and self.config.batch.random_background

    def step(self) -> None:
        """Take one step, and count its time."""
        start = time.perf_counter()
        seeds = StepSeeds(*(self._seed(purpose) for purpose in (RAYS, JITTER, BACKGROUND)))
        if self.explicit is None:
            self._step(seeds)
        else:
            self.explicit.take(self.steps_done, seeds, self._learning_rate_factor())
        self.steps_done += 1
        self._average()
        self.seconds += time.perf_counter() - start

    def totals(self) -> Totals:
        """Sums over all steps; waits for the device, which counts as time of training."""
        start = time.perf_counter()
        if self.explicit is not None:
            self.explicit.add_totals()
        totals = Totals(rays=self._rays, marched=self._marched, samples=self._samples, skipped_steps=self.skipped_steps,
                        overflowed_entries=self.table_optimiser.overflowed_entries, loss=float(self._loss),
                        squared_error=float(self._squared_error))
        self.seconds += time.perf_counter() - start
        return totals

    def add_totals(self, *, rays: int, marched: int, samples: int, skipped: int, loss, squared_error) -> None:
        """What some steps did; the errors may be on the device."""
        self._rays += rays
        self._marched += marched
        self._samples += samples
        self.skipped_steps += skipped
        self._loss = self._loss + loss
        self._squared_error = self._squared_error + squared_error

    def _step(self, seeds: StepSeeds) -> None:
        batch = training_rays(self.images, self.rays_per_step, seeds.rays)
        rendered = self.model.render(Rays(batch.origins, batch.directions), jitter_seed=seeds.jitter)
        background = self._background(batch, seeds.background)
        prediction, target = rendered.over(background), over(batch.rgba, background)
        loss = huber(prediction, target, self.config.batch.huber)
        samples = len(rendered.samples)
        if samples > 0:
            loss.backward()
            self._optimise()
        self.model.update_grid(self.steps_done)
        self._adapt(len(batch.rgba), rendered.marched, samples)
        self.add_totals(rays=len(batch.rgba), marched=rendered.marched, samples=samples, skipped=int(samples == 0),
                        loss=loss.detach(), squared_error=(prediction.detach() - target).square().mean())

    @contextmanager
    def averaged(self):
        """Within the context the model has its averaged weights, which render better than those of a single step."""
        self._pull()
        self._swap()
        try:
            yield self.model
        finally:
            self._swap()

    def state_dict(self) -> dict[str, dict]:
        """All that a trainer needs to go on as this one would: `tensors` and `numbers`, by name, not copied."""
        self._pull()
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for (name, _), average in zip(self.model.named_parameters(), self.average):
            tensors[f"average.{name}"] = average
        for optimiser in OPTIMISER_STATE:
            for index, state in getattr(self, optimiser).state_dict()["state"].items():
                tensors |= {f"{optimiser}.{index}.{key}": value for key, value in state.items()}
        return {"tensors": tensors, "numbers": {name: getattr(self, name) for name in STATE_NUMBERS}}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Take over what `state_dict` of a trainer of the same model gave; the tensors are copied.

        Raises ValueError naming the tensor that is missing, unknown, or of another shape or dtype; then nothing
        has changed.
        """
        tensors, numbers = state["tensors"], state["numbers"]
        check_same_tensors(tensors, self._expected_state(tensors))
        if set(numbers) != set(STATE_NUMBERS):
            raise ValueError(f"numbers must be {', '.join(STATE_NUMBERS)}, got {', '.join(numbers)}")
        for name, value in self.model.state_dict().items():
            value.copy_(tensors[f"model.{name}"])
        for (name, _), average in zip(self.model.named_parameters(), self.average):
            average.copy_(tensors[f"average.{name}"])
        for optimiser, keys in OPTIMISER_STATE.items():
            optimiser_state = {}
            for index in range(len(getattr(self, optimiser).param_groups[0]["params"])):
                prefix = f"{optimiser}.{index}."
                if prefix + keys[0] in tensors:
                    optimiser_state[index] = {key: tensors[prefix + key].clone() for key in keys}
            groups = getattr(self, optimiser).state_dict()["param_groups"]
            getattr(self, optimiser).load_state_dict({"state": optimiser_state, "param_groups": groups})
        self.model.field.table_gradient.zero_()
        for name, value in numbers.items():
            setattr(self, name, value)
        if self.explicit is not None:
            self.explicit.push()

    def _pull(self):
        if self.explicit is not None:
            if self.steps_done > 0:
                self.totals()  # waits for the steps under way, which is time of training
            self.explicit.pull()

    def _expected_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Name -> a tensor of the shape and dtype that a state with the names of `tensors` must have."""
        expected = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        expected |= {f"average.{name}": value for name, value in self.model.named_parameters()}
        for optimiser, keys in OPTIMISER_STATE.items():
            for index, parameter in enumerate(getattr(self, optimiser).param_groups[0]["params"]):
                like = {"step": torch.empty((), dtype=torch.float32),
                        "step_count": torch.empty(parameter.shape[:1], dtype=torch.int32, device="meta")}
                names = {f"{optimiser}.{index}.{key}": like.get(key, parameter) for key in keys}
                if names.keys() & tensors.keys():  # before the first step an optimiser has no state
                    expected |= names
        return expected

    def _background(self, batch: TrainingRays, seed: int) -> Tensor:
        """[R, 3]"""
        background = torch.full((len(batch.rgba), 3), self.background, dtype=batch.rgba.dtype, device=batch.rgba.device)
        if self.random_background:
            uniform_forward(seed, 0, background.view(-1))
        return background

    def _make_optimisers(self):
        settings, field = self.config.optimiser, self.model.field
        field.table.grad = field.table_gradient
        self.table_optimiser = SparseAdam([field.table], betas=BETAS, eps=EPSILON, zero_gradient=True)
        networks = [*field.density_network.parameters(), *field.colour_network.parameters()]
        self.network_optimiser = torch.optim.Adam(networks, betas=BETAS, eps=EPSILON,
                                                  weight_decay=settings.weight_decay, fused=True)

    def _optimise(self):
        settings, factor = self.config.optimiser, self._learning_rate_factor()
        self.table_optimiser.param_groups[0]["lr"] = settings.learning_rate * factor
        networks = self.network_optimiser.param_groups[0]
        networks["lr"] = settings.network_learning_rate * factor
        # fused Adam leaves out a step whose gradients overflowed without the host ever asking
        total = torch.stack([parameter.grad.sum() for parameter in networks["params"]]).sum()
        self.network_optimiser.found_inf = (~torch.isfinite(total)).float()
        self.network_optimiser.grad_scale = None
        self.network_optimiser.step()
        self.network_optimiser.zero_grad()
        self.table_optimiser.step()

    def _learning_rate_factor(self) -> float:
        settings = self.config.optimiser
        return learning_rate_factor(self.progress, settings.decay_start, settings.final_fraction)

    def _adapt(self, rays: int, marched: int, samples: int):
        self.marched_per_ray += (1 - SMOOTHING) * (marched / rays - self.marched_per_ray)
        self.samples_per_ray += (1 - SMOOTHING) * (samples / rays - self.samples_per_ray)

    @torch.no_grad()
    def _average(self):
        settings = self.config.optimiser
        if settings.average_decay == 0 or self.steps_done % settings.average_every != 0:
            return
        updates = self.steps_done // settings.average_every
        # young averages forget quickly, or they would remember the random start
        decay = min(settings.average_decay, updates / (updates + 9))
        if self.explicit is not None:
            self.explicit.move_average(1 - decay)
            return
        for average, parameter in zip(self.average, self.model.parameters()):
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def _swap(self):
        if self.config.optimiser.average_decay == 0:
            return
        for average, parameter in zip(self.average, self.model.parameters()):
            kept = parameter.clone()
            parameter.copy_(average)
            average.copy_(kept)

    def _seed(self, purpose: int) -> int:
        return (self.config.seed * 1_000_003 + self.steps_done * 3 + purpose) % 2**31


def check_same_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor]):
    """Raises ValueError naming a tensor that is missing, unknown, or of another shape or dtype than expected."""
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise ValueError(f"tensor '{name}' is {'missing' if name in expected else 'unknown'}")
    for name, like in expected.items():
        if tensors[name].shape != like.shape or tensors[name].dtype != like.dtype:
            raise ValueError(f"tensor '{name}' must have shape {list(like.shape)} and type {like.dtype}, "
                             f"got {list(tensors[name].shape)} and {tensors[name].dtype}")


def learning_rate_factor(progress: float, decay_start: float, final_fraction: float) -> float:
    """1 until `decay_start` of the run, then falling exponentially to `final_fraction` at its end."""
    return final_fraction ** max(0.0, (progress - decay_start) / (1 - decay_start))


def over(rgba: Tensor, background: Tensor) -> Tensor:
    """[R, 3]: straight-alpha colours [R, 4] over `background` [R, 3]."""
    alpha = rgba[:, 3:]
    return rgba[:, :3] * alpha + (1 - alpha) * background


def device_images(scene: Scene, split: str) -> tuple[TrainingImages, bool]:
    """The pixels and model-space cameras of a split where the kernels want them, and whether they have alpha."""
    images, cameras = scene.splits[split].images, scene.model_cameras(split)
    arrays = (images.pixels, images.offset, images.size, cameras.camera_to_world, cameras.focal, cameras.principal,
              cameras.distortion, cameras.lens)
    device = runtime.current().device
    tensors = [_tensor(array).to(device) for array in arrays]
    allowed = None if images.allowed is None else _tensor(images.allowed).to(device)
    return training_images(*tensors, allowed=allowed), images.has_alpha


def _tensor(array: np.ndarray) -> Tensor:
    """`array` as a tensor over the same memory, which may be a file that can only be read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))


def _mark_invisible(model: InstantNGP, scene: Scene):
    cameras = scene.model_cameras("train")
    model.grid.mark_invisible(*(torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in (
        cameras.camera_to_world, cameras.focal, cameras.principal, cameras.size)), near=model.box.near)
