"""The page of an octree: its size, the time until it stands there, and how close it is to what `render` shows.

    python benchmarks/page.py RUN [--size 400 400] [--views 3] [--threads 2]

RUN is the folder of an octree's run. `taichi-nerf page` makes the page in a temporary folder; chromium opens it from
there, without a network. A table of Markdown says

    file        MB of it, a million bytes each
    finished    seconds from opening it until its first picture is there in full resolution
    PSNR        of the canvas against the project's own `render_view`, both of 8 bit, from some test poses, each with
                the field of view of its camera along the shorter side of the window

It needs playwright and chromium, which draws in software here: a graphics card is quicker.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from taichi_nerf import runtime
from taichi_nerf.data.scene import PERSPECTIVE, Cameras
from taichi_nerf.devices import machine
from taichi_nerf.metrics import psnr
from taichi_nerf.models.views import render_view
from taichi_nerf.pictures import to_uint8
from taichi_nerf.training import checkpoint
from taichi_nerf.training.evaluate import GREY
from taichi_nerf.training.folder import RunFolder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
PATIENCE = 120_000  # milliseconds for a picture of the window, on a machine that does much besides
SETTLED = """async () => {  // what is wrong, in a sentence
    try {
        await window.viewer.settled();
        return '';
    } catch (error) {
        return document.getElementById('message').textContent || String(error);
    }
}"""


def fields_of_view(cameras: Cameras) -> np.ndarray:
    """[N], radians along the shorter side."""
    return 2 * np.arctan(0.5 * cameras.size.min(axis=1) / cameras.focal.max(axis=1))


def as_pages_see(cameras: Cameras, size: Sequence[int]) -> Cameras:
    """Pinholes in their places, with windows of `size`: square pixels, no distortion, the axis through the middle."""
    focal = 0.5 * min(size) / np.tan(0.5 * fields_of_view(cameras))
    count = len(cameras)
    return Cameras(camera_to_world=cameras.camera_to_world, focal=np.stack([focal, focal], axis=1),
                   principal=np.tile(0.5 * np.asarray(size, np.float64), (count, 1)), distortion=np.zeros((count, 6)),
                   lens=[PERSPECTIVE] * count, size=np.tile(size, (count, 1)))


def some_poses(run: RunFolder, views: int, size: Sequence[int]) -> Cameras:
    """As many test cameras, in model space, spread over all of them; of training where there is no test."""
    scene = run.cameras_scene()
    cameras = scene.model_cameras("test" if "test" in scene.splits else "train")
    chosen = np.unique(np.linspace(0, len(cameras) - 1, min(views, len(cameras))).round().astype(int))
    return as_pages_see(cameras.subset(chosen), size)


def found_browser():
    """The module of playwright, and the program; ends in a sentence where there is none."""
    try:
        from playwright import sync_api
    except ModuleNotFoundError:
        sys.exit("playwright is not installed: pip install playwright")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit(f"there is no browser, none of {', '.join(BROWSERS)}: apt-get install chromium")
    return sync_api, program


def make_page(path: Path, arguments) -> int:
    """Bytes of the page. Ends as the program does where it makes none, which says why."""
    command = [sys.executable, "-m", "taichi_nerf", "page", str(arguments.run), "-o", str(path), "--megabytes", "1000",
               "--backend", arguments.backend, "--threads", str(arguments.threads)]
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if code:
        sys.exit(code)
    return path.stat().st_size


def shown(path: Path, cameras: Cameras, sync_api, program: str) -> tuple[float, list[np.ndarray]]:
    """Seconds until the first picture, and [H, W, 3] bytes of what each camera sees."""
    width, height = cameras.size[0].tolist()
    with sync_api.sync_playwright() as started, started.chromium.launch(executable_path=program, args=FLAGS) as browser:
        page = browser.new_context(viewport={"width": width, "height": height}, offline=True).new_page()
        began = time.perf_counter()
        page.goto(path.as_uri())
        settle(page)
        finished = time.perf_counter() - began
        pictures = []
        for pose, fov in zip(cameras.camera_to_world.tolist(), fields_of_view(cameras).tolist()):
            page.evaluate("([pose, fov]) => window.viewer.setPose(pose, fov)", [pose, fov])
            settle(page)
            page.evaluate("document.body.classList.add('bare')")  # no title and no buttons
            picture = page.screenshot(timeout=PATIENCE)
            page.evaluate("document.body.classList.remove('bare')")
            pictures.append(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
    return finished, pictures


def settle(page):
    trouble = page.evaluate(SETTLED)
    if trouble:
        sys.exit(trouble)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of an octree's run")
    parser.add_argument("--size", type=int, nargs=2, default=(400, 400), metavar=("W", "H"),
                        help="of the window in pixels; 400 400 by default")
    parser.add_argument("--views", type=int, default=3, help="test poses that are compared")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(), help="of the program, not of the browser")
    parser.add_argument("--backend", default="cpu", help="what the kernels run on; %(default)s by default")
    arguments = parser.parse_args()
    if min(*arguments.size, arguments.views) < 1:
        parser.error("--size and --views must be at least 1")
    sync_api, program = found_browser()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        size = make_page(path, arguments)
        run = RunFolder.open(arguments.run)
        cameras = some_poses(run, arguments.views, arguments.size)
        try:
            finished, pictures = shown(path, cameras, sync_api, program)
        except sync_api.Error as error:
            sys.exit(f"the browser did not show the page: {str(error).splitlines()[0]}")
    runtime.init(arguments.backend, threads=arguments.threads)
    model, grey = checkpoint.load(run.path), GREY[run.facts["background"]]
    scores = [psnr(picture / 255, to_uint8(render_view(model, cameras, n, background=grey).colour) / 255)
              for n, picture in enumerate(pictures)]
    width, height = arguments.size
    print(f"{width} x {height}, {len(scores)} views, chromium without a graphics card, {machine()}\n")
    print("| file, MB | finished, s | PSNR, dB | of each view |\n|---|---|---|---|")
    print(f"| {size / 1e6:.2f} | {finished:.1f} | {np.mean(scores):.1f} | "
          f"{', '.join(f'{score:.1f}' for score in scores)} |")


if __name__ == "__main__":
    main()
