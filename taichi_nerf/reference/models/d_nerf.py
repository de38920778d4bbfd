"""D-NeRF in plain PyTorch: what `taichi_nerf.models.d_nerf` must render. Notation of `t_nerf`."""

import math

import torch

from ..positional_encoding import encode
from .fields import network, part
from .t_nerf import picture


def trajectories(w, x, time, side, levels, waves, rest):
    """[S, 3] of positions x [S, 3] at times [S]: nothing at the time of rest."""
    sines, cosines = network(w, "network", encode(2 * x / side, levels)).view(-1, 3, 2, waves).unbind(dim=2)
    moved = 0
    for k in range(1, waves + 1):
        angle = math.pi * k * (time[:, None] - rest)
        moved = moved + (sines[..., k - 1] * torch.sin(angle) + cosines[..., k - 1] * (1 - torch.cos(angle))) / k
    return moved * side / 2


def displacement(w, x, time, side, levels, time_levels):
    """[S, 3] of positions x [S, 3] at times [S]: nothing at the time 0."""
    inputs = torch.cat([encode(2 * x / side, levels), encode(time[:, None], time_levels)], dim=1)
    return torch.where(time[:, None] > 0, network(w, "network", inputs) * side / 2, 0)


def heard_times(state, time, shape):
    """What the field is told of times [S], as much of it as the state has."""
    return encode(time[:, None], shape["time_levels"]) * state.get("field.field.heard", 1)


def d_nerf(state, d, time, samples, early_stop, *, warp, sees_time, **shape):
    """The picture; `warp` has the settings of the displacement, `sees_time` says whether the field is told the time."""
    x, of_sample = samples[0], time[samples[3].long()]
    way = trajectories if "waves" in warp else displacement
    moved = x + way(part(state, "field.warp"), x, of_sample, shape["side"], **warp)
    told = heard_times(state, of_sample, shape) if sees_time else None
    return picture(part(state, "field.field"), moved, d, samples, early_stop, told, shape)
