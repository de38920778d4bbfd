"""What one step is trained on."""

from dataclasses import dataclass

from .settings import LARGEST, within

MOST_SAMPLES = 2**24  # of a step: with 64 numbers each, kernels still count in 31 bits
MOST_RAYS = 2**18  # of a step whose rays have up to `intervals.MOST_SAMPLES`


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What one step is trained on."""

    samples: int = 20480
    """Visible samples of a step to aim at: the number of rays follows from how many of them a ray has."""
    marched: int = 2**17
    """Samples of a step before those behind surfaces are cut, to aim at when there are many: it bounds the memory."""
    max_rays: int = 2**14
    """Rays of a step at the most."""
    one_ray: float = 0.75
    """Part of the training, from its start, in which a pixel has one ray, whatever --model.rays-per-pixel says: what is
    large is learned sooner from more pixels."""
    random_background: bool = True
    """Composite over a random colour per pixel where images have alpha: no matter can hide in the background."""
    opaque: bool | None = None
    """Composite so, too, where images have no alpha: nothing that they show is transparent, however dark. None: with
    models of what moves, as few images are of each time, in photos of a place, which has no bounds and hardly a pixel
    of the background's colour."""

    def __post_init__(self):
        within(self, 16, MOST_SAMPLES, "samples", "marched", "max_rays")
        within(self, 0, 1, "one_ray")


@dataclass(frozen=True, kw_only=True)
class RayBatchConfig:
    """What one step is trained on, where every ray has equally many samples."""

    rays: int = 1024
    """Rays of a step."""
    one_ray: float = 0.75
    """Part of the training, from its start, in which a pixel has one ray, whatever --model.rays-per-pixel says: what is
    large is learned sooner from more pixels."""
    random_background: bool = True
    """Composite over a random colour per pixel where images have alpha: no matter can hide in the background."""
    opaque: bool | None = None
    """Composite so, too, where images have no alpha: nothing that they show is transparent, however dark. None: with
    models of what moves, as few images are of each time, in photos of a place, which has no bounds and hardly a pixel
    of the background's colour."""
    crop_steps: int = 0
    """Steps in the beginning that see the central half of images with alpha alone, so that not all of a small object
    is given up for background; at most a quarter of the training, however short."""

    def __post_init__(self):
        within(self, 1, MOST_RAYS, "rays")
        within(self, 0, 1, "one_ray")
        within(self, 0, LARGEST, "crop_steps")
