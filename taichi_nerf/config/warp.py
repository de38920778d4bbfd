"""What bends a scene that moves back to how it was."""

from dataclasses import dataclass

from .fields import DEEPEST, WIDEST
from .settings import above, within


@dataclass(frozen=True, kw_only=True)
class WarpConfig:
    """The displacement network: sines and cosines of a point and a time before a small deep network."""

    levels: int = 4
    """Frequencies of the coordinates, from 1 in powers of two, of a box with the half side 1."""
    time_levels: int = 4
    """Frequencies of the time."""
    width: int = 64
    """Width of the hidden layers."""
    layers: int = 3
    """Hidden layers."""
    rate: float = 1.0
    """Of the networks' learning rate."""

    def __post_init__(self):
        within(self, 0, 16, "levels", "time_levels")
        within(self, 1, WIDEST, "width")
        within(self, 1, DEEPEST, "layers")
        above(self, 0, 100, "rate")
