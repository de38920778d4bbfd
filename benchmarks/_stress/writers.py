"""Two processes in one run folder, begun at almost the same moment: each ends in order, and the folder is whole."""

from pathlib import Path

from .box import Box
from .commands import STOPPED
from .folders import check_weights, check_whole
from .originals import SPARING, STEPS
from .verdicts import Fault

LATEST = 0.4  # seconds between the two

PAIRS = {"train": "train", "resume": "resume", "eval": "resume", "render": "resume", "info": "resume"}


def attempt(box: Box) -> str:
    """One command here and one in the partner's process."""
    rng, run = box.rng, box.folder / "run"
    here = rng.choice(list(PAIRS))
    there = PAIRS[here]
    if here != "train":
        box.copy(box.originals.run, "run")
    if rng.random() < 0.5:
        here, there = there, here
    after = rng.uniform(0, LATEST)
    box.say(f"a second process, {after:.3f} s before: {' '.join(_argv(there, run, box))}")
    other = box.partner.begin(_argv(there, run, box), after)
    ended = box.command(*_argv(here, run, box), may_write=[run])
    code, said = other()
    if code not in (0, 2, *STOPPED) or "Traceback" in said:
        raise Fault("traceback" if "Traceback" in said else "exit code", f"the second process, {code}: {said[-3000:]}")
    if 0 not in (code, ended.code):
        raise Fault("exit code", f"neither went through: {ended.err.strip()}; {said.strip()}")
    check_whole(run, ended=True)
    check_weights(run, box.originals.run if here == "train" else box.originals.on)
    return ended.verdict


def _argv(name: str, run: Path, box: Box) -> list[str]:
    return [str(word) for word in {
        "train": ["train", box.originals.scene, "--steps", STEPS, "-o", run, *SPARING],
        "resume": ["train", "--resume", run, "--steps", STEPS + 2, "--checkpoint-seconds", "0", "--orbit-frames", "0"],
        "eval": ["eval", run],
        "render": ["render", run, "--frames", 1, "--size", 8, 8],
        "info": ["info", run],
    }[name]]
