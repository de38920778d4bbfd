"""Fused fully connected networks as a differentiable PyTorch op."""

from collections.abc import Sequence

import torch
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import mlp as kernel

from ._check import check_result, check_tensor

__all__ = ["fused_mlp"]


def fused_mlp(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """A network without bias, with ReLU between its layers and a linear output: [O, N] of x [I, N].

    Args:
        x: [I, N], feature-major.
        weights: of each layer, [fan_out, fan_in], as PyTorch has them. Kernels are compiled for each set of shapes.

    Returns:
        [O, N] in the type of `x`, which is that of every product and sum.

    Differentiable once with respect to `x` and `weights`; the derivative of ReLU at 0 is 0.
    Raises TypeError and ValueError for tensors of another type, shape or device, and for no weights at all.
    """
    if not weights:
        raise ValueError("weights must have at least one layer, got none")
    return _FusedMLP.apply(x, *weights)


class _FusedMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *weights):
        first = check_tensor("weights[0]", weights[0], (None, None))
        checked, sizes = [first], [first.shape[1], first.shape[0]]
        for i, weight in enumerate(weights[1:], 1):
            checked.append(check_tensor(f"weights[{i}]", weight, (None, sizes[-1]), like=first))
            sizes.append(weight.shape[0])
        x = check_tensor("x", x, (sizes[0], None), like=first)
        sizes, count = tuple(sizes), x.shape[1]
        flat = torch.cat([weight.view(-1) for weight in checked])
        check_result(max(sum(sizes[1:-1]), sizes[-1]), count)
        activations = x.new_empty(kernel.mlp_activations_shape(sizes, count))
        y = x.new_empty(sizes[-1], count)
        kernel.mlp_forward(x, flat, activations, y, sizes)
        ctx.save_for_backward(x, flat, activations)
        ctx.sizes = sizes
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, flat, activations = ctx.saved_tensors
        sizes = ctx.sizes
        y_gradient = gradient.to(x.dtype).contiguous()
        x_gradient = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        weight_gradient = torch.zeros_like(flat)
        scratch = x.new_empty(kernel.mlp_scratch_shape(sizes, x.shape[1]))
        kernel.mlp_backward(x, flat, activations, y_gradient, x_gradient, weight_gradient, scratch, sizes)
        shapes = list(zip(sizes[1:], sizes[:-1]))
        parts = weight_gradient.split([rows * columns for rows, columns in shapes])
        return (x_gradient, *(part.view(shape) for part, shape in zip(parts, shapes)))
