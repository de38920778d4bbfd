"""Sampling along rays in plain PyTorch, by sorting and searching: what the operations must equal."""

import torch

from .random import uniform


def power_ladder(x, power):
    """P(x)."""
    scale = abs(power - 1)
    return scale / power * ((x / scale + 1) ** power - 1)


def inverse_power_ladder(y, power):
    """x with P(x) = y."""
    scale = abs(power - 1)
    return scale * ((power / scale * y + 1) ** (1 / power) - 1)


SPACING = {
    "linear": (lambda t: t, lambda g: g),
    "disparity": (lambda t: 1 / t, lambda g: 1 / g),
    "piecewise": (
        lambda t: torch.where(t < 1, t / 2, 1 - 1 / (2 * t)),
        lambda g: torch.where(g < 0.5, 2 * g, 1 / (2 - 2 * g)),
    ),
    "power-ladder": (lambda t: power_ladder(2 * t, -1.5), lambda g: inverse_power_ladder(g, -1.5) / 2),
}


def distance_from_normalised(s, near, far, spacing):
    """t [R, K]."""
    g, inverse = SPACING[spacing]
    near, far = g(near)[:, None], g(far)[:, None]
    return inverse(s * far + (1 - s) * near)


def normalised_from_distance(t, near, far, spacing):
    """s [R, K]."""
    g, _ = SPACING[spacing]
    return (g(t) - g(near)[:, None]) / (g(far) - g(near))[:, None]


def sample_uniform(rays, count, seed=None, jitter="sample", ends=False):
    """u [R, n], float64."""
    if ends:
        return torch.linspace(0, 1, count, dtype=torch.float64).expand(rays, count)
    inside = torch.full((rays, 1), 0.5, dtype=torch.float64)
    if seed is not None:
        index = torch.arange(rays)[:, None]
        inside = uniform(seed, index if jitter == "ray" else index * count + torch.arange(count))
    return (torch.arange(count) + inside) / count


def sample_histogram(fenceposts, weights, u, padding=0.0, exponent=1.0):
    """Samples [R, n] at the places `u` [R, n] of the cumulative distribution; at 1, where its mass ends."""
    length = fenceposts.diff(dim=1)
    some = (length > 0) & (weights + padding > 0)
    mass = torch.where(some, (weights + padding) ** exponent, torch.zeros_like(length))
    mass = torch.where(mass.sum(1, keepdim=True) > 0, mass, length)
    cdf = torch.cat([torch.zeros_like(mass[:, :1]), mass.cumsum(1) / mass.sum(1, keepdim=True)], dim=1)
    cdf[:, -1] = 1
    with_mass = (mass > 0).cumsum(1).argmax(1, keepdim=True)  # the last of the intervals with mass
    inside = torch.minimum(torch.searchsorted(cdf, u.contiguous(), right=True) - 1, with_mass)
    start, end = cdf.gather(1, inside), cdf.gather(1, inside + 1)
    share = ((u - start) / torch.where(end > start, end - start, torch.ones_like(end))).clamp(0, 1)
    return fenceposts.gather(1, inside) + share * length.gather(1, inside)


def fenceposts_between(samples, low=0.0, high=1.0):
    """[R, n + 1]: half way between samples [R, n], and mirrored in the outermost of them, in [low, high]."""
    middle = (samples[:, 1:] + samples[:, :-1]) / 2
    first = (2 * samples[:, :1] - middle[:, :1]).clamp(min=low)
    last = (2 * samples[:, -1:] - middle[:, -1:]).clamp(max=high)
    return torch.cat([first, middle, last], dim=1)


def blur_weights(weights, padding):
    """[R, S]."""
    wide = torch.cat([weights[:, :1], weights, weights[:, -1:]], dim=1)
    hull = torch.maximum(wide[:, :-1], wide[:, 1:])
    return (hull[:, :-1] + hull[:, 1:]) / 2 + padding


def dilate_histogram(fenceposts, weights, reach, low=0.0, high=1.0):
    """Fenceposts [R, 3 S + 1] and normalised weights [R, 3 S], place by place against all intervals."""
    density = weights / fenceposts.diff(dim=1)
    starts, ends = fenceposts[:, :-1] - reach, fenceposts[:, 1:] + reach
    places = torch.cat([fenceposts, starts, ends], dim=1).sort(dim=1)[0]
    middle = ((places[:, 1:] + places[:, :-1]) / 2)[:, :, None]
    covers = (starts[:, None] <= middle) & (middle < ends[:, None])
    highest = torch.where(covers, density[:, None], torch.zeros_like(density[:, None])).amax(2)
    places = places.clamp(low, high)
    mass = highest * places.diff(dim=1)
    return places, mass / mass.sum(1, keepdim=True)
