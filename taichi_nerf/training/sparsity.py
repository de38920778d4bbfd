"""A pull towards empty space, wherever no photo needs matter (Yu et al. 2021, PlenOctrees, section 3.2).

    loss = weight mean_i (1 - exp(-scale density(x_i)))        x_i uniform in the box

No photo tells of what none sees, nor whether fog that has the colour of the background is there: it stays, and an
octree would keep it. The loss is the part of the light that a stretch as long as `scale`, in model units, takes at a
point: that of fog grows with its density, that of solid matter is 1 and has no slope. Of a scene without bounds the
points are in the box alone; of one that moves each is of a time of its own.

Images with alpha deny such fog: what is transparent is seen before another background in every step. An object's images
without alpha do not, and where it moves, so that few images are of each time, there is the more of it the longer the
training. Where it stands still its other images deny it, and the pull costs more than it gains.
"""

from dataclasses import replace

import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward

from .. import runtime
from ..config import SparsityConfig
from ..data.scene import Scene
from ..models.model import Model
from ..models.pixels import Pixels
from ..types import UNKNOWN, Batch, Seeds, Shot, Standing

__all__ = ["Sparsity", "settled_sparsity"]

OPAQUE_WEIGHT = 3e-3  # where the weight is left open, and images without alpha show an object that moves
POINTS = 0x3C6EF372  # purpose of random numbers, by what differs in their seed


def settled_sparsity(config: SparsityConfig, scene: Scene, moves: bool) -> SparsityConfig:
    """`config` with the weight that counts in a training on `scene`, where it is left open; `moves`: of a model that
    knows the time."""
    if config.weight is not None:
        return config
    undenied = moves and scene.bounded and not scene.splits["train"].images.has_alpha
    return replace(config, weight=OPAQUE_WEIGHT if undenied else 0.0)


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
