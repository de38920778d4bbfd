"""Adam for hash tables as a PyTorch optimiser: entries without a gradient stay as they are; and Adam for networks."""

import inspect
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels import adam as kernels

from ._check import check_in_place, check_tensor


class Uncompiled(torch.optim.Optimizer):
    """An optimiser that `torch.compile` is not told of: to tell it PyTorch would import its compiler with the first
    optimiser that is made, which takes two seconds."""

    load_state_dict, state_dict, zero_grad, add_param_group = (
        inspect.unwrap(getattr(torch.optim.Optimizer, name))
        for name in ("load_state_dict", "state_dict", "zero_grad", "add_param_group"))


class Adam(Uncompiled, torch.optim.Adam):
    """PyTorch's, for networks: every parameter moves."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class SparseAdam(Uncompiled):
    """Adam (Kingma and Ba 2015) over tables [E, F] of E entries, in which a step touches few entries.

    An entry whose gradient is zero in all features is left alone, moments and step count included, and the
    bias correction of an entry counts its own steps (Mueller et al. 2022, section 4). An entry of which the
    gradient, or its square, is not a finite float32 is skipped too and counted in `overflowed_entries`. A
    parameter without a gradient costs nothing.

    Args:
        params: contiguous tensors [E, F], float32 or float64, or parameter groups of them.
        lr: learning rate.
        betas: decay of the mean of the gradient and of its square, each in [0, 1).
        eps: added to the root of the second moment, above 0.
        zero_gradient: leave the gradients zero, which takes no pass of its own: for gradients that are
            accumulated in a buffer that lives on.
        decay: of tables with several levels: a step also makes decay / 2 times the sum of the levels' mean squares
            smaller, by the entries that have a gradient, to which its own is added. `level_start`, of a group, are the
            first entries of the levels, ascending from 0.

    Raises:
        TypeError, ValueError: a parameter of another shape, layout or dtype, or a setting out of range.
    """

    def __init__(self, params, lr: float = 1e-2, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-15,
                 zero_gradient: bool = False, decay: float = 0.0, level_start: tuple[int, ...] = (0,)):
        if not lr >= 0:
            raise ValueError(f"lr must be at least 0, got {lr}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, got {betas}")
        if not eps > 0:
            raise ValueError(f"eps must be above 0, got {eps}")
        if not decay >= 0:
            raise ValueError(f"decay must be at least 0, got {decay}")
        self._scratch = {}
        self._overflowed = {}
        self._skipped_elsewhere = 0
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "zero_gradient": zero_gradient,
                                  "decay": decay, "level_start": level_start})

    @property
    def overflowed_entries(self) -> int:
        """Entries skipped so far because their gradient overflowed. Reading it waits for the device."""
        return self._skipped_elsewhere + sum(int(count) for count in self._overflowed.values())

    def count_overflowed(self, entries: int) -> None:
        """Add `entries` that something else skipped in place of this optimiser."""
        self._skipped_elsewhere += entries

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            check_in_place("parameter", parameter, (None, None))

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_scratch", {})  # none is part of a copy
        self.__dict__.setdefault("_overflowed", {})
        self.__dict__.setdefault("_skipped_elsewhere", 0)
        for group in self.param_groups:
            group.setdefault("decay", 0.0)
            group.setdefault("level_start", (0,))

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():
            # PyTorch has given all state the dtype of the parameter.
            state["step_count"] = state["step_count"].to(torch.int32)

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient; returns what `closure`, if given, returns.

        Raises TypeError and ValueError for a gradient or a restored state of another type, shape or device than the
        parameter's.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.numel() > 0:
                    self._step(parameter, group)
        return loss

    def _step(self, parameter: Tensor, group: dict) -> None:
        if parameter.grad.layout != torch.strided:
            raise TypeError(f"gradient must be dense, got layout {parameter.grad.layout}")
        gradient = check_tensor("gradient", parameter.grad, parameter.shape, like=parameter)
        state = self.state[parameter]
        if not state:
            state["first_moment"] = torch.zeros_like(parameter)
            state["second_moment"] = torch.zeros_like(parameter)
            state["step_count"] = torch.zeros(len(parameter), dtype=torch.int32, device=parameter.device)
        moments = [check_in_place(name, state[name], parameter.shape, like=parameter)
                   for name in ("first_moment", "second_moment")]
        step_count = check_in_place("step_count", state["step_count"], parameter.shape[:1], torch.int32, like=parameter)
        beta1, beta2 = group["betas"]
        bias_correction = _bias_correction(beta1, beta2, parameter.dtype, parameter.device)
        table = (*(tensor.view(-1) for tensor in (parameter.detach(), gradient, *moments)), step_count, bias_correction)
        counters = self._counters(parameter)
        settings = (float(group["lr"]), beta1, beta2, group["eps"])
        shape = (parameter.shape[1], group["zero_gradient"])
        if group["decay"] > 0:
            levels = levels_of(group["level_start"], parameter.shape, parameter.dtype, parameter.device)
            kernels.adam_step_decayed(*table, *levels, *counters, *settings, float(group["decay"]), *shape)
        else:
            kernels.adam_step(*table, *counters, *settings, *shape)
        if group["zero_gradient"] and gradient.data_ptr() != parameter.grad.data_ptr():
            parameter.grad = torch.zeros_like(parameter)  # the kernel was given a contiguous copy

    def _counters(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Scratch for the kernel, large enough for `parameter`, and the count of overflowed entries."""
        device = parameter.device
        if device not in self._scratch or len(self._scratch[device]) < len(parameter):
            self._scratch[device] = torch.empty(len(parameter), dtype=torch.int32, device=device)
        if device not in self._overflowed:
            self._overflowed[device] = torch.zeros(1, dtype=torch.int32, device=device)
        return self._scratch[device], self._overflowed[device]


@lru_cache
def levels_of(level_start: tuple[int, ...], shape: torch.Size, dtype: torch.dtype,
              device: torch.device) -> tuple[Tensor, Tensor]:
    """First entry [L] int32 of each level of a table of `shape` [E, F], and 1 / (its entries F) [L].

    Raises ValueError for levels that do not begin at 0, ascend, and lie in the table.
    """
    entries, features = shape
    sizes = np.diff([*level_start, entries])
    if len(level_start) == 0 or level_start[0] != 0 or (sizes <= 0).any():
        raise ValueError(f"level_start must ascend from 0 and stay below {entries}, got {level_start}")
    return (torch.tensor(level_start, dtype=torch.int32, device=device),
            torch.from_numpy(1 / (sizes * features)).to(device, dtype))


@lru_cache
def _bias_correction(beta1: float, beta2: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    digits = {torch.float32: 24, torch.float64: 53}[dtype]
    return torch.from_numpy(kernels.bias_correction_table(beta1, beta2, digits)).to(device, dtype)
