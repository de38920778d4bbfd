"""Instant-NGP's radiance field: hash grid, density network, colour network (Mueller et al. 2022, section 5.4).

S samples, R rays; L levels of F features. All is feature-major, [features, S], and stays so within the field.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import runtime
from ..config import FieldConfig, HashGridConfig, SettingError
from ..ops.harmonic_colours import harmonic_colours
from ..ops.hash_grid import HashGridLayout, hash_grid_encode, hash_grid_layout
from ..ops.spherical_harmonics import encode_direction
from ..types import UNKNOWN, Shot, Standing, of_samples
from .field import Field, HashTable, Samples, colour_outputs
from .mlp import MLP, truncated_exp


class Hidden(NamedTuple):
    """What is known of samples besides their density."""

    features: Tensor
    """[L * F, S] of the hash grid."""
    geometry: Tensor
    """[G, S] of the density network: what the colour network needs to know of the point."""


def layout_of(grid: HashGridConfig, side: float, levels: int | None = None) -> HashGridLayout:
    """Of a grid over a box with this side, or of its coarsest `levels` alone. Raises SettingError where it cannot be
    indexed, and UserError where its table, with the gradient, does not fit into the memory."""
    finest = grid.settled(math.inf).max_resolution
    try:
        layout = hash_grid_layout(levels=grid.levels, features=grid.features, log2_entries=grid.log2_entries,
                                  base_resolution=grid.base_resolution, max_resolution=int(finest * side))
    except ValueError as error:  # the settings alone do not say how large the box is
        raise SettingError(f"{error}; use a smaller hash-grid.log2-entries, levels or max-resolution") from None
    layout = layout if levels is None else layout.coarsest(levels)
    runtime.require_memory(2 * 4 * layout.entries * layout.features, "the hash table with its gradient",
                           "use a smaller hash-grid.log2-entries or fewer levels")
    return layout


class HashDensity(Field):
    """Density at points of the box [-side / 2, side / 2]^3: a hash grid, then a small network; a proposal is no more.

        features = encode(samples)              [L * F, S]
        density, hidden = decode(features)      [S]

    Parameters are float32.
    """

    def __init__(self, grid: HashGridConfig, side: float, outputs: int, width: int, generator: torch.Generator, *,
                 told: int = 0, layers: int = 1, levels: int | None = None):
        """`side` of the box in model units; `outputs` G; initial weights come from `generator`. `told`: further inputs
        of the density network, which has so many hidden `layers`; `levels`: the coarsest of the grid that it has, by
        default all."""
        super().__init__()
        self.side = side
        self.layout, self.grid = layout_of(grid, side, levels), grid
        self.table = nn.Parameter(_large_zeros(self.layout.entries, self.layout.features))
        with torch.no_grad():
            self.table.uniform_(-1e-4, 1e-4, generator=generator)
        self.density_network = MLP(self.layout.outputs + told, outputs, width=width, hidden_layers=layers,
                                   generator=generator)
        self.register_buffer("table_gradient", _large_zeros(*self.table.shape), persistent=False)
        self.level_weights: Tensor | None = None  # [L * F, 1] of the features; None: all are seen

    def encode(self, samples: Samples, features: Tensor | None = None) -> Tensor:
        """[L * F, S] of positions [S, 3] in model units, or of these and their widths [S], the standard deviations of
        Gaussians: what is finer is not seen. Of positions [S, K, 3] and widths [S, K] the mean of each K.

        `features`: the result for positions [S, 3], if it is known already.
        """
        samples = self.places(samples)
        positions, widths = (samples, None) if isinstance(samples, Tensor) else samples
        unit = positions.reshape(-1, 3) / self.side + 0.5
        known = None if features is None else features.t()
        found = hash_grid_encode(unit, self.table, self.layout, features=known, table_gradient=self.table_gradient,
                                 widths=None if widths is None else widths.reshape(-1) / self.side).t()
        return found if positions.dim() == 2 else found.view(len(found), *positions.shape[:2]).mean(dim=2)

    def let_in(self, share: float) -> None:
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

    def decode(self, features: Tensor, told: Tensor | None = None) -> tuple[Tensor, Hidden]:
        """Density [S] per model unit of features [L * F, S] and what else is `told` of them, and what is known then."""
        seen = features if self.level_weights is None else features * self.level_weights
        seen = seen if told is None else torch.cat([seen, told])
        geometry = self.density_network(seen)
        return truncated_exp(geometry[0].to(features.dtype)), Hidden(features, geometry)

    def density(self, samples: Samples, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> tuple[Tensor, Hidden]:
        return self.decode(self.encode(samples), self.told(samples, shot, ray_index))

    def density_again(self, samples: Samples, known: tuple[Tensor, Hidden], kept: Tensor, shot: Shot = UNKNOWN,
                      ray_index: Tensor | None = None) -> tuple[Tensor, Hidden]:
        """The look-up is not made again, only its gradient."""
        density, (features, geometry) = known
        if torch.is_grad_enabled():
            features = self.encode(samples, features.index_select(1, kept))
            return self.decode(features, self.told(samples, shot, ray_index))
        return density.index_select(0, kept), Hidden(features, geometry.index_select(1, kept))

    @property
    def features_size(self) -> int:
        return self.layout.outputs

    def features(self, hidden: Hidden) -> Tensor:
        """Those of the grid."""
        return hidden.features

    def tables(self) -> list[HashTable]:
        return [HashTable(self.table, self.table_gradient, tuple(map(int, self.layout.levels[:, 0])),
                          None if self.grid.decay == 0 else self._decay)]

    def _decay(self, standing: Standing) -> float:
        return self.grid.decay_at(standing.progress)


class HashField(HashDensity):
    """Density and colour at points of the box [-side / 2, side / 2]^3: the colour network sees what the density network
    says of the point, the direction in spherical harmonics, and a code of appearance where there is one. With
    `config.harmonics` it sees no direction, and gives coefficients of the colour's harmonics."""

    def __init__(self, config: FieldConfig, side: float, generator: torch.Generator, appearance: int = 0, **density):
        """`appearance`: further rows of the view, beside the encoded direction; `density`: as of `HashDensity`."""
        super().__init__(config.hash_grid, side, config.geometry_features, config.density_width, generator, **density)
        self.degree, self.harmonics, self.appearance = config.direction_degree, config.harmonics, appearance
        seen = self.degree**2 if self.harmonics is None else 0
        self.colour_network = MLP(config.geometry_features + seen + appearance, colour_outputs(self.harmonics),
                                  width=config.colour_width, hidden_layers=config.colour_layers, generator=generator)

    def view(self, directions: Tensor, shot: Shot = UNKNOWN) -> Tensor:
        """[degree^2 + appearance, R] of unit directions [R, 3]."""
        harmonics = encode_direction(directions, self.degree).t().contiguous()
        return torch.cat([harmonics, shot.codes["appearance"].t()]) if self.appearance else harmonics

    def colour(self, hidden: Hidden, directions: Tensor, shot: Shot = UNKNOWN,
               ray_index: Tensor | None = None) -> Tensor:
        if self.harmonics is not None:
            return harmonic_colours(self._coefficients(hidden, shot, ray_index),
                                    of_samples(directions, hidden.geometry.shape[1], ray_index))
        view = self.view(directions, shot)
        raw = self._outputs(hidden, view, ray_index)
        return raw.t().to(view.dtype, memory_format=torch.contiguous_format).sigmoid()

    def colour_coefficients(self, hidden: Hidden, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> Tensor:
        return self._coefficients(hidden, shot, ray_index).t().unflatten(1, (3, -1))

    def _coefficients(self, hidden: Hidden, shot: Shot, ray_index: Tensor | None) -> Tensor:
        """[3 B, S], channel-major."""
        code = shot.codes["appearance"].t() if self.appearance else None
        return self._outputs(hidden, code, ray_index).to(hidden.features.dtype)

    def _outputs(self, hidden: Hidden, view: Tensor | None, ray_index: Tensor | None) -> Tensor:
        """[.., S] of the colour network, which is told `view` [V, R] of the rays; None: nothing."""
        inputs = hidden.geometry
        if view is None or ray_index is None:
            return self.colour_network(inputs, view)
        view = of_samples(view, inputs.shape[1], ray_index, dim=1)
        return self.colour_network(torch.cat([inputs, view.to(inputs.dtype)]))


def _large_zeros(*shape: int) -> Tensor:
    """Zeros for scattered access: numpy asks the system for large pages, which halves the time of a table look-up."""
    return torch.from_numpy(np.zeros(shape, np.float32))
