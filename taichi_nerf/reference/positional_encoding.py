"""Positional encoding in plain PyTorch: what `taichi_nerf.ops.positional_encoding` must equal."""

import math

import torch


def encode(x, levels, variance=None, identity=True, alpha=None):
    """[N, D (2 L + identity)] of points, or of the means of Gaussians with their variances, [N, D]."""
    features = [x] if identity else []
    for k in range(levels):
        amplitude = torch.ones_like(x) if variance is None else torch.exp(-0.5 * 4**k * variance)
        if alpha is not None:
            amplitude = amplitude * 0.5 * (1 - math.cos(math.pi * min(max(alpha - k, 0.0), 1.0)))
        features += [amplitude * torch.sin(2**k * x), amplitude * torch.cos(2**k * x)]
    return torch.cat(features, dim=1) if features else x[:, :0]
