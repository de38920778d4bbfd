"""Where along rays to look, as PyTorch operations. R rays, S intervals. None is differentiable but `power_ladder`.

s is a distance normalised to [0, 1], t a distance; a histogram has fenceposts [R, S + 1], ascending, and weights
[R, S], at least 0. Samples are in order along each ray. With a seed they are random: a hash of (seed, index) decides,
so the same seed gives the same samples, and every step and level of a model wants a seed of its own; without a seed
they lie in the middle of equal parts of the mass, or evenly from where it begins to where it ends.
"""

import torch
from torch import Tensor

from taichi_nerf_kernels import interval_sampling as kernels

from ._check import check_result, check_tensor, seed_word

__all__ = [
    "blur_weights",
    "dilate_histogram",
    "distance_from_normalised",
    "merge_sorted",
    "normalised_from_distance",
    "power_ladder",
    "resample_mip_nerf",
    "resample_mip_nerf_360",
    "sample_histogram",
    "sample_uniform",
]

SPACINGS = {"linear": kernels.LINEAR, "disparity": kernels.DISPARITY, "piecewise": kernels.PIECEWISE,
            "power-ladder": kernels.POWER_LADDER}
JITTERS = {"sample": kernels.JITTERED, "ray": kernels.JITTERED_RAY}


def distance_from_normalised(s: Tensor, near: Tensor, far: Tensor, spacing: str = "linear") -> Tensor:
    """t [R, K] of s [R, K] in [0, 1]: the distance at which that share of the way from near to far is done.

    The way is measured in g(t): "linear" t, "disparity" 1 / t (near above 0), "piecewise" t / 2 below 1 and
    1 - 1 / (2 t) above, which allows near = 0 (nerfacto), "power-ladder" `power_ladder(2 t, -1.5)`, which does, too
    (Zip-NeRF). near and far are [R]. Not differentiable.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; an unknown spacing.
    """
    return _mapped(kernels.to_distance, "s", s, near, far, spacing)


def normalised_from_distance(t: Tensor, near: Tensor, far: Tensor, spacing: str = "linear") -> Tensor:
    """s [R, K] of t [R, K], the inverse of `distance_from_normalised`. Not differentiable."""
    return _mapped(kernels.to_normalised, "t", t, near, far, spacing)


def power_ladder(x: Tensor, power: float) -> Tensor:
    """`|p - 1| / p ((x / |p - 1| + 1)^p - 1)` of x of any shape, at least 0 (Barron et al. 2023, Zip-NeRF).

    About x near 0, and a line of x^p far away: with a negative power below `|p - 1| / |p|`. Differentiable.

    Raises:
        ValueError: the power 0 or 1, which are limits of the formula.
    """
    if power in (0, 1):
        raise ValueError(f"power must be neither 0 nor 1, got {power}")
    scale = abs(power - 1)
    return scale / power * ((x / scale + 1) ** power - 1)


def sample_uniform(rays: int, count: int, *, like: Tensor, seed: int | None = None, jitter: str = "sample",
                   ends: bool = False) -> Tensor:
    """[rays, count] stratified samples of [0, 1]: one in each of `count` equal parts, of the type and device of `like`.

    Args:
        seed: of the random numbers; None for the middle of each part.
        jitter: "sample" for a random number for each sample, "ray" for one that all samples of a ray share.
        ends: without a seed, evenly from 0 to 1 with both ends: S + 1 of them are the fenceposts of S intervals.

    Raises:
        ValueError: a negative number of rays or samples; an unknown jitter; `ends` with a seed.
    """
    if rays < 0 or count < 0:
        raise ValueError(f"rays and count must be at least 0, got {rays} and {count}")
    check_result(rays, count)
    samples = torch.empty(rays, count, dtype=like.dtype, device=like.device)
    kernels.sample_uniform(seed_word(seed), samples, _mode(seed, jitter, ends))
    return samples


def sample_histogram(fenceposts: Tensor, weights: Tensor, count: int, *, seed: int | None = None,
                     jitter: str = "sample", ends: bool = False, padding: float = 0.0,
                     exponent: float = 1.0) -> Tensor:
    """Samples [R, count] of each ray's histogram by its inverse cumulative distribution, in ascending order.

    The mass of an interval is `(w + padding)^exponent`, 0 without weight or length; a ray without mass is sampled
    evenly. Samples lie between the first and the last place with mass, and with `ends` the outermost lie there.

    Args:
        fenceposts: [R, S + 1], S at least 1.
        weights: [R, S].
        seed, jitter, ends: as of `sample_uniform`.
        padding: 1e-5 in NeRF, 0.01 in mip-NeRF (added by `blur_weights`).
        exponent: below 1 it evens the histogram out: the annealing of mip-NeRF 360.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; a number out of range.
    """
    return _sampled(fenceposts, weights, count, seed, jitter, ends, padding, exponent)


def merge_sorted(a: Tensor, b: Tensor) -> Tensor:
    """[R, A + B], the numbers of a [R, A] and b [R, B] in ascending order, where each is so already."""
    a = check_tensor("a", a, (None, None))
    b = check_tensor("b", b, (len(a), None), like=a)
    check_result(len(a), a.shape[1] + b.shape[1])
    merged = a.new_empty(len(a), a.shape[1] + b.shape[1])
    kernels.merge_sorted(a, b, merged)
    return merged


def blur_weights(weights: Tensor, padding: float = 0.01) -> Tensor:
    """`(max(w_{i-1}, w_i) + max(w_i, w_{i+1})) / 2 + padding` of weights [R, S] (Barron et al. 2021, eq. 18)."""
    weights = check_tensor("weights", weights, (None, None))
    blurred = torch.empty_like(weights)
    if weights.numel():
        kernels.blur(weights, float(padding), blurred)
    return blurred


def dilate_histogram(fenceposts: Tensor, weights: Tensor, reach: float, low: float = 0.0,
                     high: float = 1.0) -> tuple[Tensor, Tensor]:
    """The histogram whose density is the highest within `reach` (mip-NeRF 360), normalised.

    Args:
        fenceposts: [R, S + 1], S at least 1.
        weights: [R, S].
        reach: at least 0.
        low, high: the new fenceposts do not leave that range.

    Returns:
        fenceposts [R, 3 S + 1] and weights [R, 3 S] with the sum 1, or 0 if all weights are.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; a number out of range.
    """
    if not reach >= 0:
        raise ValueError(f"reach must be at least 0, got {reach}")
    fenceposts, weights = _checked_histogram(fenceposts, weights)
    rays, intervals = weights.shape
    check_result(rays, 3 * intervals + 1)
    queue = torch.empty(rays, intervals, dtype=torch.int32, device=weights.device)
    new_fenceposts, new_weights = weights.new_empty(rays, 3 * intervals + 1), weights.new_empty(rays, 3 * intervals)
    kernels.dilate(fenceposts, weights, float(reach), float(low), float(high), queue, new_fenceposts, new_weights)
    return new_fenceposts, new_weights


def resample_mip_nerf(fenceposts: Tensor, weights: Tensor, count: int, *, seed: int | None = None,
                      padding: float = 0.01) -> Tensor:
    """New fenceposts [R, count + 1] of mip-NeRF's second level: samples of the blurred histogram, not merged.

    Without a seed, as its code evaluates, the outermost are the ends of the histogram.
    """
    return sample_histogram(fenceposts, blur_weights(weights, padding), count + 1, seed=seed, ends=seed is None)


def resample_mip_nerf_360(fenceposts: Tensor, weights: Tensor, count: int, *, reach: float, anneal: float = 1.0,
                          seed: int | None = None, jitter: str = "ray", low: float = 0.0, high: float = 1.0) -> Tensor:
    """New fenceposts [R, count + 1] of a level of mip-NeRF 360: half way between samples of the dilated histogram.

    The outermost are the next ones mirrored in the outermost samples, clipped to [low, high] as in the paper's code.

    Args:
        fenceposts: [R, S + 1] of s, S at least 1. The first level starts from the single interval [0, 1].
        weights: [R, S] of the level before.
        count: intervals wanted, at least 2.
        reach: of `dilate_histogram`; 0 leaves the histogram as it is. `0.0025 + 0.5 / (product of the counts of the
            levels before)` in the paper's code.
        anneal: exponent of the weights; `10 f / (9 f + 1)` at the fraction f of the training.
        seed, jitter: as of `sample_uniform`.
        low, high: range of s.

    Raises:
        TypeError, ValueError: as `sample_histogram`; a count below 2.
    """
    if count < 2:
        raise ValueError(f"count must be at least 2, got {count}")
    if reach > 0:
        fenceposts, weights = dilate_histogram(fenceposts, weights, reach, low, high)
        fenceposts, weights = fenceposts[:, 1:-1], weights[:, 1:-1]
    return _sampled(fenceposts, weights, count, seed, jitter, False, 0.0, anneal, between=(low, high))


def _sampled(fenceposts, weights, count, seed, jitter, ends, padding, exponent, *, between=None) -> Tensor:
    fenceposts, weights = _checked_histogram(fenceposts, weights)
    if count < 0:
        raise ValueError(f"count must be at least 0, got {count}")
    if not (padding >= 0 and exponent >= 0):
        raise ValueError(f"padding and exponent must be at least 0, got {padding} and {exponent}")
    low, high = between or (0.0, 0.0)
    check_result(len(weights), count + 1)
    samples = weights.new_empty(len(weights), count + (between is not None))
    kernels.sample_histogram(fenceposts, weights, float(padding), float(exponent), seed_word(seed), float(low),
                             float(high), samples, _mode(seed, jitter, ends), between is not None)
    return samples


def _mapped(kernel, name, values, near, far, spacing) -> Tensor:
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    values = check_tensor(name, values, (None, None))
    near = check_tensor("near", near, (len(values),), like=values)
    far = check_tensor("far", far, (len(values),), like=values)
    mapped = torch.empty_like(values)
    kernel(values, near, far, mapped, SPACINGS[spacing])
    return mapped


def _checked_histogram(fenceposts: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    weights = check_tensor("weights", weights, (None, None))
    if weights.shape[1] < 1:
        raise ValueError("weights must have at least one column")
    return check_tensor("fenceposts", fenceposts, (len(weights), weights.shape[1] + 1), like=weights), weights


def _mode(seed: int | None, jitter: str, ends: bool) -> int:
    if jitter not in JITTERS:
        raise ValueError(f"jitter must be one of {', '.join(JITTERS)}, got {jitter!r}")
    if seed is None:
        return kernels.ENDS if ends else kernels.CENTRE
    if ends:
        raise ValueError("ends is for samples without a seed")
    return JITTERS[jitter]
