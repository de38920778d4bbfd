"""Coarse to fine: even parts of each ray first, then more where the first look found something.

R rays, S samples or intervals of each; s in [0, 1] is a distance normalised between a ray's near and far. `look(number,
s)` gives whatever a level found, with `weights` [R, S]. Where samples lie is never differentiated.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor

from ..ops.interval_sampling import blur_weights, merge_sorted, sample_histogram, sample_uniform
from ..types import Standing
from .seeds import seed_of

__all__ = ["CoarseToFine", "CoarseToFineCones", "Found"]

PADDING = 1e-5  # of the coarse weights, so that every part of a ray may be sampled
COARSE, FINE = range(2)  # purposes of random numbers


class Found(Protocol):
    """What a level found."""

    weights: Tensor
    """[R, S]"""


Level = TypeVar("Level", bound=Found)
Look = Callable[[int, Tensor], Level]


class CoarseToFine:
    """Points: one in each of `coarse` equal parts, then these and `fine` more drawn from their weights (Mildenhall et
    al. 2020). With no fine ones there is one level."""

    def __init__(self, coarse: int, fine: int):
        self.coarse, self.fine = coarse, fine

    def sample(self, near: Tensor, look: Look, standing: Standing | None) -> list[Level]:
        """What `look` found at each level, of rays that begin at `near` [R]."""
        s = sample_uniform(len(near), self.coarse, like=near, seed=seed_of(standing, COARSE))  # [R, coarse]
        levels = [look(0, s)]
        if self.fine:
            # a point stands for what lies about it: the histogram is that of the points between the outermost
            middle = (s[:, 1:] + s[:, :-1]) / 2
            more = sample_histogram(middle, levels[0].weights[:, 1:-1], self.fine, seed=seed_of(standing, FINE),
                                    padding=PADDING, ends=standing is None)
            levels.append(look(1, merge_sorted(s, more)))  # [R, coarse + fine]
        return levels


class CoarseToFineCones:
    """Intervals: `count` even ones, then as many anew where the blurred weights of the first are (Barron et al. 2021).

    `padding` is added to the blurred weights, so that every part of a ray may be sampled.
    """

    def __init__(self, count: int, padding: float):
        self.count, self.padding = count, padding

    def sample(self, near: Tensor, look: Look, standing: Standing | None) -> list[Level]:
        """As of `CoarseToFine`, with fenceposts s [R, count + 1]."""
        ends = standing is None
        s = sample_uniform(len(near), self.count + 1, like=near, seed=seed_of(standing, COARSE), ends=ends)
        coarse = look(0, s)
        blurred = blur_weights(coarse.weights, self.padding)
        return [coarse, look(1, sample_histogram(s, blurred, self.count + 1, seed=seed_of(standing, FINE), ends=ends))]
