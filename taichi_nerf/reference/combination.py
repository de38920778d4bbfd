"""Linear combinations by numbers of rays: what `taichi_nerf.ops.combination` must equal."""

import torch

__all__ = ["combine"]


def combine(coefficients, numbers, ray_index):
    """[S, O] of coefficients [O A, S], numbers [A, R] and the ray [S] of each sample."""
    of_outputs = coefficients.unflatten(0, (-1, len(numbers)))  # [O, A, S]
    return torch.einsum("oas,as->so", of_outputs, numbers[:, ray_index.long()])
