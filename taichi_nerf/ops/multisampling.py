"""Six points for each conical frustum as a PyTorch operation. R rays, N intervals of all rays together."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import multisampling as kernels

from ._check import check_rays, check_result, check_tensor, seed_word

__all__ = ["POINTS", "multisample_cones"]

POINTS = kernels.POINTS


def multisample_cones(t_0: Tensor, t_1: Tensor, origins: Tensor, directions: Tensor, radius: Tensor,
                      ray_start: Tensor | None = None, ray_count: Tensor | None = None, *,
                      seed: int | None = None) -> tuple[Tensor, Tensor]:
    """Six points with the mean and extent of each conical frustum, and widths (Barron et al. 2023, Zip-NeRF).

    The points lie on a helix around the ray, at distances t_j along it and `t_j radius / sqrt(2)` from it. A width is
    the standard deviation of the isotropic Gaussian that a point stands for, half of its distance from the ray.

    Args:
        t_0, t_1: [N] ends of the intervals in units of the ray's direction, at least 0, in order along each ray.
        origins: [R, 3].
        directions: [R, 3], of any length but zero.
        radius: [R] of the cone at distance 1 (`ops.conical_frustum.cone_radii`).
        ray_start, ray_count: [R] int32, each ray's first interval and their number; each interval belongs to exactly
            one ray. None: N / R of each ray, one ray after the other.
        seed: of the random turn and reversal of each interval's points. None, for pictures: every second interval of a
            ray is turned by 30 degrees and reversed.

    Returns:
        positions [N, 6, 3] and widths [N, 6]. Differentiable with respect to t_0, t_1, origins, directions and radius;
        for a direction along the z axis, where the axes across the ray jump, as if these stayed.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; intervals that there are not (looked
        at on a CPU only; on a GPU they are left out), or not equally many of each ray.
    """
    return _Multisamples.apply(t_0, t_1, origins, directions, radius, ray_start, ray_count, seed)


class _Multisamples(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t_0, t_1, origins, directions, radius, ray_start, ray_count, seed):
        t_0 = check_tensor("t_0", t_0, (None,))
        t_1 = check_tensor("t_1", t_1, t_0.shape, like=t_0)
        origins = check_tensor("origins", origins, (None, 3), like=t_0)
        directions = check_tensor("directions", directions, origins.shape, like=t_0)
        radius = check_tensor("radius", radius, (len(origins),), like=t_0)
        check_result(len(t_0), POINTS, 3)
        if ray_start is None:
            ray_start, ray_count = _even_rays(len(origins), t_0)
        ray_start, ray_count = check_rays(ray_start, ray_count, len(t_0), like=t_0)
        if len(ray_start) != len(origins):
            raise ValueError(f"ray_start must have shape ({len(origins)}), got {tuple(ray_start.shape)}")
        positions, widths = t_0.new_empty(len(t_0), POINTS, 3), t_0.new_empty(len(t_0), POINTS)
        ctx.draw = seed_word(seed), seed is not None
        word, random = ctx.draw
        kernels.multisampling_forward(t_0, t_1, origins, directions, radius, ray_start, ray_count, word, positions,
                                      widths, random)
        ctx.save_for_backward(t_0, t_1, directions, radius, ray_start, ray_count)
        return positions, widths

    @staticmethod
    @once_differentiable
    def backward(ctx, positions_gradient, widths_gradient):
        t_0, _, directions, radius, *_ = ctx.saved_tensors
        gradients = [torch.empty_like(x) for x in (t_0, t_0, directions, directions, radius)]
        word, random = ctx.draw
        kernels.multisampling_backward(*ctx.saved_tensors, word, positions_gradient.contiguous(),
                                       widths_gradient.contiguous(), *gradients, random)
        return (
            *gradients,
            None,  # ray_start
            None,  # ray_count
            None,  # seed
        )


def _even_rays(rays: int, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Start and count [R] of `samples`, equally many of each ray."""
    each = len(samples) // max(rays, 1)
    if each * rays != len(samples):
        raise ValueError(f"t_0 must have equally many intervals of each of {rays} rays, got {len(samples)}: give "
                         "ray_start and ray_count")
    start = torch.arange(rays, dtype=torch.int32, device=samples.device) * each
    return start, torch.full_like(start, each)
