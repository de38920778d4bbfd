"""The training step, the same for every model: pixels drawn, rays, rendered, loss, gradients, optimisers.

What differs from model to model, the model says (`models.model.Model`): how rays are rendered and what the terms of the
loss are, which parameters are hash tables and which networks, and what there is to do besides a step.

Everything random is a function of (seed, step), so that a run that is continued takes the steps it would have taken.
"""

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from .. import runtime
from ..config import RayBatchConfig, TrainingConfig, check_fit
from ..data.scene import Scene
from ..errors import UserError
from ..models.instant_ngp import InstantNGP
from ..models.model import Model, Pixels
from ..ops.adam import SparseAdam
from ..ops.camera import TrainingImages, TrainingRays, rays_from_pixels, training_rays
from ..ops.conical_frustum import cone_radii
from ..types import Batch, Rays
from .corrections import Corrections
from .depth import KnownDistances, transport_loss
from .explicit_step import BETA1, ExplicitStep, StepSeeds
from .packed_images import packed_images

SMOOTHING = 0.8  # of the samples per ray, which decide the number of rays of the next step
RAYS, JITTER, BACKGROUND = range(3)  # purposes of random numbers
DEPTH_RAYS, DEPTH_JITTER = 0x2545F491, 0x1B873593  # two more, by what their seeds differ from those above
CROP_DRAWS = 6  # pixels drawn for one of the central half of the images, which is a quarter of their area
STATE_NUMBERS = ("steps_done", "seconds", "skipped_steps", "marched_per_ray", "samples_per_ray")
OPTIMISER_STATE = {"table_optimiser": ("first_moment", "second_moment", "step_count"),
                   "network_optimiser": ("step", "exp_avg", "exp_avg_sq"),
                   "correction_optimiser": ("step", "exp_avg", "exp_avg_sq")}


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

    `step()` takes one step; `progress` says how much of the budget is spent. The batch of Instant-NGP adapts: its rays
    are as many as give the configured number of visible samples. A step is taken by autograd, or for Instant-NGP
    explicitly by kernels on the device (see `explicit_step`), which gives the same gradients and is the one way that
    never leaves a Vulkan device.
    """

    smoothing = SMOOTHING

    def __init__(self, model: Model, scene: Scene, config: TrainingConfig):
        """Raises SettingError where `config` cannot train `model`, and UserError where it cannot train on `scene`."""
        check_fit(model.config, config)
        self.model, self.config = model, config
        self.images, self.has_alpha = device_images(scene, "train")
        self.area_weight = _area_weight(scene)
        self.background = {"white": 1.0, "black": 0.0}[scene.background]
        self.steps_done = 0
        self.seconds = 0.0
        self.skipped_steps = 0
        adapts = isinstance(model, InstantNGP)
        self.marched_per_ray = self.samples_per_ray = float(model.config.sampling.steps) if adapts else 0.0
        self.corrections = Corrections(scene.model_cameras("train"), config).to(runtime.current().device)
        self.distances = KnownDistances(scene, self.images) if config.depth.weight > 0 else None
        self._make_optimisers()
        self.average = [parameter.detach().clone() for parameter in model.parameters()]
        model.before_training(scene.model_cameras("train"))
        self._rays = self._marched = self._samples = 0
        self._loss = self._squared_error = 0.0
        self._settled = 0  # steps done when the device was last waited for
        chosen = config.gradients
        if chosen == "explicit" and self.area_weight is not None:
            raise UserError("--gradients explicit weighs all pixels alike, and these images have several scales; use "
                            "autograd or auto")
        if chosen == "auto":
            plain = isinstance(model, InstantNGP) and not (config.more_than_colours or model.config.appearance)
            chosen = "explicit" if plain and self.area_weight is None else "autograd"
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
        """Rays of the next batch, which are all those of their pixels."""
        batch = self.config.batch
        if isinstance(batch, RayBatchConfig):
            rays = max(batch.rays, self.model.rays_per_pixel)
        else:
            rays = min(batch.samples / max(self.samples_per_ray, 1e-3),
                       batch.marched / max(self.marched_per_ray, 1e-3))
            rays = max(16, min(int(rays), batch.max_rays))
        return rays - rays % self.model.rays_per_pixel

    @property
    def rays_per_pixel(self) -> int:
        """Rays of each pixel of the next batch."""
        early = self.progress < self.config.batch.one_ray or self._crops
        return 1 if early else self.model.rays_per_pixel

    @property
    def _crops(self) -> bool:
        """Whether a step sees the central half of the images alone."""
        batch = self.config.batch
        return self.has_alpha and isinstance(batch, RayBatchConfig) and self.steps_done < batch.crop_steps

    @property
    def random_background(self) -> bool:
        """Whether pixels are composited over a random colour each."""
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

    def some_rays(self, rays: int) -> Rays:
        """Rays of the training images, always the same."""
        return self._rays_of(training_rays(self.images, rays, 0))

    def totals(self) -> Totals:
        """Sums over all steps; waits for the device, which counts as time of training."""
        start = time.perf_counter()
        if self.explicit is not None:
            self.explicit.add_totals()
        overflowed = 0 if self.table_optimiser is None else self.table_optimiser.overflowed_entries
        totals = Totals(rays=self._rays, marched=self._marched, samples=self._samples, skipped_steps=self.skipped_steps,
                        overflowed_entries=overflowed, loss=float(self._loss),
                        squared_error=float(self._squared_error))
        if self._settled != self.steps_done:  # asked again, there is nothing to wait for
            self._settled = self.steps_done
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
        refine = self.config.refine
        if refine.active and refine.coarse > 0:
            self.model.show_levels(self.progress / refine.coarse)
        batch = self._batch(seeds)
        pixels = self.model.render(batch.rays, jitter_seed=seeds.jitter, progress=self.progress)
        pixels = self.corrections.shown(pixels, batch.image_index)
        loss = sum(self._losses(pixels, batch, seeds).values())
        if pixels.visible > 0:
            loss.backward()
            self._optimise()
        self.model.after_step(self.steps_done)
        self._adapt(len(batch.rays), pixels.marched, pixels.visible)
        squared_error = (pixels.over(batch.background).detach() - batch.target).square().mean()
        self.add_totals(rays=len(batch.rays), marched=pixels.marched, samples=pixels.visible,
                        skipped=int(pixels.visible == 0), loss=loss.detach(), squared_error=squared_error)

    def _losses(self, pixels: Pixels, batch: Batch, seeds: StepSeeds) -> dict[str, Tensor]:
        """The terms of the loss by name."""
        losses = {**self.model.losses(pixels, batch), **self.corrections.losses()}
        if self.distances is not None:
            losses["depth"] = self.config.depth.weight * self._depth_loss(len(batch), seeds)
        return losses

    def _depth_loss(self, rays: int, seeds: StepSeeds) -> Tensor:
        """That of rays of their own, as many for `rays` others as the settings say."""
        count = max(1, round(self.config.depth.rays * rays))
        image_index, pixel, distance = self.distances.draw(count, seeds.rays ^ DEPTH_RAYS)
        rays = Rays(*self._origins_and_directions(image_index, pixel), self._radii(image_index, pixel), image_index)
        pixels = self.model.render(rays, jitter_seed=seeds.jitter ^ DEPTH_JITTER, progress=self.progress)
        return transport_loss(pixels, distance)

    def _batch(self, seeds: StepSeeds) -> Batch:
        """The pixels of a step, and the rays through them."""
        of_rays, per_pixel = self._drawn(seeds.rays), self.rays_per_pixel
        drawn = TrainingRays(*(values[::per_pixel] for values in of_rays))  # pixel by pixel
        weight = None if self.area_weight is None else self.area_weight[drawn.image_index.long()]
        return Batch(rays=self._rays_of(of_rays, per_pixel), rgba=drawn.rgba,
                     background=self._background(drawn, seeds.background), image_index=drawn.image_index,
                     pixel_index=drawn.pixel_index, weight=weight)

    def _rays_of(self, drawn: TrainingRays, per_pixel: int = 1) -> Rays:
        origins, directions, radius = drawn.origins, drawn.directions, None
        if self.model.sees_cones or self.corrections.cameras is not None:
            pixel = self.images.ray_places(drawn.image_index, drawn.pixel_index, per_pixel)
            radius = self._radii(drawn.image_index, pixel)
            if self.corrections.cameras is not None:
                origins, directions = self._origins_and_directions(drawn.image_index, pixel)
        return Rays(origins, directions, radius, drawn.image_index, per_pixel)

    def _origins_and_directions(self, image_index: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
        """[R, 3] each, of pixels [R, 2] of images [R], by what is known of the cameras now."""
        if self.corrections.cameras is not None:
            return self.corrections.rays(image_index, pixel, self.steps_done)
        return rays_from_pixels(image_index, pixel, self.images.poses, *self.images.lenses)

    def _radii(self, image_index: Tensor, pixel: Tensor) -> Tensor | None:
        """Of their cones, if the model wants to know."""
        return cone_radii(image_index, pixel, *self.images.lenses) if self.model.sees_cones else None

    def _drawn(self, seed: int) -> TrainingRays:
        """Pixels of all images; in the beginning, where images have alpha and the batch asks for that, of their central
        half alone."""
        rays = self.rays_per_step
        if not self._crops:
            return training_rays(self.images, rays, seed, self.rays_per_pixel)
        drawn = training_rays(self.images, CROP_DRAWS * rays, seed)
        size = self.images.size[drawn.image_index.long()]
        place = self.images.pixel_centres(drawn.image_index, drawn.pixel_index) / size  # in [0, 1]
        central = ((place - 0.5).abs() <= 0.25).all(dim=1).nonzero()[:rays, 0]
        return TrainingRays(*(values[central] for values in drawn))

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
        tensors |= {f"correction.{name}": value for name, value in self.corrections.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
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
        for name, value in self.corrections.state_dict().items():
            value.copy_(tensors[f"correction.{name}"])
        for name, optimiser in self.optimisers.items():
            keys, optimiser_state = OPTIMISER_STATE[name], {}
            for index in range(len(_parameters(optimiser))):
                prefix = f"{name}.{index}."
                if prefix + keys[0] in tensors:
                    optimiser_state[index] = {key: tensors[prefix + key].clone() for key in keys}
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": optimiser_state, "param_groups": groups})
        for _, gradient in self.model.tables():
            gradient.zero_()
        for name, value in numbers.items():
            setattr(self, name, value)
        self._settled = self.steps_done
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
        expected |= {f"correction.{name}": value for name, value in self.corrections.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, parameter in enumerate(_parameters(optimiser)):
                like = {"step": torch.empty((), dtype=torch.float32),
                        "step_count": torch.empty(parameter.shape[:1], dtype=torch.int32, device="meta")}
                names = {f"{name}.{index}.{key}": like.get(key, parameter) for key in OPTIMISER_STATE[name]}
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
        settings, tables = self.config.optimiser, self.model.tables()
        betas = (BETA1, settings.beta2)
        self.table_optimiser = None
        if tables:
            for table, gradient in tables:
                table.grad = gradient
            self.table_optimiser = SparseAdam([table for table, _ in tables], betas=betas, eps=settings.epsilon,
                                              zero_gradient=True)
        networks = [{"params": network} for network in self.model.networks()]
        self.network_optimiser = torch.optim.Adam(networks, betas=betas, eps=settings.epsilon,
                                                  weight_decay=settings.weight_decay, fused=True)
        self.optimisers = {"table_optimiser": self.table_optimiser} if tables else {}
        self.optimisers["network_optimiser"] = self.network_optimiser
        self.correction_optimiser = None
        if groups := self.corrections.groups():
            self.correction_optimiser = torch.optim.Adam(groups, betas=(BETA1, 0.99), eps=1e-15, fused=True)
            self.optimisers["correction_optimiser"] = self.correction_optimiser

    def _optimise(self):
        settings, factor = self.config.optimiser, self._learning_rate_factor()
        gradients = []
        for network in self.network_optimiser.param_groups:
            network["lr"] = settings.network_learning_rate * factor
            if settings.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(network["params"], settings.clip_norm)
            gradients += [parameter.grad for parameter in network["params"] if parameter.grad is not None]
        _step_if_finite(self.network_optimiser, gradients)
        if self.table_optimiser is not None:
            self.table_optimiser.param_groups[0]["lr"] = settings.learning_rate * factor
            self.table_optimiser.step()
        if self.correction_optimiser is not None:
            groups = self.correction_optimiser.param_groups
            for group, rate in zip(groups, self.corrections.learning_rates(self.progress, factor), strict=True):
                group["lr"] = rate
            gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
            if gradients:
                _step_if_finite(self.correction_optimiser, gradients)

    def _learning_rate_factor(self) -> float:
        settings = self.config.optimiser
        factor = learning_rate_factor(self.progress, settings.decay_start, settings.final_fraction)
        return factor * warmup_factor(self.steps_done, settings.warmup_steps)

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


def _step_if_finite(optimiser: torch.optim.Adam, gradients: list[Tensor]):
    """Take a step of a fused Adam, which leaves it out if a gradient overflowed, without the host ever asking."""
    total = torch.stack([gradient.sum() for gradient in gradients]).sum()
    optimiser.found_inf = (~torch.isfinite(total)).float()
    optimiser.grad_scale = None
    optimiser.step()
    optimiser.zero_grad()


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


def warmup_factor(step: int, warmup_steps: int) -> float:
    """From 0.01 at step 0 along a quarter of a sine to 1 at step `warmup_steps` (Barron et al. 2021)."""
    if step >= warmup_steps:
        return 1.0
    return 0.01 + 0.99 * math.sin(0.5 * math.pi * step / warmup_steps)


def device_images(scene: Scene, split: str) -> tuple[TrainingImages, bool]:
    """The pixels and model-space cameras of a split where the kernels want them, and whether they have alpha."""
    images = scene.splits[split].images
    return packed_images(images, scene.model_cameras(split)), images.has_alpha


def _area_weight(scene: Scene) -> Tensor | None:
    """[N] of the training images; None where they all weigh the same."""
    weight = scene.splits["train"].area_weight
    return None if weight is None else torch.from_numpy(weight).to(runtime.current().device)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """In the order in which an optimiser numbers its state."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
