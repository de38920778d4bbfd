"""T-NeRF: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import BatchConfig
from .fields import DEEPEST, Encoding
from .instant_ngp import INSTANT_NGP, INSTANT_NGP_PAPER, InstantNGPConfig
from .settings import SettingError, within
from .systems import Preset, Recipe, System

MOST_TIMES = 64  # at which the occupancy grid looks at a time


@dataclass(frozen=True, kw_only=True)
class TNeRFConfig(InstantNGPConfig):
    """T-NeRF: a hash field that is told the time, for scenes that move (Pumarola et al. 2021)."""

    kind: Annotated[Literal["t-nerf"], Suppress] = dataclasses.field(default="t-nerf", init=False)
    time_levels: int = 6
    """Frequencies of the time beside the features of a point, from 1 in powers of two; 0: the time itself."""
    density_layers: int = 2
    """Hidden layers of the density network."""
    grid_times: int = 4
    """Times at which an update of the occupancy grid looks at a cell."""

    def __post_init__(self):
        super().__post_init__()
        within(self, 0, 16, "time_levels")
        within(self, 1, DEEPEST, "density_layers")
        within(self, 1, MOST_TIMES, "grid_times")


def of_instant_ngp(found: Recipe, settings: type[TNeRFConfig]) -> Recipe:
    """The recipe of a model that moves, with the field, the sampling and the training of Instant-NGP."""
    return replace(found, model=settings(field=found.model.field, sampling=found.model.sampling))


def hash_alone(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    """Raises SettingError: there is no deep network of these."""
    raise SettingError(f"encoding {encoding} is not for {found.model.kind}, whose samples are too many for a deep "
                       "network: use --encoding hash")


SYSTEM = System(
    settings=TNeRFConfig,
    model="taichi_nerf.models.t_nerf:TNeRF",
    presets={"small": of_instant_ngp(INSTANT_NGP, TNeRFConfig),
             "paper": of_instant_ngp(INSTANT_NGP_PAPER, TNeRFConfig)},
    batch=BatchConfig,
    with_encoding=hash_alone,
    moves=True,
)
