"""D-NeRF: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import BatchConfig
from .instant_ngp import INSTANT_NGP, INSTANT_NGP_PAPER, SamplingConfig
from .systems import System
from .t_nerf import TNeRFConfig, deep, of_instant_ngp
from .warp import WarpConfig

# what comes along is soon found in cells where nothing was; what looks at so many cells needs no warm-up
MORE_CELLS = SamplingConfig(cells_per_update=2**16, warmup_updates=0)


@dataclass(frozen=True, kw_only=True)
class DNeRFConfig(TNeRFConfig):
    """D-NeRF: a hash field of a time of rest, and a network that says where its points are at others (Pumarola et al.
    2021), in the shape of TiNeuVox (Fang et al. 2022)."""

    kind: Annotated[Literal["d-nerf"], Suppress] = dataclasses.field(default="d-nerf", init=False)
    sampling: SamplingConfig = MORE_CELLS
    grid_times: int = 2
    """Times at which an update of the occupancy grid looks at a cell."""
    warp: WarpConfig = dataclasses.field(default_factory=WarpConfig)
    field_sees_time: bool = True
    """Tell the field the time, too, as TiNeuVox does: what appears comes from nowhere, and light changes."""


SYSTEM = System(
    settings=DNeRFConfig,
    model="taichi_nerf.models.d_nerf:DNeRF",
    presets={"small": replace(INSTANT_NGP, model=DNeRFConfig(field=INSTANT_NGP.model.field)),
             "paper": of_instant_ngp(INSTANT_NGP_PAPER, DNeRFConfig)},
    batch=BatchConfig,
    with_encoding=deep(field_sees_time=False, warp=WarpConfig(
        levels=10, time_levels=10, waves=0, rest=0.0, course=0.0, width=256, layers=8, skip=4, rate=1.0)),
    moves=True,
)
