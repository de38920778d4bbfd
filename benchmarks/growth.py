"""A street that grows: what a block of it costs, and how soon its training begins.

    python benchmarks/growth.py [--lengths 1 2 4 8] [--resolution 64] [--steps 60]

For each length, in segments of the built-in street, a folder of 40 photos a segment is written, and a fresh process
does what `train FOLDER --blocks SEGMENTS` does with its first block, once to compile, and once as timed:

    first step      processor seconds up to the first step: loading, cutting, kernels from the cache
    a step          processor milliseconds, the median over all steps
    memory          the most that the process holds, MB

Each row is also given as a multiple of that of the shortest street. Prints a table in Markdown.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def one(folder: Path, blocks: int, steps: int) -> dict[str, float]:
    """The figures of the first block of a street."""
    from taichi_nerf import load_scene, runtime
    from taichi_nerf.config import TrainingConfig, recipe
    from taichi_nerf.data.blocks import around_block, blocks_of, within_block
    from taichi_nerf.training.run import make_model, warm_up
    from taichi_nerf.training.trainer import trainer_for

    runtime.init("cpu", threads=1)
    scene = load_scene(folder, splits=["train"])
    block = blocks_of(scene, blocks)[0]
    part = within_block(around_block(scene, block), block)
    usual = recipe("instant-ngp", "small")
    training = TrainingConfig(steps=steps, seed=0, batch=usual.batch, optimiser=usual.optimiser)
    trainer = trainer_for(make_model(part, usual.model, seed=0), part, training)
    warm_up(trainer)
    ready, took = time.process_time(), []  # of the process, from its start
    for _ in range(steps):
        start = time.process_time()
        trainer.step()
        took.append(time.process_time() - start)
    return {"photos": len(scene.splits["train"]), "photos of the block": len(part.splits["train"]),
            "first step, s": ready, "a step, ms": 1e3 * float(np.median(took)),
            "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measured(length: int, settings: argparse.Namespace, within: Path) -> dict[str, float]:
    """The figures of a street, by a process that finds its kernels compiled."""
    from taichi_nerf.data.builtin import builtin_scene
    from taichi_nerf.data.export import write_blender

    name = "street" if length == 4 else f"street-{length}"
    scene = builtin_scene(name, resolution=settings.resolution, splits=("train",))
    folder = write_blender(scene, within / name)
    command = [sys.executable, __file__, "--folder", folder, "--blocks", str(length), "--steps", str(settings.steps)]
    for _ in ("to compile", "timed"):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 2, 4, 8], choices=(1, 2, 4, 8, 16),
                        help="of the street, in segments; by default 1 2 4 8")
    parser.add_argument("--resolution", type=int, default=64,
                        help="pixels along a side of the photos; %(default)s by default")
    parser.add_argument("--steps", type=int, default=60, help="of the block that is timed; %(default)s by default")
    parser.add_argument("--output", help="JSON file of all figures")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.folder is not None:
        print(json.dumps(one(settings.folder, settings.blocks, settings.steps)))
        return
    from taichi_nerf.devices import machine

    with tempfile.TemporaryDirectory() as within:
        rows = {length: measured(length, settings, Path(within)) for length in settings.lengths}
    first = rows[settings.lengths[0]]
    print(f"{machine()}; one thread, photos of {settings.resolution} x {settings.resolution}\n")
    print(f"| segments | {' | '.join(first)} |\n|---:|{'---:|' * len(first)}")
    for length, row in rows.items():
        print(f"| {length} | " + " | ".join(f"{value:.4g} ({value / first[name]:.2f})" for name, value in row.items())
              + " |", flush=True)
    if settings.output:
        Path(settings.output).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
