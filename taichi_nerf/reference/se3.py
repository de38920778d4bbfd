"""The exponential map of se(3) as the exponential of a matrix: what `taichi_nerf.ops.se3` must equal."""

import torch

__all__ = ["exponential_map"]


def exponential_map(twists):
    """[N, 3, 4] of twists [N, 6]: the upper rows of exp [[w^, v], [0, 0]], with w^ x = w x x."""
    wx, wy, wz, *v = twists.unbind(1)
    zero = torch.zeros_like(wx)
    rows = [[zero, -wz, wy, v[0]], [wz, zero, -wx, v[1]], [-wy, wx, zero, v[2]], [zero] * 4]
    return torch.linalg.matrix_exp(torch.stack([torch.stack(row, dim=1) for row in rows], dim=1))[:, :3]
