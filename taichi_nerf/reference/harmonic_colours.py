"""Colours in spherical harmonics: what `taichi_nerf.ops.harmonic_colours` must equal."""

import math

import torch

from .spherical_harmonics import spherical_harmonics


def harmonic_colours(coefficients, directions):
    """[N, 3] of coefficients [3 B, N] and unit directions [N, 3]."""
    functions = len(coefficients) // 3
    basis = spherical_harmonics(directions, math.isqrt(functions))  # [N, B]
    return torch.einsum("cjn,nj->nc", coefficients.view(3, functions, -1), basis).sigmoid()
