"""What the outputs of the networks mean."""

from ..engine import ti
from ..harmonic_colours import sigmoid

__all__ = ["LARGEST_EXPONENT", "density_of", "sigmoid"]

LARGEST_EXPONENT = 80.0  # of a density: it makes any distance opaque


@ti.func
def density_of(log_density):
    """exp(min(log density, 80)) per model unit."""
    return ti.exp(ti.min(log_density, LARGEST_EXPONENT))
