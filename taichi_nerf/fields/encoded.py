"""Fields of points and of Gaussians: an encoding with the network behind it, in one form for every model.

R rays with S samples each, N = R S samples in the order of the rays. A field is used in two stages, so that a proposal
needs the first alone:

    density, hidden = field.density(samples)                    [N]
    colour = field.colour(hidden, directions, appearance)       [N, 3], of unit directions [R, 3]

Samples are what the encoding wants: points [N, 3], or the means and variances of Gaussians along D axes, [N, D] each.
`appearance` [R, A] holds a vector for each ray, if the field was made for one.
"""

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from ..config import FieldConfig, HashProposalConfig, PositionalFieldConfig
from ..ops.positional_encoding import encode_gaussian, encode_position, encoding_width
from .hash_field import HashDensity, HashField
from .positional_field import PositionalField

__all__ = ["EncodedGaussians", "EncodedPoints", "HashPoints", "HashProposal"]


class _Deep(nn.Module):
    """A deep network behind the encoded samples, and the encoding of the directions."""

    tables: tuple = ()

    def __init__(self, inputs: int, config: PositionalFieldConfig, appearance: int, generator: torch.Generator,
                 **options):
        super().__init__()
        self.levels = config.levels
        self.direction_levels = config.direction_levels if config.view_dependent else None
        seen = encoding_width(3, config.direction_levels, True) if config.view_dependent else 0
        self.network = PositionalField(
            inputs, seen + appearance, width=config.width, depth=config.depth, skip=config.skip,
            bottleneck=config.bottleneck, view_width=config.view_width, generator=generator, **options)

    def colour(self, hidden: Tensor, directions: Tensor, appearance: Tensor | None = None) -> Tensor:
        of_ray = [] if self.direction_levels is None else [encode_position(directions, self.direction_levels)]
        of_ray += [] if appearance is None else [appearance]
        return self.network.colour(hidden, torch.cat(of_ray, dim=1) if of_ray else None)


class EncodedPoints(_Deep):
    """NeRF's field: sines and cosines of the coordinates before a deep network."""

    def __init__(self, config: PositionalFieldConfig, generator: torch.Generator):
        super().__init__(encoding_width(3, config.levels, True), config, 0, generator)

    def density(self, positions: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of positions [N, 3]; `noise` [N] is added before the activation."""
        return self.network.density(encode_position(positions, self.levels), noise)


class EncodedGaussians(_Deep):
    """The field of mip-NeRF, and with more axes that of mip-NeRF 360: means of sines and cosines over Gaussians."""

    def __init__(self, config: PositionalFieldConfig, axes: int, generator: torch.Generator, *, appearance: int = 0,
                 **options):
        super().__init__(encoding_width(axes, config.levels, False), config, appearance, generator,
                         density_activation="softplus", **options)

    def density(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Of Gaussians, [N, D] each."""
        return self.network.density(encode_gaussian(mean, variance, self.levels))


class HashPoints(nn.Module):
    """Instant-NGP's field, for equally many samples of every ray."""

    def __init__(self, config: FieldConfig, side: float, generator: torch.Generator, appearance: int = 0):
        """Positions are in [-side / 2, side / 2]^3."""
        super().__init__()
        self.field = HashField(config, side, generator, appearance)

    @property
    def tables(self) -> list[tuple[Parameter, Tensor]]:
        return [(self.field.table, self.field.table_gradient)]

    def density(self, positions: Tensor, noise: None = None) -> tuple[Tensor, Tensor]:
        """Of positions [N, 3]; it knows no noise."""
        return self.field.density(self.field.encode(positions))

    def colour(self, hidden: Tensor, directions: Tensor, appearance: Tensor | None = None) -> Tensor:
        of_ray = self.field.view(directions)
        if appearance is not None:
            of_ray = torch.cat([of_ray, appearance.t()])
        return self.field.colour(hidden, of_ray.repeat_interleave(hidden.shape[1] // max(len(directions), 1), dim=1))


class HashProposal(nn.Module):
    """Density alone, from a small hash grid."""

    def __init__(self, config: HashProposalConfig, side: float, generator: torch.Generator):
        """Positions are in [-side / 2, side / 2]^3."""
        super().__init__()
        self.field = HashDensity(config.hash_grid, side, 1, config.width, generator)

    @property
    def tables(self) -> list[tuple[Parameter, Tensor]]:
        return [(self.field.table, self.field.table_gradient)]

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Of positions [N, 3]."""
        return self.field.density(self.field.encode(positions))
