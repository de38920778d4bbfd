"""What a field's arrays mean, and how its rays are marched."""

from dataclasses import dataclass

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
    """Of the spherical harmonics."""
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
        if self.density_sizes[-1] + self.degree**2 != self.colour_sizes[0] or self.colour_sizes[-1] != 3:
            raise ValueError(f"the colour network must go from {self.density_sizes[-1]} + {self.degree}^2 inputs to "
                             f"3 outputs, got {self.colour_sizes}")
