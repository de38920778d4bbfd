"""Regions of space, each with an Instant-NGP of its own, trained as one model (NeRF-XL): their settings."""

import dataclasses
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import BatchConfig
from .instant_ngp import SYSTEM as INSTANT_NGP
from .instant_ngp import InstantNGPConfig
from .run import RunConfig
from .settings import MANY, SettingError, require, within
from .systems import System

__all__ = ["MOST_REGIONS", "RegionsConfig", "with_regions"]

MOST_REGIONS = 256


@dataclass(frozen=True, kw_only=True)
class RegionsConfig(InstantNGPConfig):
    """Disjoint regions of space, each with an Instant-NGP of its own, trained as one model (Li et al. 2024)."""

    kind: Annotated[Literal["regions"], Suppress] = dataclasses.field(default="regions", init=False)
    count: int = 2
    """Regions, with as equal numbers of the scene's points as can be; --regions N is the same."""
    boxes: tuple[float, ...] = ()
    """Where they are: the lower and the upper corner of each, x y z x y z in model units; none: by the scene."""

    def __post_init__(self):
        super().__post_init__()
        within(self, 1, MOST_REGIONS, "count")
        within(self, -MANY, MANY, "boxes")
        if self.boxes:
            require(len(self.boxes) == 6 * self.count, f"boxes must be six numbers for each of {self.count} regions, "
                    f"got {len(self.boxes)}")
            for corners in self.corners:
                require(all(low < high for low, high in zip(*corners)), f"boxes must begin below where they end, got "
                        f"{corners}")
            for one, other in combinations(self.corners, 2):
                apart = any(one[1][axis] <= other[0][axis] or other[1][axis] <= one[0][axis] for axis in range(3))
                require(apart, f"boxes must be disjoint, got {one} and {other}")

    @property
    def corners(self) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
        """Of each region; none: they are not known yet."""
        return [(self.boxes[n : n + 3], self.boxes[n + 3 : n + 6]) for n in range(0, len(self.boxes), 6)]

    def at(self, boxes) -> "RegionsConfig":
        """The same with its regions at `boxes` [count, 2, 3]."""
        return dataclasses.replace(self, boxes=tuple(float(value) for value in boxes.reshape(-1)))

    @property
    def parts(self) -> int:
        return self.count


def with_regions(run: RunConfig, count: int) -> RunConfig:
    """`run` with so many regions of its model. Raises SettingError where a model of its kind has none."""
    if isinstance(run.model, RegionsConfig):
        raise SettingError("the number of regions is --model.count with --model regions; leave --regions out")
    if type(run.model) is not InstantNGPConfig:
        raise SettingError(f"regions is for instant-ngp, whose samples can be cut at a border, and not for "
                           f"{run.model.kind}: use --model instant-ngp, or --blocks")
    return dataclasses.replace(run, model=_of_regions(run.model, count))


def _of_regions(model: InstantNGPConfig, count: int = RegionsConfig.count) -> RegionsConfig:
    """So many regions, each with a model of these settings."""
    settings = {field.name: getattr(model, field.name) for field in dataclasses.fields(model) if field.init}
    return RegionsConfig(**settings, count=count)


SYSTEM = System(
    settings=RegionsConfig,
    model="taichi_nerf.models.regions:Regions",
    presets={name: dataclasses.replace(found, model=_of_regions(found.model))
             for name, found in INSTANT_NGP.presets.items()},
    batch=BatchConfig,
    few_views=INSTANT_NGP.few_views,
)
