"""Where photos of a scene were taken, from a start that is far off.

    python benchmarks/locate.py RUN [--views 20] [--degrees 20] [--share 0.2]

For each of so many views of the test split a camera is turned by so many degrees about an axis of its own, and moved by
a share of the side of the scene's box, in random directions; `locate` begins around it, as it does with --near. Prints,
in Markdown, how far from the truth it ends; a view is found within 1 degree and 1 % of the box.
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from taichi_nerf import runtime
from taichi_nerf.cli.locate import MOST, NEAR
from taichi_nerf.data.scene import Cameras, Scene
from taichi_nerf.devices import machine
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.training.locate import apart, around, locate

FOUND = (1.0, 0.01)  # degrees, and part of the box


def disturbed(scene: Scene, camera: Cameras, degrees: float, share: float, seed: int) -> Cameras:
    """One camera in the world, exactly so far off."""
    axis, way = np.random.default_rng(seed).normal(size=(2, 3))
    x, y, z = axis / np.linalg.norm(axis)
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    turn = np.eye(3) + math.sin(angle) * across + (1 - math.cos(angle)) * across @ across
    pose = scene.model_cameras(camera).camera_to_world.astype(np.float64)
    pose[0, :, :3] = turn @ pose[0, :, :3]
    pose[0, :, 3] += share * 2 * scene.half_side * way / np.linalg.norm(way)
    return scene.world_cameras(replace(camera, camera_to_world=pose.astype(np.float32)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--views", type=int, default=20, help="test views; %(default)s by default")
    parser.add_argument("--degrees", type=float, default=20.0,
                        help="by which the start is turned; %(default)s by default")
    parser.add_argument("--share", type=float, default=0.2,
                        help="of the box, by which it is moved; %(default)s by default")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    settings = parser.parse_args()
    runtime.init("cpu", threads=settings.threads)
    scene, *_ = RunFolder.open(settings.run).split("test", every=1)
    model, test = checkpoint.load(settings.run), scene.splits["test"]
    print(f"{machine()}, {settings.threads} threads; starts {settings.degrees:g} degrees and {settings.share:.0%} off")
    print("\n| view | degrees off | off, % of the box | PSNR, dB | confidence | processor s |")
    print("|---" + "|---:" * 5 + "|")
    found = 0
    for n in np.unique(np.linspace(0, len(test) - 1, settings.views).astype(int)):
        true = test.cameras.subset([n])
        start, began = disturbed(scene, true, settings.degrees, settings.share, n), time.process_time()
        candidates = around(start, scene, degrees=NEAR[0], share=NEAR[1], count=MOST, seed=n)
        place = locate(model, scene, test.images.image(n), candidates, seed=n)
        angle, away = (float(values[0]) for values in apart(scene, place.camera, true))
        found += angle < FOUND[0] and away < FOUND[1]
        print(f"| {test.images.names[n]} | {angle:.3f} | {100 * away:.3f} | {place.psnr:.2f} | "
              f"{place.confidence:.2f} | {time.process_time() - began:.0f} |", flush=True)
    print(f"\n{found} of {settings.views} within {FOUND[0]:g} degree and {FOUND[1]:.0%}")


if __name__ == "__main__":
    main()
