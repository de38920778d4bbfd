"""What a photo shows and the others do not, left out of the loss: people, cars, leaves, shadows that move."""

from dataclasses import dataclass

from .settings import LARGEST, MANY, above, within


@dataclass(frozen=True, kw_only=True)
class TrimConfig:
    """How --robust decides what to leave out of the loss. Nothing of it is learned."""

    quantile: float = 0.5
    """Of the errors of all pixels, which is taken for usual: above 0, at most 1. The median hardly knows of what moves,
    as long as that is less than half of what is seen."""
    margin: float = 8.0
    """Pixels with a squared error below so many times the usual one count for certain; the others, if their neighbours
    do. 1 or more."""
    most: float = 0.2
    """Part of the pixels, above 0, at most 1: where more than these are left out, the usual error is taken for larger
    from step to step."""
    around: float = 0.67
    """Part of the pixels, 0 to 0.95: what errs counts all the same unless in its cell of the photo, of 16 x 16, or in
    one beside it, more than so many err as much, as who passes by is larger than detail that is hard to learn. 0: it
    need not be among others."""
    patch: int = 1
    """Pixels are drawn as squares so many pixels wide, 1 to 64 and no wider than a photo; where it is more than 1, each
    knows its neighbours. Larger squares know more of them, and make batches of fewer places; 16 in RobustNeRF."""
    warm_in: float = 0.05
    """Part of the training, of 500 steps at the most, in which the share of pixels that count whatever their error is
    falls to 1/e: early errors say nothing yet. Above 0, at most 1."""
    top: float = 0.4
    """Where a scene has no bounds, what lies above this part of a photo, 0 to 1, and above the horizon always counts:
    sky has few details and large errors."""
    views: int = 2
    """What fewer other cameras can see always counts: there is nothing to say that it is wrong. 0 or more."""

    def __post_init__(self):
        above(self, 0, 1, "quantile", "most")
        within(self, 1, MANY, "margin")
        within(self, 1, 64, "patch")
        above(self, 0, 1, "warm_in")
        within(self, 0, LARGEST, "views")
        within(self, 0, 0.95, "around")  # a cell remembers few pixels, beside which one counts that did not err
        within(self, 0, 1, "top")
