"""A system that is not of the package: a few soft balls of one colour each. `CONTRIBUTING.md` shows it.

    density(x) = sum_k a_k exp(-|x - c_k|^2 / (2 s_k^2))
    colour(x)    the mean colour of the balls, by their density at x
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from tyro.conf import Suppress

from taichi_nerf.config import (
    ModelConfig,
    OptimiserConfig,
    RangeConfig,
    RayBatchConfig,
    Recipe,
    System,
)
from taichi_nerf.fields.field import Field
from taichi_nerf.losses import squared_error
from taichi_nerf.models.intervals import IntervalModel
from taichi_nerf.models.model import Box
from taichi_nerf.models.pixels import Level, Pixels, pixels_of_levels
from taichi_nerf.ops.interval_sampling import distance_from_normalised
from taichi_nerf.ops.volume_rendering import composite_intervals
from taichi_nerf.samplers.coarse_to_fine import CoarseToFine
from taichi_nerf.types import UNKNOWN, Batch, Rays, Shot, Standing


@dataclass(frozen=True, kw_only=True)
class BlobsConfig(ModelConfig):
    """Soft balls."""

    kind: Annotated[Literal["blobs"], Suppress] = dataclasses.field(default="blobs", init=False)
    range: RangeConfig = dataclasses.field(default_factory=RangeConfig)
    balls: int = 12
    """How many."""
    samples: int = 24
    """Of a ray."""
    size_weight: float = 1e-3
    """Of the loss that keeps balls small."""


class BlobField(Field):
    """The balls. Parameters, K of them: `centre` [K, 3], `log_size`, `log_density` [K] and `raw_colour` [K, 3]."""

    def __init__(self, balls: int, generator: torch.Generator):
        super().__init__()
        self.centre = nn.Parameter(1.4 * torch.rand(balls, 3, generator=generator) - 0.7)
        self.log_size = nn.Parameter(torch.full((balls,), -1.5))
        self.log_density = nn.Parameter(torch.zeros(balls))
        self.raw_colour = nn.Parameter(torch.zeros(balls, 3))

    def density(self, samples: Tensor, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        square = (samples[:, None] - self.centre).square().sum(dim=2)  # [N, K]
        of_balls = (self.log_density - 0.5 * square * torch.exp(-2 * self.log_size)).exp()
        return of_balls.sum(dim=1), of_balls

    def colour(self, hidden: Tensor, directions: Tensor, shot: Shot = UNKNOWN,
               ray_index: Tensor | None = None) -> Tensor:
        return hidden @ self.raw_colour.sigmoid() / hidden.sum(dim=1, keepdim=True).clamp_min(1e-9)


class Blobs(IntervalModel):
    """One field, points at even distances."""

    def __init__(self, config: BlobsConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        self.field = BlobField(config.balls, torch.Generator().manual_seed(seed))
        self.sampler = CoarseToFine(config.samples, 0)

    @classmethod
    def unit_scale(cls, config: BlobsConfig, box: Box) -> float:
        return 2 / box.aabb_scale

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        unit = self.unit_rays(rays)
        near, far = self.reach(unit, self.config.range)

        def look(number: int, s: Tensor) -> Level:
            t = distance_from_normalised(s, near, far, "linear")  # [R, S]
            positions = unit.origins[:, None] + t[..., None] * unit.directions[:, None]  # [R, S, 3]
            density, hidden = self.field.density(positions.view(-1, 3), unit.shot)
            colour = self.field.colour(hidden, unit.directions, unit.shot)
            t = torch.cat([t, far[:, None]], dim=1)
            colour, opacity, depth, weights = composite_intervals(
                density.view(s.shape), colour.view(positions.shape), t, "bounded")
            return Level(s=torch.cat([s, torch.ones_like(s[:, :1])], dim=1), t=t / self.scale, weights=weights,
                         pixels=Pixels(colour=colour, opacity=opacity, depth=depth / self.scale))

        return pixels_of_levels(rays, self.sampler.sample(near, look, standing)).averaged(rays.per_pixel)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        size = self.field.log_size.exp().mean()
        return {"colour": squared_error(pixels.over(batch.background), batch.target, batch.weight),
                "size": self.config.size_weight * size}

    def density(self, positions: Tensor, shot: Shot = UNKNOWN) -> Tensor:
        return self.field.density(positions * self.scale, shot)[0] * self.scale


RECIPE = Recipe(model=BlobsConfig(), batch=RayBatchConfig(rays=256),
                optimiser=OptimiserConfig(network_learning_rate=3e-2, epsilon=1e-8, weight_decay=0.0))
SYSTEM = System(settings=BlobsConfig, model="tests.blobs:Blobs", presets={"small": RECIPE, "paper": RECIPE})
