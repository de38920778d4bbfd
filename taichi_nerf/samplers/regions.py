"""Rays through disjoint boxes: where they enter and leave each, in which order, and samples that are cut there.

    K boxes, R rays, S samples; t is a distance along a ray

A box holds what is at least its lower and below its upper corner, so that what lies on a border is in one of two. A
border is crossed at (border - origin) / direction, for the box in front of it as for the one behind it: to the bit the
one ends where the other begins, and each piece of a sample is in one of them.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..types import PackedSamples, Rays

__all__ = ["cut_samples", "interleaved", "spans_of"]


@torch.no_grad()
def spans_of(rays: Rays, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays enter and leave each of boxes [K, 2, 3], whose corners may be infinite: [K, R], equal where they do
    not meet it; and the numbers of the boxes in the order in which each ray meets them, [K, R] int32.

    Not differentiable.
    """
    origins, directions = rays.origins, rays.directions
    parallel = directions == 0
    slope = torch.where(parallel, 1.0, directions)
    first, second = ((boxes[:, side, None] - origins) / slope for side in (0, 1))  # [K, R, 3]
    inside = (origins >= boxes[:, 0, None]) & (origins < boxes[:, 1, None])
    always = torch.where(inside, float("inf"), -float("inf"))
    begin = torch.where(parallel, -always, torch.minimum(first, second))
    end = torch.where(parallel, always, torch.maximum(first, second))
    enter = begin.amax(dim=2).clamp_min(0)
    leave = torch.maximum(end.amin(dim=2), enter)
    return enter, leave, enter.argsort(dim=0, stable=True).int()


def cut_samples(samples: PackedSamples, directions: Tensor, enter: Tensor, leave: Tensor) -> PackedSamples:
    """What of the intervals of `samples` lies between `enter` and `leave` [R] of their rays; those that lie there as a
    whole stay as they are to the bit. Positions follow along `directions` [R, 3], and are as differentiable as before.
    """
    begin, end = samples.t - samples.dt / 2, samples.t + samples.dt / 2
    first = torch.maximum(begin, enter.index_select(0, samples.ray_index))
    last = torch.minimum(end, leave.index_select(0, samples.ray_index))
    whole = (first == begin) & (last == end)
    if bool(whole.all()):
        return samples
    kept = (first < last).nonzero()[:, 0]
    t = torch.where(whole, samples.t, (first + last) / 2)[kept]
    ray_index = samples.ray_index[kept]
    moved = (t - samples.t[kept])[:, None] * directions.index_select(0, ray_index)
    ray_count = torch.zeros_like(samples.ray_count).index_add_(0, ray_index, torch.ones_like(ray_index))
    return replace(samples, positions=samples.positions[kept] + moved, t=t, ray_index=ray_index,
                   dt=torch.where(whole, samples.dt, last - first)[kept], ray_count=ray_count,
                   ray_start=(ray_count.cumsum(0) - ray_count).int())


def interleaved(of_boxes: Sequence[PackedSamples], order: Tensor) -> tuple[PackedSamples, Tensor]:
    """The samples of all K boxes along each ray, which meets them in `order` [K, R]; and for each of these S which it
    is of all, box after box: [S]."""
    order, counts = order.long(), torch.stack([samples.ray_count for samples in of_boxes])
    along = counts.gather(0, order).t().reshape(-1)  # ray after ray
    start = torch.empty_like(counts, dtype=torch.int64).scatter_(
        0, order, (along.cumsum(0) - along).view(-1, len(of_boxes)).t())  # [K, R] of each box the first
    place = torch.cat([start[k].index_select(0, samples.ray_index) + _number_in_ray(samples)
                       for k, samples in enumerate(of_boxes)])
    index = torch.empty_like(place).scatter_(0, place, torch.arange(len(place), device=place.device))

    def all_of(name: str) -> Tensor:
        return torch.cat([getattr(samples, name) for samples in of_boxes])[index]

    ray_count = counts.sum(dim=0, dtype=torch.int32)
    widths = None if of_boxes[0].widths is None else all_of("widths")
    return PackedSamples(all_of("positions"), all_of("t"), all_of("dt"), all_of("ray_index"),
                         (ray_count.cumsum(0) - ray_count).int(), ray_count, widths), index


def _number_in_ray(samples: PackedSamples) -> Tensor:
    """[S], of each sample among those of its ray."""
    number = torch.arange(len(samples), device=samples.t.device)
    return number - samples.ray_start.index_select(0, samples.ray_index)
