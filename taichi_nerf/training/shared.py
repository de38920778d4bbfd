"""One model on several ranks, each of which has some of its parts alone: their weights, grids and optimisers.

All ranks draw the same rays. What the parts show of them is exchanged once a step, on the way forward; the loss is the
same everywhere, and on the way back each rank has all that it needs for the parts that it has.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import UserError
from ..models.model import Model
from .team import Ranks, Team

__all__ = ["Shared", "check_ranks", "own_parts", "shared"]


class Shared(Team):
    """Ranks with parts of a model each, as a step sees them: with its rays and its weights each is alone, and only the
    samples are those of all."""

    def __init__(self, ranks: Ranks):
        self.ranks = ranks

    def collected(self, value: Any) -> list[Any]:
        return self.ranks.collected(value)

    def summed(self, rays: int, *samples: int) -> tuple[int, ...]:
        """Rays, which all draw alike, and the sums of numbers of samples."""
        return rays, *self.ranks.summed(*samples)

    def whole(self, model: Model) -> AbstractContextManager:
        here = {name: value.cpu() for name, value in model.state_dict().items() if model.holds(name)}
        of_ranks = self.ranks.gathered(here)
        return model.completed({name: value for tensors in of_ranks for name, value in tensors.items()})


class Parts:
    """What the parts of a model get to know of each other (`models.model.Exchange`). Of `count` parts each rank has
    every `world`-th, from its number on."""

    def __init__(self, ranks: Ranks, count: int):
        self.ranks, self.count = ranks, count

    def gathered(self, *of_parts: Tensor) -> list[Tensor]:
        shapes = [tensor.shape[1:] for tensor in of_parts]
        flat = torch.cat([tensor.flatten(1) for tensor in of_parts], dim=1)  # [k, N]
        every = _Gathered.apply(flat, self.ranks, self.count, tuple(self.ranks.mine(range(self.count))))
        pieces = every.split([shape.numel() for shape in shapes], dim=1)
        return [piece.unflatten(1, shape) for piece, shape in zip(pieces, shapes)]

    def added(self, tensor: Tensor) -> Tensor:
        return _Added.apply(tensor, self.ranks)

    def spread(self, tensor: Tensor) -> Tensor:
        return _Spread.apply(tensor, self.ranks)


class _Gathered(torch.autograd.Function):
    """[K, N] of [k, N]. Ranks have as many rows as the one that has most."""

    @staticmethod
    def forward(ctx, here, ranks, count, own):
        ctx.own, most = own, -(-count // ranks.world)
        padded = here.new_zeros(most, here.shape[1])
        padded[: len(here)] = here
        every = torch.stack(ranks.all_of(padded), dim=1)  # [most, world, N]: part number = row * world + rank
        return every.flatten(0, 1)[:count].contiguous()

    @staticmethod
    def backward(ctx, gradient):
        return (
            gradient[list(ctx.own)],
            None,  # ranks
            None,  # count
            None,  # own
        )


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, ranks):
        total = tensor.detach().clone()
        ranks.add(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        return (
            gradient,
            None,  # ranks
        )


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, ranks):
        ctx.ranks = ranks
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone()
        ctx.ranks.add(total)
        return (
            total,
            None,  # ranks
        )


def check_ranks(config: ModelConfig, team: Team) -> None:
    """Raises UserError where the ranks of `team` cannot share a model with parts, as they are more."""
    if own_parts(config, team) is not None and team.world > config.parts:
        raise UserError(f"{team.world} ranks cannot share {config.parts} regions; start at most {config.parts}, or "
                        "give more --regions")


def shared(model: Model, team: Team) -> Team:
    """The team that a step of `model` has: where the model has parts the ranks share them from now on, else they all
    have all of it."""
    own = own_parts(model.config, team)
    if own is None:
        return team
    model.share(own, Parts(team, model.config.parts))
    return Shared(team)


def own_parts(config: ModelConfig, team: Team) -> Sequence[int] | None:
    """Numbers of the parts of a model that this rank has; None: all of it."""
    return None if team.world == 1 or config.parts == 1 else team.mine(range(config.parts))
