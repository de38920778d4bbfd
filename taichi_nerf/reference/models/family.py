"""NeRF, mip-NeRF and mip-NeRF 360 in plain PyTorch, ray by ray from near to far: what `taichi_nerf.models` must render.

R rays with origins o and unit directions d, [R, 3], in unit space; near and far [R]. `state` holds the weights by name.
A picture of rays is (colour [R, 3], opacity [R], depth [R], weights [R, S]) over black. Samples are those without
random numbers, or those of `seed`.
"""

import torch

from ..conical_frustum import frustum_gaussians, frustum_moments
from ..contraction import contract, contract_spheres, project_gaussians
from ..interval_sampling import (
    blur_weights,
    dilate_histogram,
    distance_from_normalised,
    fenceposts_between,
    sample_histogram,
    sample_uniform,
)
from ..multisampling import multisample_cones
from ..positional_encoding import encode
from ..volume_rendering import composite_intervals, interval_weights
from .fields import deep_colour, deep_density, hash_colour, hash_density, part


def seed_of(seed, purpose):
    """As in `taichi_nerf.models.intervals`."""
    return None if seed is None else (seed + purpose * 0x9E3779B1) % 2**31


def nerf(state, o, d, near, far, *, coarse, fine, skip, levels, direction_levels, last, spacing="linear", seed=None):
    """Coarse and fine picture of rays: `coarse` points each, and these with `fine` more."""

    def picture(name, s):
        w, t = part(state, name), distance_from_normalised(s, near, far, spacing)
        ends = torch.cat([t, far[:, None]], dim=1)
        x = (o[:, None] + t[..., None] * d[:, None]).reshape(-1, 3)
        density, hidden = deep_density(w, encode(x, levels), skip)
        colour = deep_colour(w, hidden, d, direction_levels)
        return composite_intervals(density.view(s.shape), colour.view(*s.shape, 3), ends, last)

    s = sample_uniform(len(o), coarse, seed_of(seed, 0))
    first = picture("coarse", s)
    u = sample_uniform(len(o), fine, seed_of(seed, 1), ends=seed is None)
    more = sample_histogram((s[:, 1:] + s[:, :-1]) / 2, first[3][:, 1:-1].detach(), u, padding=1e-5)
    return first, picture("fine", torch.cat([s, more], dim=1).sort(dim=1)[0])


def mip_nerf(state, o, d, radius, near, far, *, samples, skip, levels, direction_levels, seed=None, told=None):
    """Coarse and fine picture of cones of `radius` [R], cut into `samples` frustums; `told` [R, A]: what else the
    colour knows of a ray."""
    w = part(state, "field")

    def density(number, name, t):
        mean, variance = (x.reshape(-1, 3) for x in frustum_gaussians(t, o, d, radius))
        return deep_density(w, encode(mean, levels, variance, identity=False), skip, "softplus")

    def colour(hidden):
        return deep_colour(w, hidden, d, direction_levels, padding=0.001, appearance=told)

    return two_looks(near, far, density, colour, samples=samples, seed=seed)


def two_looks(near, far, density, colour, *, samples, seed=None):
    """Coarse and fine picture of cones cut into `samples` pieces, and then anew where those have weights; `density` and
    `colour` as of `mip_nerf_360`."""

    def picture(number, s):
        t = distance_from_normalised(s, near, far, "linear")
        found, hidden = density(number, "field", t)
        return composite_intervals(found.view(len(t), -1), colour(hidden).view(len(t), -1, 3), t)

    s = sample_uniform(len(near), samples + 1, seed_of(seed, 0), ends=seed is None)
    first = picture(0, s)
    u = sample_uniform(len(near), samples + 1, seed_of(seed, 1), ends=seed is None)
    return first, picture(1, sample_histogram(s, blur_weights(first[3].detach(), 0.01), u))


def mip_nerf_360(state, o, d, near, far, density, colour, *, counts, spacing="disparity", anneal=1.0, seed=None,
                 shared=True):
    """Picture of rays, and fenceposts s and weights of every level; the last of `counts` is that of the field. The
    proposals are one, `shared`, or one each.

    `density(number, name, t)` gives [R S] and hidden features of a level between fenceposts t, `colour(hidden)`
    [R S, 3].
    """
    s = torch.stack([torch.zeros_like(near), torch.ones_like(near)], dim=1)
    weights, levels, product = torch.ones_like(s[:, :1]), [], 1
    for number, count in enumerate(counts):
        if number:
            s, weights = (x[:, 1:-1] for x in dilate_histogram(s, weights, 0.0025 + 0.5 / product))
        u = sample_uniform(len(o), count, seed_of(seed, number), "ray")
        centres = sample_histogram(s, weights, u, exponent=anneal)
        s = fenceposts_between(centres)
        t = distance_from_normalised(s, near, far, spacing)
        name = "field" if number == len(counts) - 1 else f"proposals.{0 if shared else number}"
        found, hidden = density(number, name, t)
        weights = interval_weights(found.view(len(o), -1), t, "opaque").detach()
        levels.append((s, weights))
        product *= count
    colours = colour(hidden).view(len(o), -1, 3)
    picture, opacity, _, weights = composite_intervals(found.view(len(o), -1), colours, t, "opaque")
    s = (weights * (s[:, 1:] + s[:, :-1]) / 2).sum(1) / opacity
    depth = opacity * distance_from_normalised(s[:, None], near, far, spacing)[:, 0]
    return (picture, opacity, depth, weights), levels


def cone_density(state, o, d, radius, basis, *, levels, skip):
    """The density function of `mip_nerf_360` for cones: off-axis encoding of contracted Gaussians.

    Proposals are without the `skip` of the field.
    """

    def density(number, name, t):
        moments = frustum_moments(t, radius)
        mean, variance = (x.flatten(0, 1) for x in project_gaussians(o, d, *moments, basis))
        features = encode(mean, levels, variance, identity=False)
        return deep_density(part(state, name), features, skip if name == "field" else None, "softplus")

    return density


def point_density(state, o, d, *, grids, factor):
    """That for points in hash grids: `grids` has the settings of the grid by the name of the field."""

    def density(number, name, t):
        x = o[:, None] + ((t[:, 1:] + t[:, :-1]) / 2)[..., None] * d[:, None]
        found, geometry = hash_density(part(state, name), contract(x.reshape(-1, 3)), 4.0, grids[name])
        return factor * found, geometry

    return density


def width_density(state, o, d, radius, *, grids, factor, six, seed=None, side=4.0):
    """That for a point in the middle of each interval, as wide as a cone of `radius` [R] is there, or for `six` points.
    A grid whose `side` is not 4 is of a box, in which space is as it is.
    """

    def density(number, name, t):
        middle = ((t[:, 1:] + t[:, :-1]) / 2).reshape(-1, 1)
        each = t.shape[1] - 1
        x = o.repeat_interleave(each, 0) + middle * d.repeat_interleave(each, 0)
        widths = radius.repeat_interleave(each) / 2 * middle[:, 0]
        if six:
            x, widths = multisample_cones(t[:, :-1].reshape(-1), t[:, 1:].reshape(-1), o, d, radius,
                                          seed=seed_of(seed, 16 + number))
        x, widths = contract_spheres(x, widths) if side == 4 else (x, widths)
        found, geometry = hash_density(part(state, name), x, side, grids[name], widths)
        return factor * found, geometry

    return density


__all__ = ["cone_density", "deep_colour", "hash_colour", "mip_nerf", "mip_nerf_360", "nerf", "part", "point_density",
           "two_looks", "width_density"]
