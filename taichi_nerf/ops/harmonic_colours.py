"""Colours in spherical harmonics as a PyTorch operation. N samples."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import harmonic_colours as kernels
from taichi_nerf_kernels.spherical_harmonics import MAX_DEGREE

from ._check import check_tensor

FUNCTIONS = [bands**2 for bands in range(1, MAX_DEGREE + 1)]


def harmonic_colours(coefficients: Tensor, directions: Tensor) -> Tensor:
    """Colours [N, 3], sigmoid(sum_j k_cj Y_j(d)): Yu et al. 2021, PlenOctrees, section 3.1.

    Args:
        coefficients: [3 B, N] of 1, 4, 9, 16 or 25 functions; k_cj, what channel c has of the function j of
            `spherical_harmonics.encode_direction`, in row c B + j.
        directions: [N, 3] unit vectors.

    Returns:
        Colours from 0 to 1. Differentiable with respect to both, once; to directions as `encode_direction`.

    Raises:
        TypeError, ValueError: an argument of another type, shape or dtype.
    """
    return _HarmonicColours.apply(coefficients, directions)


class _HarmonicColours(torch.autograd.Function):
    @staticmethod
    def forward(ctx, coefficients, directions):
        directions = check_tensor("directions", directions, (None, 3))
        coefficients = check_tensor("coefficients", coefficients, (None, len(directions)), like=directions)
        if coefficients.shape[0] not in [3 * functions for functions in FUNCTIONS]:
            raise ValueError(f"coefficients must have three times {', '.join(map(str, FUNCTIONS))} rows, got "
                             f"{coefficients.shape[0]}")
        ctx.bands = math.isqrt(coefficients.shape[0] // 3)
        colours = torch.empty_like(directions)
        kernels.harmonic_colours_forward(coefficients, directions, colours, ctx.bands)
        ctx.save_for_backward(coefficients, directions, colours)
        return colours

    @staticmethod
    @once_differentiable
    def backward(ctx, colours_gradient):
        coefficients, directions, colours = ctx.saved_tensors
        coefficients_gradient = torch.empty_like(coefficients)
        to_directions = ctx.needs_input_grad[1]
        directions_gradient = torch.empty_like(directions) if to_directions else None
        kernels.harmonic_colours_backward(
            coefficients, directions, colours.detach(), colours_gradient.contiguous(), coefficients_gradient,
            directions_gradient if to_directions else directions, ctx.bands, to_directions)
        return coefficients_gradient, directions_gradient
