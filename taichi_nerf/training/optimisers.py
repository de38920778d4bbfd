"""Optimisers made from groups of parameters, one for each kind: the place where weights take their steps, but for those
that `resident.parameters` moves on the device."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import OptimiserConfig
from ..models.model import ParameterGroup
from ..ops.adam import Adam, SparseAdam
from ..types import Standing
from .team import ALONE, Team

__all__ = ["Optimisers", "learning_rate_factor", "rate_factor", "warmup_factor"]

BETA1 = 0.9  # of Adam, always
CORRECTIONS = {"betas": (BETA1, 0.99), "eps": 1e-15}
STATE = {"table": ("first_moment", "second_moment", "step_count"), "network": ("step", "exp_avg", "exp_avg_sq")}


class Optimisers:
    """Takes the steps of groups of parameters: Adam of sparse steps for tables, Adam of the settings for networks and
    for codes, another for corrections. A kind without a group has no optimiser. The ranks of a `team` take the same
    steps, by the mean of their gradients; ranks that share a model those of what they have in common, so that whether
    one is left out is never a matter of the networks, which each has of its own."""

    def __init__(self, groups: Sequence[ParameterGroup], config: OptimiserConfig, team: Team = ALONE):
        self.config, self.team = config, team
        self.groups = {group.name: group for group in groups}
        if len(self.groups) < len(groups):
            raise ValueError(f"groups of parameters must have names of their own, got {[g.name for g in groups]}")
        tables, networks, codes, corrections = ([group for group in groups if group.kind == kind]
                                                for kind in ("table", "network", "code", "correction"))
        for group in tables:
            group.parameters[0].grad = group.gradient
        adam = {"betas": (BETA1, config.beta2), "eps": config.epsilon}
        self.tables = SparseAdam(
            [{**params, "level_start": group.level_start} for params, group in zip(_params(tables), tables)],
            **adam, zero_gradient=True) if tables else None
        self.networks, self.codes = (Adam(_params(some), **adam, weight_decay=config.weight_decay,
                                          fused=True) if some else None for some in (networks, codes))
        self.corrections = Adam(_params(corrections), **CORRECTIONS, fused=True) if corrections else None

    def step(self, standing: Standing) -> None:
        """Take one by the gradients that there are, which are then gone."""
        self.team.average_gradients([parameter for group in self.groups.values() if group.kind != "table"
                                     for parameter in group.parameters])
        self.average_elsewhere([], [group.gradient for group in self.groups.values() if group.kind == "table"])
        for optimiser in (self.networks, self.codes):
            if optimiser is not None:
                self._set_all(optimiser, standing)
                if self.config.clip_norm is not None:
                    for group in optimiser.param_groups:
                        torch.nn.utils.clip_grad_norm_(group["params"], self.config.clip_norm)
                _step_if_finite(optimiser)
        if self.tables is not None:
            self._set_all(self.tables, standing)
            self.tables.step()
        if self.corrections is not None:
            self._set_all(self.corrections, standing)
            _step_if_finite(self.corrections)

    def average_elsewhere(self, gradients: Sequence[Tensor], tables: Sequence[Tensor]) -> None:
        """Let `gradients` that are kept elsewhere than at the parameters, and those of `tables` [E, F], be the mean of
        those of all ranks."""
        self.team.average(*gradients)
        for table in tables:
            self.team.average_rows(table)

    def settings_of(self, name: str, standing: Standing) -> dict:
        """What the optimiser of a group takes the step by."""
        _, settings = self.of(name)
        self._set(settings, standing)
        return settings

    def rate(self, group: ParameterGroup, standing: Standing) -> float:
        """Its learning rate in the step."""
        if group.rate is not None:
            return group.rate(standing)
        config = self.config
        start = config.learning_rate if group.kind == "table" else config.network_learning_rate
        factor = rate_factor(config, standing) if group.factor is None else group.factor(standing)
        return group.share * start * factor

    def of(self, name: str) -> tuple[torch.optim.Optimizer, dict]:
        """The optimiser of a group, and what it knows the group by: its settings."""
        return next((optimiser, group) for optimiser in self._all() for group in optimiser.param_groups
                    if group["name"] == name)

    @property
    def overflowed_entries(self) -> int:
        """Entries of tables that were left alone in a step because their gradient overflowed; waits for the device."""
        return 0 if self.tables is None else self.tables.overflowed_entries

    def state(self) -> dict[str, Tensor]:
        """What the optimisers know, by the name of the group, the number of the parameter in it, and what it is."""
        found = {}
        for name, _, index, state in self._states():
            found |= {f"{name}.{index}.{key}": value for key, value in state.items()}
        return found

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state` gave; the tensors are copied. Gradients are gone."""
        for optimiser in self._all():
            keys, known, numbers = STATE[_kind(optimiser)], {}, optimiser.state_dict()["param_groups"]
            for group, numbered in zip(optimiser.param_groups, numbers):
                for index, number in enumerate(numbered["params"]):
                    prefix = f"{group['name']}.{index}."
                    if prefix + keys[0] in tensors:
                        known[number] = {key: tensors[prefix + key].clone() for key in keys}
            optimiser.load_state_dict({"state": known, "param_groups": numbers})
        for group in self.groups.values():
            if group.gradient is not None:
                group.gradient.zero_()

    def expected_state(self, names) -> dict[str, Tensor]:
        """Name -> a tensor of the shape and dtype that a state must have in which `names` are; before the first step a
        parameter has none."""
        expected = {}
        for name, optimiser, index, _ in self._states():
            parameter = self.groups[name].parameters[index]
            like = {"step": torch.empty((), dtype=torch.float32),
                    "step_count": torch.empty(parameter.shape[:1], dtype=torch.int32, device="meta")}
            found = {f"{name}.{index}.{key}": like.get(key, parameter) for key in STATE[_kind(optimiser)]}
            if found.keys() & set(names):
                expected |= found
        return expected

    def _all(self) -> list[torch.optim.Optimizer]:
        return [optimiser for optimiser in (self.tables, self.networks, self.codes, self.corrections)
                if optimiser is not None]

    def _states(self):
        """(name of the group, its optimiser, number in the group, state) of each parameter."""
        for optimiser in self._all():
            for group in optimiser.param_groups:
                for index, parameter in enumerate(group["params"]):
                    yield group["name"], optimiser, index, optimiser.state.get(parameter, {})

    def _set_all(self, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
        for settings in optimiser.param_groups:
            self._set(settings, standing)

    def _set(self, settings: dict, standing: Standing) -> None:
        """What changes from step to step, of a group."""
        group = self.groups[settings["name"]]
        settings["lr"] = self.rate(group, standing)
        if group.decay is not None:
            settings["decay"] = group.decay(standing)


def rate_factor(config: OptimiserConfig, standing: Standing) -> float:
    """Of the learning rates of the settings in a step: how they rise at first and fall in the end."""
    return (learning_rate_factor(standing.progress, config.decay_start, config.final_fraction)
            * warmup_factor(standing.step, config.warmup_steps))


def learning_rate_factor(progress: float, decay_start: float, final_fraction: float) -> float:
    """1 until `decay_start` of the run, then falling exponentially to `final_fraction` at its end."""
    return final_fraction ** max(0.0, (progress - decay_start) / (1 - decay_start))


def warmup_factor(step: int, warmup_steps: int) -> float:
    """From 0.01 at step 0 along a quarter of a sine to 1 at step `warmup_steps` (Barron et al. 2021)."""
    if step >= warmup_steps:
        return 1.0
    return 0.01 + 0.99 * math.sin(0.5 * math.pi * step / warmup_steps)


def _params(groups: Sequence[ParameterGroup]) -> list[dict]:
    return [{"params": group.parameters, "name": group.name} for group in groups]


def _kind(optimiser: torch.optim.Optimizer) -> str:
    return "table" if isinstance(optimiser, SparseAdam) else "network"


def _step_if_finite(optimiser: Adam) -> None:
    """Take a step of a fused Adam, which leaves it out if a gradient overflowed, without the host ever asking."""
    gradients = [parameter.grad for group in optimiser.param_groups for parameter in group["params"]
                 if parameter.grad is not None]
    if gradients:
        total = torch.stack([gradient.sum() for gradient in gradients]).sum()
        optimiser.found_inf = (~torch.isfinite(total)).float()
        optimiser.grad_scale = None
        optimiser.step()
        optimiser.zero_grad()
