"""Fields of points or Gaussians: an encoding with the network behind it, in one form for every model.

R rays with S samples each, N = R S samples in the order of the rays. A field is used in two stages, so that a proposal
needs only the first:

    density, hidden = field.density(...)            [N]
    colour = field.colour(hidden, directions)       [N, 3], of unit directions [R, 3]
"""

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from ..config import FieldConfig, PositionalFieldConfig
from ..ops.positional_encoding import encode_position, encoding_width
from .hash_field import HashField
from .positional_field import PositionalField

__all__ = ["HashPoints", "PositionalPoints", "point_field"]


class PositionalPoints(nn.Module):
    """NeRF's field: sines and cosines of points and directions, and a deep network."""

    tables: tuple = ()

    def __init__(self, config: PositionalFieldConfig, generator: torch.Generator):
        super().__init__()
        self.levels = config.levels
        self.direction_levels = config.direction_levels if config.view_dependent else None
        view_inputs = encoding_width(3, config.direction_levels, True) if config.view_dependent else 0
        self.network = PositionalField(
            encoding_width(3, config.levels, True), view_inputs, width=config.width, depth=config.depth,
            skip=config.skip, bottleneck=config.bottleneck, view_width=config.view_width, density_activation="relu",
            generator=generator)

    def density(self, positions: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of positions [N, 3]; `noise` [N] is added before the activation."""
        return self.network.density(encode_position(positions, self.levels), noise)

    def colour(self, hidden: Tensor, directions: Tensor) -> Tensor:
        if self.direction_levels is None:
            return self.network.colour(hidden)
        return self.network.colour(hidden, encode_position(directions, self.direction_levels))


class HashPoints(nn.Module):
    """Instant-NGP's field, for equally many samples of every ray."""

    def __init__(self, config: FieldConfig, side: float, generator: torch.Generator):
        """Positions are in [-side / 2, side / 2]^3."""
        super().__init__()
        self.field = HashField(config, side, generator)

    @property
    def tables(self) -> list[tuple[Parameter, Tensor]]:
        return [(self.field.table, self.field.table_gradient)]

    def density(self, positions: Tensor, noise: None = None) -> tuple[Tensor, Tensor]:
        return self.field.density(self.field.encode(positions))

    def colour(self, hidden: Tensor, directions: Tensor) -> Tensor:
        samples = hidden.shape[1] // max(len(directions), 1)
        return self.field.colour(hidden, self.field.view(directions).repeat_interleave(samples, dim=1))


def point_field(config: PositionalFieldConfig | FieldConfig, side: float, generator: torch.Generator):
    """The field of `config`, over [-side / 2, side / 2]^3 where it is a hash grid's."""
    if isinstance(config, FieldConfig):
        return HashPoints(config, side, generator)
    return PositionalPoints(config, generator)
