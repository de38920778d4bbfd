"""Positional encoding as PyTorch operations: plain, windowed, integrated. N points of D coordinates, L frequencies."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import positional_encoding as kernels
from taichi_nerf_kernels.positional_encoding import encoding_width

from ._check import check_tensor

__all__ = ["encode_gaussian", "encode_position", "encoding_tangents", "encoding_width"]


def encode_position(x: Tensor, levels: int, *, identity: bool = True, alpha: float | None = None) -> Tensor:
    """Sines and cosines of the coordinates at the frequencies 1, 2, 4, .. 2^(L - 1) (Mildenhall et al. 2020, eq. 4).

    `[x, sin x, cos x, sin 2x, cos 2x, .. ]`, each of all D coordinates; no factor pi. With `alpha` the frequency k has
    the weight `(1 - cos(pi clip(alpha - k, 0, 1))) / 2` (Park et al. 2021, Nerfies, eq. 8), identity the weight 1.

    Args:
        x: [N, D].
        levels: L, at least 0; `encoding_width(D, L, identity)` is the number of features.
        identity: whether x itself is the first feature.
        alpha: how many frequencies are let in, 0 to L; None for all of them. Not differentiable.

    Returns:
        [N, D (2 L + identity)]. Differentiable with respect to x. The result is kept for the backward pass: it must
        not be changed in place.

    Raises:
        TypeError, ValueError: x of another type, shape or dtype; levels below 0; a result too large to be indexed.
    """
    return _Encode.apply(x, None, _window(levels, alpha), identity)


def encode_gaussian(mean: Tensor, variance: Tensor, levels: int, *, identity: bool = False,
                    alpha: float | None = None) -> Tensor:
    """Means of `encode_position` over Gaussians (integrated positional encoding; Barron et al. 2021, eq. 14).

    `exp(-4^k variance / 2) sin(2^k mean)` and the same of the cosine, in the order of `encode_position`. Only the
    marginals along the D coordinates enter. For the off-axis encoding of mip-NeRF 360, `mean` and `variance` are those
    along the D directions of a basis (`ops.contraction.project_gaussians`).

    Args:
        mean: [N, D].
        variance: [N, D], at least 0.
        levels, identity, alpha: as of `encode_position`; mip-NeRF leaves the identity out.

    Returns:
        [N, D (2 L + identity)], differentiable with respect to mean and variance, otherwise as `encode_position`.

    Raises:
        TypeError, ValueError: as `encode_position`.
    """
    return _Encode.apply(mean, variance, _window(levels, alpha), identity)


def encoding_tangents(features: Tensor, dimensions: int) -> Tensor:
    """Derivatives of `encode_position`, with its identity, along each axis, from the `features` that it gave: those of
    a sine are a cosine, and the window is in both.

    Args:
        features: [N, D (2 L + 1)].
        dimensions: D.

    Returns:
        [D, N, D (2 L + 1)].
    """
    identity, bands = features[:, :dimensions], features[:, dimensions:].unflatten(1, (-1, 2, dimensions))
    scale = 2.0 ** torch.arange(bands.shape[1], dtype=features.dtype, device=features.device)
    slopes = torch.stack([bands[:, :, 1], -bands[:, :, 0]], dim=2) * scale[:, None, None]
    slopes = torch.cat([torch.ones_like(identity), slopes.flatten(1)], dim=1)
    axis = torch.arange(slopes.shape[1], device=features.device) % dimensions  # that each feature is of
    return slopes * (axis == torch.arange(dimensions, device=features.device)[:, None])[:, None]


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, variance, window, identity):
        integrated = variance is not None
        x = check_tensor("mean" if integrated else "x", x, (None, None))
        variance = check_tensor("variance", variance, x.shape, like=x) if integrated else x
        width = encoding_width(x.shape[1], len(window), identity)
        if x.shape[0] * width >= 2**31:
            raise ValueError(f"{len(x)} points of {width} features are more than 2^31 numbers: encode fewer at a time")
        features = x.new_empty(x.shape[0], width)
        if features.numel():
            weight = torch.tensor(window, dtype=x.dtype, device=x.device)
            kernels.encode_forward(x, variance, weight, features, identity, integrated)
        ctx.save_for_backward(features)
        ctx.settings = x.shape, len(window), identity, integrated
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx, features_gradient):
        features = ctx.saved_tensors[0].detach()
        shape, levels, identity, integrated = ctx.settings
        x_gradient = features.new_zeros(shape)
        variance_gradient = torch.zeros_like(x_gradient) if integrated else None
        if features.numel():
            kernels.encode_backward(features, features_gradient.contiguous(), levels, x_gradient,
                                    variance_gradient if integrated else x_gradient, identity, integrated)
        return (
            x_gradient,
            variance_gradient,
            None,  # window
            None,  # identity
        )


def _window(levels: int, alpha: float | None) -> list[float]:
    if levels < 0:
        raise ValueError(f"levels must be at least 0, got {levels}")
    return kernels.window(levels, alpha)
