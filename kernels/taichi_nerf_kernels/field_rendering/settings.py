"""What a field's arrays mean, and how its rays are marched."""

import math
from dataclasses import dataclass

from ..spherical_harmonics import MAX_DEGREE

UNBOUNDED = 1e10


@dataclass(frozen=True, kw_only=True)
class FieldSettings:
    """What a field's arrays mean, and how its rays are marched."""

    features: int
    """Features of an entry of the hash grid, F."""
    density_sizes: tuple[int, ...]
    """Layers of the density network: L * F, widths, G."""
    colour_sizes: tuple[int, ...]
    """Layers of the colour network: G + degree^2, widths, 3."""
    degree: int
    """Of the spherical harmonics: so many bands, degree^2 functions."""
    harmonic: bool = False
    """Whether the colour network sees no direction and gives coefficients of these functions, [3, degree^2]: its layers
    are G, widths, 3 degree^2, or G + 1, where the last input is 1."""
    side: float
    """Side of the field's box, in model units."""
    resolution: int
    """Cells of the occupancy grid along an axis."""
    cascades: int
    """Nested cubes of it."""
    step: float
    """Length of the shortest step."""
    cone: float = 0.0
    """Growth of a step with distance."""
    near: float = 0.0
    """Nothing nearer is sampled."""
    far: float = UNBOUNDED
    """Nothing farther is sampled."""
    max_samples: int = 1024
    """Samples of a ray at the most."""
    early_stop: float = 1e-4
    """Transmittance behind which a ray ends."""

    def __post_init__(self):
        if self.resolution not in (16, 32, 64, 128, 256, 512) or not 1 <= self.cascades <= 8:
            raise ValueError("resolution must be a power of two from 16 to 512 and cascades from 1 to 8, got "
                             f"{self.resolution} and {self.cascades}")
        if not (0 < self.step < math.inf and 0 <= self.cone <= 0.05 and 0 <= self.near <= self.far and self.side > 0):
            raise ValueError("step and side must be above 0, cone in [0, 0.05], and 0 <= near <= far, got "
                             f"{self.step}, {self.side}, {self.cone}, {self.near} and {self.far}")
        if not (1 <= self.max_samples <= 2**24 and 0 <= self.early_stop < 1 and 1 <= self.degree <= MAX_DEGREE):
            raise ValueError("max_samples must be from 1 to 2^24, early_stop in [0, 1) and degree from 1 to "
                             f"{MAX_DEGREE}, got {self.max_samples}, {self.early_stop} and {self.degree}")
        geometry, functions = self.density_sizes[-1], self.degree**2
        ends = self.colour_sizes[0], self.colour_sizes[-1]
        if not self.harmonic and ends != (geometry + functions, 3):
            raise ValueError(f"the colour network must go from {geometry} + {self.degree}^2 inputs to 3 outputs, got "
                             f"{self.colour_sizes}")
        if self.harmonic and ends not in ((geometry, 3 * functions), (geometry + 1, 3 * functions)):
            raise ValueError(f"the colour network must go from {geometry} inputs, or one more, to 3 times "
                             f"{self.degree}^2 outputs, got {self.colour_sizes}")

    def check_layout(self, layout) -> None:
        """Raise ValueError for a `HashGridLayout` with other features than the field's."""
        if layout.features != self.features or layout.outputs != self.density_sizes[0]:
            raise ValueError(f"the hash grid must have {self.features} features an entry and {self.density_sizes[0]} "
                             f"of all levels, got {layout.features} and {layout.outputs}")
