"""The model of any settings, and what of a scene it needs to know before it is made."""

from ..config import ModelConfig, system_of
from ..data.scene import Scene
from .model import Box, Model

__all__ = ["box_of", "build_model", "check_scene", "settled"]


def build_model(config: ModelConfig, box: Box, seed: int = 0) -> Model:
    """An untrained model of what lies in `box`, on the CPU."""
    return system_of(config).model_class(config, box, seed)


def box_of(scene: Scene) -> Box:
    """Where `scene` lies in model space."""
    images = len(scene.splits["train"]) if "train" in scene.splits else 0
    return Box(aabb_scale=scene.aabb_scale, near=scene.near, bounded=scene.bounded, images=images)


def settled(config: ModelConfig, scene: Scene) -> ModelConfig:
    """`config` with the finest level of its hash grid, where that is left open, made for the pixels of `scene`."""
    return config.settled(scene.pixels_per_unit / system_of(config).model_class.unit_scale(config, box_of(scene)))


def check_scene(config: ModelConfig, scene: Scene) -> None:
    """Raises UserError where the model of `config` cannot represent `scene`, saying why."""
    system_of(config).model_class.check_scene(config, scene)
