"""Where the rays of NeRF and its descendants are cut into intervals."""

from dataclasses import dataclass
from typing import Literal

from .settings import require, within

MOST_SAMPLES = 4096  # of a ray: a step of `batch.MOST_RAYS` still has fewer than 2^31 of them
FARTHEST = 10**9  # model units
Spacing = Literal["linear", "disparity", "piecewise", "power-ladder"]


@dataclass(frozen=True, kw_only=True)
class RangeConfig:
    """Between which distances a ray is sampled, and how they are spaced; lengths in model units."""

    spacing: Spacing = "linear"
    """Samples are even in the distance, in its inverse (disparity), or in either: near by and far away (piecewise; or
    power-ladder, that of Zip-NeRF, which passes from one to the other more slowly and has fewer of them far away)."""
    near: float | None = None
    """Nearest distance; none: what the scene says."""
    far: float | None = None
    """Farthest distance; none: where the ray leaves the box, or a million where space is contracted."""

    def __post_init__(self):
        within(self, 0, FARTHEST, "near", "far")
        require(self.far is None or self.far > (self.near or 0), f"far must be beyond near, got {self.far}")
        require(self.spacing != "disparity" or self.near is None or self.near > 0,
                "near must be positive where samples are even in disparity")
