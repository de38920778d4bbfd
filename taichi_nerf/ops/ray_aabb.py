"""Where rays enter and leave an axis-aligned box, as a PyTorch operation. R rays."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import ray_aabb as kernels

from ._check import check_tensor


def intersect_ray_aabb(origins: Tensor, directions: Tensor, box: Tensor,
                       minimum: float = 0.0) -> tuple[Tensor, Tensor]:
    """Distances at which rays enter and leave a box (slab test, Kay and Kajiya 1986).

    Args:
        origins: [R, 3].
        directions: [R, 3], of any length but zero; t counts in that length. Components may be zero.
        box: [2, 3], lowest and highest corner. Not differentiable.
        minimum: least t of interest, at least 0: a ray that starts inside the box enters at `minimum`.

    Returns:
        t_near [R] and t_far [R] with `minimum <= t_near <= t_far` for a ray that hits the box, and
        `t_near = minimum, t_far = -1` for one that misses it or has it behind `minimum`. Differentiable with
        respect to origins and directions, except where the ray meets an edge or a corner, where it grazes the
        box, and where it enters at exactly `minimum`: there the gradient is that of one side. The gradient of
        a miss, and of a t_near that is `minimum`, is zero.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; `minimum` below 0.
    """
    if not minimum >= 0:
        raise ValueError(f"minimum must be at least 0, got {minimum}")
    return _RayAABB.apply(origins, directions, box, float(minimum))


class _RayAABB(torch.autograd.Function):
    @staticmethod
    def forward(ctx, origins, directions, box, minimum):
        origins = check_tensor("origins", origins, (None, 3))
        directions = check_tensor("directions", directions, origins.shape, like=origins)
        box = check_tensor("box", box, (2, 3), like=origins)
        t_near, t_far = origins.new_empty(len(origins)), origins.new_empty(len(origins))
        kernels.ray_aabb_forward(origins, directions, box, minimum, t_near, t_far)
        ctx.save_for_backward(origins, directions, box)
        ctx.minimum = minimum
        return t_near, t_far

    @staticmethod
    @once_differentiable
    def backward(ctx, t_near_gradient, t_far_gradient):
        origins, directions, box = ctx.saved_tensors
        origins_gradient, directions_gradient = torch.empty_like(origins), torch.empty_like(directions)
        kernels.ray_aabb_backward(origins, directions, box, ctx.minimum, t_near_gradient.contiguous(),
                                  t_far_gradient.contiguous(), origins_gradient, directions_gradient)
        return (
            origins_gradient,
            directions_gradient,
            None,  # box
            None,  # minimum
        )
