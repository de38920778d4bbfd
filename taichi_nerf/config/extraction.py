"""How an octree is made out of a trained model."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from .fields import HIGHEST
from .settings import require, within

SHALLOWEST, DEEPEST = 3, 12  # depth of an octree: cells of a 4096th of its cube are 8 times as small as anybody's


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """How an octree is made out of a trained model (Yu et al. 2021)."""

    depth: Annotated[int | None, arg(metavar="D")] = None
    """The smallest leaves are 2^-D of the cube around the object. None: as small as a pixel of the training images."""
    threshold: float = 0.01
    """A leaf stays if it makes up at least this part of some pixel of the training images. Less keeps more leaves:
    finer haze and edges, a larger file."""
    samples: Annotated[int, arg(metavar="N")] = 8
    """Points of a leaf whose mean it holds."""
    harmonics: int | None = None
    """Degree of the colour's harmonics, 0 to 4. None: the model's own, or 2 for one whose colours are in none."""
    memory: Annotated[float, arg(metavar="GIB")] = 4.0
    """Bound of the memory that the octree takes while it is trained, in GiB."""

    def __post_init__(self):
        within(self, SHALLOWEST, DEEPEST, "depth")
        within(self, 1, 4096, "samples")
        within(self, 0, HIGHEST, "harmonics")
        require(0 < self.threshold < 1, f"threshold must be above 0 and below 1, got {self.threshold}")
        require(0 < self.memory <= 2**20, f"memory must be above 0, got {self.memory}")
