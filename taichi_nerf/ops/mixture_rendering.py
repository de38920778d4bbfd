"""Pixels of a static and a transient field in one space, differentiable (Martin-Brualla et al. 2021, NeRF in the
Wild)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import mixture_rendering as kernels

from ._check import check_tensor
from .volume_rendering import LAST

__all__ = ["Mixture", "composite_mixture"]


class Mixture(NamedTuple):
    """What R rays show of both fields."""

    colour: Tensor
    """[R, 3], over black."""
    opacity: Tensor
    """[R], 1 - exp(-(all optical depth of both))."""
    uncertainty: Tensor
    """[R], sum of transient weights times beta."""


def composite_mixture(density: Tensor, colour: Tensor, transient_density: Tensor, transient_colour: Tensor,
                      beta: Tensor, fenceposts: Tensor, last: str = "bounded") -> Mixture:
    """Composite S intervals of every ray from front to back, over black, of two fields under one transmittance.

    `w_i = T_i (1 - exp(-density_i dt_i))` and `v_i = T_i (1 - exp(-transient_density_i dt_i))`, where `T_i = exp(-sum
    of (density_j + transient_density_j) dt_j over j < i)`.

    Args:
        density, transient_density: [R, S] per unit of length, at least 0.
        colour, transient_colour: [R, S, 3].
        beta: [R, S], how unsure the transient field is.
        fenceposts: [R, S + 1] distances between which the intervals lie, ascending.
        last: what the last interval is to the static field, as of `composite_intervals`; to the transient one it is
            bounded.

    Returns:
        The mixture. It is differentiable with respect to all six (the length of an infinite or opaque interval has no
        influence by way of the static field).

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; an unknown `last`.
    """
    if last not in LAST:
        raise ValueError(f"last must be one of {', '.join(LAST)}, got {last!r}")
    return Mixture(*_CompositeMixture.apply(density, colour, transient_density, transient_colour, beta, fenceposts,
                                            LAST[last]))


class _CompositeMixture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, colour, transient_density, transient_colour, beta, fenceposts, last):
        density = check_tensor("density", density, (None, None))
        rays, intervals = density.shape
        colour = check_tensor("colour", colour, (rays, intervals, 3), like=density)
        transient_density = check_tensor("transient_density", transient_density, density.shape, like=density)
        transient_colour = check_tensor("transient_colour", transient_colour, colour.shape, like=density)
        beta = check_tensor("beta", beta, density.shape, like=density)
        fenceposts = check_tensor("fenceposts", fenceposts, (rays, intervals + 1), like=density)
        fields = density, colour, transient_density, transient_colour, beta, fenceposts
        ray_colour, opacity, uncertainty = density.new_empty(rays, 3), density.new_empty(rays), density.new_empty(rays)
        through = torch.empty_like(density)
        kernels.composite_mixture_forward(*fields, ray_colour, opacity, uncertainty, through, last)
        ctx.save_for_backward(*fields, opacity, through)
        ctx.last = last
        return ray_colour, opacity, uncertainty

    @staticmethod
    @once_differentiable
    def backward(ctx, *output_gradients):
        given = [tensor.detach() for tensor in ctx.saved_tensors]
        gradients = [torch.empty_like(tensor) for tensor in given[:6]]
        kernels.composite_mixture_backward(*given, *(g.contiguous() for g in output_gradients), *gradients, ctx.last)
        return (
            *gradients,
            None,  # last
        )
