"""From ragged samples along rays to pixels. The renderer knows no network: it is handed a field.

P pixels, R rays, S samples, K samples that are visible.
"""

import torch
from torch import Tensor

from ..fields.field import Field
from ..ops.volume_rendering import compact_samples, composite, visible_samples
from ..samplers.regions import cut_samples
from ..types import UNKNOWN, PackedSamples, Rays, Shot
from .pixels import Pixels

__all__ = ["ended", "render_samples", "select_visible"]

FIRST_PASS = 8  # samples of a ray in the first pass
LIGHT = 2  # a sample that is not evaluated takes at least so many times less memory than one that is


def select_visible(samples: PackedSamples, density: Tensor, early_stop: float) -> tuple[PackedSamples, Tensor]:
    """The samples in front of where each ray's transmittance falls below `early_stop`, and their indices [K]."""
    kept_count = visible_samples(density, samples.dt, samples.ray_start, samples.ray_count, early_stop)
    ray_start, kept = compact_samples(samples.ray_start, kept_count)
    return _chosen(samples, kept, ray_start, kept_count), kept


def ended(samples: PackedSamples, rays: Rays) -> PackedSamples:
    """What of the intervals of the samples lies between the begin and the limit of their rays."""
    if rays.begin is None and rays.limit is None:
        return samples
    begin = torch.zeros_like(rays.origins[:, 0]) if rays.begin is None else rays.begin
    limit = torch.full_like(rays.origins[:, 0], torch.inf) if rays.limit is None else rays.limit
    return cut_samples(samples, rays.directions, begin, limit)


def render_samples(field: Field, samples: PackedSamples, directions: Tensor, early_stop: float,
                   shot: Shot = UNKNOWN) -> Pixels:
    """Composite `samples` of rays with unit `directions` [R, 3], which are of `shot`.

    Those behind where a ray ends are cut, and the colour and every gradient are evaluated on the visible ones alone
    (Mueller et al. 2022, appendix E). In a picture, which needs no gradients, few others are asked for their density.
    """
    found = _at_once if torch.is_grad_enabled() else _in_passes
    visible, density, colour, evaluated = found(field, samples, directions, early_stop, shot)
    # the cut has been made: composite must not make another one where rounding differs
    colour, opacity, depth, weights = composite(density, colour, visible.t, visible.dt, visible.ray_start,
                                                visible.ray_count, 0.0)
    return Pixels(colour=colour, opacity=opacity, depth=depth, weights=weights, packed=visible, marched=evaluated)


def _at_once(field: Field, samples: PackedSamples, directions: Tensor, early_stop: float,
             shot: Shot) -> tuple[PackedSamples, Tensor, Tensor, int]:
    """The visible ones of samples, their density [K] and colour [K, 3], and how many evaluations took the memory."""
    known = field.look(samples.places, shot, samples.ray_index)  # [S], hidden
    visible, kept = select_visible(samples, known[0], early_stop)  # kept [K]
    density, hidden = field.density_again(visible.places, known, kept, shot, visible.ray_index)  # [K]
    return visible, density, field.colour(hidden, directions, shot, visible.ray_index), len(samples)


def _in_passes(field: Field, samples: PackedSamples, directions: Tensor, early_stop: float,
               shot: Shot) -> tuple[PackedSamples, Tensor, Tensor, int]:
    """The same without gradients: in each pass the rays that go on take their next samples, twice as many as before.

    So few more are evaluated than are visible, those of a pass in the same launches, and the host waits once in a pass:
    for how many of its samples are visible, how many come next, and of how many rays.
    """
    density, colour = torch.zeros_like(samples.t), torch.zeros_like(samples.positions)  # [S], [S, 3]
    visible_count = torch.zeros_like(samples.ray_count)  # [R]
    # of the L rays that go on, at first all: which they are, their next sample, how many are left from it on, what
    # optical depth lies in front of it, and how many of them this pass takes
    ray, passed = _numbers(samples.ray_count), samples.t.new_zeros(samples.ray_total)
    following, left = samples.ray_start, samples.ray_count
    longest, evaluated, visible_total = FIRST_PASS, 0, 0
    taken = left.clamp(max=longest)
    total, live = torch.stack([taken.sum(), (taken > 0).sum()]).tolist()  # P, L
    while total > 0:
        # rays that have ended are dropped
        _, own = compact_samples(_numbers(ray), (taken > 0).int(), live)
        ray, following, left, passed, taken, directions = (
            values.index_select(0, own) for values in (ray, following, left, passed, taken, directions))
        shot = shot[own.long()]
        # the samples of the pass, and their density
        start, chosen = compact_samples(following, taken, total)  # [L], [P]
        of_ray = torch.repeat_interleave(_numbers(ray), taken, output_size=total)
        some = _chosen(samples, chosen, start, taken, of_ray)
        known = field.look(some.places, shot, of_ray)  # [P], hidden
        # how far each ray sees, and whether it goes on
        fresh = visible_samples(known[0], some.dt, start, taken, early_stop, passed)  # [L]
        visible_count.index_add_(0, ray, fresh)
        following, left, longest, evaluated = following + taken, left - taken, 2 * longest, evaluated + total
        goes_on = (fresh == taken) & (torch.exp(-passed) >= early_stop)
        taken = torch.where(goes_on, left.clamp(max=longest), 0)
        shown, total, live = torch.stack([fresh.sum(), taken.sum(), (taken > 0).sum()]).tolist()
        visible_total += shown
        # what is visible, and its colour
        begin, seen = compact_samples(start, fresh, shown)  # [L], [V]
        visible, place = _chosen(some, seen, begin, fresh), chosen.index_select(0, seen).long()
        thick, hidden = field.density_again(visible.places, known, seen, shot, visible.ray_index)  # [V]
        density.index_copy_(0, place, thick)
        colour.index_copy_(0, place, field.colour(hidden, directions, shot, visible.ray_index))
    start, kept = compact_samples(samples.ray_start, visible_count, visible_total)  # [R], [K]
    return (_chosen(samples, kept, start, visible_count), density.index_select(0, kept), colour.index_select(0, kept),
            evaluated + (len(samples) - evaluated) // LIGHT)


def _numbers(of_rays: Tensor) -> Tensor:
    """[R] int32 of values of R rays: from 0 on."""
    return torch.arange(len(of_rays), dtype=torch.int32, device=of_rays.device)


def _chosen(samples: PackedSamples, index: Tensor, ray_start: Tensor, ray_count: Tensor,
            ray_index: Tensor | None = None) -> PackedSamples:
    """Those numbered `index` [K], packed; their rays may have other numbers now, `ray_index` [K]."""
    return PackedSamples(samples.positions.index_select(0, index), samples.t.index_select(0, index),
                         samples.dt.index_select(0, index),
                         samples.ray_index.index_select(0, index) if ray_index is None else ray_index, ray_start,
                         ray_count, None if samples.widths is None else samples.widths.index_select(0, index))
