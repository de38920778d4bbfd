"""Latent codes: numbers that what shares an id has of its own, its appearance for one, learned with the field."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..types import Shot
from .timed import waves

__all__ = ["Codes", "TimeCodes", "with_codes"]

DEVIATION = 0.01  # of codes before the training


class Codes(nn.Module):
    """`count` codes of `size` numbers. Parameter: `table` [count, size], drawn from `generator`; buffer: `known`
    [count], whether an id is one of the training images.

    The code of no id is the mean of those that are known, so that what is rendered of none is as the training images
    are on average. `spread` is what the table goes through before it is read: where ranks that have it in common each
    know a part of its gradient, it brings the sum to all of them.
    """

    spread = staticmethod(lambda table: table)

    def __init__(self, count: int, size: int, generator: torch.Generator):
        super().__init__()
        self.table = nn.Parameter(DEVIATION * torch.randn(count, size, generator=generator))
        self.register_buffer("known", torch.zeros(count, dtype=torch.bool))

    def know(self, shots: Shot, name: str) -> None:
        """`shots` are of the training images, with ids by `name`: of others there may be codes that nothing teaches."""
        self.known[shots.ids[name].long()] = True

    def knows(self, ids: Tensor) -> bool:
        """Whether these [N] are all ids of training images."""
        return bool((ids < len(self.known)).all()) and bool(self.known.cpu()[ids.long()].all())

    def of_shot(self, shot: Shot, name: str, count: int) -> Tensor:
        """[count, size] of the ids by `name` that a shot of so many rays or points has."""
        return self(shot.ids.get(name), count)

    def forward(self, ids: Tensor | None, count: int) -> Tensor:
        """[count, size] of ids [count] int32, or of none. Differentiable with respect to the table."""
        if ids is None:
            return self.mean.expand(count, -1)
        return self.spread(self.table).index_select(0, ids)

    @property
    def mean(self) -> Tensor:
        """[size]; of all codes while none is known."""
        if len(self.table) == 0:
            return self.table.new_zeros(self.table.shape[1])
        return (self.table[self.known] if self.known.any() else self.table).mean(dim=0)


class TimeCodes(nn.Module):
    """A code of `size` numbers for each of `count` times; that of a time between two lies between theirs, in
    proportion, and beyond the first and the last it is theirs. Parameter: `table` [count, size], drawn from
    `generator`; buffer: `time` [count], ascending.

    With a time of `rest`, at which a code is nothing, codes are waves of the time at first (`timed.waves`), and the
    table, then zero, is what they learn beside these: what is not learned yet of a time is as its neighbours say.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator, rest: float | None = None):
        super().__init__()
        self.rest = rest
        self.table = nn.Parameter((DEVIATION if rest is None else 0) * torch.randn(count, size, generator=generator))
        self.register_buffer("time", torch.zeros(count))

    def know(self, shots: Shot, name: str) -> None:
        """`shots` are of the training images: each of their times has a code, or where there are fewer codes, times
        evenly spread between the first and the last."""
        times = torch.unique(shots.time)
        even = torch.linspace(float(times[0]), float(times[-1]), len(self.time))
        self.time.copy_(times if len(times) == len(self.time) else even)

    def knows(self, ids: Tensor) -> bool:
        """No id: they are codes of times."""
        return False

    def of_shot(self, shot: Shot, name: str, count: int) -> Tensor:
        """[count, size] of the times of a shot of so many rays or points."""
        return self(shot.time)

    def forward(self, time: Tensor) -> Tensor:
        """[R, size] of times [R]. Differentiable with respect to the table."""
        if self.rest is None:
            return self._learned(time)
        size, time = self.table.shape[1], time.to(self.time)
        learned = self._learned(time) - self._learned(torch.full_like(time[:1], self.rest))
        return learned + waves(time, -(-size // 2), self.rest)[:size].t()

    def _learned(self, time: Tensor) -> Tensor:
        """[R, size] of the table, at times [R]."""
        last, time = len(self.table) - 1, time.to(self.time).contiguous()
        if last < 0:
            return self.table.new_zeros(len(time), self.table.shape[1])
        after = torch.searchsorted(self.time, time).clamp(max=last)
        before = (after - 1).clamp_min(0)
        span = (self.time[after] - self.time[before]).clamp_min(torch.finfo(self.time.dtype).tiny)
        share = ((time - self.time[before]) / span).clamp(0, 1)
        return torch.lerp(self.table.index_select(0, before), self.table.index_select(0, after), share[:, None])


def with_codes(shot: Shot, codes: nn.ModuleDict, count: int) -> Shot:
    """`shot` of `count` rays or points with the code of each, of `codes` by name; those that it has stay."""
    if not codes:
        return shot
    learned = {name: module.of_shot(shot, name, count) for name, module in codes.items() if name not in shot.codes}
    return replace(shot, codes={**learned, **shot.codes})
