"""A page in a browser, Debian's chromium, with WebGL2 or WebGPU in software."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data.scene import Cameras

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
WEBGPU = [*FLAGS, "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan",
          "--use-vulkan=swiftshader"]  # the last two, so that what WebGPU draws reaches the window
PATIENCE = 30_000  # milliseconds


class Shown:
    """A page that is open: `said` are the messages on its console, and its errors, `asked` the addresses it asked."""

    def __init__(self, page):
        self.page, self.said, self.asked = page, [], []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: Path):
        self.page.goto(path.absolute().as_uri())

    def settle(self):
        """Wait until the picture stands there in full resolution."""
        self.page.evaluate("window.viewer.settled()")

    def look(self, cameras: Cameras, n: int) -> np.ndarray:
        """[H, W, 3] in [0, 1]: what is shown from camera n."""
        fov = 2 * np.arctan(0.5 * cameras.size[n].min() / cameras.focal[n, 0])
        self.page.evaluate("([pose, fov]) => window.viewer.setPose(pose, fov)",
                           [cameras.camera_to_world[n].tolist(), float(fov)])
        return self.picture()

    def picture(self) -> np.ndarray:
        """[H, W, 3] in [0, 1]: what is shown, without title and buttons."""
        self.settle()
        self.page.evaluate("document.body.classList.add('bare')")
        picture = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")) / 255
        self.page.evaluate("document.body.classList.remove('bare')")
        return picture


@contextlib.contextmanager
def browser(size, *, before: str = "", flags=FLAGS, **context) -> Iterator[Shown]:
    """An empty page in a window of `size`, without a network; the test is skipped where there is no browser.

    `before` is a program that each page runs before its own.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no chromium here (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=flags)
        try:
            page = running.new_context(viewport={"width": int(size[0]), "height": int(size[1])}, offline=True,
                                       **context).new_page()
            page.add_init_script(before)
            yield Shown(page)
        finally:
            running.close()
