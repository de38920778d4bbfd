"""A training by two ranks that are killed again and again, and started again by torchrun, against one that is not.

    python benchmarks/kills.py [--kills 20] [--steps 500] [--interval 1]

Each kill -9 takes one of the ranks, in turn, at a random moment up to two checkpoint intervals after training went on.
Says how long before each kill the last checkpoint was written, which is the most that it can have lost and must be no
more than a checkpoint interval (and what a step and a checkpoint take), and by how much the scores of the two differ. A
kill takes as long as two processes need to start: some ten seconds of a processor. The hash table is small, so that a
checkpoint costs little beside its interval. Needs Linux.
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 600.0  # seconds for anything to happen


def rank_of(process: subprocess.Popen, rank: int) -> int:
    """Process number of a rank of torchrun; 0: there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(parent) == process.pid and state != "Z" and f"RANK={rank}".encode() in variables:
            return int(folder.name)
    return 0


def lines_of(folder: Path) -> list[dict]:
    """Of the log of a run."""
    log = folder / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


def wait_until(process: subprocess.Popen, condition, seconds: float = PATIENCE):
    """Raises AssertionError if the process ends before, or nothing happens."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "torchrun has ended"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def command(folder: Path, settings: argparse.Namespace) -> list[str]:
    """Two ranks that train."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "--max-restarts", str(settings.kills), "-m", "taichi_nerf", "train", "--downscale", "4", "--backend",
            "cpu", "--threads", "1", "--steps", str(settings.steps), "--checkpoint-seconds", str(settings.interval),
            "--model.field.hash-grid.log2-entries", "12", "--orbit-frames", "0", "--output", str(folder)]


@contextlib.contextmanager
def started(command: list[str], errors=subprocess.DEVNULL):
    """A process that does not outlive this context; torchrun takes its ranks along."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def kill_again_and_again(process: subprocess.Popen, folder: Path, settings: argparse.Namespace) -> list[float]:
    """Seconds between each kill and the checkpoint before it."""
    lost, saved, random_of = [], folder / "training_state.safetensors", random.Random(settings.seed)
    wait_until(process, saved.is_file)
    for number in range(settings.kills):
        time.sleep(random_of.uniform(0, 2 * settings.interval))
        first = rank_of(process, 0)
        os.kill(rank_of(process, number % 2), signal.SIGKILL)
        killed = time.time()
        lost.append(killed - saved.stat().st_mtime)
        wait_until(process, lambda first=first: rank_of(process, 0) not in (0, first))
        began = time.time()  # of those in their place; the first ones may have saved when they were told to end
        wait_until(process, lambda began=began: saved.stat().st_mtime > began)
        print(f"kill {number + 1} of {settings.kills}, {lost[-1]:.2f} s after a checkpoint; the next one after "
              f"{time.time() - killed:.0f} s", flush=True)
    return lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of the training; %(default)s by default")
    parser.add_argument("--steps", type=int, default=500, help="of the training; %(default)s by default")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; %(default)s by default")
    settings = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as within, open(Path(within) / "errors", "w+") as errors:
        whole, killed = Path(within) / "whole", Path(within) / "killed"
        with started(command(whole, settings)) as process:
            assert process.wait() == 0
        with started(command(killed, settings), errors) as process:
            lost = kill_again_and_again(process, killed, settings)
            assert process.wait() == 0
        errors.seek(0)
        stood = [int(each) for each in re.findall(r"stands at step (\d+), after", errors.read())]
        psnr = [json.loads((folder / "metrics.json").read_text())["psnr"] for folder in (whole, killed)]
    assert len(stood) == settings.kills and stood == sorted(stood)  # each went on, and none from before the one before
    print(f"{settings.kills} kills lost {max(lost):.2f} s at the most, {sum(lost) / len(lost):.2f} s in the mean; a "
          f"checkpoint every {settings.interval:g} s of training, from step {stood[0]} to {stood[-1]}")
    print(f"PSNR {psnr[0]:.3f} dB without, {psnr[1]:.3f} dB with them: {psnr[1] - psnr[0]:+.3f} dB")


if __name__ == "__main__":
    main()
