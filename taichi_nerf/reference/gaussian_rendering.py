"""Gaussian rendering in plain PyTorch: what `taichi_nerf.ops.gaussian_rendering` must equal. All Gaussians are looked
at in all pixels: for small pictures."""

import math

import torch

from .spherical_harmonics import spherical_harmonics


def render_gaussians(means, scales, quaternions, opacities, harmonics, camera_to_world, focal, principal, width, height,
                     near=0.01):
    """Colour [H, W, 3] over black and opacity [H, W]."""
    axes = torch.stack([camera_to_world[:, 0], -camera_to_world[:, 1], -camera_to_world[:, 2]])  # right, down, forward
    away = means - camera_to_world[:, 3]
    seen = away @ axes.T
    there = seen[:, 2] > near
    away, seen, scales, opacities = away[there], seen[there], scales[there], opacities[there]
    depth, slopes = seen[:, 2], seen[:, :2] / seen[:, 2:]
    middle = principal + focal * slopes
    size = torch.tensor([width, height]).to(focal)
    low, high = -(principal + 0.15 * size) / focal, (size - principal + 0.15 * size) / focal
    kept = torch.minimum(torch.maximum(slopes, low), high)
    f = focal / depth[:, None]  # [N, 2]
    jacobian = torch.cat([torch.diag_embed(f), -(f * kept)[:, :, None]], dim=2)
    made_of = jacobian @ axes @ rotations(quaternions[there]) * scales[:, None, :]
    conic = torch.linalg.inv(made_of @ made_of.transpose(1, 2) + 0.3 * torch.eye(2).to(means))
    functions = harmonics.shape[2]
    basis = spherical_harmonics(torch.nn.functional.normalize(away, dim=1), math.isqrt(functions))
    colour = (0.5 + torch.einsum("ncj,nj->nc", harmonics[there], basis)).clamp_min(0)

    order = depth.argsort()
    middle, conic, colour, opacities = middle[order], conic[order], colour[order], opacities[order]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = torch.stack([x, y], dim=2).reshape(-1, 1, 2).to(means) + 0.5
    d = centre - middle  # [P, N, 2]
    alpha = (opacities * torch.exp(-0.5 * torch.einsum("pni,nij,pnj->pn", d, conic, d))).clamp_max(0.99)
    alpha = torch.where(alpha < 1 / 255, 0, alpha)
    alpha = torch.where((1 - alpha).cumprod(dim=1) < 1e-4, 0, alpha)  # and all that lie behind
    left = (1 - alpha).cumprod(dim=1)
    before = torch.cat([left.new_ones(len(left), 1), left], dim=1)
    shown = (alpha * before[:, :-1]) @ colour
    return shown.reshape(height, width, 3), 1 - before[:, -1].reshape(height, width)


def rotations(quaternions):
    """[N, 3, 3] of w, x, y, z [N, 4] of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    return torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1).reshape(-1, 3, 3)
