"""Latent codes: numbers that what shares an id has of its own, its appearance for one, learned with the field."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..types import Shot

__all__ = ["Codes", "with_codes"]

DEVIATION = 0.01  # of codes before the training


class Codes(nn.Module):
    """`count` codes of `size` numbers. Parameter: `table` [count, size], drawn from `generator`; buffer: `known`
    [count], whether an id is one of the training images.

    The code of no id is the mean of those that are known, so that what is rendered of none is as the training images
    are on average.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator):
        super().__init__()
        self.table = nn.Parameter(DEVIATION * torch.randn(count, size, generator=generator))
        self.register_buffer("known", torch.zeros(count, dtype=torch.bool))

    def know(self, ids: Tensor) -> None:
        """These [N] are ids of training images: of others there may be codes that nothing teaches."""
        self.known[ids.long()] = True

    def forward(self, ids: Tensor | None, count: int) -> Tensor:
        """[count, size] of ids [count] int32, or of none. Differentiable with respect to the table."""
        if ids is None:
            return self.mean.expand(count, -1)
        return self.table.index_select(0, ids)

    @property
    def mean(self) -> Tensor:
        """[size]; of all codes while none is known."""
        if len(self.table) == 0:
            return self.table.new_zeros(self.table.shape[1])
        return (self.table[self.known] if self.known.any() else self.table).mean(dim=0)


def with_codes(shot: Shot, codes: nn.ModuleDict, count: int) -> Shot:
    """`shot` of `count` rays or points with the code of each, of `codes` by name; those that it has stay."""
    if not codes:
        return shot
    learned = {name: module(shot.ids.get(name), count) for name, module in codes.items() if name not in shot.codes}
    return replace(shot, codes={**learned, **shot.codes})
