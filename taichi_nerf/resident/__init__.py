"""Steps that stay on the device: a schedule of kernels with forward and backward passes written by hand.

A system that has one names it (`config.System.resident_step`); the class is loaded when it is asked for.
"""

from ..config import ModelConfig, TrainingConfig, named, system_of
from ..errors import UserError
from ..models.model import Model

__all__ = ["resident_step", "why_not_resident"]


def why_not_resident(model: ModelConfig, config: TrainingConfig) -> str | None:
    """Why no resident step can train a model of `model` as `config` says, in a sentence; None: one can."""
    place = system_of(model).resident_step
    if place is None:
        return f"gradients explicit is not for {model.kind}, which has no step of kernels; use autograd or auto"
    return named(place).why_not(config)


def resident_step(model: Model, config: TrainingConfig, **parts):
    """The resident step of `model`, made from the parts of a trainer. Raises UserError where it cannot train so."""
    if reason := why_not_resident(model.config, config):
        raise UserError(reason)
    return named(system_of(model.config).resident_step)(model, **parts)
