"""Pictures between the steps of a training: by the same thread, so that no two use the kernels at once.

A picture is of the averaged weights, as all pictures are; the training finds its own as they were, to the last bit.
"""

import time
from collections.abc import Callable

from ..training.trainer import Trainer
from .studio import Studio

__all__ = ["Sharing"]

PAUSE = 0.1  # seconds after which a paused training asks whether it is to stop
REFRESHED = 1.0  # seconds after which a camera that rests is shown what the training has come to


class Sharing:
    """What a training does between two steps as long as somebody looks. Nobody looking, it costs a comparison."""

    def __init__(self, studio: Studio, trainer: Trainer, *, stopped: Callable[[], bool] = lambda: False,
                 moments: Callable[[], float] = time.monotonic):
        """A training that is `stopped` is not kept waiting."""
        self.studio, self.trainer, self.stopped, self.moments = studio, trainer, stopped, moments
        self.share = 0.5
        """Of the time that goes to pictures while there are any to render, above 0 and below 1."""
        self.paused = False
        """Whether no steps are taken as long as somebody looks."""
        self._next = self._fresh = moments()

    def __call__(self) -> None:
        """After a step: a picture, if one is due and it is the pictures' turn; all that are while it is paused."""
        if not self.studio.attended:
            self.paused = False  # a pause that was forgotten would last for ever
            return
        now = self.moments()
        if not self.paused and now < self._next:
            return
        if now >= self._fresh:
            self.studio.outdated()
            self._fresh = now + REFRESHED
        if self.paused or self.studio.waiting():
            with self.trainer.averaged():
                self._pictures()
            spent = self.moments() - now
            self._next = self.moments() + spent * (1 - self.share) / self.share

    def _pictures(self) -> None:
        """One, or as long as it is paused all that are asked for."""
        self.studio.serve()
        while self.paused and self.studio.attended and not self.stopped():
            self.studio.serve_or_wait(PAUSE)
