"""NeRF in the wild: its settings, and what it is trained with."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .fields import DEEPEST, HASH_FIELD, LARGE_HASH_FIELD, WIDEST, Encoding
from .model import LONGEST_CODE
from .nerf import NERF, NERF_PAPER, NeRFConfig
from .optimiser import OptimiserConfig
from .settings import MANY, above, within
from .systems import Preset, Recipe, System


@dataclass(frozen=True, kw_only=True)
class NeRFWConfig(NeRFConfig):
    """NeRF-W: a NeRF with a code for the light of each photo, and a second field for what passes by
    (Martin-Brualla et al. 2021)."""

    kind: Annotated[Literal["nerf-w"], Suppress] = dataclasses.field(default="nerf-w", init=False)
    appearance: int = 48
    """Numbers that tell the colour of the light in each photo; 0: none (NeRF-U)."""
    transient: bool = True
    """A field of what each photo alone shows, which pictures leave out; without it NeRF-A."""
    transient_code: int = 16
    """Numbers that tell that field which photo it is of."""
    transient_width: int = 128
    """Width of its hidden layers."""
    transient_layers: int = 4
    """Hidden layers of it."""
    transient_weight: float = 0.01
    """Of its mean density in the loss, so that it holds no more than it must."""
    min_uncertainty: float = 0.03
    """Of any pixel: the smaller, the more the pixels count that are certain."""
    beta_nll: float = 0.0
    """How evenly pixels count in spite of their uncertainty (beta-NLL, Seitzer et al. 2022). 0: as the paper's
    likelihood has it, which gives up early on what is hard to learn; 1: all alike."""

    def __post_init__(self):
        super().__post_init__()
        within(self, 0, LONGEST_CODE, "appearance")
        within(self, 1, LONGEST_CODE, "transient_code")
        within(self, 1, WIDEST, "transient_width")
        within(self, 0, DEEPEST, "transient_layers")
        within(self, 0, MANY, "transient_weight")
        within(self, 0, 1, "beta_nll")
        above(self, 0, MANY, "min_uncertainty")


NERF_W = Recipe(
    model=NeRFWConfig(
        field=NERF.model.field, coarse_samples=NERF.model.coarse_samples, fine_samples=NERF.model.fine_samples,
        transient_width=64, transient_layers=2, beta_nll=0.5),
    batch=NERF.batch, optimiser=NERF.optimiser)
NERF_W_PAPER = Recipe(
    model=NeRFWConfig(
        field=replace(NERF_PAPER.model.field, levels=15, width=512), coarse_samples=512, fine_samples=512),
    batch=replace(NERF_PAPER.batch, rays=2048), optimiser=NERF_PAPER.optimiser)


def _with_encoding(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    if preset == "paper":
        return replace(found, model=replace(found.model, field=LARGE_HASH_FIELD), optimiser=OptimiserConfig())
    # a grid finds surfaces soon: few samples of more rays then teach more in the same time
    model = replace(found.model, field=HASH_FIELD, fine_samples=16, transient_layers=1)
    return replace(found, model=model, batch=replace(found.batch, rays=256), optimiser=OptimiserConfig())


SYSTEM = System(
    settings=NeRFWConfig,
    model="taichi_nerf.models.nerf_w:NeRFW",
    presets={"small": NERF_W, "paper": NERF_W_PAPER},
    with_encoding=_with_encoding,
)
