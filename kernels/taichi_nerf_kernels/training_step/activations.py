"""From what the networks put out to densities and colours, and back.

    density   exp(log density); in its gradient the exponent is clamped to [-15, 15]
    colour    sigmoid(raw)
"""

from ..engine import ti

LARGEST_LOG_DENSITY = 80.0  # beyond it the density, which makes any distance opaque, grows no more
STEEPEST_LOG_DENSITY = 15.0  # the exponent in the gradient of the density is clamped to +- this


@ti.func
def density_of(log_density):
    """exp, finite for every argument."""
    return ti.exp(ti.min(log_density, LARGEST_LOG_DENSITY))


@ti.func
def density_slope(log_density):
    """What a gradient with respect to the density is multiplied with."""
    return ti.exp(ti.min(ti.max(log_density, -STEEPEST_LOG_DENSITY), STEEPEST_LOG_DENSITY))


@ti.func
def sigmoid(x):
    """1 / (1 + e^-x)"""
    return 1.0 / (1.0 + ti.exp(-x))
