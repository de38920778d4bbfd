"""How a model is trained."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from .batch import BatchConfig, RayBatchConfig
from .corrections import DepthConfig, ExposureConfig, NearCameraConfig, RefineConfig, SparsityConfig
from .optimiser import OptimiserConfig
from .settings import LARGEST, above, require, within
from .trimming import TrimConfig

LONGEST = 10**9  # seconds


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained."""

    steps: Annotated[int | None, arg(metavar="N")] = None
    """Stop after this many steps. With neither --steps nor --seconds: 90 seconds, or 20000 steps on CUDA."""
    seconds: Annotated[float | None, arg(metavar="S")] = None
    """Stop after this many seconds of training; loading, compiling and evaluating do not count."""
    seed: int = 0
    """Of everything random."""
    gradients: Literal["auto", "autograd", "explicit"] = "auto"
    """How a step gets its gradients: by PyTorch's autograd, or explicitly, by kernels on arrays of the device, which
    only Instant-NGP has; auto: explicitly where that is faster. Both are the same."""
    batch: BatchConfig | RayBatchConfig = dataclasses.field(default_factory=BatchConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    refine: RefineConfig = dataclasses.field(default_factory=RefineConfig)
    exposure: ExposureConfig = dataclasses.field(default_factory=ExposureConfig)
    depth: DepthConfig = dataclasses.field(default_factory=DepthConfig)
    sparsity: SparsityConfig = dataclasses.field(default_factory=SparsityConfig)
    near_camera: NearCameraConfig = dataclasses.field(default_factory=NearCameraConfig)
    robust: bool = False
    """Leave out of the loss what a photo shows and the others do not: people, cars, leaves. It needs no masks, and is
    what to try first on a capture that people walk through."""
    trim: TrimConfig = dataclasses.field(default_factory=TrimConfig)

    def __post_init__(self):
        within(self, 0, LARGEST, "steps", "seed")
        above(self, 0, LONGEST, "seconds")
        require(not self.refine.active or self.gradients != "explicit",
                "gradients explicit trains on cameras as they are: with refine use autograd or auto")
        require(self.optimiser.clip_norm is None or self.gradients != "explicit",
                "gradients explicit clips no gradients: with optimiser.clip-norm use autograd or auto")
