"""Deep fields: a positional encoding of points or of Gaussians, with NeRF's network behind it.

R rays, N samples in the order of the rays, equally many of each or as an index says (see `fields.field`).
"""

import torch
from torch import Tensor

from ..config import PositionalFieldConfig
from ..ops.harmonic_colours import harmonic_colours
from ..ops.positional_encoding import encode_gaussian, encode_position, encoding_width
from ..types import UNKNOWN, Shot, of_samples
from .field import Field, colour_outputs
from .positional_field import PositionalField

__all__ = ["EncodedGaussians", "EncodedPoints"]


class _Deep(Field):
    """A deep network behind the encoded samples, and the encoding of the directions."""

    def __init__(self, inputs: int, config: PositionalFieldConfig, appearance: int, generator: torch.Generator,
                 **options):
        super().__init__()
        self.levels, self.harmonics, self.appearance = config.levels, config.harmonics, appearance
        sees_direction = config.view_dependent and self.harmonics is None
        self.direction_levels = config.direction_levels if sees_direction else None
        seen = encoding_width(3, config.direction_levels, True) if sees_direction else 0
        self.network = PositionalField(
            inputs, seen + appearance, width=config.width, depth=config.depth, skip=config.skip,
            bottleneck=config.bottleneck, view_width=config.view_width, generator=generator,
            colour_outputs=colour_outputs(self.harmonics), **options)

    @property
    def features_size(self) -> int:
        return self.network.density_layer.in_features

    def features(self, hidden: Tensor) -> Tensor:
        return hidden.t()

    def colour(self, hidden: Tensor, directions: Tensor, shot: Shot = UNKNOWN,
               ray_index: Tensor | None = None) -> Tensor:
        """Of what depends on the ray a part is computed once for each. Harmonics know no padding."""
        if self.harmonics is not None:
            raw = self._raw_coefficients(hidden, shot, ray_index)
            return harmonic_colours(raw.t().contiguous(), of_samples(directions, len(raw), ray_index))
        of_ray = [] if self.direction_levels is None else [encode_position(directions, self.direction_levels)]
        of_ray += [shot.codes["appearance"]] if self.appearance else []
        return self.network.colour(hidden, torch.cat(of_ray, dim=1) if of_ray else None, ray_index)

    def colour_coefficients(self, hidden: Tensor, shot: Shot = UNKNOWN, ray_index: Tensor | None = None) -> Tensor:
        return self._raw_coefficients(hidden, shot, ray_index).unflatten(1, (3, -1))

    def _raw_coefficients(self, hidden: Tensor, shot: Shot, ray_index: Tensor | None) -> Tensor:
        """[N, 3 B], channel-major."""
        return self.network.raw_colour(hidden, shot.codes["appearance"] if self.appearance else None, ray_index)


class EncodedPoints(_Deep):
    """NeRF's field: sines and cosines of the coordinates before a deep network."""

    def __init__(self, config: PositionalFieldConfig, generator: torch.Generator, *, appearance: int = 0, told: int = 0,
                 **options):
        """`told`: further inputs of the network."""
        super().__init__(encoding_width(3, config.levels, True) + told, config, appearance, generator, **options)

    def density(self, samples: Tensor, shot: Shot = UNKNOWN, ray_index: Tensor | None = None, *,
                noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of positions [N, 3]; `noise` [N] is added before the activation."""
        features, told = encode_position(self.places(samples), self.levels), self.told(samples, shot, ray_index)
        return self.network.density(features if told is None else torch.cat([features, told.t()], dim=1), noise)


class EncodedGaussians(_Deep):
    """The field of mip-NeRF, and with more axes that of mip-NeRF 360: means of sines and cosines over Gaussians."""

    def __init__(self, config: PositionalFieldConfig, axes: int, generator: torch.Generator, *, appearance: int = 0,
                 **options):
        super().__init__(encoding_width(axes, config.levels, False), config, appearance, generator,
                         density_activation="softplus", **options)

    def density(self, samples: tuple[Tensor, Tensor], shot: Shot = UNKNOWN,
                ray_index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of Gaussians: means and variances, [N, D] each."""
        return self.network.density(encode_gaussian(*samples, self.levels))
