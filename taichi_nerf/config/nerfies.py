"""Nerfies: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import BatchConfig
from .instant_ngp import INSTANT_NGP, INSTANT_NGP_PAPER
from .systems import System
from .t_nerf import TNeRFConfig, hash_alone, of_instant_ngp
from .warp import RigidWarpConfig


@dataclass(frozen=True, kw_only=True)
class NerfiesConfig(TNeRFConfig):
    """Nerfies: a hash field of how things are, and a network that says by which rigid motion each of its points came
    there from where it is seen, of a code for each time (Park et al. 2021)."""

    kind: Annotated[Literal["nerfies"], Suppress] = dataclasses.field(default="nerfies", init=False)
    warp: RigidWarpConfig = dataclasses.field(default_factory=RigidWarpConfig)
    field_sees_time: bool = True
    """Tell the field the time, too, as TiNeuVox does: what appears comes from nowhere, and light changes."""


SYSTEM = System(
    settings=NerfiesConfig,
    model="taichi_nerf.models.nerfies:Nerfies",
    presets={"small": of_instant_ngp(INSTANT_NGP, NerfiesConfig),
             "paper": of_instant_ngp(INSTANT_NGP_PAPER, NerfiesConfig)},
    batch=BatchConfig,
    with_encoding=hash_alone,
    moves=True,
)
