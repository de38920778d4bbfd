"""Instant-NGP's radiance field: hash grid, density network, colour network (Mueller et al. 2022, section 5.4)."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..config import FieldConfig, HashGridConfig
from ..ops.hash_grid import hash_grid_encode, hash_grid_layout
from ..ops.spherical_harmonics import encode_direction
from .mlp import MLP, truncated_exp


class HashDensity(nn.Module):
    """Density at points of the box [-side / 2, side / 2]^3, and features of them: hash grid, then a small network.

        features = encode(positions)            [L * F, S]
        density, geometry = density(features)   [S], [G, S]

    Features are feature-major; parameters are float32.
    """

    def __init__(self, grid: HashGridConfig, side: float, outputs: int, width: int, generator: torch.Generator):
        """`side` of the box in model units; `outputs` G; initial weights come from `generator`."""
        super().__init__()
        self.side = side
        finest = grid.settled(math.inf).max_resolution
        self.layout = hash_grid_layout(levels=grid.levels, features=grid.features, log2_entries=grid.log2_entries,
                                       base_resolution=grid.base_resolution,
                                       max_resolution=int(finest * side))
        self.table = nn.Parameter(_large_zeros(self.layout.entries, self.layout.features))
        with torch.no_grad():
            self.table.uniform_(-1e-4, 1e-4, generator=generator)
        self.density_network = MLP(self.layout.outputs, outputs, width=width, hidden_layers=1, generator=generator)
        self.register_buffer("table_gradient", _large_zeros(*self.table.shape), persistent=False)
        self.level_weights: Tensor | None = None  # [L * F, 1] of the features; None: all are seen

    def encode(self, positions: Tensor, features: Tensor | None = None) -> Tensor:
        """[L * F, S] of positions [S, 3] in model units; `features`: the result, if it is known already."""
        unit = positions / self.side + 0.5
        known = None if features is None else features.t()
        return hash_grid_encode(unit, self.table, self.layout, features=known, table_gradient=self.table_gradient).t()

    def show_levels(self, share: float) -> None:
        """Let the first `share` of the levels be seen, at least one, and all from 1 on.

        The gradients of fine levels change from cell to cell, and hide those of the coarse ones from cameras that are
        still far off. A level comes in along half a cosine (Lin et al. 2021, eq. 14, of frequencies).
        """
        self.level_weights = None
        if share < 1:
            levels = self.layout.outputs // self.layout.features
            level = torch.arange(levels, dtype=self.table.dtype, device=self.table.device)
            seen = (1 + share * (levels - 1) - level).clamp(0, 1)
            weight = 0.5 - 0.5 * torch.cos(math.pi * seen)
            self.level_weights = weight.repeat_interleave(self.layout.features)[:, None]

    def density(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Density [S] per model unit, and what the colour network needs to know of the point, [G, S]."""
        if self.level_weights is not None:
            features = features * self.level_weights
        geometry = self.density_network(features)
        return truncated_exp(geometry[0].to(features.dtype)), geometry


class HashField(HashDensity):
    """Density and colour at points of the box [-side / 2, side / 2]^3.

    The stages are separate, so that a renderer can encode every sample, find which are visible, and evaluate the rest
    of the field and all gradients on those alone:

        features = encode(positions)                            [L * F, S]
        density, geometry = density(features)                   [S], [G, S]
        colour = colour(geometry, view(directions)[:, rays])    [S, 3]
    """

    def __init__(self, config: FieldConfig, side: float, generator: torch.Generator, appearance: int = 0):
        """`appearance`: further rows of the view, beside the encoded direction."""
        super().__init__(config.hash_grid, side, config.geometry_features, config.density_width, generator)
        self.degree = config.direction_degree
        self.colour_network = MLP(config.geometry_features + config.direction_degree**2 + appearance, 3,
                                  width=config.colour_width, hidden_layers=config.colour_layers, generator=generator)

    def view(self, directions: Tensor) -> Tensor:
        """[degree^2, R] of unit directions [R, 3]."""
        return encode_direction(directions, self.degree).t().contiguous()

    def colour(self, geometry: Tensor, view: Tensor) -> Tensor:
        """sRGB colour [S, 3] in [0, 1] from geometry [G, S] and view [degree^2 + appearance, S]."""
        raw = self.colour_network(torch.cat([geometry, view.to(geometry.dtype)]))
        return raw.t().to(view.dtype, memory_format=torch.contiguous_format).sigmoid()


def _large_zeros(*shape: int) -> Tensor:
    """Zeros for scattered access: numpy asks the system for large pages, which halves the time of a table look-up."""
    return torch.from_numpy(np.zeros(shape, np.float32))
