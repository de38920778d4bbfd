"""What is learned or known beside the field: cameras, exposures, distances, and that most of space is empty, above all
right before a camera."""

from dataclasses import dataclass
from typing import Literal

from .batch import MOST_SAMPLES
from .settings import LARGEST, MANY, above, require, within


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Corrections of training cameras that are not quite right, learned with the field."""

    poses: bool = False
    """Correct where the cameras stand and how they are turned."""
    lenses: bool = False
    """Correct focal lengths and principal points, of all images of a lens together."""
    precondition: bool = False
    """Learn the corrections in coordinates of which each moves the picture as far, and which do not share what they
    show (Park et al. 2023, CamP); the learning rate is in radians of the picture then."""
    learning_rate: float = 1e-3
    """Adam's at the start, in radians and model units; 1e-4 is enough for poses from structure from motion,
    and 4e-3 is for poses that are off by degrees."""
    final_fraction: float = 0.03
    """The learning rate falls exponentially, to this fraction of its start."""
    start_step: int = 100
    """Step of the first correction: before there is a field, nothing tells where a camera is."""
    coarse: float = 0.25
    """Part of the training in which the levels of a hash grid come in one after the other, from coarse to fine; 0.5
    for poses that are off by degrees."""
    pull: float = 0.02
    """Weight of the mean length of the corrections in the loss, which keeps cameras that are right where they are."""
    pull_final: float = 0.03
    """Part of that weight that is left at the end; it falls exponentially, as the learning rate does, so that it holds
    cameras while little is known, and nothing back in the end."""
    carry_along: bool = True
    """Test cameras are scored from where the corrections of the training cameras around them take them, as far as these
    foretell one another; without it they stay where the scene has them. No test image is looked at for it."""

    def __post_init__(self):
        above(self, 0, MANY, "learning_rate")
        above(self, 0, 1, "final_fraction")
        within(self, 0, LARGEST, "start_step")
        require(0 <= self.coarse < 1, f"coarse must be in [0, 1), got {self.coarse}")
        within(self, 0, MANY, "pull")
        above(self, 0, 1, "pull_final")
        require(self.active or not self.precondition, "precondition needs corrections: give poses or lenses")

    @property
    def active(self) -> bool:
        """Whether anything is corrected."""
        return self.poses or self.lenses


@dataclass(frozen=True, kw_only=True)
class ExposureConfig:
    """Exposure and white balance of each training image, learned with the field."""

    learned: bool = False
    """Give each image gains of its own for red, green and blue; pictures are then rendered at the mean exposure."""
    learning_rate: float = 3e-2
    """Adam's, in stops; it falls as that of the field."""

    def __post_init__(self):
        above(self, 0, MANY, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """Supervision by known distances of some pixels: of points of structure from motion, or of depth images."""

    weight: float | None = None
    """Of the loss of the depth at the start, next to that of the colour; 0: none; left open: where training images saw
    points of structure from motion, 0.1 that falls to 0 by the middle of the training."""
    final: float | None = None
    """The weight falls evenly to this part of it; left open: to 0 where the weight is left open, else it stays."""
    until: float = 0.5
    """Part of the training after which the weight has fallen that far, and stays; 1: it falls to the end. Of a weight
    that is given it needs --depth.final."""
    of: Literal["points", "images"] | None = None
    """Whose distances: of points, or of depth images; left open: of points where the weight is, too, else of depth
    images where there are some."""
    rays: float = 0.25
    """Rays with a known distance in a step, as a part of its other rays."""

    def __post_init__(self):
        within(self, 0, MANY, "weight")
        within(self, 0, 1, "final")
        above(self, 0, 1, "until")
        above(self, 0, 1, "rays")
        require(self.of != "images" or self.weight is not None, "of images needs a weight: give depth.weight, too")


@dataclass(frozen=True, kw_only=True)
class SparsityConfig:
    """A pull towards empty space where no photo needs matter, so that an octree of the model has fewer leaves."""

    weight: float | None = None
    """Of its loss, the mean of 1 - exp(-scale density), next to that of the colour; 0: none; 3e-3 for an octree that
    has two thirds of the leaves as it is extracted, 1e-3 in PlenOctrees. Left open: 3e-3 where the images of an object
    that moves have no alpha, so that few deny fog of the background's colour; else 0."""
    scale: float = 0.2
    """Length in model units, of which the box of an object is 1 across: the loss is the part of the light that a
    stretch so long takes. The longer, the thinner is the fog that counts. 0.05 of a box 3 across in PlenOctrees."""
    points: int = 4096
    """Points of the box whose density a step looks at; each step draws others."""

    def __post_init__(self):
        within(self, 0, MANY, "weight")
        above(self, 0, MANY, "scale")
        within(self, 1, MOST_SAMPLES, "points")


@dataclass(frozen=True, kw_only=True)
class NearCameraConfig:
    """A pull towards empty space right before the cameras, where few views leave fog that no other view denies."""

    weight: float = 0.0
    """Of its loss, the mean part of the light that is taken there, next to that of the colour; 0: none."""
    reach: float = 0.1
    """Length in model units of what is right before a camera: from where a ray enters the box of the scene, or within
    it from the near plane."""

    def __post_init__(self):
        within(self, 0, MANY, "weight")
        above(self, 0, MANY, "reach")
