"""Parameters that a step moves on the device, and the exchange of them and of their optimiser's state with the trainer.

    table      Adam of sparse steps, in which an entry without a gradient stays as it is
    learned    Adam of networks and codes, in which every parameter moves
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from taichi_nerf_kernels import adam, training_step

from ..models.model import ParameterGroup
from ..ops.adam import levels_of
from .arrays import DeviceArrays, flat

__all__ = ["Learned", "Moved", "Table"]


class Moved:
    """The tensors of one group of parameters as one flat array each: weights, gradient, moments and average."""

    def __init__(self, arrays: DeviceArrays, parameters: Sequence[Parameter]):
        self.arrays, self.parameters = arrays, list(parameters)
        count = sum(parameter.numel() for parameter in self.parameters)
        self.weights, self.gradient, self.first_moment, self.second_moment, self.average = (
            arrays.new(count) for _ in range(5))

    def move_average(self, share: float) -> None:
        """average <- average + share (weight - average)"""
        training_step.move_average(self.weights, share, self.average)

    def push(self, averages: dict[int, Tensor], optimiser: torch.optim.Optimizer) -> None:
        """Take over parameters, their `averages` by id, and what `optimiser` knows of them."""
        self._put(self.weights, self.parameters)
        if id(self.parameters[0]) in averages:
            self._put(self.average, [averages[id(parameter)] for parameter in self.parameters])
        states = [optimiser.state.get(parameter) for parameter in self.parameters]
        self._push_state(states if all(states) else None)

    def pull(self, averages: dict[int, Tensor], optimiser: torch.optim.Optimizer, stepped: bool) -> None:
        """Bring them up to date; before a first step the optimiser knows nothing."""
        self._get(self.weights, self.parameters)
        if id(self.parameters[0]) in averages:
            self._get(self.average, [averages[id(parameter)] for parameter in self.parameters])
        if stepped:
            self._pull_state([optimiser.state[parameter] for parameter in self.parameters])

    def _put(self, array, tensors: Sequence[Tensor] | None) -> None:
        """Copy `tensors`, one after the other, into `array`; zeros in place of none."""
        self.arrays.put_or_zero(None if tensors is None else flat(tensors), array)

    def _get(self, array, tensors: Sequence[Tensor]) -> None:
        whole = torch.empty(sum(tensor.numel() for tensor in tensors), dtype=tensors[0].dtype,
                            device=tensors[0].device)
        self.arrays.get(array, whole)
        for tensor, part in zip(tensors, whole.split([tensor.numel() for tensor in tensors])):
            tensor.detach().copy_(part.view(tensor.shape))

    def _push_state(self, states: list[dict] | None) -> None:
        raise NotImplementedError

    def _pull_state(self, states: list[dict]) -> None:
        raise NotImplementedError


class Table(Moved):
    """A hash table, whose entries count their own steps."""

    def __init__(self, arrays: DeviceArrays, group: ParameterGroup):
        super().__init__(arrays, group.parameters)
        entries, self.features = self.parameters[0].shape
        self.source = group.gradient
        self.step_count, self.touched = (arrays.new(entries, integer=True) for _ in range(2))
        self.overflowed = arrays.new(1, integer=True)

        self.levels = None
        if group.decay is not None:
            self.levels = [arrays.like(values) for values in levels_of(
                group.level_start, self.parameters[0].shape, arrays.dtype, torch.device("cpu"))]

    def step(self, adam_settings: dict, bias_correction) -> None:
        """One of Adam, which leaves the gradient zero."""
        table = (self.weights, self.gradient, self.first_moment, self.second_moment, self.step_count, bias_correction)
        settings = (adam_settings["lr"], *adam_settings["betas"], adam_settings["eps"])
        if adam_settings["decay"] > 0:
            adam.adam_step_decayed(*table, *self.levels, self.touched, self.overflowed, *settings,
                                   adam_settings["decay"], self.features, True)
        else:
            adam.adam_step(*table, self.touched, self.overflowed, *settings, self.features, True)

    def push(self, averages: dict[int, Tensor], optimiser: torch.optim.Optimizer) -> None:
        super().push(averages, optimiser)
        self._put(self.gradient, [self.source])
        self._put(self.overflowed, None)

    def _push_state(self, states: list[dict] | None) -> None:
        for key in ("first_moment", "second_moment", "step_count"):
            self._put(getattr(self, key), None if states is None else [states[0][key]])

    def _pull_state(self, states: list[dict]) -> None:
        (state,), (table,) = states, self.parameters
        if not state:
            state["first_moment"], state["second_moment"] = (torch.zeros_like(table) for _ in range(2))
            state["step_count"] = torch.zeros(len(table), dtype=torch.int32, device=table.device)
        for key in ("first_moment", "second_moment", "step_count"):
            self.arrays.get(getattr(self, key), state[key])


class Learned(Moved):
    """Parameters that all move in every step which has samples."""

    def __init__(self, arrays: DeviceArrays, parameters: Sequence[Parameter]):
        super().__init__(arrays, parameters)
        self.step_count = arrays.new(2, integer=True)

    def step(self, adam_settings: dict, bias_correction, samples) -> None:
        """One of Adam, if there are samples [1] and the gradient is finite; it is zero then."""
        adam.adam_step_dense(self.weights, self.gradient, self.first_moment, self.second_moment, self.step_count,
                             samples, bias_correction, adam_settings["lr"], *adam_settings["betas"],
                             adam_settings["eps"], adam_settings["weight_decay"])

    def push(self, averages: dict[int, Tensor], optimiser: torch.optim.Optimizer) -> None:
        super().push(averages, optimiser)
        self._put(self.gradient, None)

    def _push_state(self, states: list[dict] | None) -> None:
        for key, array in (("exp_avg", self.first_moment), ("exp_avg_sq", self.second_moment)):
            self._put(array, None if states is None else [state[key] for state in states])
        steps = 0 if states is None else int(states[0]["step"])
        self.arrays.put(torch.tensor([steps, 0], dtype=torch.int32), self.step_count)

    def _pull_state(self, states: list[dict]) -> None:
        steps = float(self.arrays.numbers(self.step_count)[0])
        for state, parameter in zip(states, self.parameters):
            state["step"] = torch.tensor(steps, device=parameter.device)
            state.setdefault("exp_avg", torch.zeros_like(parameter))
            state.setdefault("exp_avg_sq", torch.zeros_like(parameter))
        for key, array in (("exp_avg", self.first_moment), ("exp_avg_sq", self.second_moment)):
            self._get(array, [state[key] for state in states])
