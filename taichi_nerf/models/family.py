"""Every model by the kind of its configuration, and what of a scene a model needs to know before it is made."""

from collections.abc import Mapping
from dataclasses import replace

from ..config import FieldConfig, InstantNGPConfig, MipNeRF360Config, MipNeRFConfig, ModelConfig, NeRFConfig
from ..data.scene import Scene
from .instant_ngp import InstantNGP
from .mip_nerf import MipNeRF
from .mip_nerf_360 import MipNeRF360
from .model import Box, Model
from .nerf import NeRF
from .shots import counts_of as counts_of_split

__all__ = ["box_of", "build_model", "check_scene", "counts_of", "settled"]

CLASSES = {InstantNGPConfig: InstantNGP, NeRFConfig: NeRF, MipNeRFConfig: MipNeRF, MipNeRF360Config: MipNeRF360}


def build_model(config: ModelConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None) -> Model:
    """An untrained model of what lies in `box`, on the CPU, with codes for so many ids of each name."""
    return CLASSES[type(config)](config, box, seed, counts)


def box_of(scene: Scene) -> Box:
    """Where `scene` lies in model space."""
    return Box(aabb_scale=scene.aabb_scale, near=scene.near, bounded=scene.bounded)


def counts_of(scene: Scene) -> dict[str, int]:
    """For how many ids of each name a model of `scene` has codes."""
    return counts_of_split(scene.splits["train"]) if "train" in scene.splits else {}


def settled(config: ModelConfig, scene: Scene) -> ModelConfig:
    """`config` with the finest level of its hash grid, where that is left open, made for the pixels of `scene`."""
    if not isinstance(config.field, FieldConfig):
        return config
    pixels = scene.pixels_per_unit / CLASSES[type(config)].unit_scale(config, box_of(scene))
    return replace(config, field=replace(config.field, hash_grid=config.field.hash_grid.settled(pixels)))


def check_scene(config: ModelConfig, scene: Scene) -> None:
    """Raises UserError where the model of `config` cannot represent `scene`, saying why."""
    CLASSES[type(config)].check_scene(config, scene)
