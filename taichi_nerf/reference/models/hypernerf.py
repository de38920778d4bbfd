"""HyperNeRF in plain PyTorch: what `taichi_nerf.models.hypernerf` must render. Notation of `t_nerf`."""

import torch

from ..positional_encoding import encode
from .d_nerf import heard_times
from .fields import part
from .nerfies import of_codes, rigid_displacement, warp_codes
from .t_nerf import picture


def hypernerf(state, d, time, samples, early_stop, *, levels, ambient, sees_time, rest=None, **shape):
    """The picture; `ambient` has the frequencies of a point that the slicing surface is told, `levels`, and those of
    what it says that the field is told, `ambient_levels`; the rest as of `nerfies`."""
    x, of_sample, multiply = samples[0], time[samples[3].long()], rest is not None
    codes = warp_codes(state, of_sample, rest)
    warp, surface = part(state, "field.warp"), part(state, "field.surface")
    moved = x + rigid_displacement(warp, x, codes, shape["side"], levels, float(warp["alpha"].detach()), multiply)
    beside = of_codes(surface, encode(2 * x / shape["side"], ambient["levels"]), codes, multiply)
    opened = float(state["field.field.opened"].detach())
    told = encode(beside, ambient["ambient_levels"], identity=False, alpha=opened)
    if sees_time:
        told = torch.cat([heard_times(state, of_sample, shape), told], dim=1)
    return picture(part(state, "field.field"), moved, d, samples, early_stop, told, shape)
