"""The model of any settings, and what of a scene it needs to know before it is made."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from ..config import HashGridConfig, ModelConfig, system_of
from ..data.scene import Scene
from ..fields.hash_field import layout_of
from .model import Box, Model, Space
from .shots import counts_of as counts_of_split

__all__ = ["box_of", "build_model", "check_scene", "counts_of", "settled", "space_of"]


def build_model(config: ModelConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None,
                sizes: Mapping[str, int] | None = None, own: Sequence[int] | None = None) -> Model:
    """An untrained model of what lies in `box`, on the CPU, with codes for so many ids of each name, and arrays of
    `sizes` where no setting says how large they are. Of `config.parts` only `own` are made, where ranks share a model.
    Raises ValueError for sizes that it cannot have."""
    some = {} if own is None else {"own": own}
    model = system_of(config).model_class(config, box, seed, counts, **some)
    if sizes:
        model.make_room(sizes)
    return model


def box_of(scene: Scene) -> Box:
    """Where `scene` lies in model space."""
    return Box(aabb_scale=scene.aabb_scale, near=scene.near, bounded=scene.bounded)


def space_of(config: ModelConfig, scene: Scene) -> Space:
    """What of `scene` a model of `config` represents."""
    return system_of(config).model_class.space(config, box_of(scene))


def counts_of(scene: Scene) -> dict[str, int]:
    """For how many ids of each name a model of `scene` has codes."""
    return counts_of_split(scene.splits["train"]) if "train" in scene.splits else {}


def settled(config: ModelConfig, scene: Scene) -> ModelConfig:
    """`config` with what it leaves open as it is best for `scene`: the finest level of a hash grid for its pixels,
    whether a sample has a width, and what the model itself knows to choose (`Model.fitted`)."""
    scales = "train" in scene.splits and scene.splits["train"].area_weight is not None
    model = system_of(config).model_class
    found = config.settled(scene.pixels_per_unit / model.unit_scale(config, box_of(scene)), scales)
    return model.fitted(found, scene)


def check_scene(config: ModelConfig, scene: Scene) -> None:
    """Raises UserError where the model of `config` cannot represent `scene`, saying why, or does not fit into the
    memory."""
    system_of(config).model_class.check_scene(config, scene)
    for grid in _hash_grids(config):
        layout_of(grid, 1.0)  # the least that it has in any box


def _hash_grids(config) -> Iterator[HashGridConfig]:
    """Those anywhere in `config`."""
    for value in (getattr(config, field.name) for field in dataclasses.fields(config)):
        if isinstance(value, HashGridConfig):
            yield value
        elif dataclasses.is_dataclass(value):
            yield from _hash_grids(value)
