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


def select_visible(samples: PackedSamples, density: Tensor, early_stop: float) -> tuple[PackedSamples, Tensor]:
    """The samples in front of where each ray's transmittance falls below `early_stop`, and their indices [K]."""
    kept_count = visible_samples(density, samples.dt, samples.ray_start, samples.ray_count, early_stop)
    ray_start, kept = compact_samples(samples.ray_start, kept_count)
    return PackedSamples(samples.positions.index_select(0, kept), samples.t.index_select(0, kept),
                         samples.dt.index_select(0, kept), samples.ray_index.index_select(0, kept), ray_start,
                         kept_count, None if samples.widths is None else samples.widths.index_select(0, kept)), kept


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

    All samples are asked for their density once. Those that it hides are cut, and the colour and every gradient are
    evaluated on the visible ones alone (Mueller et al. 2022, appendix E).
    """
    # the density of all samples, without gradients: what lies behind a surface is cut
    known = field.look(samples.places, shot, samples.ray_index)  # [S], hidden
    visible, kept = select_visible(samples, known[0], early_stop)  # kept [K]
    # the field at what is left
    density, hidden = field.density_again(visible.places, known, kept, shot, visible.ray_index)  # [K]
    colour = field.colour(hidden, directions, shot, visible.ray_index)  # [K, 3]
    # the cut has been made: composite must not make another one where rounding differs
    colour, opacity, depth, weights = composite(density, colour, visible.t, visible.dt, visible.ray_start,
                                                visible.ray_count, 0.0)
    return Pixels(colour=colour, opacity=opacity, depth=depth, weights=weights, packed=visible, marched=len(samples))
