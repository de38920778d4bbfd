"""Who looks: a camera each, with its field of view and its time, to which pictures are delivered."""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import viser

from ..door import Picture
from ..look import Look
from ..pace import Order
from ..studio import Studio
from .poses import look_of
from .times import TimeControls

__all__ = ["Visitors"]

FOV = (5, 120)  # degrees, least and most that can be chosen


class Visitors:
    """The browsers that have the page open."""

    def __init__(self, studio: Studio, folder: viser.GuiFolderHandle):
        """`folder` gets the sliders of each one's field of view and, of a model that knows it, time."""
        self.studio, self.folder = studio, folder
        self._clients: dict[int, viser.ClientHandle] = {}
        self._fov: dict[int, viser.GuiSliderHandle] = {}
        self._chosen: set[int] = set()  # who has moved this slider
        self._times: dict[int, TimeControls] = {}

    def admit(self, server: viser.ViserServer) -> None:
        """From now on; those who are there already, too."""
        server.on_client_connect(self._enter)
        server.on_client_disconnect(self._leave)

    def __contains__(self, client: viser.ClientHandle) -> bool:
        """Whether somebody is still there."""
        return client.client_id in self._clients

    def look_of(self, client: viser.ClientHandle) -> Look:
        """What somebody sees."""
        times = self._times.get(client.client_id)
        return replace(look_of(client.camera), time=None if times is None else times.value)

    def place(self, client: viser.ClientHandle, pose: np.ndarray, look_at: np.ndarray, fov: float,
              time: float | None = None) -> None:
        """Let the camera of somebody stand at `pose` [3, 4] and turn about `look_at` [3]; `fov` in radians. And let it
        look at a time, if that is known."""
        with client.atomic():
            client.camera.up_direction = pose[:, 1]
            client.camera.position = pose[:, 3]
            client.camera.look_at = look_at
            client.camera.fov = fov
        if time is not None and client.client_id in self._times:
            self._times[client.client_id].show(time)

    def show_fov(self, client: viser.ClientHandle, fov: float) -> None:
        """Let the slider of somebody say what its field of view is, in radians."""
        slider = self._fov.get(client.client_id)
        if slider is not None and slider.value != (degrees := _degrees(fov)):
            slider.value = degrees

    async def _enter(self, client: viser.ClientHandle):
        who = client.client_id
        self._clients[who] = client
        self.studio.enter(who, functools.partial(self._deliver, client))
        with self.folder, _going():
            slider = client.gui.add_slider("field of view", min=FOV[0], max=FOV[1], step=1, order=3,
                                           initial_value=_degrees(client.camera.fov),
                                           hint="Vertical, in degrees.")
            if self.studio.door.moves:
                self._times[who] = TimeControls(client.gui, lambda: self.studio.go(who, self.look_of(client)))
        self._fov[who] = slider

        @slider.on_update
        def _(event):
            if event.client is not None:  # else it was told what the field of view is
                self._chosen.add(who)
                client.camera.fov = np.radians(slider.value)

        @client.camera.on_update
        async def _(camera: viser.CameraHandle):
            if who not in self._chosen:  # a browser begins with a field of view of its own
                self.show_fov(client, camera.fov)
            self.studio.go(who, self.look_of(client))

        self.studio.go(who, self.look_of(client))

    async def _leave(self, client: viser.ClientHandle):
        self.studio.leave(client.client_id)
        self._clients.pop(client.client_id, None)
        self._fov.pop(client.client_id, None)
        self._chosen.discard(client.client_id)
        if (times := self._times.pop(client.client_id, None)) is not None:
            times.leave()

    def _deliver(self, client: viser.ClientHandle, picture: Picture, order: Order):
        if client not in self:
            return
        with _going():
            client.scene.set_background_image(picture.image, format="jpeg", jpeg_quality=order.quality,
                                              depth=picture.distance)


@contextmanager
def _going() -> Iterator[None]:
    """Within, who looks may go this very moment, which viser warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _degrees(fov: float) -> int:
    """Of a field of view in radians, as far as it can be chosen."""
    return int(np.clip(round(np.degrees(fov)), *FOV))
