"""Whether the time of a training step depends on the number of images.

    python benchmarks/images.py --images 10 100 400

The built-in scene at 64 x 64 pixels, with so many training views; milliseconds per step over the same steps of
training, in one process, one number of images after the other.
"""

import argparse
import time

from taichi_nerf import builtin_scene, make_model, runtime
from taichi_nerf.config import TrainingConfig
from taichi_nerf.devices import machine
from taichi_nerf.training.run import warm_up
from taichi_nerf.training.trainer import trainer_for


def milliseconds_per_step(images: int, settle: int, steps: int) -> float:
    """Of `steps` steps behind the first `settle`, on the built-in scene with `images` images."""
    scene = builtin_scene(resolution=64, views=(images, 0, 0), samples_per_pixel=1)
    trainer = trainer_for(make_model(scene), scene, TrainingConfig(steps=settle + steps))
    warm_up(trainer)
    for _ in range(settle):
        trainer.step()
    trainer.totals()
    start = time.perf_counter()
    for _ in range(steps):
        trainer.step()
    trainer.totals()
    return 1000 * (time.perf_counter() - start) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10, 100, 400],
                        help="numbers of training views; by default 10 100 400")
    parser.add_argument("--settle", type=int, default=200, help="steps of training before; %(default)s by default")
    parser.add_argument("--steps", type=int, default=200, help="that are timed; %(default)s by default")
    parser.add_argument("--backend", choices=("auto", "cpu", "cuda", "vulkan"), default="auto",
                        help="what the kernels run on; %(default)s by default")
    arguments = parser.parse_args()
    runtime.init(arguments.backend)
    print(machine())
    for images in arguments.images:
        print(f"{images:5d} images: {milliseconds_per_step(images, arguments.settle, arguments.steps):.1f} ms a step",
              flush=True)


if __name__ == "__main__":
    main()
