"""A run: its scene, its model and its training, and whether these go together."""

import dataclasses
import math
from dataclasses import dataclass

from .instant_ngp import InstantNGPConfig
from .model import ModelConfig
from .scene import SceneConfig
from .settings import LARGEST, flattened, require, within
from .systems import SYSTEMS, system_of
from .training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is: with the scene itself it decides the result."""

    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)
    model: ModelConfig = dataclasses.field(default_factory=InstantNGPConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    few_views: bool = False
    """Whether the settings for few views were chosen (`config.few_views`); they stand above."""
    appearance: str | None = None
    """What --appearance has come to, and why, in words (`config.appearance`); the settings stand above."""
    orbit_frames: int = 60
    """Frames of the video at the end; 0: none."""

    def __post_init__(self):
        check_fit(self.model, self.training)
        within(self, 0, LARGEST, "orbit_frames")
        for name, value in flattened(self).items():
            finite = not isinstance(value, float) or math.isfinite(value)
            require(finite, f"{name} must be finite, got {value}")


def check_fit(model: ModelConfig, training: TrainingConfig) -> None:
    """Raises SettingError where `training` cannot train `model`."""
    system = system_of(model)
    require(isinstance(training.batch, system.batch),
            f"a batch of {model.kind} is a {system.batch.__name__}, got a {type(training.batch).__name__}")
    if training.gradients == "explicit":
        able = ", ".join(kind for kind, each in SYSTEMS.items() if each.resident_step)
        require(system.resident_step is not None,
                f"gradients explicit is for {able} alone: {model.kind} has no step of kernels; use autograd or auto")
