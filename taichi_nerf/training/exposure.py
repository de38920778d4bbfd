"""Pictures of one scene with exposures and white balances of their own: a gain per image and channel of linear light.

    colour' = srgb(linear(colour) * 2^(e - mean e))        e [N, 3] in stops, of the N training images

The field keeps the colours that a picture of mean exposure would show; without a correction it would have to explain
differences between pictures by the viewing direction, or by fog in front of the cameras. Mueller et al. 2022
(instant-ngp) divide the pictures by the gain; here the prediction is multiplied by it and, like a sensor, ends at 1, so
that what is overexposed in a picture asks for no more than to be bright.
"""

import torch
from torch import Tensor, nn

__all__ = ["ExposureCorrection", "from_linear", "to_linear"]

THIN = 1e-3  # opacity below which the colour of a ray is that of nothing
LEAK = 1e-2  # slope beyond 1, where the picture is darker: without it the prediction would never come back


class ExposureCorrection(nn.Module):
    """Gains of N images, at first 1. Parameter: `stops` [N, 3], per channel.

    With `anchored` images their mean counts, because the field is there already.
    """

    def __init__(self, images: int, *, anchored: bool = False):
        super().__init__()
        self.anchored = anchored
        self.stops = nn.Parameter(torch.zeros(images, 3))

    def centred(self) -> Tensor:
        """[N, 3] stops, whose mean is 0: what all images share is the field's. Of anchored images, as they are."""
        return self.stops if self.anchored else self.stops - self.stops.mean(dim=0)

    def forward(self, colour: Tensor, opacity: Tensor, image_index: Tensor) -> Tensor:
        """Rays [R, 3] over black as the images [R] show them, given their colour over black and opacity [R].

        Differentiable with respect to the stops, colour and opacity.
        """
        return exposed(colour, opacity, self.centred()[image_index.long()])


def exposed(colour: Tensor, opacity: Tensor, stops: Tensor) -> Tensor:
    """[R, 3]: colours over black with opacity [R], exposed by stops [R, 3] or [3]."""
    opacity = opacity[:, None].clamp_min(THIN)
    bright = from_linear(to_linear(colour / opacity) * torch.exp2(stops))
    return opacity * (bright.clamp(max=1) + LEAK * (bright - 1).clamp(min=0))


def to_linear(srgb: Tensor) -> Tensor:
    """Linear light of sRGB values (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def from_linear(linear: Tensor) -> Tensor:
    """sRGB values of linear light; the curve goes on beyond 1."""
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)
