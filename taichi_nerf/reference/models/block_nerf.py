"""Block-NeRF in plain PyTorch: what `taichi_nerf.models.block_nerf` must render. Notation as in `family`."""

import torch

from ..positional_encoding import encode
from .family import mip_nerf
from .fields import network, part


def block_nerf(state, o, d, radius, near, far, ids, stops, *, exposure_levels, **settings):
    """Coarse and fine picture of cones of photos with the appearances `ids` [R], exposed by `stops` [R]."""
    exposure = encode((stops - state["usual_exposure"])[:, None], exposure_levels)
    told = torch.cat([state["codes.appearance.table"][ids], exposure], dim=1)
    return mip_nerf(state, o, d, radius, near, far, told=told, **settings)


def visibility(state, x, d, *, levels):
    """[N] at positions x [N, 3] in [-1, 1]^3, seen along d [R, 3]."""
    seen = encode(d, 4).repeat_interleave(len(x) // len(d), dim=0)
    inputs = torch.cat([encode(x, levels), seen], dim=1)
    return network(part(state, "visibility"), "network", inputs)[:, 0].sigmoid()
