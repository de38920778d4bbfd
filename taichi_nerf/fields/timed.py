"""A field that is told more of a sample than its place: the time, the plainest way to a scene that moves (T-NeRF of
Pumarola et al. 2021); and ambient coordinates, further dimensions of the space that it fills (Park et al. 2021,
HyperNeRF), in windowed sines and cosines.
"""

import math

import torch
from torch import Tensor

from ..config import PositionalFieldConfig, SliceConfig
from ..ops.positional_encoding import encode_position, encoding_width
from ..types import UNKNOWN, Shot, of_samples
from .encoded import EncodedPoints
from .field import Samples
from .hash_field import HashField

__all__ = ["TimedHashField", "TimedPoints", "encoded_times", "waves"]


class Told:
    """Of a field that is `told` of samples what it says here; comes before the field among the bases of a class.

    Buffers: `heard`, by how much the time is told, where that changes; `opened`, how many frequencies of the ambient
    coordinates are let in, where there are any.
    """

    def __init__(self, *of_field, time_levels: int | None, late: bool = False, ambient: SliceConfig | None = None,
                 **others):
        """`time_levels`: frequencies of the time, None where it is not told; `late`: it is told by as much as `hear`
        says. With `ambient` samples have coordinates behind their three."""
        width = 0 if time_levels is None else encoding_width(1, time_levels, True)
        if ambient is not None:
            width += encoding_width(ambient.dimensions, ambient.ambient_levels, False)
        super().__init__(*of_field, told=width, **others)
        self.time_levels, self.ambient = time_levels, ambient
        self.register_buffer("heard", torch.ones(()) if late and time_levels is not None else None)
        self.register_buffer("opened", None if ambient is None else torch.tensor(float(ambient.ambient_levels)))

    def hear(self, share: float) -> None:
        """Be told so much of the time, where it is told late: from 0, where nothing is known of it, to 1."""
        if self.heard is not None:
            self.heard.fill_(share)

    def open(self, share: float) -> None:
        """Let the first `share` of the frequencies of the ambient coordinates be seen, and from 1 on all of them: with
        none the field is the same at all of these coordinates."""
        self.opened.fill_(self.ambient.ambient_levels * min(share, 1.0))

    def places(self, samples: Samples) -> Samples:
        if self.ambient is None:
            return samples
        positions, *widths = (samples,) if isinstance(samples, Tensor) else samples
        in_space = positions[:, :3].contiguous()
        return (in_space, *widths) if widths else in_space

    def told(self, samples: Samples, shot: Shot, ray_index: Tensor | None) -> Tensor | None:
        positions, found = samples if isinstance(samples, Tensor) else samples[0], []
        if self.time_levels is not None:
            time = encoded_times(shot, self.time_levels, len(positions), ray_index, positions.dtype)
            found.append(time if self.heard is None else time * self.heard)
        if self.ambient is not None:
            found.append(encode_position(positions[:, 3:].contiguous(), self.ambient.ambient_levels,
                                         identity=False, alpha=float(self.opened)).t())
        return torch.cat(found) if found else None


class TimedHashField(Told, HashField):
    """A hash field whose density network sees the time beside the features of the point, and ambient coordinates where
    it has some; what it says of the point the colour network sees."""


class TimedPoints(Told, EncodedPoints):
    """NeRF's deep field of points of a box in model units, whose network sees the same beside their sines and cosines;
    a softplus makes the density, which no sample that is left out can kill."""

    def __init__(self, config: PositionalFieldConfig, side: float, generator: torch.Generator, appearance: int = 0,
                 **told):
        """`side` of the box in model units."""
        super().__init__(config, generator, appearance=appearance, density_activation="softplus", **told)
        self.scale = 2 / side  # the box is [-1, 1]^3 to the network

    def places(self, samples: Tensor) -> Tensor:
        return super().places(samples) * self.scale

    def density(self, samples: Tensor, shot: Shot = UNKNOWN,
                ray_index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        density, hidden = super().density(samples, shot, ray_index)
        return density * self.scale, hidden


def encoded_times(shot: Shot, levels: int, samples: int, ray_index: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[2 `levels` + 1, S]: the time of each sample, and its sines and cosines, of a shot that has times."""
    of_rays = encode_position(shot.time.to(dtype)[:, None], levels)  # [R, 2 L + 1]
    return of_samples(of_rays.t(), samples, ray_index, dim=1)


def waves(time: Tensor, count: int, rest: float) -> Tensor:
    """[2 `count`, R] of times [R], all nothing at the time of `rest` r: for k from 1 on sin(pi k (t - r)) / k, then
    (1 - cos(pi k (t - r))) / k."""
    wave = torch.arange(1, count + 1, dtype=time.dtype, device=time.device)[:, None]
    angle = math.pi * wave * (time - rest)
    return torch.cat([angle.sin() / wave, (1 - angle.cos()) / wave])
