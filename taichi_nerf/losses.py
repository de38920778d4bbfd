"""Losses on rendered pixels: prediction and target [R, C], and a weight [R] of each ray, or None where all are equal.

Each is a scalar: the weighted mean over the rays, and the mean over their channels.
"""

import torch.nn.functional as F
from torch import Tensor


def huber(prediction: Tensor, target: Tensor, delta: float, weight: Tensor | None = None) -> Tensor:
    """Mean of e^2 / 2 where the error |e| is below `delta`, else delta (|e| - delta / 2) (Huber 1964)."""
    if weight is None:
        return F.huber_loss(prediction, target, delta=delta)
    return weighted_mean(F.huber_loss(prediction, target, delta=delta, reduction="none"), weight)


def squared_error(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of e^2."""
    return weighted_mean((prediction - target).square(), weight)


def charbonnier(prediction: Tensor, target: Tensor, padding: float, weight: Tensor | None = None) -> Tensor:
    """Mean of sqrt(e^2 + padding^2): the error's magnitude, smooth at 0 (Charbonnier et al. 1994)."""
    return weighted_mean(((prediction - target).square() + padding**2).sqrt(), weight)


def geman_mcclure(square: Tensor, scale: float) -> Tensor:
    """2 r / (r + 4) of r = square / scale^2: half of r for small errors, and at most 2 (Geman and McClure 1985; Barron
    2019, of shape -2)."""
    ratio = square / scale**2
    return 2 * ratio / (ratio + 4)


def weighted_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum of weight [R] times the mean of values [R, C] over C, over the sum of the weights."""
    if weight is None:
        return values.mean()
    return (weight * values.mean(dim=1)).sum() / weight.sum()
