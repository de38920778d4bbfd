"""T-NeRF: its settings, and what it is trained with."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import Suppress

from .batch import BatchConfig
from .fields import DEEPEST, Encoding, FieldConfig, PositionalFieldConfig
from .instant_ngp import INSTANT_NGP, INSTANT_NGP_PAPER, SMALL_FIELD, InstantNGPConfig, SamplingConfig
from .nerf import NERF, NERF_PAPER
from .settings import require, within
from .systems import Preset, Recipe, System

MOST_TIMES = 64  # at which the occupancy grid looks at a time
# a deep network takes as long for each sample as a small one for many, and finds where something is more slowly
FEW_CELLS = SamplingConfig(cells_per_update=2**12, first_update=256)
FEW_SAMPLES = BatchConfig(samples=2**12, marched=2**14, max_rays=2**11)


@dataclass(frozen=True, kw_only=True)
class TNeRFConfig(InstantNGPConfig):
    """T-NeRF: a hash field that is told the time, for scenes that move (Pumarola et al. 2021)."""

    kind: Annotated[Literal["t-nerf"], Suppress] = dataclasses.field(default="t-nerf", init=False)
    field: FieldConfig | PositionalFieldConfig = SMALL_FIELD
    time_levels: int = 6
    """Frequencies of the time beside the features of a point, from 1 in powers of two; 0: the time itself."""
    density_layers: int = 2
    """Hidden layers of the density network behind a hash grid."""
    grid_times: int = 4
    """Times at which an update of the occupancy grid looks at a cell."""

    def __post_init__(self):
        super().__post_init__()
        within(self, 0, 16, "time_levels")
        within(self, 1, DEEPEST, "density_layers")
        within(self, 1, MOST_TIMES, "grid_times")
        require(isinstance(self.field, FieldConfig) or (self.widths in (None, "off") and not self.widening),
                "widths and widening are of a hash grid: use --encoding hash, or leave them out")

    def settled(self, pixels: float, scales: bool = False) -> "TNeRFConfig":
        return super().settled(pixels, scales and isinstance(self.field, FieldConfig))


def of_instant_ngp(found: Recipe, settings: type[TNeRFConfig]) -> Recipe:
    """The recipe of a model that moves, with the field, the sampling and the training of Instant-NGP."""
    return replace(found, model=settings(field=found.model.field, sampling=found.model.sampling))


def deep(**paper) -> Callable[[Recipe, Preset, Encoding], Recipe]:
    """What makes the recipe of a preset one of deep networks: the large preset with the settings of its `paper`, the
    small one with a smaller network for the field."""

    def with_encoding(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
        if preset == "small":
            model = replace(found.model, field=NERF.model.field, sampling=FEW_CELLS)
            return Recipe(model=model, batch=FEW_SAMPLES, optimiser=NERF.optimiser)
        sampling = replace(found.model.sampling, cells_per_update=2**18, first_update=1024)
        model = replace(found.model, **{"field": PositionalFieldConfig(), "sampling": sampling, **paper})
        return Recipe(model=model, batch=BatchConfig(samples=2**16, marched=2**19), optimiser=NERF_PAPER.optimiser)

    return with_encoding


SYSTEM = System(
    settings=TNeRFConfig,
    model="taichi_nerf.models.t_nerf:TNeRF",
    presets={"small": of_instant_ngp(INSTANT_NGP, TNeRFConfig),
             "paper": of_instant_ngp(INSTANT_NGP_PAPER, TNeRFConfig)},
    batch=BatchConfig,
    with_encoding=deep(time_levels=10),
    moves=True,
)
