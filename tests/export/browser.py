"""A page in a browser, Debian's chromium, with WebGL2 in software."""

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
PATIENCE = 60_000  # milliseconds


class Shown:
    """A page that is open; `said` are the messages on its console, and its errors."""

    def __init__(self, page):
        self.page, self.said = page, []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def settle(self):
        """Wait until the picture stands there in full resolution."""
        self.page.evaluate("window.viewer.settled()")

    def picture(self, cameras: Cameras, n: int) -> np.ndarray:
        """[H, W, 3] in [0, 1]: what the canvas shows from camera n."""
        fov = 2 * np.arctan(0.5 * cameras.size[n].min() / cameras.focal[n, 0])
        self.page.evaluate("([pose, fov]) => window.viewer.setPose(pose, fov)",
                           [cameras.camera_to_world[n].tolist(), float(fov)])
        return self.canvas()

    def canvas(self) -> np.ndarray:
        self.settle()
        self.page.evaluate("document.body.classList.add('bare')")
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")) / 255


@contextlib.contextmanager
def opened(path: Path, size=(320, 240), *, flags=FLAGS, **context) -> Iterator[Shown]:
    """`path` from the disk, in a window of `size`; the test is skipped where there is no browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no chromium here (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser, args=flags)
        try:
            page = running.new_context(viewport={"width": int(size[0]), "height": int(size[1])}, offline=True,
                                       **context).new_page()
            page.set_default_timeout(PATIENCE)
            shown = Shown(page)
            page.goto(path.absolute().as_uri())
            yield shown
        finally:
            running.close()
