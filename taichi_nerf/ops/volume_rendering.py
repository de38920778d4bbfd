"""Volume rendering of packed samples, and of dense intervals, as PyTorch operations.

R rays; packed, S samples of all rays together; dense, S intervals of each ray.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import volume_rendering as kernels

from ._check import check_in_place, check_rays, check_result, check_tensor

LAST = {"bounded": kernels.BOUNDED, "infinite": kernels.INFINITE, "opaque": kernels.OPAQUE}


def composite(density: Tensor, colour: Tensor, t: Tensor, dt: Tensor, ray_start: Tensor, ray_count: Tensor,
              early_stop: float = 1e-4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Composite the samples of every ray from front to back, over black (Mildenhall et al. 2020, eq. 3).

    `w_i = T_i (1 - exp(-density_i dt_i))` with `T_i = exp(-sum of density_j dt_j over j < i)`. A ray ends in
    front of the first sample with `T_i < early_stop` (0: never); what lies behind has weight and gradient 0.

    Args:
        density: [S] per unit of length, at least 0.
        colour: [S, 3].
        t: [S] distance of each sample along its ray.
        dt: [S] length of its interval.
        ray_start: [R] int32, index of each ray's first sample.
        ray_count: [R] int32, number of its samples, in order of t; each sample belongs to exactly one ray.
        early_stop: transmittance in [0, 1) below which a ray ends.

    Returns:
        colour [R, 3] without background (add `(1 - opacity) * background`), opacity [R], depth [R] = sum of
        `w_i t_i` (divide by the opacity for a mean distance), weights [S]. All are differentiable with
        respect to density, colour, t and dt; not differentiable is where the early stop falls.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; `early_stop` out of range; samples
        that there are not (looked at on a CPU only; on a GPU they are left out).
    """
    return _Composite.apply(density, colour, t, dt, ray_start, ray_count, _checked_threshold(early_stop))


def composite_intervals(density: Tensor, colour: Tensor, fenceposts: Tensor,
                        last: str = "bounded") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Composite S intervals of every ray from front to back, over black: `composite` for a dense grid of samples.

    Args:
        density: [R, S] per unit of length, at least 0.
        colour: [R, S, 3].
        fenceposts: [R, S + 1] distances between which the intervals lie, ascending.
        last: what the last interval is. "bounded" by its fencepost; "infinite", for its optical depth 1e10 long, as in
            NeRF: opaque if it has any density; "opaque" in any case, as in mip-NeRF 360, so that the opacity is 1.

    Returns:
        colour [R, 3] without background, opacity [R], depth [R] = sum of w_i times the middle of interval i, weights
        [R, S]. All are differentiable with respect to density, colour and fenceposts (the length of an infinite or
        opaque interval has no influence, and so no gradient; its middle has).

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; an unknown `last`.
    """
    return _CompositeIntervals.apply(density, colour, fenceposts, _checked_last(last))


def interval_weights(density: Tensor, fenceposts: Tensor, last: str = "bounded") -> Tensor:
    """The weights [R, S] of `composite_intervals`, for proposal networks, which have no colour; arguments as there.

    Differentiable with respect to density and fenceposts.
    """
    return _IntervalWeights.apply(density, fenceposts, _checked_last(last))


def visible_samples(density: Tensor, dt: Tensor, ray_start: Tensor, ray_count: Tensor, early_stop: float = 1e-4,
                    passed: Tensor | None = None) -> Tensor:
    """Number of samples [R] int32 of each ray that come before its transmittance falls below `early_stop`.

    They are the samples to which `composite` gives a weight; arguments as there. Not differentiable.

    `passed` [R] is the optical depth of what lies in front of the samples, none by default; that of those that are
    counted is added to it, so that a ray may be followed piece by piece.
    """
    density = check_tensor("density", density, (None,))
    dt = check_tensor("dt", dt, density.shape, like=density)
    ray_start, ray_count = check_rays(ray_start, ray_count, len(density), like=density)
    passed = density.new_zeros(len(ray_start)) if passed is None else passed
    check_in_place("passed", passed, ray_start.shape, like=density)
    kept_count = torch.empty_like(ray_count)
    kernels.count_visible(density, dt, ray_start, ray_count, _checked_threshold(early_stop), passed, kept_count)
    return kept_count


def compact_samples(ray_start: Tensor, kept_count: Tensor, kept: int | None = None) -> tuple[Tensor, Tensor]:
    """Pack the first `kept_count` samples of every ray without gaps, in the order of the rays.

    Args:
        ray_start: [R] int32, index of each ray's first sample.
        kept_count: [R] int32, how many of its samples stay.
        kept: K, the sum of these, where it is known: no more and no less, which is looked at on a CPU only, and then
            the counts must be at least 0.

    Returns:
        new ray_start [R] int32, the exclusive scan of `kept_count`, which is the new ray_count; and
        sample_index [K] int32 of the samples that stay, so that `packed = samples[sample_index]`. Not
        differentiable. K is read back if it is not given, which on a GPU waits for the device.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; counts below 0, or of 2^31 samples.
    """
    ray_start = check_tensor("ray_start", ray_start, (None,), torch.int32)
    kept_count = check_tensor("kept_count", kept_count, ray_start.shape, like=ray_start)
    if kept_count.numel() == 0:
        return torch.empty_like(ray_start), torch.empty_like(ray_start)
    end = torch.cumsum(kept_count, 0)
    if kept is None or ray_start.device.type == "cpu":
        least, total = torch.stack([kept_count.min().long(), end[-1]]).tolist()
        if least < 0:
            raise ValueError(f"kept_count must be at least 0, got {least}")
        if kept is not None and kept != total:
            raise ValueError(f"kept must be the sum of kept_count, {total}, got {kept}")
        kept = total
        check_result(kept)
    new_start = (end - kept_count).int()
    sample_index = torch.empty(kept, dtype=torch.int32, device=ray_start.device)
    kernels.list_kept(ray_start, kept_count, new_start, sample_index)
    return new_start, sample_index


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, colour, t, dt, ray_start, ray_count, early_stop):
        density = check_tensor("density", density, (None,))
        colour = check_tensor("colour", colour, (len(density), 3), like=density)
        t = check_tensor("t", t, density.shape, like=density)
        dt = check_tensor("dt", dt, density.shape, like=density)
        ray_start, ray_count = check_rays(ray_start, ray_count, len(density), like=density)
        rays = len(ray_start)
        ray_colour = density.new_empty(rays, 3)
        opacity, depth = density.new_empty(rays), density.new_empty(rays)
        weights = torch.empty_like(density)
        kept_count = torch.empty_like(ray_count)
        kernels.composite_forward(density, colour, t, dt, ray_start, ray_count, early_stop,
                                  ray_colour, opacity, depth, weights, kept_count)
        ctx.save_for_backward(density, colour, t, dt, ray_start, ray_count, opacity, weights, kept_count)
        return ray_colour, opacity, depth, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, *output_gradients):
        # The saved outputs require grad, which the kernels must not see.
        density, colour, t, dt, *rays = (tensor.detach() for tensor in ctx.saved_tensors)
        given = *rays, *(gradient.contiguous() for gradient in output_gradients)
        density_gradient = colour_gradient = t_gradient = dt_gradient = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            density_gradient, colour_gradient = torch.empty_like(density), torch.empty_like(colour)
            kernels.composite_backward(colour, t, dt, *given, density_gradient, colour_gradient)
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            t_gradient, dt_gradient = torch.empty_like(t), torch.empty_like(dt)
            kernels.composite_backward_intervals(density, colour, t, *given, t_gradient, dt_gradient)
        return (
            density_gradient,
            colour_gradient,
            t_gradient,
            dt_gradient,
            None,  # ray_start
            None,  # ray_count
            None,  # early_stop
        )


class _CompositeIntervals(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, colour, fenceposts, last):
        density, fenceposts = _checked_intervals(density, fenceposts)
        colour = check_tensor("colour", colour, (*density.shape, 3), like=density)
        rays = len(density)
        ray_colour = density.new_empty(rays, 3)
        opacity, depth = density.new_empty(rays), density.new_empty(rays)
        weights = torch.empty_like(density)
        kernels.composite_dense_forward(density, colour, fenceposts, ray_colour, opacity, depth, weights, last)
        ctx.save_for_backward(density, colour, fenceposts, opacity, weights)
        ctx.last = last
        return ray_colour, opacity, depth, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, *output_gradients):
        given = [tensor.detach() for tensor in ctx.saved_tensors]
        gradients = [torch.empty_like(tensor) for tensor in given[:3]]
        kernels.composite_dense_backward(*given, *(g.contiguous() for g in output_gradients), *gradients, ctx.last)
        return (
            *gradients,
            None,  # last
        )


class _IntervalWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, fenceposts, last):
        density, fenceposts = _checked_intervals(density, fenceposts)
        weights = torch.empty_like(density)
        kernels.weights_dense_forward(density, fenceposts, weights, last)
        ctx.save_for_backward(density, fenceposts, weights)
        ctx.last = last
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx, weights_gradient):
        given = [tensor.detach() for tensor in ctx.saved_tensors]
        gradients = [torch.empty_like(tensor) for tensor in given[:2]]
        kernels.weights_dense_backward(*given, weights_gradient.contiguous(), *gradients, ctx.last)
        return (
            *gradients,
            None,  # last
        )


def _checked_intervals(density: Tensor, fenceposts: Tensor) -> tuple[Tensor, Tensor]:
    density = check_tensor("density", density, (None, None))
    return density, check_tensor("fenceposts", fenceposts, (len(density), density.shape[1] + 1), like=density)


def _checked_last(last: str) -> int:
    if last not in LAST:
        raise ValueError(f"last must be one of {', '.join(LAST)}, got {last!r}")
    return LAST[last]


def _checked_threshold(early_stop: float) -> float:
    if not 0 <= early_stop < 1:
        raise ValueError(f"early_stop must be at least 0 and below 1, got {early_stop}")
    return float(early_stop)
