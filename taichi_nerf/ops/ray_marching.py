"""Samples of rays in the occupied cells of a grid, packed in ray order.

Sizes: R rays, S samples, C cascades of G^3 cells.
"""

import math

import torch
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import ray_marching as kernels

from ..types import PackedSamples
from ._check import check_result, check_tensor
from .occupancy_grid import check_grid_size

__all__ = ["march_rays"]

UNBOUNDED = 1e10
MOST_SAMPLES = 2**24  # of a ray
RUNS = 16  # runs of consecutive samples recorded per ray; what lies beyond is marched a second time


def march_rays(
    origins: torch.Tensor,
    directions: torch.Tensor,
    bits: torch.Tensor,
    *,
    resolution: int,
    cascades: int,
    step_min: float,
    step_max: float | None = None,
    cone_angle: float = 0.0,
    near: float = 0.0,
    far: float | None = None,
    max_samples: int = 1024,
    seed: int | None = None,
    sample_limit: int | None = None,
) -> PackedSamples:
    """March every ray through the grid and keep the steps that lie in occupied cells.

    A ray's lattice starts where it enters the outermost cube (or at `near`), shifted by a random part of a
    step; its steps are dt = clamp(cone_angle * t, step_min, step_max). A step [t, t + dt] becomes a sample
    at its middle if the cell there is occupied, in the finest cascade that contains the point and whose
    cells are wider than dt. The result depends on nothing but the arguments.

    Args:
        origins: [R, 3], model space, inside or outside of the grid.
        directions: [R, 3], unit length. A ray is followed for four sides of the outermost cube, which those of unit
            length leave before; one that is not finite has no samples.
        bits: [C * G^3 / 32] int32, as `pack_occupancy` makes them: cascade after cascade, Morton order, bit
            c % 32 of word c // 32 is cell c.
        resolution: G. cascades: C; cascade k covers [-0.5 * 2^k, 0.5 * 2^k]^3.
        step_min, step_max: bounds of a step's length (step_max None: no bound).
        cone_angle: growth of the step with distance; 0 for equal steps.
        near, far: samples lie between them, as distances.
        max_samples: a ray's samples after this many are dropped.
        seed: of the jitter, a hash of (seed, ray number); None: no jitter.
        sample_limit: the samples after this many, counted over all rays in ray order, are dropped.

    Returns PackedSamples. Where the samples lie is not differentiable: t, dt and the choice of cells are
    constants. positions = origin + t * direction is differentiable with respect to origins and directions
    (once).

    Raises TypeError or ValueError for an argument of the wrong type, shape or range, and for more samples than a tensor
    can hold.
    """
    check_tensor("origins", origins, (None, 3))
    check_tensor("directions", directions, (origins.shape[0], 3), like=origins)
    check_grid_size(resolution, cascades)
    bits = check_tensor("bits", bits, (cascades * resolution**3 // 32,), dtype=torch.int32)
    if bits.device != origins.device:
        raise ValueError(f"bits must be on {origins.device}, got {bits.device}")
    if not 0 < step_min < math.inf or (step_max is not None and not step_max >= step_min):
        raise ValueError(f"steps must satisfy 0 < step_min <= step_max, got {step_min} and {step_max}")
    if not 0 <= cone_angle <= 0.05:
        raise ValueError(f"cone_angle must be in [0, 0.05], got {cone_angle}")
    if not 0 <= near < math.inf or (far is not None and not far >= near):
        raise ValueError(f"distances must satisfy 0 <= near <= far, got {near} and {far}")
    if not 1 <= max_samples <= MOST_SAMPLES or (sample_limit is not None and sample_limit < 0):
        raise ValueError(f"max_samples must be from 1 to {MOST_SAMPLES} and sample_limit not negative, got "
                         f"{max_samples} and {sample_limit}")
    lattice = (
        resolution,
        cascades,
        cone_angle,
        math.log1p(cone_angle),
        step_min,
        UNBOUNDED if step_max is None else min(step_max, UNBOUNDED),
        near,
        UNBOUNDED if far is None else min(far, UNBOUNDED),
        -1 if seed is None else seed & 0x7FFFFFFF,
    )
    return PackedSamples(*_MarchRays.apply(origins, directions, bits, lattice, max_samples, sample_limit))


class _MarchRays(torch.autograd.Function):
    @staticmethod
    def forward(ctx, origins, directions, bits, lattice, max_samples, sample_limit):
        origins, directions = origins.detach().contiguous(), directions.detach().contiguous()
        rays = origins.shape[0]
        ray_count = bits.new_empty(rays)
        blocks = bits.new_empty(bits.shape[0] // 64 + 6)
        runs = bits.new_empty(rays, 2 * RUNS)
        total = 0
        if rays > 0:
            kernels.march_count(origins, directions, bits, blocks, *lattice, max_samples, ray_count, runs)
        end = torch.cumsum(ray_count, 0)
        if sample_limit is not None:
            end = end.clamp(max=sample_limit)
            ray_count = torch.diff(end, prepend=end.new_zeros(1)).int()
        if rays > 0:
            total = int(end[-1])
            check_result(total, 3)
        ray_start = (end - ray_count).int()
        positions = origins.new_empty(total, 3)
        t, dt = origins.new_empty(total), origins.new_empty(total)
        ray_index = ray_count.new_empty(total)
        if total > 0:
            kernels.fill_samples(
                origins,
                directions,
                bits,
                blocks,
                *lattice,
                runs,
                ray_start,
                ray_count,
                positions,
                t,
                dt,
                ray_index,
            )
        ctx.save_for_backward(t, ray_start, ray_count)
        ctx.mark_non_differentiable(t, dt, ray_index, ray_start, ray_count)
        return positions, t, dt, ray_index, ray_start, ray_count

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_positions, *_):
        t, ray_start, ray_count = ctx.saved_tensors
        grad_origins = t.new_empty(ray_start.shape[0], 3)
        grad_directions = torch.empty_like(grad_origins)
        if ray_start.shape[0] > 0:
            kernels.sample_positions_backward(
                grad_positions.contiguous(), t, ray_start, ray_count, grad_origins, grad_directions
            )
        return (
            grad_origins,
            grad_directions,
            None,  # bits
            None,  # lattice
            None,  # max_samples
            None,  # sample_limit
        )
