"""The cameras of a scene, drawn with a small picture each, and jumped to."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
import viser

from ... import paths
from ...data.scene import Cameras, Scene
from ...models.growing import size_of
from ...output import visible
from ..look import Look
from .poses import fov_of, quaternion_of, tuples
from .visitors import Visitors

__all__ = ["NEAR", "CameraPanel", "focus_of", "in_front_of", "splits_of"]

MOST_CAMERAS = 100  # that are drawn of a split
THUMBNAIL = 48  # pixels of its longer side
COLOURS = {"train": (60, 90, 160), "val": (90, 140, 90), "test": (200, 110, 40)}
OTHER = (90, 90, 90)
LENGTHS = (0.01, 0.15)  # of what is drawn of a camera, from it to its picture, in model units
NEAR = 0.16  # nearer nothing is drawn: who stands where a camera stood would see its small picture alone


class CameraPanel:
    """The folder of the cameras, and what is drawn of them."""

    def __init__(self, server: viser.ViserServer, scene: Scene, visitors: Visitors, changed: Callable[[], None]):
        """`changed` is called when they are drawn, and when they are not any more."""
        self.server, self.scene, self.visitors, self.changed = server, scene, visitors, changed
        self._focus = focus_of(scene)
        self._frusta: dict[tuple[str, int], viser.CameraFrustumHandle] = {}
        with server.gui.add_folder("Cameras", order=2, expand_by_default=False):
            self._shown = server.gui.add_checkbox("draw them", False)
            for split in splits_of(scene):
                self._add_menu(split)
                self._add_frusta(split)
        self._shown.on_update(self._draw)

    @property
    def drawn(self) -> bool:
        return self._shown.value

    def without_thumbnail(self) -> Iterator[tuple[tuple[str, int], Look]]:
        """Split and number of all that may be drawn, with what they see in a small window."""
        for (split, number), handle in list(self._frusta.items()):
            cameras = self.scene.model_cameras(split).subset([number])
            window = size_of(THUMBNAIL**2 * min(handle.aspect, 1 / handle.aspect), handle.aspect)
            time = self.scene.splits[split].time
            yield (split, number), Look(pose=tuples(cameras.camera_to_world[0]), fov=handle.fov, window=window,
                                        time=None if time is None else float(time[number]))

    def put_thumbnail(self, camera: tuple[str, int], image: np.ndarray) -> None:
        """[H, W, 3] uint8"""
        self._frusta[camera].image = image

    def _add_menu(self, split: str):
        names = [visible(name) for name in self.scene.splits[split].images.names]
        menu = self.server.gui.add_dropdown(f"go to ({split})", [f"{n}: {name}" for n, name in enumerate(names)])

        @menu.on_update
        def _(event):
            if event.client is not None:
                self._jump(event.client, split, int(menu.value.split(":")[0]))

    def _add_frusta(self, split: str):
        cameras = self.scene.model_cameras(split)
        step, length = -(-len(cameras) // MOST_CAMERAS), _length(cameras)
        for n in range(0, len(cameras), step):
            one = cameras.subset([n])
            fov, aspect = fov_of(one), float(one.size[0, 0] / one.size[0, 1])
            handle = self.server.scene.add_camera_frustum(
                f"/cameras/{split}/{n}", fov=fov, aspect=aspect, scale=length * _scale(fov, aspect),
                thickness=2, thickness_units="screen",
                color=COLOURS.get(split, OTHER), wxyz=quaternion_of(one.camera_to_world[0]),
                position=one.position[0], visible=False, cast_shadow=False, receive_shadow=False)
            self._frusta[split, n] = handle
            handle.on_click(functools.partial(self._clicked, split, n))

    def _draw(self, event):
        for handle in self._frusta.values():
            handle.visible = self._shown.value
        self.changed()

    def _clicked(self, split: str, number: int, event):
        self._jump(event.client, split, number)

    def _jump(self, client: viser.ClientHandle, split: str, number: int):
        """Let the camera of somebody stand where that of a view stood, at its time where that is known."""
        one = self.scene.model_cameras(split).subset([number])
        time = self.scene.splits[split].time
        self.visitors.place(client, one.camera_to_world[0], in_front_of(one, self._focus), fov_of(one),
                            None if time is None else float(time[number]))
        self.visitors.show_fov(client, fov_of(one))


def splits_of(scene: Scene) -> list[str]:
    """Those with cameras, that of the training first."""
    names = sorted(scene.splits, key=lambda name: name != "train")
    return [name for name in names if len(scene.splits[name])]


def focus_of(scene: Scene) -> np.ndarray:
    """[3] what the cameras look at."""
    return paths.point_of_interest(paths.of_split(scene, splits_of(scene)[0]))


def in_front_of(camera: Cameras, focus: np.ndarray) -> np.ndarray:
    """[3] the point on the axis of the first of `camera` that is nearest to `focus`."""
    position, axis = camera.position[0].astype(np.float64), camera.view_direction[0].astype(np.float64)
    return position + axis * max(float((focus - position) @ axis), 0.1)


def _length(cameras: Cameras) -> float:
    """Of what is drawn of a camera: half of the way to the nearest other one, but small beside the scene."""
    if len(cameras) < 2:
        return sum(LENGTHS) / 2
    apart = np.linalg.norm(cameras.position[:, None] - cameras.position[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(0.5 * np.median(apart.min(axis=1)), *LENGTHS))


def _scale(fov: float, aspect: float) -> float:
    """Of a frustum of length 1: viser's is the cube root of the volume."""
    half = np.tan(0.5 * fov)
    return float(np.cbrt(half**2 * aspect / 3))
