"""The server of the page, and what stands where."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rich
import viser

from ... import paths
from ...data.placement import up_axis
from ...data.scene import Cameras, Scene
from ...errors import UserError
from ...output import visible
from ..key_frames import KeyFrames
from ..port import address
from ..sharing import Sharing
from ..studio import Studio
from .cameras import NEAR, CameraPanel, focus_of, in_front_of, splits_of
from .path import PathPanel
from .picture import PicturePanel
from .poses import fov_of
from .visitors import Visitors

__all__ = ["Page"]

HEADSET = ("viser shows nothing in a headset. A page does, by its button *VR*, where it is served by `https:` or from "
           "this machine: `taichi-nerf page RUN --field` makes one of a run of instant-ngp, `taichi-nerf octree RUN` "
           "and `taichi-nerf page RUN-octree` of any other that stands still.")


class _Server(viser.ViserServer):
    """Which connects to nobody: the button that would ask viser's makers for a public address does nothing."""

    def request_share_url(self, verbose: bool = True) -> None:
        return None


class Page:
    """What there is to see of `scene`, whose cameras alone are needed; a context manager.

    `cameras` are those of the scene, each of which can be given a small picture.
    """

    def __init__(self, studio: Studio, scene: Scene, run: Path, *, host: str, port: int,
                 sharing: Sharing | None = None):
        self._sharing = sharing
        with _quiet():
            self.server = _Server(host=host, port=port, label=visible(scene.name), verbose=False)
        if self.server.get_port() != port:  # somebody took it this very moment
            self._stop()
            raise UserError(f"port {port} of {host} was taken just now; try again, or choose another --port")
        self.address = address(host, port)
        self.server.gui.configure_theme(show_logo=False, show_share_button=False)
        first = paths.of_split(scene, splits_of(scene)[0])
        self._begin_at(first, focus_of(scene))
        self._make_status(sharing)
        self._picture = PicturePanel(self.server, studio, scene.half_side)
        self._visitors = visitors = Visitors(studio, self._picture.folder)
        self.cameras = CameraPanel(self.server, scene, visitors, self._picture.show)
        keys = KeyFrames(scene, tuple(int(side) for side in first.size[0]), moves=studio.door.moves)
        self._path = PathPanel(self.server, keys, run, visitors, self._picture.show)
        self._picture.drawn = lambda: self.cameras.drawn or self._path.drawn
        with self.server.gui.add_folder("Headset", expand_by_default=False):
            self.server.gui.add_markdown(HEADSET)
        visitors.admit(self.server)

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def close(self) -> None:
        """No longer serve it."""
        self._path.stop()
        self._stop()

    def tell(self, progress: float | None, text: str) -> None:
        """How far the model is: a share in [0, 1], or None, and words."""
        self._status.content = text
        if progress is not None:
            self._progress.value = 100 * progress
            self._show_pause()  # it ends by itself when nobody looks
            self._pause.disabled = self._share.disabled = progress >= 1

    def _stop(self):
        with _quiet():
            self.server.stop()

    def _begin_at(self, cameras: Cameras, focus: np.ndarray):
        """Where a new camera is: that of the first view, as far as one that turns about a point can be there."""
        up = up_axis(cameras.camera_to_world)
        self.server.scene.set_up_direction(up)
        begin = self.server.initial_camera
        begin.position, begin.look_at = cameras.position[0], in_front_of(cameras, focus)
        begin.up, begin.fov = up, fov_of(cameras)
        begin.near = NEAR

    def _make_status(self, sharing: Sharing | None):
        gui = self.server.gui
        with gui.add_folder("Training" if sharing is not None else "Run", order=0):
            self._status = gui.add_markdown("")
            if sharing is not None:
                self._progress = gui.add_progress_bar(0.0)
                self._make_training_controls(sharing)

    def _make_training_controls(self, sharing: Sharing):
        gui = self.server.gui
        self._pause = gui.add_button("Pause")
        self._share = gui.add_slider("time for pictures", min=5, max=95, step=5,
                                     initial_value=round(100 * sharing.share),
                                     hint="Per cent, as long as there are pictures to render.")

        @self._pause.on_click
        def _(event):
            sharing.paused = not sharing.paused
            self._show_pause()

        @self._share.on_update
        def _(event):
            sharing.share = self._share.value / 100

    def _show_pause(self):
        self._pause.label = "Go on" if self._sharing.paused else "Pause"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """viser and its web server print addresses, and what strangers at the door do wrong: here one module prints."""
    console = rich.get_console()
    before, console.quiet = console.quiet, True
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        console.quiet = before
