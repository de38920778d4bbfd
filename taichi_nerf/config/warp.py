"""What bends a scene that moves back to how it was."""

from dataclasses import dataclass

from .fields import DEEPEST, WIDEST
from .model import LONGEST_CODE
from .settings import LARGEST, MANY, above, require, within


@dataclass(frozen=True, kw_only=True)
class WarpConfig:
    """The displacement network: sines and cosines of a point and a time before a small deep network."""

    levels: int = 6
    """Frequencies of the coordinates, from 1 in powers of two, of a box with the half side 1."""
    time_levels: int = 6
    """Frequencies of the time."""
    width: int = 64
    """Width of the hidden layers."""
    layers: int = 3
    """Hidden layers."""
    rate: float = 0.2
    """Of the networks' learning rate."""

    def __post_init__(self):
        within(self, 0, 16, "levels", "time_levels")
        within(self, 1, WIDEST, "width")
        within(self, 1, DEEPEST, "layers")
        above(self, 0, 100, "rate")


@dataclass(frozen=True, kw_only=True)
class RigidWarpConfig:
    """The network of rigid motions: sines and cosines of a point and the code of a time before a small deep network."""

    levels: int = 4
    """Frequencies of the coordinates, from 1 in powers of two, of a box with the half side 1."""
    coarse: float = 0.5
    """Part of the training in which they come in one after the other, from coarse to fine; 0: all are there at once."""
    code: int = 8
    """Numbers that tell of each time of the training images how things were."""
    codes: int | None = None
    """Of so many times, evenly spread, there are codes; between them lie those of other times. None: one for each time
    of the training images."""
    course: float = 0.0
    """Part of the training in which times come in from the first to the last; 0: all are there at once."""
    width: int = 64
    """Width of the hidden layers."""
    layers: int = 3
    """Hidden layers."""
    rate: float = 0.2
    """Of the networks' learning rate."""
    elastic: float = 1e-3
    """Weight of the elastic loss, which holds the warp to rigid motions where it can; 0: none. 1e-3 of the scenes with
    two cameras, 1e-2 of those with one, in Nerfies."""
    still: float = 0.0
    """Weight of the loss that holds points still that structure from motion found; 0: none. 1 in Nerfies, after whose
    coarse start a large part moves as one: here that much holds everything."""

    def __post_init__(self):
        within(self, 0, 16, "levels")
        require(0 <= self.coarse < 1, f"coarse must be in [0, 1), got {self.coarse}")
        require(0 <= self.course < 1, f"course must be in [0, 1), got {self.course}")
        within(self, 1, LONGEST_CODE, "code")
        within(self, 2, LARGEST, "codes")
        within(self, 1, WIDEST, "width")
        within(self, 1, DEEPEST, "layers")
        above(self, 0, 100, "rate")
        within(self, 0, MANY, "elastic", "still")
