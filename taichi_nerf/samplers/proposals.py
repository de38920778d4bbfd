"""Proposals: each level cuts the rays anew where the one before it found something, and the last is the picture
(Barron et al. 2022).

R rays, S intervals of each; s in [0, 1] is a distance normalised between a ray's near and far. `look(number, s)` gives
whatever a level found between fenceposts s [R, S + 1], with `weights` [R, S]. Where intervals lie is never
differentiated.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.interval_sampling import resample_mip_nerf_360
from ..types import Standing
from .coarse_to_fine import Level, Look
from .seeds import seed_of

__all__ = ["Proposals"]


class Proposals:
    """Levels of `counts` intervals, from the first proposal to the picture.

    Args:
        dilation: factor on the paper's widening of a proposal's histogram; 0: none.
        anneal_slope: how soon in the training proposals are trusted; 1: linearly.
        single_jitter: all samples of a ray are shifted alike in training.
    """

    def __init__(self, counts: Sequence[int], *, dilation: float, anneal_slope: float, single_jitter: bool):
        self.counts, self.dilation, self.anneal_slope = tuple(counts), dilation, anneal_slope
        self.jitter = "ray" if single_jitter else "sample"

    def sample(self, near: Tensor, look: Look, standing: Standing | None) -> list[Level]:
        """What `look` found at each level, of rays that begin at `near` [R]."""
        progress = 1.0 if standing is None else standing.progress
        anneal = self.anneal_slope * progress / ((self.anneal_slope - 1) * progress + 1)
        s = torch.stack([torch.zeros_like(near), torch.ones_like(near)], dim=1)  # [R, 2]
        weights, levels = torch.ones_like(s[:, :1]), []
        for number, count in enumerate(self.counts):
            reach = self.dilation * (0.0025 + 0.5 / math.prod(self.counts[:number])) if number else 0.0
            s = resample_mip_nerf_360(s, weights, count, reach=reach, anneal=anneal, seed=seed_of(standing, number),
                                      jitter=self.jitter)  # [R, count + 1]
            levels.append(look(number, s))
            weights = levels[-1].weights.detach()
        return levels
