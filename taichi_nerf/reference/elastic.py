"""The elastic energy by singular values: what `taichi_nerf.ops.elastic` must equal."""

import torch

__all__ = ["elastic_energy"]


def elastic_energy(jacobian):
    """[N] of Jacobians [N, 3, 3]: the sum of the squared logarithms of their singular values."""
    return torch.linalg.svdvals(jacobian).log().square().sum(dim=1)
