"""Robustness, as a campaign: hostile scenes and run folders, odd command lines, kills, full disks.

    python benchmarks/stress.py --minutes 5                              all kinds, results in runs/stress-TIME
    python benchmarks/stress.py --list                                   the kinds, and what may come of an input
    python benchmarks/stress.py --only scenes runs --seed 7 --output DIR
    python benchmarks/stress.py --seed 7 --only scenes --input 1234 --output DIR       one input again
    mount -t tmpfs -o size=2m none FOLDER; python benchmarks/stress.py --only disks --small-disk FOLDER

Each input is a function of the seed, its kind and its number. It is made in a folder of its own and used by a worker
process with bounded memory and time, which watches what the program writes, starts and connects to; what kills a worker
kills nothing else. A fault is said with the command that repeats its input, and its input is kept in DIR/faults.
DIR/results.json has all. The exit code is 0 if no input failed.

It needs what the tests need (pip install 'taichi-nerf[test]'), and Linux.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

try:
    import pytest  # noqa: F401  which the small scenes of tests/data want
except ImportError:
    sys.exit("stress.py: pytest is missing: pip install 'taichi-nerf[test]'")
from _stress.campaign import Campaign, summary
from _stress.kinds import KINDS
from _stress.process import Died
from _stress.verdicts import BAD, GOOD

from taichi_nerf.progress import Progress


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"stress.py: {message}; see --help\n")


def parsed() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, metavar="M",
                        help="of inputs, by default 5; what is damaged is made before, which takes half a minute")
    parser.add_argument("--seed", type=int, metavar="N", help="by default another one each time")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--input", nargs="+", type=int, metavar="N", help="these inputs of one kind, and no others")
    parser.add_argument("--output", type=Path, metavar="DIR", help="by default runs/stress-TIME")
    parser.add_argument("--small-disk", type=Path, metavar="FOLDER", help="on a small file system, to be filled")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes, by default 2")
    parser.add_argument("--list", action="store_true", help="say what there is and do nothing")
    options = parser.parse_args()
    if not 0 < options.minutes < 1e5:
        parser.error(f"--minutes must be above 0 and below 100000, got {options.minutes:g}")
    if not 1 <= options.workers <= 64:
        parser.error(f"--workers must be from 1 to 64, got {options.workers}")
    if options.input and (len(options.only or ()) != 1 or options.seed is None):
        parser.error("--input goes with one kind of --only and a --seed")
    if options.small_disk and not options.small_disk.is_dir():
        parser.error(f"--small-disk {options.small_disk} is no folder; mount a small file system there")
    if options.output and options.output.exists() and not options.output.is_dir():
        parser.error(f"--output {options.output} is a file; give a folder")
    return options


def main() -> int:
    options = parsed()
    if options.list:
        print(listing())
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    seed = time.time_ns() % 10**6 if options.seed is None else options.seed
    folder = (options.output or Path("runs") / time.strftime("stress-%Y%m%d-%H%M%S")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [KINDS[name] for name in options.only or KINDS]
    campaign = Campaign(folder, kinds, seed=seed, workers=1 if options.input else options.workers,
                        small_disk=options.small_disk and options.small_disk.resolve())
    say(f"seed {seed}, results in {folder}")
    if options.small_disk is None and any(kind.name == "disks" for kind in kinds):
        say("no --small-disk: disks are not filled, the size of files is limited instead")
    try:
        with Progress("preparing") as line:
            line.wait("scenes, a run, kernels")
            campaign.prepare()
        if options.input:
            show(campaign, options.input)
        else:
            go_through(campaign, 60 * options.minutes)
    except KeyboardInterrupt:
        say("stopped")
    except Died as death:
        say(f"stress.py: no worker could be made ready: {death}")
        return 2
    finally:
        campaign.end()
    campaign.write_results()
    print(summary(campaign))
    return 1 if campaign.failed or not campaign.inputs else 0


def go_through(campaign: Campaign, seconds: float):
    """Take inputs until the time is over."""
    with Progress("stress") as line:
        def tell(campaign: Campaign, share: float, news: list[str]):
            for text in news:
                line.note(text)
            left = round((1 - share) * seconds)
            line.show(share, f"{campaign.inputs} inputs, {campaign.failed} faults, {left // 60}:{left % 60:02d} left")

        campaign.run(seconds, tell)


def show(campaign: Campaign, numbers: list[int]):
    """Take some inputs of one kind, and say all about each."""
    for number in numbers:
        outcome = campaign.attempt(campaign.first_worker(), campaign.kinds[0], number)
        for part in (f"{campaign.kinds[0].name} {number}: {outcome.verdict}", outcome.what, outcome.text):
            print(part.encode("utf-8", "backslashreplace").decode())


def listing() -> str:
    """Kinds and verdicts."""
    lines = [f"{kind.name:10} {kind.what}; {kind.share:g} % of the time" for kind in KINDS.values()]
    for title, verdicts in (("right:", GOOD), ("wrong:", BAD)):
        lines += ["", title, *(f"  {name:12} {what}" for name, what in verdicts.items())]
    return "\n".join(lines)


def say(text: str):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
