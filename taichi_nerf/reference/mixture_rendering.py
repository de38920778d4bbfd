"""Mixture rendering in plain PyTorch: what `taichi_nerf.ops.mixture_rendering` must equal."""

import torch


def composite_mixture(density, colour, transient_density, transient_colour, beta, fenceposts, last="bounded"):
    """Colour [R, 3], opacity [R] and uncertainty [R] of intervals between fenceposts [R, S + 1]."""
    length = fenceposts.diff(dim=1)
    static_length = length
    if last == "infinite" and length.shape[1]:
        static_length = torch.cat([length[:, :-1], torch.full_like(length[:, -1:], 1e10)], dim=1)
    optical_depth = density * static_length
    transient_depth = transient_density * length
    left = torch.exp(-optical_depth)
    if last == "opaque" and length.shape[1]:
        left = torch.cat([left[:, :-1], torch.zeros_like(left[:, -1:])], dim=1)
    transient_left = torch.exp(-transient_depth)
    both = (left * transient_left).cumprod(dim=1)
    before = torch.cat([both.new_ones(len(both), 1), both], dim=1)  # [R, S + 1]: T_0 .. T_S
    weight, transient_weight = before[:, :-1] * (1 - left), before[:, :-1] * (1 - transient_left)
    shown = (weight[..., None] * colour + transient_weight[..., None] * transient_colour).sum(1)
    return shown, 1 - before[:, -1], (transient_weight * beta).sum(1)
