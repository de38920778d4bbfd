"""The multiresolution hash encoding."""

import dataclasses
from dataclasses import dataclass

from .settings import MANY, require, within

CELLS_PER_PIXEL, FINEST = 1.25, 2048  # of the finest level of a hash grid; the latter is Instant-NGP's
MOST_LEVELS = 32  # each is a part of the kernels
MOST_VERTICES = 2**20  # along a side: float32 tells no more positions apart, with 4 bits within a cell


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """The multiresolution hash encoding."""

    levels: int = 8
    """Resolution levels."""
    features: int = 4
    """Features per entry."""
    log2_entries: int = 16
    """Largest number of entries of a level, as a power of two."""
    base_resolution: int = 16
    """Vertices along the coarsest level."""
    max_resolution: int | None = None
    """Vertices of the finest level along a side of 1: that of the base cube in instant-ngp, half the box in nerf, the
    radius of the uncontracted ball in mip-nerf-360.
    None: 1.25 for each pixel that the training images have across it, at most 2048."""
    decay: float = 0.0
    """Weight in the loss of half the mean square of the entries of each level (Zip-NeRF). It holds back what no
    image asks for, and makes up for a finest level that is much too fine."""
    decay_until: float | None = 0.5
    """Part of the training over which the decay falls evenly to nothing, so that it costs no detail; None: it stays to
    the end."""

    def __post_init__(self):
        within(self, 1, MOST_LEVELS, "levels")
        require(self.features in (1, 2, 4, 8), f"features must be 1, 2, 4 or 8, got {self.features}")
        within(self, 8, 24, "log2_entries")
        within(self, 0, MANY, "decay")
        require(self.decay_until is None or 0 < self.decay_until <= 1,
                "decay-until must be above 0 and at most 1, or None for a decay that stays to the end, got "
                f"{self.decay_until}")
        finest = FINEST if self.max_resolution is None else self.max_resolution
        require(2 <= self.base_resolution <= finest <= MOST_VERTICES,
                f"resolutions must satisfy 2 <= base <= max <= {MOST_VERTICES}, got {self.base_resolution} and "
                f"{finest}")

    def decay_at(self, progress: float) -> float:
        """The decay when this part of the training is over."""
        return self.decay * (1.0 if self.decay_until is None else max(0.0, 1 - progress / self.decay_until))

    def settled(self, pixels: float) -> "HashGridConfig":
        """The same with a finest level, if it has none, for images with so many `pixels` across a side of 1.

        Details much finer than a pixel are not seen; a grid that has them learns each image by heart.
        """
        if self.max_resolution is not None:
            return self
        finest = round(min(CELLS_PER_PIXEL * pixels, FINEST))
        return dataclasses.replace(self, max_resolution=max(finest, self.base_resolution))
