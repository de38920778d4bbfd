"""T-NeRF in plain PyTorch: what `taichi_nerf.models.t_nerf` must render.

R rays with unit directions d [R, 3] at times [R]; `samples` of them, the fields of PackedSamples in order. `state`
holds the weights by name. `shape` has the settings: side, grid, degree, time_levels. A picture of rays is (colour
[R, 3], opacity [R], depth [R], weights [S]) over black.
"""

from ..positional_encoding import encode
from ..volume_rendering import composite
from .fields import hash_colour, hash_density, part


def t_nerf(state, d, time, samples, early_stop, **shape):
    """The picture."""
    positions, ray = samples[0], samples[3].long()
    told = encode(time[ray, None], shape["time_levels"])
    return picture(part(state, "field"), positions, d, samples, early_stop, told, shape)


def picture(w, positions, d, samples, early_stop, told, shape):
    """Of a field with weights `w` at `positions` [S, 3] for the samples, of which it is `told` [S, T] or None."""
    _, t, dt, ray, start, count = samples
    density, geometry = hash_density(w, positions, shape["side"], shape["grid"], told=told)
    colour = hash_colour(w, geometry, d[ray.long()], shape["degree"])
    return composite(density, colour, t, dt, start, count, early_stop)
