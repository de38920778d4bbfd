"""Every model by the kind of its configuration, and what of a scene a model needs to know before it is made."""

from dataclasses import replace

from ..config import FieldConfig, InstantNGPConfig, MipNeRF360Config, MipNeRFConfig, ModelConfig, NeRFConfig
from ..data.scene import Scene
from .instant_ngp import InstantNGP
from .mip_nerf import MipNeRF
from .mip_nerf_360 import MipNeRF360
from .model import Box, Model
from .nerf import NeRF

__all__ = ["box_of", "build_model", "check_scene", "settled"]

CLASSES = {InstantNGPConfig: InstantNGP, NeRFConfig: NeRF, MipNeRFConfig: MipNeRF, MipNeRF360Config: MipNeRF360}


def build_model(config: ModelConfig, box: Box, seed: int = 0) -> Model:
    """An untrained model of what lies in `box`, on the CPU."""
    return CLASSES[type(config)](config, box, seed)


def box_of(scene: Scene) -> Box:
    """Where `scene` lies in model space."""
    images = len(scene.splits["train"]) if "train" in scene.splits else 0
    return Box(aabb_scale=scene.aabb_scale, near=scene.near, bounded=scene.bounded, images=images)


def settled(config: ModelConfig, scene: Scene) -> ModelConfig:
    """`config` with the finest level of its hash grid, where that is left open, made for the pixels of `scene`."""
    if not isinstance(config.field, FieldConfig):
        return config
    pixels = scene.pixels_per_unit / CLASSES[type(config)].unit_scale(config, box_of(scene))
    return replace(config, field=replace(config.field, hash_grid=config.field.hash_grid.settled(pixels)))


def check_scene(config: ModelConfig, scene: Scene) -> None:
    """Raises UserError where the model of `config` cannot represent `scene`, saying why."""
    CLASSES[type(config)].check_scene(config, scene)
