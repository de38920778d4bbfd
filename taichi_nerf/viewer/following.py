"""A run that somebody else may still be writing: its newest checkpoint, or that of its blocks, seen as one."""

import time
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from ..models.blocks import Blocks
from ..models.model import Model
from ..training.blocks import load_any
from ..training.files import BLOCKS_FILE, MODEL_FILE
from ..training.folder import is_cut

__all__ = ["Following"]

EVERY_SECONDS = 1.0  # between two looks at the disk


class Following:
    """The model of the run in a folder, and from time to time the newer one."""

    def __init__(self, run: Path, moments: Callable[[], float] = time.monotonic):
        """Raises UserError where there is no sound checkpoint, or not all blocks are trained."""
        self.run, self.moments = run, moments
        self._seen, self._looked = self._stamp(), moments()
        self.model, self.about = load_any(run)

    def changed(self) -> bool:
        """Whether there is a checkpoint that nobody has loaded: a look at the disk, and from time to time alone."""
        if self.moments() < self._looked + EVERY_SECONDS:
            return False
        if self._stamp() in (None, self._seen):
            self._looked = self.moments()
            return False
        return True

    def newer(self) -> Model | Blocks | None:
        """The model of a checkpoint that is newer than the last one; None: there is none.

        One that has vanished or was damaged since is no newer one: what is known stays.
        """
        if not self.changed():
            return None
        self._looked, self._seen = self.moments(), self._stamp()
        try:
            self.model, self.about = load_any(self.run)
        except UserError:
            return None
        return self.model

    def __str__(self) -> str:
        steps, seconds = self.about.get("steps"), self.about.get("seconds")
        return "" if steps is None or seconds is None else f"step {steps}, after {seconds:.0f} s of training"

    def _stamp(self) -> tuple[int, int] | None:
        """What tells one file of the model, or of what is known of its blocks, from the next."""
        try:
            stat = (self.run / (BLOCKS_FILE if is_cut(self.run) else MODEL_FILE)).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino
