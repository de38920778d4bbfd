"""Small fully connected networks, layer by layer (notation: taichi_nerf_kernels/mlp)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mlp(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """y [O, N] of x [I, N]: products with the weights [fan_out, fan_in], and ReLU between them."""
    for weight in weights[:-1]:
        x = torch.relu(weight @ x)
    return weights[-1] @ x
