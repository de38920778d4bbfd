"""The fields in plain PyTorch, by the names of their weights: what `taichi_nerf.fields` must equal. N samples, R rays.

`w` maps names to tensors, as `state_dict` of a field gives them.
"""

import torch
import torch.nn.functional as F

from ..hash_grid import hash_grid_encode
from ..positional_encoding import encode
from ..spherical_harmonics import spherical_harmonics


def part(state, name):
    """The weights of a part of a model."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def linear(w, name, x):
    """[N, O]"""
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def deep_density(w, x, skip, activation="relu", noise=0.0):
    """Density [N] and hidden features of encoded samples [N, I]."""
    h = x
    for i in range(sum(name.startswith("network.trunk.") for name in w) // 2):
        h = linear(w, f"network.trunk.{i}", h).relu()
        if i == skip:
            h = torch.cat([x, h], dim=1)
    raw = linear(w, "network.density_layer", h)[:, 0] + noise
    return (raw.relu() if activation == "relu" else F.softplus(raw - 1)), h


def deep_colour(w, h, directions, levels, padding=0.0, appearance=None, ray=None):
    """Colour [N, 3] of hidden features [N, H], seen along directions [R, 3], with appearance vectors [R, A] or None; of
    rays [N], or equally many of each."""
    view = encode(directions, levels)
    if appearance is not None:
        view = torch.cat([view, appearance], dim=1)
    view = view.repeat_interleave(len(h) // len(directions), dim=0) if ray is None else view[ray]
    h = linear(w, "network.view_layer", torch.cat([linear(w, "network.bottleneck_layer", h), view], dim=1)).relu()
    return linear(w, "network.colour_layer", h).sigmoid() * (1 + 2 * padding) - padding


def network(w, name, x):
    """[N, O] of x [N, I]: products and ReLU, biases where there are some, and x once more where a layer wants it."""
    layers = [w[f"{name}.weights.{i}"] for i in range(sum(key.startswith(f"{name}.weights.") for key in w))]
    h = x
    for i, weight in enumerate(layers):
        h = h if h.shape[1] == weight.shape[1] else torch.cat([x, h], dim=1)
        h = h @ weight.T + w.get(f"{name}.biases.{i}", 0)
        h = h.relu() if i < len(layers) - 1 else h
    return h


def hash_density(w, positions, side, grid, widths=None, told=None):
    """Density [N] and geometry [N, G] at positions [N, 3] of [-side / 2, side / 2]^3, of Gaussians with widths [N] if
    given; of positions [N, K, 3] and widths [N, K] the features are the mean of each K. `grid`: its settings; `told`
    [N, T]: what else the network knows."""
    flat = None if widths is None else widths.reshape(-1) / side
    features = hash_grid_encode(positions.reshape(-1, 3) / side + 0.5, w["table"], **grid, widths=flat)
    if positions.dim() == 3:
        features = features.view(*positions.shape[:2], -1).mean(1)
    features = features if told is None else torch.cat([features, told], dim=1)
    geometry = network(w, "density_network", features)
    return geometry[:, 0].exp(), geometry


def hash_colour(w, geometry, directions, degree, appearance=None):
    """Colour [N, 3]."""
    view = spherical_harmonics(directions, degree)
    if appearance is not None:
        view = torch.cat([view, appearance], dim=1)
    view = view.repeat_interleave(len(geometry) // len(directions), dim=0)
    return network(w, "colour_network", torch.cat([geometry, view], dim=1)).sigmoid()
