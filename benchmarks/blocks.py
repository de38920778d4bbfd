"""A capture as blocks against one model with the same total of steps: what `taichi-nerf train --blocks` costs there.

    python benchmarks/blocks.py SCENE [--blocks 4] [--steps 600] [--seeds 1] [--downscale 8] [--only blocks long]
    python benchmarks/blocks.py SCENE .. -- --model block-nerf --encoding hash        # options of train, for all rows

For each seed, each in a process of its own:

    blocks        a model of each block, so many steps a block, seen as one
    long          one model with the settings of a block, and as many steps as all blocks together
    large         the same with a hash table as large as all of theirs

Prints PSNR and SSIM of the held-out views and the processor time of the whole process, as a table in Markdown.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from taichi_nerf.cli import train_defaults
from taichi_nerf.devices import machine

ROWS = ("blocks", "long", "large")
TABLE = "--model.field.hash-grid.log2-entries"


def options_of(row: str, blocks: int, steps: int, log2_entries: int) -> list[str]:
    """What `train` is told of a row; `log2_entries` are those of one block."""
    if row == "blocks":
        return ["--blocks", str(blocks), "--steps", str(steps)]
    larger = [TABLE, str(log2_entries + round(math.log2(blocks)))] if row == "large" else []
    return ["--steps", str(blocks * steps), *larger]


def trained(scene: str, options: list[str], output: Path) -> tuple[float, float, float]:
    """PSNR, SSIM, and processor seconds of one training."""
    command = [sys.executable, "-m", "taichi_nerf", "train", scene, *options, "--orbit-frames", "0", "--output",
               str(output)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = run.stderr.read()
    except BaseException:  # this is ended
        run.terminate()
        raise
    _, status, usage = os.wait4(run.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed:\n{said}")
    scores = json.loads((output / "metrics.json").read_text())
    return scores["psnr"], scores["ssim"], usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", help="folder of a scene, or builtin:street")
    parser.add_argument("--blocks", type=int, default=4, help="4 by default")
    parser.add_argument("--steps", type=int, default=600, help="of each block; 600 by default")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each row; 1 by default")
    parser.add_argument("--downscale", type=int, default=8, help="images so many times smaller; 8 by default")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS, help="rows; all by default")
    own = sys.argv[1:sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    settings, others = parser.parse_args(own), sys.argv[2 + len(own):]
    if min(settings.blocks, settings.steps, settings.seeds, settings.downscale) < 1:
        parser.error("--blocks, --steps, --seeds and --downscale must be at least 1")
    if not settings.scene.startswith("builtin:") and not Path(settings.scene).exists():
        parser.error(f"{settings.scene} does not exist; give the folder of a scene")
    shared = ["--backend", "cpu", "--preset", "small", "--downscale", str(settings.downscale), *others]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    log2_entries = train_defaults("cpu", "instant-ngp", "small", None).model.field.hash_grid.log2_entries
    print(f"{machine()}; {Path(settings.scene).name}, {settings.blocks} blocks of {settings.steps} steps\n")
    print("| seed | | PSNR | SSIM | processor seconds |\n|---:|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as within:
        for seed in range(settings.seeds):
            for row in settings.only:
                options = options_of(row, settings.blocks, settings.steps, log2_entries)
                psnr, ssim, seconds = trained(settings.scene, [*shared, *options, "--seed", str(seed)],
                                              Path(within) / f"{row}-{seed}")
                print(f"| {seed} | {row} | {psnr:.2f} | {ssim:.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
