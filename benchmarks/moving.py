"""What a step of the models of what moves costs, beside one of a static model with as many samples, and their memory.

    python benchmarks/moving.py [--steps 160] [--settle 100]
    python benchmarks/moving.py --only d-nerf --times 100 1000

Each model trains on the built-in scene that moves by steps of autograd, as the models of what moves always do, with
batches of as many visible samples; after some steps, so that the batch has found its size and the grid its cells, the
models take turns, each from one update of the grid to the next. Time is that of the processor, of all threads together,
and a ratio is the median over the turns, so that what else the machine does is hardly a part of it. Memory is the most
that a fresh process holds after some steps of photos of 16 x 16, as many as there are times. Prints tables in Markdown.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from stages import in_turn

from taichi_nerf import builtin_scene, runtime
from taichi_nerf.config import TrainingConfig, recipe
from taichi_nerf.data.scene import Scene
from taichi_nerf.devices import machine
from taichi_nerf.training.run import make_model, train, warm_up
from taichi_nerf.training.trainer import Trainer, trainer_for

STATIC, MOVING = "instant-ngp", ("t-nerf", "d-nerf", "nerfies", "hypernerf")


def settled(kind: str, scene: Scene, steps: int) -> Trainer:
    """A trainer after so many steps by autograd; all have batches of as many samples."""
    config = TrainingConfig(steps=steps, batch=recipe(STATIC).batch, gradients="autograd")
    trainer = trainer_for(make_model(scene, recipe(kind).model), scene, config)
    warm_up(trainer)
    train(trainer)
    return trainer


def memory(kind: str, times: int, steps: int) -> float:
    """MB of a process that has trained on so many times."""
    command = [sys.executable, __file__, "--only", kind, "--alone", str(times), "--settle", str(steps)]
    for _ in ("to compile", "measured"):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settle", type=int, default=100, metavar="N", help="steps of training before")
    parser.add_argument("--steps", type=int, default=160, help="that are timed")
    parser.add_argument("--resolution", type=int, default=100,
                        help="pixels along a side of the photos; %(default)s by default")
    parser.add_argument("--only", nargs="+", choices=MOVING, default=list(MOVING), help="models; by default all")
    parser.add_argument("--times", nargs="*", type=int, default=[100, 1000], help="whose memory is told")
    parser.add_argument("--threads", type=int, default=1, help="processor threads; %(default)s by default")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    runtime.init("cpu", threads=arguments.threads)
    if arguments.alone is not None:
        scene = builtin_scene("moving", resolution=16, views=(arguments.alone, 0, 0), samples_per_pixel=1)
        settled(arguments.only[0], scene, arguments.settle)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    scene = builtin_scene("moving", resolution=arguments.resolution, views=(100, 0, 0))
    trainers = {kind: settled(kind, scene, arguments.settle) for kind in (STATIC, *arguments.only)}
    before = {kind: (trainer.totals(), trainer.steps_done) for kind, trainer in trainers.items()}
    times = in_turn(list(trainers.values()), arguments.steps, recipe(STATIC).model.sampling.update_every,
                    time.process_time)
    ratios = np.median(times / times[:, :1], axis=0)
    print(f"{machine()}; {runtime.current().threads} threads, {arguments.resolution} x {arguments.resolution}\n")
    print("| model | a step | to a static one | rays | marched samples | visible ones |\n|---|" + "---:|" * 5)
    for (kind, trainer), took, ratio in zip(trainers.items(), np.median(times, axis=0), ratios):
        totals, done = before[kind]
        did, steps = trainer.totals() - totals, trainer.steps_done - done
        print(f"| `{kind}` | {took:.1f} ms | {ratio:.2f} | {did.rays / steps:.0f} | {did.marched / steps:.0f} | "
              f"{did.samples / steps:.0f} |")
    if arguments.times:
        print(f"\n| memory, MB | {' | '.join(f'{count} times' for count in arguments.times)} |\n|---|"
              + "---:|" * len(arguments.times))
    for kind in arguments.only if arguments.times else ():
        print(f"| `{kind}` | {' | '.join(f'{memory(kind, count, 20):.0f}' for count in arguments.times)} |", flush=True)


if __name__ == "__main__":
    main()
