"""What bends a scene that moves back to how it was."""

from dataclasses import dataclass

from .fields import DEEPEST, WIDEST
from .model import LONGEST_CODE
from .settings import MANY, above, require, within

MOST_CODES = 2**20  # of times: more than photos, and their codes fit into any memory
MOST_AMBIENT = 16  # dimensions beside those of space
STANDING = 0.2  # part of a training with a course in which all times are there, and nothing is moved yet


@dataclass(frozen=True, kw_only=True)
class _Bending:
    """What all that bends a scene has: a network, and a course in which it is learned."""

    levels: int = 4
    """Frequencies of the coordinates, from 1 in powers of two, of a box with the half side 1."""
    rest: float = 0.5
    """The time at which nothing is displaced, in whose state the field has the scene; 0 in D-NeRF."""
    course: float = 0.85
    """Part of the training at whose end all times have come in: the first fifth of it shows what stands still in the
    photos of all times, then those nearest to the time of rest come first. 0: all are there at once."""
    width: int = 64
    """Width of the hidden layers."""
    layers: int = 3
    """Hidden layers."""
    skip: int | None = None
    """Hidden layer, counted from 0, after which the input enters once more, in a network that has biases, as in the
    papers. None: neither."""
    rate: float = 0.2
    """Of the networks' learning rate."""

    def __post_init__(self):
        within(self, 0, 16, "levels")
        within(self, 0, 1, "rest")
        require(self.course == 0 or STANDING < self.course < 1,
                f"course must be 0, or above {STANDING} and below 1, got {self.course}")
        within(self, 1, WIDEST, "width")
        within(self, 1, DEEPEST, "layers")
        within(self, 0, DEEPEST, "skip")
        above(self, 0, 100, "rate")


@dataclass(frozen=True, kw_only=True)
class WarpConfig(_Bending):
    """The displacement network: sines and cosines of a point before a small deep network, and waves of the time."""

    waves: int = 4
    """Waves of the time that the displacement of a point is a sum of, the first with half a period over all times, and
    each with half a period more than the one before. 0: the network is told the time instead, as in D-NeRF."""
    time_levels: int = 6
    """Frequencies of the time that the network is told where there are no waves."""

    def __post_init__(self):
        super().__post_init__()
        within(self, 0, 16, "time_levels", "waves")


@dataclass(frozen=True, kw_only=True)
class RigidWarpConfig(_Bending):
    """The network of rigid motions: sines and cosines of a point before a small deep network, and codes of the time."""

    coarse: float = 0.0
    """Part of the training in which they come in one after the other, from coarse to fine; 0: all are there at once.
    Half of it in Nerfies; with a course what is small has gone elsewhere before they are all there."""
    code: int = 8
    """Numbers that tell of each time of the training images how things were."""
    codes_multiply: bool = True
    """The network sees the point alone, and a motion is the sum of as many as a code has numbers, each times its
    number; codes are waves of the time at first. no: the network is told the code beside the point, as in Nerfies,
    which learns a motion only where much of the picture moves."""
    codes: int | None = None
    """Of so many times, evenly spread, there are codes; between them lie those of other times. None: one for each time
    of the training images."""
    elastic: float = 0.0
    """Weight of the elastic loss, which holds the warp to rigid motions where it can; 0: none. 1e-3 of the scenes with
    two cameras, 1e-2 of those with one, in Nerfies; here 3e-3 takes some of the stretch, and 1e-2 undoes motions that
    have been found. With codes that multiply it waits for the end of the course: from the first step it holds
    everything where little of a picture moves."""
    elastic_scale: float = 0.1
    """Root of the energy, the sum of the squared logarithms of the singular values, beyond which that loss lets go of
    what truly bends. 0.03 in Nerfies, whose warp is held from the first step; what is only held at last is stretched by
    more than that, and the loss would let go of all."""
    elastic_every: int = 32
    """Of so many samples of a step one is asked how far the warp stretches what is there, for the elastic loss. They
    are drawn by how much they add to their pixels, and what is estimated is the loss of all. With a smaller number it
    is more exact, and slower."""
    still: float = 0.0
    """Weight of the loss that holds points still that structure from motion found; 0: none. 1 in Nerfies, after whose
    coarse start a large part moves as one: here that much holds everything."""

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.coarse < 1, f"coarse must be in [0, 1), got {self.coarse}")
        within(self, 1, LONGEST_CODE, "code")
        within(self, 2, MOST_CODES, "codes")
        within(self, 0, MANY, "elastic", "still")
        above(self, 0, MANY, "elastic_scale")
        within(self, 1, MANY, "elastic_every")


@dataclass(frozen=True, kw_only=True)
class SliceConfig:
    """The surface in a space of more than three dimensions whose slice at a time the scene is: a small network that
    says where each point lies on it in the ambient ones (Park et al. 2021, HyperNeRF)."""

    dimensions: int = 2
    """Ambient ones, beside those of space."""
    ambient_levels: int = 4
    """Frequencies of these coordinates that the field is told, from 1 in powers of two."""
    coarse: float = 0.0
    """Part of the training in which they come in one after the other, from coarse to fine; 0: all are there at once.
    It counts where the warp has no course: with one they wait for its end."""
    levels: int = 1
    """Frequencies of the coordinates of a point, of a box with the half side 1: with few the surface bends gently."""
    width: int = 32
    """Width of the network's hidden layers: half of the warp's default, as in the paper."""
    layers: int = 3
    """Its hidden layers."""
    skip: int | None = None
    """Hidden layer, counted from 0, after which the input enters once more, in a network that has biases, as in the
    paper. None: neither."""

    def __post_init__(self):
        within(self, 1, MOST_AMBIENT, "dimensions")
        within(self, 1, 16, "ambient_levels")
        within(self, 0, 16, "levels")
        require(0 <= self.coarse < 1, f"coarse must be in [0, 1), got {self.coarse}")
        within(self, 1, WIDEST, "width")
        within(self, 1, DEEPEST, "layers")
        within(self, 0, DEEPEST, "skip")
