"""NeRF in the wild in plain PyTorch: what `taichi_nerf.models.nerf_w` must render. Notation as in `family`.

A `field(w, x, d, appearance)` with weights `w` says of points x [N, 3] of rays with directions d [R, 3] and codes
[R, A] their density [N], colour [N, 3] and the features [N, F] that what passes by is told.
"""

import torch
import torch.nn.functional as F

from ..hash_grid import hash_grid_encode
from ..interval_sampling import distance_from_normalised, sample_histogram, sample_uniform
from ..mixture_rendering import composite_mixture
from ..positional_encoding import encode
from ..volume_rendering import composite_intervals
from .family import seed_of
from .fields import deep_colour, deep_density, hash_colour, hash_density, network, part


def deep_field(w, x, d, appearance, *, skip, levels, direction_levels):
    """NeRF's network."""
    density, hidden = deep_density(w, encode(x, levels), skip, "softplus")
    return density, deep_colour(w, hidden, d, direction_levels, appearance=appearance), hidden


def hash_field(w, x, d, appearance, *, side, grid, degree):
    """A hash grid with its two networks; the features are those of the grid."""
    density, geometry = hash_density(w, x, side, grid)
    features = hash_grid_encode(x / side + 0.5, w["table"], **grid)
    return density, hash_colour(w, geometry, d, degree, appearance), features


def nerf_w(state, o, d, near, far, ids, *, coarse, fine, field, last, seed=None):
    """Coarse and fine picture of what stands, of rays of photos `ids` [R]; and, with a seed, what the fine one is in
    training: colour, opacity, uncertainty, and the mean transient density [R]."""
    appearance, transient = (state[f"codes.{name}.table"][ids] for name in ("appearance", "transient"))

    def picture(name, s):
        w, t = part(state, name), distance_from_normalised(s, near, far, "linear")
        ends = torch.cat([t, far[:, None]], dim=1)
        x = (o[:, None] + t[..., None] * d[:, None]).reshape(-1, 3)
        density, colour, hidden = field(w, x, d, appearance)
        density, colour = density.view(s.shape), colour.view(*s.shape, 3)
        return composite_intervals(density, colour, ends, last), (density, colour, hidden, ends)

    s = sample_uniform(len(o), coarse, seed_of(seed, 0))
    first, _ = picture("coarse", s)
    u = sample_uniform(len(o), fine, seed_of(seed, 1), ends=seed is None)
    more = sample_histogram((s[:, 1:] + s[:, :-1]) / 2, first[3][:, 1:-1], u, padding=1e-5)
    second, (density, colour, hidden, ends) = picture("fine", torch.cat([s, more], dim=1).sort(dim=1)[0])
    told = transient.repeat_interleave(density.shape[1], dim=0)
    raw = network(part(state, "transient"), "network", torch.cat([hidden, told], dim=1)).view(*density.shape, 5)
    passing = F.softplus(raw[..., 0] - 3)
    mixture = composite_mixture(density, colour, passing, raw[..., 1:4].sigmoid(), F.softplus(raw[..., 4]), ends, last)
    return first, second, (*mixture, passing.mean(dim=1))
