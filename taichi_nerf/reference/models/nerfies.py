"""Nerfies in plain PyTorch: what `taichi_nerf.models.nerfies` must render. Notation of `t_nerf`."""

import torch

from ..positional_encoding import encode
from ..se3 import displacement
from .fields import network, part
from .t_nerf import picture


def codes_at(table, known, time):
    """[S, A]: codes of times [S], between those of the times known [T] that have a code each in the table [T, A]."""
    hats = torch.stack([torch.clamp(1 - (time - middle).abs() * (len(known) - 1), min=0) for middle in known], dim=1)
    return hats @ table  # known times are evenly spaced from 0 to 1


def rigid_displacement(w, x, codes, side, levels, alpha=None):
    """[S, 3] of positions x [S, 3] with codes [S, A]."""
    unit = 2 * x / side
    twists = network(w, "network", torch.cat([encode(unit, levels, alpha=alpha), codes], dim=1))
    return displacement(twists, unit) * side / 2


def nerfies(state, d, time, samples, early_stop, *, levels, sees_time, **shape):
    """The picture; `levels` of the coordinates that the warp is told, `sees_time` says whether the field is told the
    time."""
    x, of_sample = samples[0], time[samples[3].long()]
    warp = part(state, "field.warp")
    codes = codes_at(state["codes.warp.table"], state["codes.warp.time"], of_sample)
    moved = x + rigid_displacement(warp, x, codes, shape["side"], levels, float(warp["alpha"].detach()))
    told = encode(of_sample[:, None], shape["time_levels"]) if sees_time else None
    return picture(part(state, "field.field"), moved, d, samples, early_stop, told, shape)
