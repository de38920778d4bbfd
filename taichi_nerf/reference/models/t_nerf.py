"""T-NeRF in plain PyTorch: what `taichi_nerf.models.t_nerf` must render.

R rays with unit directions d [R, 3] at times [R]; `samples` of them, the fields of PackedSamples in order. `state`
holds the weights by name. `shape` has the settings: side, grid, degree, time_levels. A picture of rays is (colour
[R, 3], opacity [R], depth [R], weights [S]) over black.
"""

import torch

from ..positional_encoding import encode
from ..volume_rendering import composite
from .fields import deep_colour, deep_density, hash_colour, hash_density, part


def t_nerf(state, d, time, samples, early_stop, **shape):
    """The picture."""
    positions, ray = samples[0], samples[3].long()
    told = encode(time[ray, None], shape["time_levels"])
    return picture(part(state, "field"), positions, d, samples, early_stop, told, shape)


def picture(w, positions, d, samples, early_stop, told, shape):
    """Of a field with weights `w` at `positions` [S, 3] for the samples, of which it is `told` [S, T] or None; deep
    where the shape has a `deep` with its frequencies and its skip."""
    _, t, dt, ray, start, count = samples
    if "deep" in shape:
        deep, scale = shape["deep"], 2 / shape["side"]
        x = torch.cat([encode(scale * positions, deep["levels"]), *([] if told is None else [told])], dim=1)
        density, h = deep_density(w, x, deep["skip"], activation="softplus")
        colour = deep_colour(w, h, d, deep["direction_levels"], ray=ray.long())
        return composite(scale * density, colour, t, dt, start, count, early_stop)
    density, geometry = hash_density(w, positions, shape["side"], shape["grid"], told=told)
    colour = hash_colour(w, geometry, d[ray.long()], shape["degree"])
    return composite(density, colour, t, dt, start, count, early_stop)
