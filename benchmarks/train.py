"""What quality a training time buys: the command line on real scenes, scored on views that were not trained on.

    python benchmarks/train.py --data DIR              DIR holds nerf_synthetic/lego and fox_4
    python benchmarks/train.py --data DIR lego-60      one row of the table
    python benchmarks/train.py demo                    needs no data

Each row is one run of `taichi-nerf train` in a process of its own: PSNR and SSIM of the held-out views, visible samples
a second through the training step after the first ten lines of the log, seconds from the command to the first step,
seconds and peak memory of the whole process.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from taichi_nerf.devices import machine

LEGO, FOX = "nerf_synthetic/lego", "fox_4"
SHORT = ["--downscale", "2", "--steps", "200", "--batch.samples", "8192", "--orbit-frames", "0"]
RAYS = ["--model.rays-per-pixel", "4"]
ROWS = {
    "lego-60": (LEGO, ["--downscale", "2", "--seconds", "60"]),
    "lego-240": (LEGO, ["--downscale", "2", "--seconds", "240"]),
    "fox-300": (FOX, ["--seconds", "300"]),
    "lego-400": (LEGO, ["--seconds", "60"]),
    "demo": (None, []),
    "lego-100": (LEGO, ["--downscale", "4", "--steps", "4000"]),
    "lego-100-rays": (LEGO, ["--downscale", "4", "--steps", "4000", *RAYS]),
    "lego-240-rays": (LEGO, ["--downscale", "2", "--seconds", "240", *RAYS]),
    "lego-cpu": (LEGO, [*SHORT, "--backend", "cpu"]),
    "lego-vulkan": (LEGO, [*SHORT, "--backend", "vulkan", "--preset", "small"]),
    "lego-cuda": (LEGO, [*SHORT, "--backend", "cuda", "--preset", "small"]),
    "lego-cuda-15": (LEGO, ["--seconds", "15", "--backend", "cuda", "--orbit-frames", "0"]),
    "lego-cuda-15-rays": (LEGO, ["--seconds", "15", "--backend", "cuda", "--orbit-frames", "0", *RAYS]),
    "lego-vulkan-15": (LEGO, ["--seconds", "15", "--backend", "vulkan", "--orbit-frames", "0"]),
    "lego-cuda-20000": (LEGO, ["--steps", "20000", "--backend", "cuda", "--orbit-frames", "0"]),
    "lego-cuda-20000-rays": (LEGO, ["--steps", "20000", "--backend", "cuda", "--orbit-frames", "0", *RAYS]),
}

# `taichi-nerf` with training time as the processor counts it, of all threads together.
BY_PROCESSOR = """
import sys, time
from taichi_nerf.training.clock import Clock
Clock.now = staticmethod(time.process_time)
from taichi_nerf.__main__ import main
sys.exit(main())
"""


def measure(scene: Path | None, options: list[str], output: Path, processor: bool = False) -> dict:
    """The scores of one run, what it cost, and how soon it began; its seconds of training are of the `processor`, or of
    the wall."""
    arguments = ["train", *([str(scene)] if scene else []), *options, "--output", str(output)]
    start = time.perf_counter()
    program = ["-c", BY_PROCESSOR] if processor else ["-m", "taichi_nerf"]
    run = subprocess.Popen([sys.executable, *program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           text=True)
    said = run.stderr.read()
    _, status, usage = os.wait4(run.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"taichi-nerf {' '.join(arguments)} failed:\n{said}")
    scores = json.loads((output / "metrics.json").read_text())
    first = re.search(r"first step begins after ([\d.]+) s", said)
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    rates = [line["rays_per_second"] * line["samples_per_ray"] for line in log]
    rates = rates[10:] or rates
    return {"psnr": scores["psnr"], "ssim": scores["ssim"], "images": scores["images"], "steps": log[-1]["step"],
            "samples_per_second": sum(rates) / len(rates), "first_step_seconds": float(first.group(1)),
            "process_seconds": seconds, "peak_gib": usage.ru_maxrss / 2**20}


def scores_again(run: Path, *options: str) -> dict:
    """Of `taichi-nerf eval` with these options."""
    arguments = ["eval", str(run), "--json", *options]
    done = subprocess.run([sys.executable, "-m", "taichi_nerf", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"taichi-nerf {' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--data", type=Path, help="folder of the scenes")
    parser.add_argument("--output", type=Path, help="folder that keeps the runs; by default they are thrown away")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    print(machine())
    print(f"{'row':15} {'PSNR':>6} {'SSIM':>6} {'views':>5} {'samples/s':>9} {'first step':>10} {'process':>8} "
          f"{'memory':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.rows or ROWS:
            scene, options = ROWS[name]
            if scene and not (arguments.data and (arguments.data / scene).exists()):
                print(f"{name:15} left out: {scene} is not in --data")
                continue
            row = measure(scene and arguments.data / scene, options, (arguments.output or Path(temporary)) / name)
            print(f"{name:15} {row['psnr']:6.2f} {row['ssim']:6.3f} {row['images']:5d} "
                  f"{row['samples_per_second'] / 1e6:7.2f} M "
                  f"{row['first_step_seconds']:8.1f} s {row['process_seconds']:6.0f} s {row['peak_gib']:5.2f} GiB",
                  flush=True)


if __name__ == "__main__":
    main()
