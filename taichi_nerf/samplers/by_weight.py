"""Some of many samples, drawn in proportion to their weights, so that those that hardly count are hardly looked at.

    sum_i w_i f_i  =  E[ W / N sum_j f_{i_j} ],     W = sum_i w_i

K weights, N draws. The weights lie side by side on a line of length W, and a comb of N teeth, W / N apart, is laid over
it at a random place: sample i is under N w_i / W teeth on average, and under as many as that but for a fraction, which
scatters less than N draws of their own would (systematic resampling; Arulampalam et al. 2002, algorithm 2).
"""

import torch
from torch import Tensor

__all__ = ["in_proportion"]


def in_proportion(weights: Tensor, count: int, seed: int) -> Tensor:
    """[count] ascending numbers of samples, each on average as often as its part of the `weights` [K] is of `count`;
    one of weight 0, the least that there may be, is drawn only where all are 0. Not differentiable."""
    place = torch.rand((), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).item()
    reached = weights.double().cumsum(dim=0)  # [K]
    teeth = torch.arange(count, dtype=torch.float64, device=weights.device) + place
    under = torch.searchsorted(reached, teeth * (reached[-1:] / max(count, 1)), right=True)
    # rounding must not lead beyond the last weight
    return under.clamp_(max=max(len(weights) - 1, 0))
