"""What widths, appearance, exposure, known distances, --robust, masks and images of several scales cost Instant-NGP.

    python benchmarks/stages.py                                   the built-in scene, which knows its distances
    python benchmarks/stages.py --settle 400 --steps 200 --only plain depth
    python benchmarks/stages.py --settle 100 --steps 40 --resolution 100 --only plain widths --threads 1 --processor

For each of these a step by autograd, a resident one, which has them as stages, and a resident one of the plain model:
milliseconds, after some steps of training of the same kind, so that the batch has found its size and the grid its
cells. The three take turns of ten steps, and a ratio is the median over the turns, so that what else the machine does
is no part of it. Then a frame of the fast renderer of the second and of the third, in turn as well. A masked pixel is
one of four. With --processor milliseconds are those of the processor, all threads together: less depends on what else
the machine does.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

import taichi_nerf
from taichi_nerf import runtime
from taichi_nerf.config import DepthConfig, ExposureConfig, TrainingConfig, recipe
from taichi_nerf.data import with_scales
from taichi_nerf.data.scene import Images, Scene
from taichi_nerf.devices import machine
from taichi_nerf.models.views import render_view
from taichi_nerf.training.run import make_model, train, warm_up
from taichi_nerf.training.trainer import Trainer, trainer_for

TURN, FRAMES = 10, 5  # steps of a turn, and frames of each
Clock = Callable[[], float]
CASES = {  # settings of the model, settings of the training, scales, masks
    "plain": ({}, {}, 1, False),
    "widths": ({"widths": "level"}, {}, 1, False),
    "appearance": ({"appearance": 8}, {}, 1, False),
    "exposure": ({}, {"exposure": ExposureConfig(learned=True)}, 1, False),
    "depth": ({}, {"depth": DepthConfig(weight=0.1)}, 1, False),
    "robust": ({}, {"robust": True}, 1, False),
    "masks": ({}, {}, 1, True),
    "scales": ({}, {}, 2, False),
    "robust and appearance": ({"appearance": 8}, {"robust": True}, 1, False),
    "appearance and exposure": ({"appearance": 8}, {"exposure": ExposureConfig(learned=True)}, 1, False),
}


def masked(scene: Scene) -> Scene:
    """Every fourth pixel of the training images lies under a mask."""
    split = scene.splits["train"]
    pictures = [split.images.image(n) for n in range(len(split))]
    masks = [np.arange(picture[..., 0].size).reshape(picture.shape[:2]) % 4 > 0 for picture in pictures]
    images = Images.from_list(pictures, split.images.names, allowed=masks)
    return replace(scene, splits={**scene.splits, "train": replace(split, images=images)})


def settled(scene: Scene, gradients: str, case: tuple, steps: int) -> Trainer:
    """A trainer after so many steps."""
    of_model, of_training, scales, masks = case
    found = recipe()
    config = TrainingConfig(steps=steps, batch=found.batch, gradients=gradients, **of_training)
    scene = with_scales(masked(scene) if masks else scene, scales)
    trainer = trainer_for(make_model(scene, replace(found.model, **of_model)), scene, config)
    warm_up(trainer)
    train(trainer)
    return trainer


def in_turn(trainers: list[Trainer], steps: int, length: int = TURN,
            clock: Clock = time.perf_counter) -> np.ndarray:
    """[turns, trainers]: milliseconds of a step of each, in turns of `length` steps."""
    return np.array([[turn(trainer, length, clock) for trainer in trainers] for _ in range(max(1, steps // length))])


def turn(trainer: Trainer, length: int, clock: Clock) -> float:
    """Milliseconds of each of some steps."""
    start = clock()
    for _ in range(length):
        trainer.step()
    trainer.totals()  # waits for the device
    return 1e3 * (clock() - start) / length


def frames_in_turn(trainers: list[Trainer], scene: Scene, clock: Clock) -> np.ndarray:
    """[FRAMES, trainers]: milliseconds of a frame of each."""
    for trainer in (trainers[0], trainers[-1]):  # the first of a kind is compiled
        frame(trainer, scene, clock)
    return np.array([[frame(trainer, scene, clock) for trainer in trainers] for _ in range(FRAMES)])


def frame(trainer: Trainer, scene: Scene, clock: Clock) -> float:
    """Milliseconds of the first test view, by one launch."""
    with trainer.averaged() as model:
        start = clock()
        render_view(model, scene.model_cameras("test"), 0, background=1.0, renderer="taichi")
        return 1e3 * (clock() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settle", type=int, default=300, metavar="N", help="steps of training before")
    parser.add_argument("--steps", type=int, default=100, help="that are timed")
    parser.add_argument("--resolution", type=int, default=200,
                        help="pixels along a side of the images; %(default)s by default")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES),
                        help="what is measured; by default all")
    parser.add_argument("--backend", default="cpu", help="what the kernels run on; %(default)s by default")
    parser.add_argument("--threads", type=int, help="by default as many as there are processors")
    parser.add_argument("--processor", action="store_true", help="measure time of the processor, not of a clock")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor else time.perf_counter
    runtime.init(arguments.backend, threads=arguments.threads)
    views = (30, 0, 1) if arguments.resolution > 64 else (6, 0, 1)
    scene = taichi_nerf.builtin_scene(resolution=arguments.resolution, views=views)
    print(f"{arguments.backend}, {runtime.current().threads} threads, {machine()}; the built-in scene at "
          f"{arguments.resolution} x {arguments.resolution}")
    print("| | autograd | resident | to autograd | to a plain one | frame | to a plain one |")
    print("|---|---|---|---|---|---|---|")
    plain = settled(scene, "explicit", CASES["plain"], arguments.settle)
    for name in arguments.only:
        own = [settled(scene, gradients, CASES[name], arguments.settle) for gradients in ("autograd", "explicit")]
        times = in_turn([*own, plain], arguments.steps, clock=clock)
        autograd, resident, _ = np.median(times, axis=0)
        to_autograd, to_plain = np.median(times[:, 1:2] / times[:, [0, 2]], axis=0)
        frames = frames_in_turn([own[1], plain], scene, clock)
        print(f"| {name} | {autograd:.1f} ms | {resident:.1f} ms | {to_autograd:.2f} | {to_plain:.2f} | "
              f"{np.median(frames[:, 0]):.1f} ms | {np.median(frames[:, 0] / frames[:, 1]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
