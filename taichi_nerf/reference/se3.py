"""The exponential map of se(3) as the exponential of a matrix, and where it takes points: what `taichi_nerf.ops.se3`
must equal.
"""

import torch

__all__ = ["displacement", "displacement_slopes", "exponential_map"]


def exponential_map(twists):
    """[N, 3, 4] of twists [N, 6]: the upper rows of exp [[w^, v], [0, 0]], with w^ x = w x x."""
    wx, wy, wz, *v = twists.unbind(1)
    zero = torch.zeros_like(wx)
    rows = [[zero, -wz, wy, v[0]], [wz, zero, -wx, v[1]], [-wy, wx, zero, v[2]], [zero] * 4]
    return torch.linalg.matrix_exp(torch.stack([torch.stack(row, dim=1) for row in rows], dim=1))[:, :3]


def displacement(twists, points):
    """[N, 3] of twists [N, 6] and points [N, 3]."""
    motion = exponential_map(twists)
    return (motion[:, :, :3] @ points[:, :, None])[:, :, 0] + motion[:, :, 3] - points


def displacement_slopes(twists, tangents, points):
    """[N, 3, 3]: derivatives of the displacement along the three axes, along which twists change by tangents
    [N, 3, 6]. Differentiable with respect to those of twists and points that have gradients."""
    twists, points = (values if values.requires_grad else values.clone().requires_grad_()
                      for values in (twists, points))
    rows = []
    for moved in displacement(twists, points).unbind(1):
        at_twist, at_point = torch.autograd.grad(moved.sum(), (twists, points), create_graph=True)
        rows.append((tangents @ at_twist[:, :, None])[:, :, 0] + at_point)
    return torch.stack(rows, dim=1)
