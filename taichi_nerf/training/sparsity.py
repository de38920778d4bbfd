"""A pull towards empty space, wherever no photo needs matter (Yu et al. 2021, PlenOctrees, section 3.2).

    loss = weight mean_i (1 - exp(-scale density(x_i)))        x_i uniform in the box

No photo tells of what none sees, nor whether fog that has the colour of the background is there: it stays, and an
octree would keep it. The loss is the part of the light that a stretch as long as `scale`, in model units, takes at a
point: that of fog grows with its density, that of solid matter is 1 and has no slope. Of a scene without bounds the
points are in the box alone; of one that moves each is of a time of its own.
"""

import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from .. import runtime
from ..config import SparsityConfig
from ..models.model import Model
from ..models.pixels import Pixels
from ..types import UNKNOWN, Batch, Seeds, Shot, Standing

__all__ = ["Sparsity"]

POINTS = 0x3C6EF372  # purpose of random numbers, by what differs in their seed


class Sparsity:
    """The density at points of the box, as a term of the loss."""

    def __init__(self, model: Model, config: SparsityConfig):
        self.model, self.config = model, config

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        seed = self.seed(standing.seeds)
        shot = Shot(time=self.draw_times(seed)) if self.model.moves else UNKNOWN
        density = self.model.density(self.draw(seed), shot)
        return {"sparsity": -self.config.weight * torch.expm1(-self.config.scale * density).mean()}

    @staticmethod
    def seed(seeds: Seeds) -> int:
        """Of the points of a step."""
        return seeds.jitter ^ POINTS

    def draw(self, seed: int) -> Tensor:
        """Positions [M, 3] in the box, in model units."""
        like = next(self.model.parameters())
        uniform = torch.empty(3 * self.config.points, dtype=like.dtype, device=runtime.current().device)
        uniform_forward(seed, 0, uniform)
        return (uniform.view(-1, 3) - 0.5) * self.model.box.aabb_scale

    def draw_times(self, seed: int) -> Tensor:
        """[M] in [0, 1)."""
        times = torch.empty(self.config.points, device=runtime.current().device)
        uniform_forward(seed, 3 * self.config.points, times)
        return times
