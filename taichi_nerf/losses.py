"""Losses on rendered pixels. Each takes tensors of one shape and returns a scalar."""

import torch.nn.functional as F
from torch import Tensor


def huber(prediction: Tensor, target: Tensor, delta: float) -> Tensor:
    """Mean of e^2 / 2 where the error |e| is below `delta`, else delta (|e| - delta / 2) (Huber 1964)."""
    return F.huber_loss(prediction, target, delta=delta)
