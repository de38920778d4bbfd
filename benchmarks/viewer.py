"""The live viewer: time from connecting to the first picture, and frames a second while the camera moves.

    python benchmarks/viewer.py RUN [--window 800 600] [--threads 2] [--seconds 5]
    python benchmarks/viewer.py RUN --unseen [--steps 200] [--rounds 4] [--threads 2]

RUN is the folder of a training run, or of an octree's. First without a browser: a client of the studio looks, and turns
2 degrees with every frame that it gets. Processor time is that of this process, for a machine that has other work.

Then, where there are playwright and chromium, what a browser shows of `taichi-nerf view RUN`: the first picture after
the page was loaded and after it was asked for, and pictures that were drawn in a second while the mouse drags.
Without a GPU the browser draws in software, on the same cores. The bars are 1 s, and 5 frames a second of a field, 10
of an octree, on two cores.

With --unseen: what the viewer costs a training that nobody looks at. The model of RUN, of `taichi-nerf train`, is
trained anew, so many steps with the page being served, as by `train --view`, and so many without it, in turns.
"""

import argparse
import itertools
import math
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from taichi_nerf import paths, runtime
from taichi_nerf.cli.viewing import nobody, shown_training
from taichi_nerf.devices import machine
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.training.run import default_training, make_model, train, warm_up
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import Look, Shown
from taichi_nerf.viewer.studio import Studio

TURN = 180  # looks of a turn
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
STILL = 3.0  # seconds without a further picture: all is shown
NOTING = """
    window.pictures = [];  // [milliseconds, width, height] of each that is drawn
    for (const name of ["texImage2D", "texSubImage2D"]) {
        const upload = WebGL2RenderingContext.prototype[name];
        WebGL2RenderingContext.prototype[name] = function (...given) {
            const source = given[given.length - 1];
            if (source instanceof HTMLImageElement)
                window.pictures.push([performance.now(), source.width, source.height]);
            return upload.apply(this, given);
        };
    }
"""


def looks(scene, window):
    """Those of a turn around the scene."""
    cameras = paths.orbit(scene, TURN, size=window)
    fov = 2 * math.atan(0.5 * window[1] / float(cameras.focal[0, 1]))
    return [Look(pose=tuple(map(tuple, pose.tolist())), fov=fov, window=window) for pose in cameras.camera_to_world]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, or of an octree's")
    parser.add_argument("--window", type=int, nargs=2, default=(800, 600), metavar=("W", "H"),
                        help="of the browser in pixels; 800 600 by default")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    parser.add_argument("--backend", default="cpu", help="what the kernels run on; %(default)s by default")
    parser.add_argument("--seconds", type=float, default=5.0, help="of moving")
    parser.add_argument("--unseen", action="store_true", help="what it costs a training that nobody looks at")
    parser.add_argument("--steps", type=int, default=200, help="of a turn with --unseen")
    parser.add_argument("--rounds", type=int, default=4, help="turns of either way with --unseen")
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.rounds) < 1:
        parser.error("--steps and --rounds must be at least 1")
    if arguments.unseen:
        return unseen(arguments)
    print(f"window {arguments.window[0]} x {arguments.window[1]}, {arguments.backend}, {arguments.threads} threads, "
          f"{machine()}")
    without_browser(arguments)
    with_browser(arguments)


def unseen(arguments):
    """Steps with the page and without it, in turns: there and back again, for a step changes as the model learns."""
    runtime.init(arguments.backend, threads=arguments.threads)
    run = RunFolder.open(arguments.run)
    scene, config = run.training_scene(), run.config.model
    trainer = trainer_for(make_model(scene, config), scene,
                          default_training(config, steps=2 * arguments.rounds * arguments.steps + 1))
    warm_up(trainer)
    ways = {"with the page": lambda: shown_training(trainer, scene, run.path, "127.0.0.1", None),
            "without it": nobody}
    found = {way: [] for way in ways}
    for way in itertools.islice(itertools.cycle([*ways, *reversed(ways)]), 2 * arguments.rounds):
        with ways[way]() as shown:
            end = trainer.steps_done + arguments.steps
            wall, used = time.perf_counter(), time.process_time()
            train(trainer, between=shown.between, stopped=lambda end=end: trainer.steps_done >= end)
            found[way].append((time.perf_counter() - wall, time.process_time() - used))
    print(f"{arguments.rounds} x {arguments.steps} steps either way, {arguments.backend}, {arguments.threads} threads, "
          f"{machine()}")
    medians = {way: 1e3 * np.median(spent, axis=0) / arguments.steps for way, spent in found.items()}
    for way, (wall, used) in medians.items():
        print(f"{way}: {wall:.2f} ms a step, {used:.2f} ms of processor time (medians)")
    wall, used = medians["with the page"] / medians["without it"]
    print(f"with the page a step takes {wall:.3f} of the time without it, {used:.3f} of the processor time")


def without_browser(arguments):
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
    print(f"no browser: first picture after {first:.3f} s, the whole window after {whole:.2f} s")
    print(f"moving: {len(seen) / wall:.1f} frames a second of {pixels:.0f} pixels (median), "
          f"{used / max(len(seen), 1):.3f} s of processor time a frame")


def with_browser(arguments):
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return print("in a browser: playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return print("in a browser: there is no chromium")
    command = [sys.executable, "-m", "taichi_nerf", "view", str(arguments.run), "--backend", arguments.backend,
               "--threads", str(arguments.threads), "--max-side", str(max(arguments.window))]
    viewer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", viewer.stdout.readline())[0]
        with sync_playwright() as started, started.chromium.launch(executable_path=chromium, args=FLAGS) as browser:
            page = browser.new_page(viewport=dict(zip(("width", "height"), arguments.window)))
            page.add_init_script(NOTING)
            page.goto(address)
            page.wait_for_function("window.pictures.length > 0")
            wait_until_still(page)
            loaded, pictures = page.evaluate(
                "[performance.getEntriesByType('navigation')[0].loadEventEnd, window.pictures]")
            print(f"in chromium: first picture {(pictures[0][0] - loaded) / 1000:.2f} s after the page was loaded, "
                  f"{pictures[0][0] / 1000:.1f} s after it was asked for; the whole window of {pictures[-1][1]} x "
                  f"{pictures[-1][2]} after {(pictures[-1][0] - loaded) / 1000:.1f} s")
            moving = drag(page, arguments.window, arguments.seconds)
            pixels = np.median([width * height for _, width, height in moving])
            print(f"moving: {len(moving) / arguments.seconds:.1f} frames a second of {pixels:.0f} pixels (median)")
    finally:
        viewer.kill()
        viewer.communicate()


def wait_until_still(page):
    count, since = 0, time.monotonic()
    while time.monotonic() < since + STILL:
        time.sleep(0.1)
        if (now := page.evaluate("window.pictures.length")) > count:
            count, since = now, time.monotonic()


def drag(page, window, seconds):
    """The pictures that are drawn while the mouse goes around the middle of the left half."""
    centre, radius, began = (window[0] / 4, window[1] / 2), window[1] / 8, time.monotonic()
    page.mouse.move(centre[0] + radius, centre[1])
    page.mouse.down()
    page.evaluate("window.pictures.length = 0")
    while (spent := time.monotonic() - began) < seconds:
        page.mouse.move(centre[0] + radius * math.cos(2 * spent), centre[1] + radius * math.sin(2 * spent))
        time.sleep(0.015)
    moving = page.evaluate("window.pictures")
    page.mouse.up()
    return moving


if __name__ == "__main__":
    main()
