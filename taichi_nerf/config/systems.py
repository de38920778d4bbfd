"""The systems that can be trained, each under its kind; whatever lists or tells them apart asks here.

A system is its settings, its model, and its presets: the settings of its paper, and small ones that two processor cores
train in minutes. A preset is a starting point: every setting of it can be given on the command line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Literal, get_args

from ..devices import vulkan_devices
from .batch import BatchConfig, RayBatchConfig
from .fields import Encoding
from .model import ModelConfig
from .optimiser import OptimiserConfig
from .settings import SettingError, require

Preset = Literal["small", "paper"]
PRESETS, ENCODINGS = get_args(Preset), get_args(Encoding)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model, and what each step of its training takes."""

    model: ModelConfig
    batch: BatchConfig | RayBatchConfig
    optimiser: OptimiserConfig


def _without_choice(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    raise SettingError(f"encoding {encoding} is not for {found.model.kind}, which has no choice of it: leave it out")


@dataclass(frozen=True, kw_only=True)
class System:
    """What is known of a system before any of its models is made."""

    settings: type[ModelConfig]
    """Of its models; their `kind` is the name of the system."""
    model: type | str
    """The class of its models (`models.model.Model`), or "module:Class", which is imported once a model is made."""
    presets: Mapping[Preset, Recipe]
    """Its recipe of each preset, with the encoding that is its own."""
    batch: type[BatchConfig] | type[RayBatchConfig] = RayBatchConfig
    """Of what a step of its training is."""
    with_encoding: Callable[[Recipe, Preset, Encoding], Recipe] = _without_choice
    """The recipe of a preset with another encoding than its own. Raises SettingError for one that it does not have."""
    resident_step: str | None = None
    """`module:Class` of what takes a step of its training by kernels alone, so that it never leaves the device; none:
    autograd takes them all."""
    one_launch: bool = False
    """Whether one kernel renders it, from rays to pixels."""
    few_views: Mapping[str, object] = field(default_factory=dict)
    """Settings of a run, by dotted name, for few training views of an object; none: it has no such."""
    moves: bool = False
    """Whether its models know the time, so that what they show may move."""
    made_by: str | None = None
    """The command that makes its models out of other ones; none: images alone train them."""

    def __post_init__(self):
        require(issubclass(self.settings, ModelConfig) and self.settings.kind != "",
                f"{self.settings.__name__} must derive from ModelConfig and have a kind")
        require(set(self.presets) == set(PRESETS), f"presets of {self.kind} must be {', '.join(PRESETS)}")
        for found in self.presets.values():
            require(isinstance(found.model, self.settings) and isinstance(found.batch, self.batch),
                    f"a recipe of {self.kind} has a {self.settings.__name__} and a {self.batch.__name__}")

    @property
    def kind(self) -> str:
        """Its name."""
        return self.settings.kind

    @property
    def model_class(self) -> type:
        """The class of its models."""
        return named(self.model) if isinstance(self.model, str) else self.model


def named(place: str) -> type:
    """The class at `module:Class`."""
    module, name = place.split(":")
    return getattr(import_module(module), name)


SYSTEMS: dict[str, System] = {}


def register(system: System) -> System:
    """Make `system` known: to the command line, to files, and to whatever takes the settings of a model.

    Raises SettingError where there is a system of this kind already.
    """
    require(system.kind not in SYSTEMS, f"there is a system of the kind {system.kind} already")
    SYSTEMS[system.kind] = system
    return system


def system_of(model: ModelConfig | str) -> System:
    """The system of a kind, or of the settings of a model. Raises SettingError where it is not known."""
    kind = model if isinstance(model, str) else model.kind
    require(kind in SYSTEMS, f"model must be one of {', '.join(SYSTEMS)}, got {kind}")
    return SYSTEMS[kind]


def recipe(model: str = "instant-ngp", preset: Preset = "small", encoding: Encoding | None = None) -> Recipe:
    """The settings of `model`; its own encoding is the default.

    Raises SettingError for a model or a preset that there is not, and for an encoding that the model does not have.
    """
    system = system_of(model)
    require(preset in PRESETS, f"preset must be one of {', '.join(PRESETS)}, got {preset}")
    found = system.presets[preset]
    return found if encoding in (None, found.model.encoding) else system.with_encoding(found, preset, encoding)


def preset_for(backend: str, model: str = "instant-ngp") -> Preset:
    """The preset of `model` that `backend` trains in minutes; on Vulkan only a resident step stays on the card."""
    stays = backend == "vulkan" and system_of(model).resident_step is not None
    on_card = stays and any(found.discrete for found in vulkan_devices())
    return "paper" if backend == "cuda" or on_card else "small"
