"""Nerfies in plain PyTorch: what `taichi_nerf.models.nerfies` must render. Notation of `t_nerf`."""

import math

import torch

from ..positional_encoding import encode
from ..se3 import displacement
from .d_nerf import heard_times
from .fields import network, part
from .t_nerf import picture


def codes_at(table, known, time):
    """[S, A]: codes of times [S], between those of the times known [T] that have a code each in the table [T, A]."""
    hats = torch.stack([torch.clamp(1 - (time - middle).abs() * (len(known) - 1), min=0) for middle in known], dim=1)
    return hats @ table  # known times are evenly spaced from 0 to 1


def codes_from(table, known, time, rest):
    """Those that are waves of the time beside what is learned, nothing at the time of rest; [S, A] of an even A."""
    count = table.shape[1] // 2
    angles = [math.pi * k * (time - rest) for k in range(1, count + 1)]
    waves = [torch.sin(angle) / (k + 1) for k, angle in enumerate(angles)]
    waves += [(1 - torch.cos(angle)) / (k + 1) for k, angle in enumerate(angles)]
    learned, at_rest = (codes_at(table, known, at) for at in (time, torch.full_like(time, rest)))
    return torch.stack(waves, dim=1) + learned - at_rest


def rigid_displacement(w, x, codes, side, levels, alpha=None, multiply=True):
    """[S, 3] of positions x [S, 3] with codes [S, A], which multiply what the network says or are told to it."""
    unit = 2 * x / side
    return displacement(of_codes(w, encode(unit, levels, alpha=alpha), codes, multiply), unit) * side / 2


def of_codes(w, encoded, codes, multiply):
    """[S, O]: what a network says of encoded points [S, I], times the codes [S, A], or of both."""
    if multiply:
        return torch.einsum("ska,sa->sk", network(w, "network", encoded).view(len(codes), -1, codes.shape[1]), codes)
    return network(w, "network", torch.cat([encoded, codes], dim=1))


def warp_codes(state, time, rest):
    """[S, A] of times [S]; with a time of `rest` they multiply."""
    given = state["codes.warp.table"], state["codes.warp.time"], time
    return codes_at(*given) if rest is None else codes_from(*given, rest)


def nerfies(state, d, time, samples, early_stop, *, levels, sees_time, rest=None, **shape):
    """The picture; `levels` of the coordinates that the warp is told, `sees_time` says whether the field is told the
    time. With a time of `rest` codes multiply."""
    x, of_sample = samples[0], time[samples[3].long()]
    warp, multiply = part(state, "field.warp"), rest is not None
    codes = warp_codes(state, of_sample, rest)
    moved = x + rigid_displacement(warp, x, codes, shape["side"], levels, float(warp["alpha"].detach()), multiply)
    told = heard_times(state, of_sample, shape) if sees_time else None
    return picture(part(state, "field.field"), moved, d, samples, early_stop, told, shape)
