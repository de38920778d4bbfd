"""Regions of one process: what it holds for a step, and how long that takes, as regions become more.

    python benchmarks/regions.py [SCENE] [--regions 1 2 4] [--downscale 8] [--steps 40]

A fresh process trains each number of regions by batches of as many samples (SCENE is a folder; by default it is the
built-in street of 64 x 64 pixels):

    samples         of the last step
    kept            what autograd keeps of it for the way back, without weights, MB
    state           weights, their averages, moments and grids, MB
    memory          the most that the process held in the last quarter of the steps, MB
    a step          processor milliseconds, the median of that quarter

Prints a table in Markdown. Needs Linux.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

MB = 2**20


def held(step, apart: set[int]) -> int:
    """Bytes of the tensors that autograd keeps in a `step`, but for those whose storage begins at `apart`."""
    kept = {}

    def pack(value):
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        step()
    return sum(size for place, size in kept.items() if place not in apart)


def most_memory(since_now: bool = False) -> float:
    """The most that this process has held, MB; `since_now`: from now on."""
    if since_now:
        Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def one(settings: argparse.Namespace, count: int) -> dict[str, float]:
    """The figures of so many regions."""
    from taichi_nerf import load_scene, runtime
    from taichi_nerf.config import RunConfig, TrainingConfig, recipe, with_regions
    from taichi_nerf.data.builtin import builtin_scene
    from taichi_nerf.models.family import settled
    from taichi_nerf.training.run import make_model, warm_up
    from taichi_nerf.training.trainer import trainer_for

    runtime.init("cpu", threads=1)
    scene = (builtin_scene("street", resolution=64, splits=("train",)) if settings.scene is None
             else load_scene(settings.scene, downscale=settings.downscale, splits=["train"]))
    usual = recipe("instant-ngp", "small")
    model = settled(with_regions(RunConfig(model=usual.model), count).model, scene)
    training = TrainingConfig(steps=settings.steps, seed=0, batch=usual.batch, optimiser=usual.optimiser)
    trainer, took = trainer_for(make_model(scene, model, seed=0), scene, training), []
    warm_up(trainer)
    last = settings.steps // 4
    for number in range(settings.steps):
        if number == settings.steps - last:
            most_memory(since_now=True)
        start = time.process_time()
        trainer.step()
        took.append(time.process_time() - start)
    memory, before = most_memory(), trainer.totals().samples
    weights = {tensor.untyped_storage().data_ptr()
               for tensor in (*trainer.model.parameters(), *trainer.model.buffers())}
    kept = held(trainer.step, weights)
    state = sum(tensor.numel() * tensor.element_size() for tensor in trainer.state_dict()["tensors"].values())
    return {"samples": trainer.totals().samples - before, "kept, MB": kept / MB, "state, MB": state / MB,
            "memory, MB": memory, "a step, ms": 1e3 * float(np.median(took[-last:]))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="?", type=Path, help="folder of a scene; by default the built-in street")
    parser.add_argument("--regions", type=int, nargs="+", default=[1, 2, 4],
                        help="numbers of regions; by default 1 2 4")
    parser.add_argument("--downscale", type=int, default=8,
                        help="images of SCENE so many times smaller; %(default)s by default")
    parser.add_argument("--steps", type=int, default=40, help="of each training; %(default)s by default")
    parser.add_argument("--output", help="JSON file of all figures")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.alone is not None:
        print(json.dumps(one(settings, settings.alone)))
        return
    from taichi_nerf.devices import machine

    rows = {}
    for count in settings.regions:
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--alone", str(count)], capture_output=True,
                              text=True, check=True)
        rows[count] = json.loads(done.stdout.splitlines()[-1])
    print(f"{machine()}; one thread, {'builtin:street' if settings.scene is None else settings.scene.name}\n")
    names = list(rows[settings.regions[0]])
    print(f"| regions | {' | '.join(names)} |\n|---:|{'---:|' * len(names)}")
    for count, row in rows.items():
        print(f"| {count} | " + " | ".join(f"{row[name]:.0f}" if name == "samples" else f"{row[name]:.3g}"
                                           for name in names) + " |")
    if settings.output:
        Path(settings.output).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
