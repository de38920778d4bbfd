"""Nerfies: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import BatchConfig
from .d_nerf import DNeRFConfig
from .fields import PositionalFieldConfig
from .instant_ngp import INSTANT_NGP, INSTANT_NGP_PAPER
from .systems import System
from .t_nerf import deep, of_instant_ngp
from .warp import RigidWarpConfig


@dataclass(frozen=True, kw_only=True)
class NerfiesConfig(DNeRFConfig):
    """Nerfies: a hash field of how things are, and a network that says by which rigid motion each of its points came
    there from where it is seen, of a code for each time (Park et al. 2021)."""

    kind: Annotated[Literal["nerfies"], Suppress] = dataclasses.field(default="nerfies", init=False)
    warp: RigidWarpConfig = dataclasses.field(default_factory=RigidWarpConfig)


PAPER_FIELD = PositionalFieldConfig(levels=8)
PAPER_WARP = RigidWarpConfig(
    width=128, layers=6, skip=4, levels=8, code=8, codes_multiply=False, rest=0.0, course=0.0, coarse=0.32, rate=1.0,
    elastic=1e-3, elastic_scale=0.03, still=1.0)

SYSTEM = System(
    settings=NerfiesConfig,
    model="taichi_nerf.models.nerfies:Nerfies",
    presets={"small": replace(INSTANT_NGP, model=NerfiesConfig(field=INSTANT_NGP.model.field)),
             "paper": of_instant_ngp(INSTANT_NGP_PAPER, NerfiesConfig)},
    batch=BatchConfig,
    with_encoding=deep(field=PAPER_FIELD, field_sees_time=False, warp=PAPER_WARP),
    moves=True,
)
