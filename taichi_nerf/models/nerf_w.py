"""NeRF in the wild: photos of one place in many lights, with people in the way (Martin-Brualla et al. 2021).

A code for each photo tells the colour, and only the colour, of its light. A second field, at the last level and in
training alone, holds what one photo shows and no other does: both are composited under one transmittance. Where that
field is unsure, the error of a pixel counts less:

    loss = |C - truth|^2 / (2 beta^2) + log beta + transient_weight * mean transient density,

where |C - truth|^2 is the mean of the squares over the channels, and
beta = min_uncertainty + what the ray shows of the uncertainty. The first level is without that field, and adds
half of its squared error. The floor is added after compositing, since before it nothing keeps beta from 0. A picture
has the light of the code that is asked for, and the transmittance of what stands alone.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..config import FieldConfig, NeRFWConfig
from ..fields.codes import Codes
from ..fields.encoded import EncodedPoints
from ..fields.field import Field
from ..fields.hash_field import HashField
from ..fields.transient import TransientField
from ..losses import squared_error, weighted_mean
from ..ops.mixture_rendering import composite_mixture
from ..types import Batch, Rays, Standing
from .model import Box, ParameterGroup
from .nerf import NeRF, Seen
from .pixels import Pixels

__all__ = ["NeRFW"]


class NeRFW(NeRF):
    """NeRF's two fields, and what passes by. Everything random is a function of `seed`."""

    def __init__(self, config: NeRFWConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, seed, counts)
        generator = torch.Generator().manual_seed(seed + 1)  # the fields have taken theirs from the other
        if config.appearance:
            self.codes["appearance"] = Codes(self.counts.get("appearance", 0), config.appearance, generator)
        self.transient: TransientField | None = None
        if config.transient:
            self.codes["transient"] = Codes(self.counts.get("transient", 0), config.transient_code, generator)
            self.transient = TransientField(
                self._finest.features_size, config.transient_code, width=config.transient_width,
                hidden_layers=config.transient_layers, generator=generator)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        if self.transient is None:
            return super().losses(pixels, batch, standing)
        *coarse, last = pixels.levels
        beta = self.config.min_uncertainty + last.pixels.extras["uncertainty"]  # [P]
        error = (last.pixels.over(batch.background) - batch.target).square()  # [P, 3]
        terms = {}
        if coarse:
            first = coarse[0].pixels.over(batch.background)
            terms["coarse"] = 0.5 * squared_error(first, batch.target, batch.weight)
        return terms | {
            "fine": weighted_mean(error / (2 * beta.square()[:, None]), batch.weight),
            "uncertainty": weighted_mean(beta.log()[:, None], batch.weight),
            "transient": self.config.transient_weight * last.pixels.extras["transient"].mean()}

    def parameter_groups(self) -> list[ParameterGroup]:
        groups = super().parameter_groups()
        if self.transient is not None:
            groups.append(ParameterGroup(name="transient", parameters=list(self.transient.parameters()),
                                         kind="network"))
        return groups

    def _field(self, generator: torch.Generator) -> Field:
        config = self.config
        if isinstance(config.field, FieldConfig):
            return HashField(config.field, self.box.aabb_scale * self.scale, generator, config.appearance)
        return EncodedPoints(config.field, generator, appearance=config.appearance, density_activation="softplus")

    def _with_others(self, seen: Seen, unit: Rays, pixels: Pixels, standing: Standing | None) -> Pixels:
        """In training, the last level behind and between what passes by."""
        if self.transient is None or standing is None or seen.field is not self._finest:
            return pixels
        found = self.transient(seen.field.features(seen.hidden), unit.shot.codes["transient"])
        density = self._per_t(found.density.view(seen.density.shape), unit)  # [R, S]
        mixture = composite_mixture(seen.density, seen.colour, density, found.colour.view(seen.colour.shape),
                                    found.beta.view(density.shape), seen.t, self._last(unit))
        return replace(pixels, colour=mixture.colour, opacity=mixture.opacity,
                       extras={"uncertainty": mixture.uncertainty, "transient": density.mean(dim=1)})
