"""Where an input is made and used, and what decides what it is."""

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .commands import Ended, command
from .originals import Originals
from .watch import Watch

if TYPE_CHECKING:
    from .process import Partner

WHAT = "what.txt"


class Box:
    """An input: its folder, the chance that makes it, and what it is made from. `what` is in a file, too, in case that
    the process dies of it."""

    def __init__(self, folder: Path, rng: random.Random, originals: Originals, watch: Watch, *,
                 small_disk: Path | None = None, partner: "Partner | None" = None):
        self.folder, self.rng, self.originals, self.watch = folder, rng, originals, watch
        self.small_disk, self.partner = small_disk, partner
        self.what = ""

    def say(self, what: str):
        """Add to what the input is said to be."""
        self.what = "; ".join(filter(None, [self.what, what]))
        (self.folder / WHAT).write_text(self.what, encoding="utf-8", errors="backslashreplace")

    def copy(self, folder: Path, name: str) -> Path:
        """A folder of the originals, to be damaged."""
        return Path(shutil.copytree(folder, self.folder / name, symlinks=True))

    def command(self, *argv: object, may_write: list[Path] | None = None, **options) -> Ended:
        """As `commands.command`; it is part of what the input is."""
        self.say("taichi-nerf " + " ".join(map(str, argv)))
        return command(self.watch, *argv, may_write=may_write or [], **options)
