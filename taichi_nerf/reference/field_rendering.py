"""A field's pixels, stage after stage: every sample is evaluated, and what an early stop hides has weight 0."""

import torch

from .harmonic_colours import harmonic_colours
from .hash_grid import hash_grid_encode
from .mlp import mlp
from .ray_marching import march_rays
from .spherical_harmonics import spherical_harmonics
from .volume_rendering import composite, visible_samples


def render_field(origins, directions, occupied, table, density_weights, colour_weights, *, side: float, degree: int,
                 grid: dict, march: dict, early_stop: float, spread=None, harmonic: bool = False):
    """Colour [R, 3], opacity [R], depth [R] (sum w t) and visible samples [R] of rays through a field.

    `occupied` [C, G, G, G] bool; `grid`, `march`: settings of `hash_grid_encode` and `march_rays`; `spread` [R]: widths
    of what rays see at distance 1; `harmonic`: the colour network gives coefficients, and may have one input that is 1.
    """
    positions, t, dt, ray_index, ray_start, ray_count = march_rays(origins, directions, occupied, **march)
    widths = None if spread is None else spread[ray_index.long()] * t / side
    features = hash_grid_encode(positions / side + 0.5, table, **grid, widths=widths)
    geometry = mlp(features.t(), density_weights)  # [G, S]
    density = torch.exp(geometry[0].clamp(max=80))
    if harmonic:
        ones = torch.ones_like(geometry)[: colour_weights[0].shape[1] - len(geometry)]
        colour = harmonic_colours(mlp(torch.cat([geometry, ones]), colour_weights), directions[ray_index.long()])
    else:
        view = spherical_harmonics(directions, degree)[ray_index.long()].t()
        colour = torch.sigmoid(mlp(torch.cat([geometry, view]), colour_weights)).t()
    ray_colour, opacity, depth, _ = composite(density, colour, t, dt, ray_start, ray_count, early_stop)
    return ray_colour, opacity, depth, visible_samples(density, dt, ray_start, ray_count, early_stop)
