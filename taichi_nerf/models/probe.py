"""What a model says of any rays and points, in model space: for what is measured and exported, not looked at.

R rays, M points, K visible samples of a piece of the rays. A_i is the opacity in front of sample i, T_i = 1 - A_i, w_i
its weight. Within a sample the density is constant, so that the opacity reaches a between A_i and A_i + w_i at

    t = t_i + (f - 1/2) dt_i,   f = log(1 - (a - A_i) / T_i) / log(1 - w_i / T_i)

which is finer than a sample. A ray's surface is where a share of its opacity is reached. Half of it, the median, is not
moved by what floats thinly in front of a surface, or shines through it, as the mean is. But behind the boundary of a
thing of density sigma the share a is reached only after -log(1 - a) / sigma: a smaller one lies closer to the boundary,
and before the mirror image behind a glaze; what is thinner than that share still does not move it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..types import UNKNOWN, PackedSamples, Rays, Shot
from .pixels import Pixels

__all__ = ["PIECES", "AtPoints", "Seen", "at_points", "look", "next_piece"]

PIECES = {"cpu": (1024, 2**15, 2**17), "cuda": (2**16, 2**20, 2**23)}
# rays of the first piece, rays of a piece at most, and marched samples of a piece to aim at: they bound the memory
POINTS = {"cpu": 2**16, "cuda": 2**20}  # of a piece
NORMAL_REACH = 0.01  # model units to either side over which the density is compared for a normal
NORMAL_STEPS = 1.5  # the same in samples' lengths, where these are longer
TRANSPARENT = 0.01  # optical thickness of this length that counts as nothing
GOLDEN = (1 + 5**0.5) / 2
AXES = tuple(tuple(part / (2 + GOLDEN) ** 0.5 for part in axis) for axis in (  # to the corners of an icosahedron
    (0, 1, GOLDEN), (0, 1, -GOLDEN), (1, GOLDEN, 0), (1, -GOLDEN, 0), (GOLDEN, 0, 1), (-GOLDEN, 0, 1)))
LEAST = 1e-12  # that is divided by
DIRECTIONS = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What R rays meet; on the host, in model units, single precision."""

    colour: Tensor
    """[R, 3] sRGB over black."""
    opacity: Tensor
    """[R]"""
    mean: Tensor
    """[R] distance: sum w t / sum w; infinite where there is nothing."""
    surface: Tensor
    """[R] distance at which the share asked for of the opacity is reached; infinite where there is nothing."""
    free: Tensor
    """[R] distance at which the opacity reaches a threshold; infinite where it never does."""
    sure: Tensor
    """[R] part of the light that comes from within a reach of the surface: what is blurred, or of several things, has
    little."""
    normal: Tensor
    """[R, 3] unit, outwards, at the surface; 0 where there is none, or none was asked for."""


class AtPoints(NamedTuple):
    """What M points are made of; on the host."""

    density: Tensor
    """[M] per model unit."""
    colour: Tensor
    """[M, 3] sRGB."""


def next_piece(count: int, done: int, marched: int, device: torch.device, per_pixel: int = 1) -> int:
    """Pixels of the next piece after `done` with `marched` samples, the last piece of `count`; of the first, 0."""
    first_rays, most_rays, most_marched = PIECES[device.type]
    if done == 0:
        return first_rays // per_pixel
    return min(2 * count, most_rays // per_pixel, max(1, most_marched * done // max(marched, 1)))


@torch.no_grad()
def look(model: nn.Module, rays: Rays, *, normals: bool = False, threshold: float = 0.5, reach: float = 0.0,
         share: float = 0.5, on_rays: Callable[[int, int], None] | None = None) -> Seen:
    """What `rays`, each a pixel of its own, meet; not differentiable.

    Args:
        model: a single model, which says of what samples its pixels are made.
        normals: also find them, with twelve densities more a ray.
        threshold: opacity in (0, 1) at which `Seen.free` ends.
        reach: model units to either side of the surface, for `Seen.sure`.
        share: in (0, 1), of a ray's opacity, that is reached at its surface.
        on_rays: is told how many are done, of how many.
    """
    device, total = rays.origins.device, len(rays)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))  # each piece has as much to do as all
    columns = torch.zeros(total, 11)
    done, marched, count = 0, 0, next_piece(0, 0, 0, device)
    while done < total:
        chosen = order[done : done + count]
        some = rays[chosen.to(device)]
        pixels = model.render(some)
        columns[chosen] = _columns(model, some, pixels, normals, threshold, reach, share).float().cpu()
        done, marched = done + len(chosen), marched + pixels.marched
        count = next_piece(count, done, marched, device)
        if on_rays is not None:
            on_rays(done, total)
    widths = {"colour": 3, "normal": 3}
    parts = columns.split([widths.get(field.name, 1) for field in fields(Seen)], dim=1)
    return Seen(**{field.name: part if field.name in widths else part[:, 0]
                   for field, part in zip(fields(Seen), parts)})


def _columns(model: nn.Module, rays: Rays, pixels: Pixels, normals: bool, threshold: float, reach: float,
             share: float) -> Tensor:
    """[R, 11] as of `Seen`."""
    samples, weights = pixels.samples, pixels.weights.double()
    before, opacity = _opacity_before(weights, samples)
    surface, step = _reached(share * opacity, weights, before, samples)
    mean = torch.zeros_like(opacity).index_add_(0, samples.ray_index, weights * samples.t)
    apart = (samples.t - surface.index_select(0, samples.ray_index)).abs()
    near = torch.zeros_like(opacity).index_add_(0, samples.ray_index, weights * (apart <= reach))
    there = torch.isfinite(surface)
    normal = torch.zeros_like(pixels.colour)
    if normals and bool(there.any()):
        normal[there] = _normals(model, rays[there], surface[there], step[there])
    columns = (pixels.opacity, torch.where(opacity > 0, mean / opacity.clamp_min(LEAST), torch.inf), surface,
               _reached(torch.full_like(opacity, threshold), weights, before, samples)[0],
               near / opacity.clamp_min(LEAST))
    return torch.cat([pixels.colour.double(), *(column[:, None].double() for column in columns), normal.double()],
                     dim=1)


def _opacity_before(weights: Tensor, samples: PackedSamples) -> tuple[Tensor, Tensor]:
    """[K] opacity in front of each sample, [R] that of each ray."""
    ends = torch.cat([weights.new_zeros(1), weights.cumsum(0)])  # [K + 1]
    start, count = samples.ray_start.long(), samples.ray_count.long()
    first = start.clamp(max=len(weights))
    of_ray = ends[(first + count).clamp(max=len(weights))] - ends[first]
    return ends[:-1] - ends[first].index_select(0, samples.ray_index), of_ray


def _reached(opacity: Tensor, weights: Tensor, before: Tensor, samples: PackedSamples) -> tuple[Tensor, Tensor]:
    """[R] distance at which each ray has the `opacity` [R], infinite where it never has, and [R] the length of the
    sample there."""
    wanted = opacity.index_select(0, samples.ray_index)
    inside = (before < wanted) & (before + weights >= wanted)  # of one sample a ray
    ray, left = samples.ray_index[inside].long(), (1 - before[inside]).clamp_min(LEAST)
    whole = (weights[inside] / left).clamp(LEAST, 1 - LEAST)
    part = torch.minimum((wanted - before)[inside] / left, whole)
    share = torch.log1p(-part) / torch.log1p(-whole)
    found, step = torch.full_like(opacity, torch.inf), torch.zeros_like(opacity)
    found[ray] = samples.t[inside].double() + (share - 0.5) * samples.dt[inside]
    step[ray] = samples.dt[inside].double()
    return found, step


def _normals(model: nn.Module, rays: Rays, distance: Tensor, step: Tensor) -> Tensor:
    """[R, 3] unit, at `distance` [R] along rays, where samples are a `step` [R] long.

    The normal is the direction in which log(density h + 0.01) falls, compared at a distance h to either side along six
    axes that are spread evenly. What is next to transparent does not count, and so long a way sees none of a hash
    grid's finest levels, which are mostly noise (Li et al. 2023, Neuralangelo, section 3.2).
    """
    positions = rays.origins + distance[:, None].to(rays.origins) * rays.directions
    reach = (NORMAL_STEPS * step.to(positions)).clamp_min(NORMAL_REACH)  # [R]
    slope = torch.zeros_like(positions)
    for axis in positions.new_tensor(AXES):
        ahead, behind = (model.density(positions + sign * reach[:, None] * axis, rays.shot) for sign in (1, -1))
        slope += (torch.log(behind * reach + TRANSPARENT) - torch.log(ahead * reach + TRANSPARENT))[:, None] * axis
    slope = torch.where((slope * rays.directions).sum(dim=1, keepdim=True) > 0, 0.0, slope)  # what is seen faces us
    return torch.nn.functional.normalize(slope, dim=1)


@torch.no_grad()
def at_points(model: nn.Module, positions: Tensor, directions: Tensor | None = None, shot: Shot = UNKNOWN,
              on_points: Callable[[int, int], None] | None = None) -> AtPoints:
    """Density and colour at positions [M, 3], seen along unit `directions` [M, 3]; without them the mean colour of
    six directions along the axes. `shot` is of all points, R = 1."""
    found, total = [], len(positions)
    for chosen in _pieces(total, POINTS[positions.device.type]):
        some = positions[chosen]
        radiance = model.radiance(some, _of_all(shot, len(some)))
        ways = [directions[chosen]] if directions is not None else [some.new_tensor(way).expand_as(some)
                                                                   for way in DIRECTIONS]
        colour = sum(radiance.colour(way) for way in ways) / len(ways)
        found.append(torch.cat([radiance.density[:, None], colour], dim=1).float().cpu())
        if on_points is not None:
            on_points(min(chosen.stop, total), total)
    values = torch.cat([torch.zeros(0, 4), *found])
    return AtPoints(values[:, 0], values[:, 1:])


def _of_all(shot: Shot, count: int) -> Shot:
    return shot.map(lambda values: values.expand(count, *values.shape[1:]))


def _pieces(total: int, size: int) -> Iterator[slice]:
    for first in range(0, total, size):
        yield slice(first, min(first + size, total))
