"""Steps that stay on the device: a schedule of kernels with forward and backward passes written by hand.

A model that has one names it (`Model.resident_step`); the class is loaded when it is asked for.
"""

from importlib import import_module

from ..config import TrainingConfig
from ..errors import UserError
from ..models.model import Model

__all__ = ["resident_step", "why_not_resident"]


def why_not_resident(model: Model, config: TrainingConfig) -> str | None:
    """Why no resident step can train `model` as `config` says, in a sentence; None: one can."""
    if model.resident_step is None:
        return (f"gradients explicit is not for {model.config.kind}, which has no step of kernels; use autograd or "
                "auto")
    return _class(model).why_not(config)


def resident_step(model: Model, config: TrainingConfig, **parts):
    """The resident step of `model`, made from the parts of a trainer. Raises UserError where it cannot train so."""
    if reason := why_not_resident(model, config):
        raise UserError(reason)
    return _class(model)(model, **parts)


def _class(model: Model) -> type:
    module, name = model.resident_step.split(":")
    return getattr(import_module(module), name)
