"""The kinds of inputs. Each has a module of its name, whose `attempt(box)` makes one and says what came of it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is done, and for how long."""

    name: str
    what: str
    share: float
    """Of the time, beside the others."""
    seconds: float
    """After which an input hangs."""
    lasts: bool = False
    """Whether it may be asked for what takes longer: then it is first told to stop, and hangs if it does not."""


KINDS = {kind.name: kind for kind in (
    Kind(name="scenes", share=40, seconds=20,
         what="damaged, foreign and endless files in ten small scenes of all formats; load_scene, info, train"),
    Kind(name="runs", share=22, seconds=30, lasts=True,
         what="damaged run folders: JSON, log, weights, what is no file; info, eval, render, train --resume"),
    Kind(name="options", share=14, seconds=60, lasts=True,
         what="odd command lines, for every command"),
    Kind(name="kills", share=12, seconds=180,
         what="trainings ended by SIGKILL, SIGTERM, SIGINT at any change of a file, and by the clock; then --resume"),
    Kind(name="writers", share=6, seconds=180,
         what="two processes in one run folder at once"),
    Kind(name="disks", share=6, seconds=90,
         what="too little room on the disk (--small-disk), or for a file (RLIMIT_FSIZE); then there is more"),
)}
