"""What a plain viewer of glTF, in a browser, shows of a GLB file: it shares nothing with what wrote the file."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from taichi_nerf.data.scene import Cameras

from .browser import browser

VIEWER = Path(__file__).with_name("gltf_viewer.html")
FINER = 2  # times as many pixels along a side are drawn as are shown


def pictures_of_glb(path: Path, cameras: Cameras) -> list[np.ndarray]:
    """[H, W, 3] in [0, 1] each, before white, of cameras of one size in the world of the file, which is y up."""
    size = FINER * cameras.size[0]
    with browser(size) as view:
        view.open(VIEWER)
        view.page.evaluate("text => viewer.open(text)", base64.b64encode(path.read_bytes()).decode())
        shown = [_picture(view, cameras, n) for n in range(len(cameras))]
        assert view.said == []
    return shown


def _picture(view, cameras: Cameras, n: int) -> np.ndarray:
    to_camera = np.linalg.inv(np.vstack([cameras.camera_to_world[n].astype(float), (0, 0, 0, 1)]))
    view.page.evaluate("([pose, focal, principal]) => viewer.look(pose, focal, principal)", [
        to_camera.T.ravel().tolist(), *((FINER * values[n]).tolist() for values in (cameras.focal, cameras.principal))])
    fine = np.asarray(Image.open(io.BytesIO(view.page.screenshot())).convert("RGB")) / 255
    height, width = (side // FINER for side in fine.shape[:2])
    return fine.reshape(height, FINER, width, FINER, 3).mean(axis=(1, 3))
