"""The radiance field of NeRF and its family: a deep network behind a positional encoding.

    x [N, inputs] encoded positions, v [R, view_inputs] encoded directions of R rays; the samples are in the order of
    the rays, N = R S of them, S of each, or as an index says

    h_0 = x,  h_{i+1} = relu(W_i h_i + b_i), i = 0 .. depth - 1;  after layer `skip` (counted from 0) x is appended
    density    = activation(linear(h_depth))
    bottleneck = linear(h_depth), without activation
    raw        = linear(relu(linear(bottleneck, v)));  without view_inputs: linear(h_depth)
    colour     = squash(raw), where there are three outputs

Depth 8, width 256 and skip 4 are those of NeRF: x enters the first and the sixth layer. Mip-NeRF has the same network;
mip-NeRF 360 has depth 8 and width 1024, and proposal networks of depth 4 and width 256 without colour. Layers start
from Glorot's uniform distribution (He's in mip-NeRF 360) and biases from 0, as in the papers' code and not as in
PyTorch. Mildenhall et al. 2020, figure 7, and its code, from which the figure differs.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mlp import fastest_precision, rectified, require_memory_of_weights, truncated_exp

__all__ = ["DENSITY_ACTIVATIONS", "PositionalField"]

DENSITY_ACTIVATIONS = {
    "relu": F.relu,  # NeRF
    "softplus": lambda raw: F.softplus(raw - 1),  # Mip-NeRF: smooth, and thin at first
    "exp": truncated_exp,
}
GAINS = {"glorot": lambda inputs, outputs: 6 / (inputs + outputs), "he": lambda inputs, outputs: 6 / inputs}


class PositionalField(nn.Module):
    """Density, and colour that depends on the view, from encoded positions and directions.

    The encodings are left to the caller (`ops.positional_encoding`), so that one field serves points, Gaussians and
    projections alike:

        density, hidden = field.density(features)      [N], [N, width]
        colour = field.colour(hidden, view)            [N, 3]
    """

    def __init__(self, inputs: int, view_inputs: int = 0, *, width: int = 256, depth: int = 8, skip: int | None = 4,
                 bottleneck: int = 256, view_width: int = 128, density_activation: str = "relu",
                 colour_padding: float = 0.0, colour: bool = True, colour_outputs: int = 3, initial: str = "glorot",
                 generator: torch.Generator):
        """A field of float32 parameters, drawn from `generator`; products are taken in `fastest_precision`.

        Args:
            inputs: features of an encoded position.
            view_inputs: features of an encoded direction; 0 for a colour that does not depend on it.
            width, depth: of the network that all outputs share.
            skip: index of the layer after which the input is appended; None or an index past the last for none.
            bottleneck, view_width: of the colour network, if there is a direction.
            density_activation: "relu", "softplus" (of raw - 1) or "exp" (truncated).
            colour_padding: p in colour = sigmoid(raw) (1 + 2 p) - p; 0.001 in mip-NeRF.
            colour: False for a proposal network, which has only density.
            colour_outputs: more than 3 for what is not a colour yet (`raw_colour`).
            initial: "glorot" or "he".

        Raises:
            ValueError: an unknown activation or initialisation; a size below 1.
        """
        super().__init__()
        if density_activation not in DENSITY_ACTIVATIONS:
            raise ValueError(f"density_activation must be one of {', '.join(DENSITY_ACTIVATIONS)}, "
                             f"got {density_activation!r}")
        if initial not in GAINS:
            raise ValueError(f"initial must be one of {', '.join(GAINS)}, got {initial!r}")
        if min(inputs, width, depth, bottleneck, view_width) < 1 or view_inputs < 0:
            raise ValueError("inputs, width, depth, bottleneck, view_width must be at least 1, view_inputs at least 0")
        self.skip = skip if skip is not None and skip < depth - 1 else None
        self.density_activation = density_activation
        self.colour_padding = colour_padding

        def linear(fan_in: int, fan_out: int) -> nn.Linear:
            layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
            bound = math.sqrt(GAINS[initial](fan_in, fan_out))
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()
            return layer

        sizes = [inputs] + [width + (inputs if i - 1 == self.skip else 0) for i in range(1, depth)]
        require_memory_of_weights((fan_in, width) for fan_in in sizes)
        self.trunk = nn.ModuleList(linear(fan_in, width) for fan_in in sizes)
        self.density_layer = linear(width, 1)
        self.bottleneck_layer = self.view_layer = self.colour_layer = None
        if colour and view_inputs:
            self.bottleneck_layer = linear(width, bottleneck)
            self.view_layer = linear(bottleneck + view_inputs, view_width)
        if colour:
            self.colour_layer = linear(view_width if view_inputs else width, colour_outputs)

    def density(self, features: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Density [N] of encoded positions [N, inputs], and the hidden features [N, width] that `colour` wants.

        `noise` [N] is added before the activation: NeRF's regulariser for real scenes, in training.
        """
        with self._autocast():
            inputs = hidden = features.to(self._precision)
            for i, layer in enumerate(self.trunk):
                hidden = rectified(layer(hidden))
                if i == self.skip:
                    hidden = torch.cat([inputs, hidden], dim=1)
            raw = self.density_layer(hidden)[:, 0].to(features.dtype)
        if noise is not None:
            raw = raw + noise
        return DENSITY_ACTIVATIONS[self.density_activation](raw), hidden

    def colour(self, hidden: Tensor, view: Tensor | None = None, ray_index: Tensor | None = None) -> Tensor:
        """Colour [N, 3] from hidden features [N, width] and the encoded directions [R, view_inputs] of R rays."""
        padding = self.colour_padding
        return self.raw_colour(hidden, view, ray_index).sigmoid() * (1 + 2 * padding) - padding

    def raw_colour(self, hidden: Tensor, view: Tensor | None = None, ray_index: Tensor | None = None) -> Tensor:
        """The same before it is squashed: [N, colour_outputs].

        Sample n belongs to ray `ray_index` [n]; without it N is a multiple of R, equally many of each ray. The part of
        the layer that sees the direction is computed once for each ray.
        """
        if self.colour_layer is None:
            raise ValueError("this field has no colour: it was made with colour=False")
        if (view is None) == (self.view_layer is not None):
            wanted = "wants the encoded directions" if view is None else "was made without view_inputs"
            raise ValueError(f"the colour of this field {wanted}")
        with self._autocast():
            if view is not None:
                bottleneck = self.bottleneck_layer(hidden)
                split = bottleneck.shape[1]
                weight = self.view_layer.weight
                of_ray = F.linear(view, weight[:, split:], self.view_layer.bias)
                of_sample = F.linear(bottleneck, weight[:, :split])
                if ray_index is None:
                    samples = len(hidden) // max(len(view), 1)
                    hidden = of_sample.view(len(view), samples, len(weight)) + of_ray[:, None]
                    hidden = rectified(hidden).flatten(0, 1)
                else:
                    hidden = rectified(of_sample + of_ray.index_select(0, ray_index))
            return self.colour_layer(hidden).to(self.colour_layer.weight.dtype)

    @property
    def _precision(self) -> torch.dtype:
        """What products are taken in: of float32, the type that is fastest."""
        weight = self.density_layer.weight
        return fastest_precision(weight.device) if weight.dtype == torch.float32 else weight.dtype

    def _autocast(self) -> torch.autocast:
        """Within it products are taken in `_precision`."""
        weight = self.density_layer.weight
        return torch.autocast(weight.device.type, self._precision, enabled=self._precision != weight.dtype)
