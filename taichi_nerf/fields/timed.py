"""A field that is told the time: the plainest way to a scene that moves (T-NeRF of Pumarola et al. 2021)."""

import math

import torch
from torch import Tensor

from ..config import FieldConfig
from ..ops.positional_encoding import encode_position, encoding_width
from ..types import Shot, of_samples
from .hash_field import HashField

__all__ = ["TimedHashField", "encoded_times", "waves"]


class TimedHashField(HashField):
    """A hash field whose density network sees the time, in sines and cosines, beside the features of the point; what
    it says of the point the colour network sees."""

    def __init__(self, config: FieldConfig, side: float, generator: torch.Generator, appearance: int = 0, *,
                 time_levels: int, layers: int, late: bool = False):
        """`late`: the time is told by as much as `hear` says, which is kept in the state."""
        super().__init__(config, side, generator, appearance, told=encoding_width(1, time_levels, True), layers=layers)
        self.time_levels = time_levels
        self.register_buffer("heard", torch.ones(()) if late else None)

    def hear(self, share: float) -> None:
        """Be told so much of the time: from 0, where nothing is known of it, to 1."""
        self.heard.fill_(share)

    def told(self, shot: Shot, samples: int, ray_index: Tensor | None) -> Tensor:
        time = encoded_times(shot, self.time_levels, samples, ray_index, self.table.dtype)
        return time if self.heard is None else time * self.heard


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
