"""What the outputs of the networks mean."""

from ..engine import ti

LARGEST_EXPONENT = 80.0  # of a density: it makes any distance opaque


@ti.func
def density_of(log_density):
    """exp(min(log density, 80)) per model unit."""
    return ti.exp(ti.min(log_density, LARGEST_EXPONENT))


@ti.func
def sigmoid(x):
    """1 / (1 + e^-x), finite for every x: e^-x is at most e^80."""
    return 1.0 / (1.0 + ti.exp(ti.min(-x, LARGEST_EXPONENT)))
