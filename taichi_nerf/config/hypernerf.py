"""HyperNeRF: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import BatchConfig
from .instant_ngp import INSTANT_NGP, INSTANT_NGP_PAPER
from .nerfies import PAPER_FIELD, PAPER_WARP, NerfiesConfig
from .systems import System
from .t_nerf import deep, of_instant_ngp
from .warp import SliceConfig


@dataclass(frozen=True, kw_only=True)
class HyperNeRFConfig(NerfiesConfig):
    """HyperNeRF: Nerfies with a field of two dimensions more, of which a time sees a slice, so that things can open,
    appear and go (Park et al. 2021)."""

    kind: Annotated[Literal["hypernerf"], Suppress] = dataclasses.field(default="hypernerf", init=False)
    slice: SliceConfig = dataclasses.field(default_factory=SliceConfig)
    field_sees_time: bool = False
    """Tell the field the time, too; here the ambient coordinates say what appears."""


SYSTEM = System(
    settings=HyperNeRFConfig,
    model="taichi_nerf.models.hypernerf:HyperNeRF",
    presets={"small": replace(INSTANT_NGP, model=HyperNeRFConfig(field=INSTANT_NGP.model.field)),
             "paper": of_instant_ngp(INSTANT_NGP_PAPER, HyperNeRFConfig)},
    batch=BatchConfig,
    with_encoding=deep(field=PAPER_FIELD, warp=PAPER_WARP, slice=SliceConfig(width=64, layers=6, skip=4)),
    moves=True,
)
