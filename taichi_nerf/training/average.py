"""The average of a model's weights over the last steps, which renders better than those of a single step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..models.model import Model

__all__ = ["WeightAverage"]

YOUNG = 9  # updates after which an average forgets as the settings say, and not more quickly


class WeightAverage:
    """average <- decay average + (1 - decay) weight, every few steps. `values`: of each parameter, in their order."""

    def __init__(self, model: Model, decay: float, every: int):
        """A `decay` of 0 keeps none: the weights are their own average."""
        self.model, self.decay, self.every = model, decay, every
        self.values = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def update(self, steps_done: int, move: Callable[[float], None] | None = None) -> None:
        """After `steps_done` steps; `move(share)` moves averages by that share where a step keeps them itself."""
        if self.decay == 0 or steps_done % self.every != 0:
            return
        updates = steps_done // self.every
        # young averages forget quickly, or they would remember the random start
        share = 1 - min(self.decay, updates / (updates + YOUNG))
        if move is not None:
            move(share)
            return
        for average, parameter in zip(self.values, self.model.parameters()):
            average.lerp_(parameter, share)

    def named(self) -> dict[str, Tensor]:
        """The averages by the names of their parameters."""
        return {name: average for (name, _), average in zip(self.model.named_parameters(), self.values)}

    @contextmanager
    def in_place(self) -> Iterator[Model]:
        """Within the context the model has its averaged weights."""
        self._swap()
        try:
            yield self.model
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        if self.decay == 0:
            return
        for average, parameter in zip(self.values, self.model.parameters()):
            kept = parameter.clone()
            parameter.copy_(average)
            average.copy_(kept)
