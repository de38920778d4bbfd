"""Multiresolution hash encoding as a differentiable PyTorch op."""

from functools import lru_cache

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import hash_grid as kernel
from taichi_nerf_kernels.hash_grid import HashGridLayout, hash_grid_layout

from ._check import check_in_place, check_result, check_tensor

__all__ = ["HashGridLayout", "hash_grid_encode", "hash_grid_layout"]


def hash_grid_encode(positions: torch.Tensor, table: torch.Tensor, layout: HashGridLayout, *,
                     widths: torch.Tensor | None = None, features: torch.Tensor | None = None,
                     table_gradient: torch.Tensor | None = None) -> torch.Tensor:
    """Features of `positions` in the hash grid: [N, L * F].

    Args:
        positions: [N, 3] in the unit cube; outside they are clamped.
        table: [E, F], the trainable entries of all levels.
        layout: from `hash_grid_layout`.
        widths: [N], in units of the cube, standard deviations of isotropic Gaussians around the positions. The features
            of a level with n cells along the cube are multiplied by erf(1 / (sqrt(8) width n)): what is finer than the
            Gaussian is not seen. None, or a width of 0: points, which see all levels in full.
        features: [N, L * F], what this function returned for these arguments, if the caller still has
            it: the forward pass is then skipped, the backward pass stays.
        table_gradient: [E, F]. If given, the gradient of the table is added to it in the backward pass, and autograd
            gets none: no table-sized tensor is allocated in a step.

    Returns:
        [N, L * F], the transposed view of a feature-major [L * F, N] tensor, which matrix products take as it is.

    Differentiable once with respect to `table`, `positions` (piecewise, not at the faces of cells) and `widths`.
    Raises TypeError and ValueError for tensors of another type, shape or device.
    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, section 3; the widths: Barron et al. 2023,
    Zip-NeRF, section 3.2.
    """
    return _HashGridEncode.apply(positions, table, widths, layout, features, table_gradient)


class _HashGridEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions, table, widths, layout, features, table_gradient):
        flat_table = check_tensor("table", table, (layout.entries, layout.features)).view(-1)
        x = check_tensor("positions", positions, (None, 3), like=flat_table)
        if widths is not None:
            widths = check_tensor("widths", widths, (len(x),), like=flat_table)
        levels, scales = _on_device(layout, flat_table.device, flat_table.dtype)
        if features is None:
            check_result(layout.outputs, len(x))
            y = torch.empty(layout.outputs, len(x), dtype=x.dtype, device=x.device)
            kernel.hash_grid_forward(x, flat_table, levels, scales, y, layout.features, widths=widths)
        else:
            y = check_tensor("features", features.t(), (layout.outputs, len(x)), like=flat_table)
        if table_gradient is not None:
            table_gradient = check_in_place("table_gradient", table_gradient, table.shape, like=table)
        ctx.save_for_backward(x, flat_table, widths)
        ctx.layout, ctx.table_gradient = layout, table_gradient
        return y.t()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, flat_table, widths = ctx.saved_tensors
        layout = ctx.layout
        levels, scales = _on_device(layout, flat_table.device, flat_table.dtype)
        y_gradient = gradient.t().to(x.dtype).contiguous()  # [L * F, N]
        x_gradient = widths_gradient = returned = None
        if ctx.needs_input_grad[0]:
            x_gradient = torch.empty_like(x)
            kernel.hash_grid_backward_positions(x, flat_table, y_gradient, levels, scales, x_gradient, layout.features,
                                                widths)
        if ctx.needs_input_grad[1]:
            added_to = ctx.table_gradient
            if added_to is None:
                added_to = returned = torch.zeros(layout.entries, layout.features, dtype=x.dtype, device=x.device)
            kernel.hash_grid_backward_table(x, y_gradient, levels, scales, added_to.view(-1), layout.features,
                                            widths=widths)
        if ctx.needs_input_grad[2]:
            widths_gradient = torch.empty_like(widths)
            kernel.hash_grid_backward_widths(x, widths, flat_table, y_gradient, levels, scales, widths_gradient,
                                             layout.features)
        return (
            x_gradient,
            returned,  # table: None when it was added to table_gradient
            widths_gradient,
            None,  # layout
            None,  # features
            None,  # table_gradient
        )


@lru_cache(maxsize=64)
def _buffers(levels: bytes, scales: bytes, device: torch.device, dtype: torch.dtype):
    table = np.frombuffer(levels, np.int32).reshape(-1, 4)
    return (torch.from_numpy(table.copy()).to(device),
            torch.from_numpy(np.frombuffer(scales, np.float64).copy()).to(device, dtype))


def _on_device(layout: HashGridLayout, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """`layout.levels` and `layout.scales` as tensors."""
    return _buffers(layout.levels.tobytes(), layout.scales.tobytes(), device, dtype)
