"""Block-NeRF: a part of a street, as mip-NeRF sees it, and from where that part is seen (Tancik et al. 2022).

    colour of a ray     is told gamma(e - usual e), the exposure of its photo in stops, and the code of its appearance
    visibility T(x, d)  is taught by the transmittance of the field's own first samples, and teaches it nothing

Whoever looks from elsewhere asks the visibility whether this block has anything to show of what is seen.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..config import BlockNeRFConfig
from ..fields.codes import Codes, with_codes
from ..fields.visibility import Visibility
from ..ops.positional_encoding import encode_position, encoding_width
from ..types import Batch, Shot, Standing
from .mip_nerf import MipNeRF
from .model import Box, ParameterGroup
from .pixels import Pixels

__all__ = ["BlockNeRF"]


class BlockNeRF(MipNeRF):
    """A field that is told exposure and appearance, and a visibility. Everything random is a function of `seed`."""

    knows_visibility = True

    def __init__(self, config: BlockNeRFConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, seed, counts)
        generator = torch.Generator().manual_seed(seed + 1)  # the field has taken its numbers from the other
        self.visibility = Visibility(config.visibility_levels, width=config.visibility_width,
                                     hidden_layers=config.visibility_layers, generator=generator)
        if config.appearance:
            self.codes["appearance"] = Codes(self.counts.get("appearance", 0), config.appearance, generator)
        self.register_buffer("usual_exposure", torch.zeros(()))  # stops: the mean of the training images

    @property
    def told_size(self) -> int:
        levels = self.config.exposure_levels
        return self.config.appearance + (encoding_width(1, levels, True) if levels else 0)

    def know(self, shots: Shot) -> None:
        super().know(shots)
        if shots.exposure is not None:
            self.usual_exposure.copy_(shots.exposure.mean())

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        first = pixels.levels[0]  # all along the rays: the last has hardly a sample behind what hides the rest of one
        weights = first.weights.detach()  # [R, S]
        passed = 1 - weights.cumsum(dim=1) + weights  # transmittance before each sample
        seen = self.visible(pixels.samples_of(first).positions.detach(), pixels.rays.directions.detach())
        visibility = (seen.view_as(passed) - passed).square().mean()
        return super().losses(pixels, batch, standing) | {"visibility": visibility}

    def visible(self, positions: Tensor, directions: Tensor) -> Tensor:
        """[S] in [0, 1]: what of the light from positions [S, 3] reaches whoever looks at them along unit directions
        [R, 3] of as many samples each, all in model space."""
        return self.visibility(positions * (2 / self.box.aabb_scale), directions)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [*super().parameter_groups(),
                ParameterGroup(name="visibility", parameters=list(self.visibility.parameters()), kind="network")]

    def told(self, shot: Shot, count: int) -> Shot:
        told = []
        if self.config.appearance:
            shot = with_codes(shot, self.codes, count)
            told.append(shot.codes["appearance"])
        if self.config.exposure_levels:
            usual = self.usual_exposure
            stops = torch.zeros(count, device=usual.device) if shot.exposure is None else shot.exposure - usual
            told.append(encode_position(stops[:, None], self.config.exposure_levels))
        return replace(shot, codes={**shot.codes, "appearance": torch.cat(told, dim=1)}) if told else shot
