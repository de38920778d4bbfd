"""A camera path that is made of where somebody's camera is, played and saved."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import viser

from ...errors import UserError
from ...output import quoted, visible
from ..key_frames import FOLDER, KeyFrames, files
from .visitors import Visitors

__all__ = ["PathPanel"]

FPS, PREVIEW_FPS = 30, 15  # of the video that is proposed, and when it is played
COLOUR = (220, 60, 60)


class PathPanel:
    """The folder of the path, and the line that is drawn of it."""

    def __init__(self, server: viser.ViserServer, keys: KeyFrames, run: Path, visitors: Visitors,
                 changed: Callable[[], None]):
        """`changed` is called when there are more key frames, or fewer."""
        self.server, self.keys, self.run, self.visitors, self.changed = server, keys, run, visitors, changed
        self._preview = threading.Event()
        with server.gui.add_folder("Camera path", order=4, expand_by_default=False):
            self._make_controls()
        self._draw()

    @property
    def drawn(self) -> bool:
        return len(self.keys) > 0

    def stop(self) -> None:
        """No longer play it."""
        self._preview.set()

    def _make_controls(self):
        gui = self.server.gui
        self._status = gui.add_markdown("")
        add, drop, clear = (gui.add_button(text) for text in ("Add the camera", "Drop the last", "Clear"))
        self._seconds = gui.add_number("seconds", 4.0, min=0.1, max=3600.0, step=0.5)
        play = gui.add_button("Play")
        name = gui.add_text("name", "path")
        save = gui.add_button("Save")
        self._files = gui.add_dropdown("file", [*files(self.run)] or ["none yet"])
        load = gui.add_button("Load")
        add.on_click(self._told(self._add))
        drop.on_click(self._told(lambda client: self.keys.drop()))
        clear.on_click(self._told(lambda client: self.keys.clear()))
        save.on_click(self._told(lambda client: self._save(client, name.value)))
        load.on_click(self._told(lambda client: self.keys.load(self.run / FOLDER / self._files.value)))
        play.on_click(self._told(self._play))

    def _told(self, change: Callable[[viser.ClientHandle], object]) -> Callable:
        """A callback that changes the path for a client, and tells it in one sentence what was wrong."""
        def callback(event):
            try:
                change(event.client)
            except UserError as error:
                event.client.add_notification("That did not work", visible(error), color="red")
            self._draw()

        return callback

    def _add(self, client: viser.ClientHandle):
        look = self.visitors.look_of(client)
        self.keys.add(look.pose, look.fov, look.time)

    def _save(self, client: viser.ClientHandle, name: str):
        file = self.keys.save(self.run, name)
        self._files.options = files(self.run)
        self._files.value = file.name
        client.add_notification("Saved", f"taichi-nerf render {quoted(self.run)} --path {quoted(file)} "
                                         f"--frames {self._frames(FPS)}", color="green")

    def _frames(self, fps: int) -> int:
        return max(2, round(self._seconds.value * fps))

    def _play(self, client: viser.ClientHandle):
        """Move the camera of somebody along the path, and its time; a second click ends it, too."""
        if len(self.keys) < 2:
            raise UserError("a path to be played needs two key frames at least")
        self._preview.set()  # of the one before
        preview = self._preview = threading.Event()
        frames = self._frames(PREVIEW_FPS)
        times = self.keys.times_between(frames)
        for n, (pose, fov) in enumerate(zip(*self.keys.between(frames))):
            if preview.wait(1 / PREVIEW_FPS) or client not in self.visitors:
                return
            self.visitors.place(client, pose, pose[:, 3] - pose[:, 2], fov,
                                None if times is None else float(times[n]))

    def _draw(self):
        count = len(self.keys)
        self._status.content = f"{count} key frame{'' if count == 1 else 's'}"
        scene = self.server.scene
        if count > 1:
            positions = self.keys.between(20 * (count - 1) + 1)[0][:, :, 3]
            scene.add_line_segments("/path", np.stack([positions[:-1], positions[1:]], axis=1), COLOUR,
                                    thickness=3, thickness_units="screen")
        elif (line := scene.get_handle_by_name("/path")) is not None:
            line.remove()
        self.changed()
