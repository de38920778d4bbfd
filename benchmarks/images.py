"""Whether the time of a training step depends on the number of images, and what thousands of photos cost.

    python benchmarks/images.py --images 10 100 400
    python benchmarks/images.py --photos 525
    python benchmarks/images.py --photos 3000

Images are of the built-in scene at 64 x 64 pixels, with so many training views; milliseconds per step over the same
steps of training, in one process, one number of images after the other.

Photos are small ones of nearly as many sizes, in a Phototourism folder that is written for it, and stay in a cache on
disk: seconds of one thread's time to read them first and once more, milliseconds of each of ten steps of training, and
the peak memory of the process beside that of the pixels and of the process before it had any.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from taichi_nerf import builtin_scene, load_scene, make_model, runtime
from taichi_nerf.config import TrainingConfig
from taichi_nerf.devices import machine
from taichi_nerf.training.run import warm_up
from taichi_nerf.training.trainer import trainer_for

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.data.captures import write_phototourism


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


def write_photos(folder: Path, count: int) -> None:
    """A Phototourism folder of so many photos, each of a size of its own, as far as there are so many sizes."""
    random, model = np.random.default_rng(0), write_phototourism(folder, count)
    sizes = random.integers((96, 64), (193, 129), (count, 2))
    for name, (width, height) in zip(model.names, sizes):
        pixels = random.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(folder / "dense/images" / name)
    for size, camera in zip(sizes, model.cameras):
        model.cameras[camera] = ("PINHOLE", 1, (90.0, 90.0, *size / 2))
    model.write_binary(folder / "dense/sparse", sizes=sizes)


def peak() -> float:
    """Of the memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def of_photos(count: int, steps: int = 10) -> str:
    """What so many photos cost, in words."""
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), count)
        before, seconds = peak(), []
        for _ in range(2):
            start = time.process_time()
            scene = load_scene(folder, cache="disk")
            seconds.append(time.process_time() - start)
        train = scene.splits["train"]
        sizes = len(np.unique(np.concatenate([split.cameras.size for split in scene.splits.values()]), axis=0))
        trainer = trainer_for(make_model(scene), scene, TrainingConfig(steps=steps))
        warm_up(trainer)
        start = time.process_time()
        for _ in range(steps):
            trainer.step()
        trainer.totals()
        step = 1000 * (time.process_time() - start) / steps
        pixels = train.images.pixels.nbytes / 2**20
        return (f"{count} photos of {sizes} sizes: read in {seconds[0]:.1f} s, and in {seconds[1]:.1f} s once more; "
                f"{step:.0f} ms a step; {peak():.0f} MiB of memory, {before:.0f} before the first was read; "
                f"{pixels:.0f} MiB of pixels to train on")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10, 100, 400],
                        help="numbers of training views; by default 10 100 400")
    parser.add_argument("--photos", type=int, metavar="N", help="instead: what so many photos cost")
    parser.add_argument("--settle", type=int, default=200, help="steps of training before; %(default)s by default")
    parser.add_argument("--steps", type=int, default=200, help="that are timed; %(default)s by default")
    parser.add_argument("--backend", choices=("auto", "cpu", "cuda", "vulkan"), default="auto",
                        help="what the kernels run on; %(default)s by default")
    arguments = parser.parse_args()
    runtime.init("cpu" if arguments.photos else arguments.backend, threads=1 if arguments.photos else None)
    print(machine())
    if arguments.photos:
        print(of_photos(arguments.photos))
        return
    for images in arguments.images:
        print(f"{images:5d} images: {milliseconds_per_step(images, arguments.settle, arguments.steps):.1f} ms a step",
              flush=True)


if __name__ == "__main__":
    main()
