"""The live viewer: time from connecting to the first picture, and frames a second while the camera moves.

    python benchmarks/viewer.py RUN [--window 800 600] [--threads 2] [--seconds 5]

RUN is the folder of a training run. No browser takes part, which would need the processors for itself: a client of the
studio looks, and turns 2 degrees with every frame that it gets. The bars are 1 s and 5 frames a second on two cores.
Processor time is that of this process, for a machine that has other work.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np

from taichi_nerf import paths, runtime
from taichi_nerf.devices import machine
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import Look, Shown
from taichi_nerf.viewer.studio import Studio

TURN = 180  # looks of a turn


def looks(scene, window):
    """Those of a turn around the scene."""
    cameras = paths.orbit(scene, TURN, size=window)
    fov = 2 * math.atan(0.5 * window[1] / float(cameras.focal[0, 1]))
    return [Look(pose=tuple(map(tuple, pose.tolist())), fov=fov, window=window) for pose in cameras.camera_to_world]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--window", type=int, nargs=2, default=(800, 600), metavar=("W", "H"))
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus())
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0, help="of moving")
    arguments = parser.parse_args()
    runtime.init(arguments.backend, threads=arguments.threads)
    scene = RunFolder.open(arguments.run).cameras_scene()
    studio = Studio(Door(checkpoint.load(arguments.run)), Shown(), max_side=max(arguments.window))
    studio.warm_up(scene)
    turn, seen = looks(scene, tuple(arguments.window)), []

    def deliver(picture, order):
        seen.append((time.perf_counter(), order))

    began = time.perf_counter()
    studio.enter("client", deliver)
    studio.go("client", turn[0])
    while not seen:
        studio.serve_or_wait(1.0)
    first = seen[0][0] - began
    while not (seen[-1][1].full and not seen[-1][1].passing):
        studio.serve_or_wait(1.0)
    whole = seen[-1][0] - began

    seen.clear()
    began, used = time.perf_counter(), time.process_time()
    while time.perf_counter() < began + arguments.seconds:
        studio.go("client", turn[(len(seen) + 1) % TURN])
        studio.serve()
    wall, used = time.perf_counter() - began, time.process_time() - used
    pixels = np.median([order.pixels for _, order in seen])
    print(f"window {arguments.window[0]} x {arguments.window[1]}, {arguments.backend}, {arguments.threads} threads, "
          f"{machine()}")
    print(f"first picture after {first:.3f} s, the whole window after {whole:.2f} s")
    print(f"moving: {len(seen) / wall:.1f} frames a second of {pixels:.0f} pixels (median), "
          f"{used / max(len(seen), 1):.3f} s of processor time a frame")


if __name__ == "__main__":
    main()
