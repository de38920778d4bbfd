"""The page in the browser, made with viser: it tells the studio what is looked at, and shows what the studio renders.

Callbacks run in threads of the web server. They note wishes, and render nothing.
"""

import contextlib
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rich
import viser
import viser.transforms

from .. import paths
from ..data.placement import up_axis
from ..data.scene import FISHEYE, Cameras, Scene
from ..errors import UserError
from ..models.growing import size_of
from ..output import quoted, visible
from .door import Picture
from .key_frames import FOLDER, KeyFrames, files
from .look import WHATS, Look, Shown
from .pace import Order
from .port import address
from .sharing import Sharing
from .studio import Studio

__all__ = ["Page"]

MOST_CAMERAS = 100  # that are drawn of a split
SIDES = (128, 2048)  # of a picture, least and most that can be chosen
THUMBNAIL = 48  # pixels of its longer side
COLOURS = {"train": (60, 90, 160), "val": (90, 140, 90), "test": (200, 110, 40)}
OPENGL = np.diag((1.0, -1.0, -1.0))  # axes of OpenGL in those of OpenCV, which viser has, and the other way round
PREVIEW_FPS = 15


class _Server(viser.ViserServer):
    """Which connects to nobody: the button that would ask viser's makers for a public address does nothing."""

    def request_share_url(self, verbose: bool = True) -> None:
        return None


class Page:
    """What there is to see of `scene`, whose cameras alone are needed; a context manager.

    `thumbnails` gives the small picture of a camera of a split by its number, or None where there is none yet.
    """

    def __init__(self, studio: Studio, scene: Scene, run: Path, *, host: str, port: int,
                 sharing: Sharing | None = None):
        self.studio, self.scene, self.run, self.sharing = studio, scene, run, sharing
        self._clients: dict[int, viser.ClientHandle] = {}
        self._fov: dict[int, viser.GuiSliderHandle] = {}
        self._frusta: dict[tuple[str, int], viser.CameraFrustumHandle] = {}
        cameras = paths.of_split(scene, next(iter(_splits(scene))))
        self._up, self._focus = up_axis(cameras.camera_to_world), paths.point_of_interest(cameras)
        self._keys = KeyFrames(scene, tuple(int(side) for side in cameras.size[0]))
        self._preview = threading.Event()
        with _quiet():
            self.server = _Server(host=host, port=port, label=visible(scene.name), verbose=False)
        if self.server.get_port() != port:  # somebody took it this very moment
            self.close()
            raise UserError(f"port {port} of {host} was taken just now; try again, or choose another --port")
        self.address = address(host, port)
        self.server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._begin_at(cameras)
        self._make_controls()
        self.server.on_client_connect(self._enter)
        self.server.on_client_disconnect(self._leave)

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def close(self) -> None:
        """No longer serve it."""
        self._preview.set()
        with _quiet():
            self.server.stop()

    def tell(self, progress: float | None, text: str) -> None:
        """How far the model is: a share in [0, 1], or None, and words."""
        self._status.content = text
        if progress is not None:
            self._progress.value = 100 * progress

    def cameras_without_thumbnail(self) -> Iterator[tuple[tuple[str, int], Look]]:
        """Of all cameras that are drawn, with what they see in a small window."""
        for (split, number), handle in list(self._frusta.items()):
            cameras = self.scene.model_cameras(split).subset([number])
            window = size_of(THUMBNAIL**2 * min(handle.aspect, 1 / handle.aspect), handle.aspect)
            yield (split, number), Look(pose=_tuples(cameras.camera_to_world[0]), fov=handle.fov, window=window)

    def put_thumbnail(self, camera: tuple[str, int], image: np.ndarray) -> None:
        """[H, W, 3] uint8"""
        self._frusta[camera].image = image

    # ---- who looks

    def _begin_at(self, cameras: Cameras):
        """Where a new camera is: that of the first view, as far as one that turns about a point can be there."""
        self.server.scene.set_up_direction(self._up)
        begin = self.server.initial_camera
        begin.position, begin.look_at = cameras.position[0], self._in_front(cameras)
        begin.up, begin.fov = self._up, _fov(cameras)
        begin.near = 1e-3

    def _in_front(self, camera: Cameras) -> np.ndarray:
        """[3] the point on the axis of the first of `camera` that is nearest to what all look at."""
        position, axis = camera.position[0].astype(np.float64), camera.view_direction[0].astype(np.float64)
        return position + axis * max(float((self._focus - position) @ axis), 0.1)

    async def _enter(self, client: viser.ClientHandle):
        who = client.client_id
        self._clients[who] = client
        self.studio.enter(who, functools.partial(self._deliver, client))
        with self._picture_folder:
            slider = client.gui.add_slider("field of view", min=5, max=120, step=1, order=3,
                                           initial_value=round(np.degrees(client.camera.fov)),
                                           hint="Vertical, in degrees.")
        self._fov[who] = slider

        @slider.on_update
        def _(event):
            client.camera.fov = np.radians(slider.value)

        @client.camera.on_update
        async def _(camera: viser.CameraHandle):
            self.studio.go(who, _look(camera))

        self.studio.go(who, _look(client.camera))

    async def _leave(self, client: viser.ClientHandle):
        self.studio.leave(client.client_id)
        self._clients.pop(client.client_id, None)
        self._fov.pop(client.client_id, None)

    def _deliver(self, client: viser.ClientHandle, picture: Picture, order: Order):
        if client.client_id not in self._clients:
            return
        with warnings.catch_warnings():  # it may go this very moment, which viser warns of
            warnings.simplefilter("ignore")
            client.scene.set_background_image(picture.image, format="jpeg", jpeg_quality=order.quality,
                                              depth=picture.distance)

    # ---- what there is to choose

    def _make_controls(self):
        gui = self.server.gui
        with gui.add_folder("Training" if self.sharing is not None else "Run", order=0):
            self._status = gui.add_markdown("")
            if self.sharing is not None:
                self._progress = gui.add_progress_bar(0.0)
                self._make_training_controls()
        self._picture_folder = gui.add_folder("Picture", order=1)
        with self._picture_folder:
            self._make_picture_controls()
        with gui.add_folder("Cameras", order=2, expand_by_default=False):
            self._make_camera_controls()
        if self.studio.door.can_crop:
            with gui.add_folder("Crop box", order=3, expand_by_default=False):
                self._make_crop_controls()
        with gui.add_folder("Camera path", order=4, expand_by_default=False):
            self._make_path_controls()

    def _make_training_controls(self):
        gui, sharing = self.server.gui, self.sharing
        button = gui.add_button("Pause")
        share = gui.add_slider("time for pictures", min=5, max=95, step=5, initial_value=round(100 * sharing.share),
                               hint="Per cent, as long as there are pictures to render.")

        @button.on_click
        def _(event):
            sharing.paused = not sharing.paused
            button.label = "Go on" if sharing.paused else "Pause"

        @share.on_update
        def _(event):
            sharing.share = share.value / 100

    def _make_picture_controls(self):
        gui, studio = self.server.gui, self.studio
        whats = [what for what in WHATS if what != "normals" or studio.door.has_normals]
        self._what = gui.add_dropdown("show", whats, order=1)
        grey = tuple(round(255 * value) for value in studio.shown.background)
        self._background = gui.add_rgb("background", grey, order=2)
        side = gui.add_slider("resolution", min=SIDES[0], max=SIDES[1], step=32, initial_value=studio.max_side, order=4,
                              hint="Pixels of the longer side of a picture at most.")
        self._what.on_update(self._show)
        self._background.on_update(self._show)

        @side.on_update
        def _(event):
            studio.bound(side.value)

    def _make_camera_controls(self):
        gui = self.server.gui
        self._cameras_shown = gui.add_checkbox("draw them", False)
        for split in _splits(self.scene):
            names = [visible(name) for name in self.scene.splits[split].images.names]
            unique = [f"{n}: {name}" for n, name in enumerate(names)]
            self._add_jump(gui.add_dropdown(f"go to ({split})", unique), split)
            self._add_frusta(split)

        @self._cameras_shown.on_update
        def _(event):
            for handle in self._frusta.values():
                handle.visible = self._cameras_shown.value
            self._show()

    def _add_jump(self, menu: viser.GuiDropdownHandle, split: str):
        @menu.on_update
        def _(event):
            if event.client is not None:
                self._jump(event.client, split, int(menu.value.split(":")[0]))

    def _add_frusta(self, split: str):
        cameras = self.scene.model_cameras(split)
        step = -(-len(cameras) // MOST_CAMERAS)
        for n in range(0, len(cameras), step):
            one = cameras.subset([n])
            handle = self.server.scene.add_camera_frustum(
                f"/cameras/{split}/{n}", fov=_fov(one), aspect=float(one.size[0, 0] / one.size[0, 1]),
                scale=_frustum_size(cameras), thickness=2, thickness_units="screen",
                color=COLOURS.get(split, (90, 90, 90)), wxyz=_quaternion(one.camera_to_world[0]),
                position=one.position[0], visible=False, cast_shadow=False, receive_shadow=False)
            self._frusta[split, n] = handle
            handle.on_click(functools.partial(self._clicked, split, n))

    def _clicked(self, split: str, number: int, event):
        self._jump(event.client, split, number)

    def _jump(self, client: viser.ClientHandle, split: str, number: int):
        """Let the camera of somebody stand where that of a view stood."""
        one = self.scene.model_cameras(split).subset([number])
        with client.atomic():
            client.camera.up_direction = one.camera_to_world[0, :, 1]
            client.camera.position = one.position[0]
            client.camera.look_at = self._in_front(one)
            client.camera.fov = _fov(one)
        if client.client_id in self._fov:
            self._fov[client.client_id].value = int(np.clip(round(np.degrees(_fov(one))), 5, 120))

    def _make_crop_controls(self):
        gui, half = self.server.gui, self.scene.half_side
        self._cropping = gui.add_checkbox("crop", False, hint="What lies outside of the box is not shown.")
        step = half / 100
        self._box = [gui.add_multi_slider(axis, min=-half, max=half, step=step, initial_value=(-half, half))
                     for axis in "xyz"]
        self._drawn_box = self.server.scene.add_box("/crop", color=(220, 60, 60), dimensions=(1.0, 1.0, 1.0),
                                                    wireframe=True, visible=False)
        for handle in (self._cropping, *self._box):
            handle.on_update(self._show)

    def _show(self, event=None):
        """Tell the studio what is to be seen, and draw what is drawn."""
        cropping = self.studio.door.can_crop and self._cropping.value
        crop = None
        if self.studio.door.can_crop:
            lower, upper = zip(*(handle.value for handle in self._box))
            self._drawn_box.visible = cropping
            self._drawn_box.dimensions = tuple(max(b - a, 1e-3) for a, b in zip(lower, upper))
            self._drawn_box.position = tuple((a + b) / 2 for a, b in zip(lower, upper))
            crop = (lower, upper) if cropping else None
        drawn = cropping or self._cameras_shown.value or len(self._keys) > 0
        self.studio.show(Shown(what=self._what.value, crop=crop, distances=drawn,
                               background=tuple(value / 255 for value in self._background.value)))

    # ---- the camera path

    def _make_path_controls(self):
        gui = self.server.gui
        self._path_status = gui.add_markdown("")
        add, drop, clear = (gui.add_button(text) for text in ("Add the camera", "Drop the last", "Clear"))
        self._seconds = gui.add_number("seconds", 4.0, min=0.1, max=3600.0, step=0.5)
        play = gui.add_button("Play")
        name = gui.add_text("name", "path")
        save = gui.add_button("Save")
        self._files = gui.add_dropdown("file", [*files(self.run)] or ["none yet"])
        load = gui.add_button("Load")
        add.on_click(self._told(lambda client: self._keys.add(_look(client.camera).pose, client.camera.fov)))
        drop.on_click(self._told(lambda client: self._keys.drop()))
        clear.on_click(self._told(lambda client: self._keys.clear()))
        save.on_click(self._told(lambda client: self._save(client, name.value)))
        load.on_click(self._told(lambda client: self._keys.load(self.run / FOLDER / self._files.value)))
        play.on_click(self._told(self._play))
        self._draw_path()

    def _told(self, change: Callable[[viser.ClientHandle], object]) -> Callable:
        """A callback that changes the path for a client, and tells it in one sentence what was wrong."""
        def callback(event):
            try:
                change(event.client)
            except UserError as error:
                event.client.add_notification("That did not work", visible(error), color="red")
            self._draw_path()

        return callback

    def _save(self, client: viser.ClientHandle, name: str):
        file = self._keys.save(self.run, name)
        self._files.options = files(self.run)
        self._files.value = file.name
        client.add_notification("Saved", f"taichi-nerf render {quoted(self.run)} --path {quoted(file)} "
                                         f"--frames {self._frames(30)}", color="green")

    def _frames(self, fps: int) -> int:
        return max(2, round(self._seconds.value * fps))

    def _play(self, client: viser.ClientHandle):
        """Move the camera of somebody along the path; a second click ends it, too."""
        if len(self._keys) < 2:
            raise UserError("a path to be played needs two key frames at least")
        self._preview.set()  # of the one before
        preview = self._preview = threading.Event()
        for pose, fov in zip(*self._keys.between(self._frames(PREVIEW_FPS))):
            if preview.wait(1 / PREVIEW_FPS) or client.client_id not in self._clients:
                return
            with client.atomic():
                client.camera.up_direction = pose[:, 1]
                client.camera.position = pose[:, 3]
                client.camera.look_at = pose[:, 3] - pose[:, 2]
                client.camera.fov = fov

    def _draw_path(self):
        count = len(self._keys)
        self._path_status.content = f"{count} key frame{'' if count == 1 else 's'}"
        scene = self.server.scene
        if count > 1:
            positions = self._keys.between(20 * (count - 1) + 1)[0][:, :, 3]
            scene.add_line_segments("/path", np.stack([positions[:-1], positions[1:]], axis=1), (220, 60, 60),
                                    thickness=3, thickness_units="screen")
        elif (line := scene.get_handle_by_name("/path")) is not None:
            line.remove()
        self._show()


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


def _splits(scene: Scene) -> list[str]:
    """Those with cameras, that of the training first."""
    names = sorted(scene.splits, key=lambda name: name != "train")
    return [name for name in names if len(scene.splits[name])]


def _look(camera: viser.CameraHandle) -> Look:
    rotation = viser.transforms.SO3(camera.wxyz).as_matrix() @ OPENGL
    pose = np.concatenate([rotation, np.asarray(camera.position)[:, None]], axis=1)
    return Look(pose=_tuples(pose), fov=float(camera.fov),
                window=(max(1, camera.image_width), max(1, camera.image_height)))


def _tuples(pose: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in pose)


def _quaternion(pose: np.ndarray) -> np.ndarray:
    """[4] w, x, y, z of a pose [3, 4] in the axes of OpenCV."""
    return viser.transforms.SO3.from_matrix(pose[:, :3].astype(np.float64) @ OPENGL).wxyz


def _fov(cameras: Cameras) -> float:
    """Vertical, of the first, in radians; of a fisheye lens as much as can be drawn of it."""
    half = 0.5 * float(cameras.size[0, 1] / cameras.focal[0, 1])
    return min(2 * half, np.radians(100)) if cameras.lens[0] == FISHEYE else 2 * float(np.arctan(half))


def _frustum_size(cameras: Cameras) -> float:
    """Half of the way to the nearest other camera, but small beside the scene."""
    if len(cameras) < 2:
        return 0.05
    apart = np.linalg.norm(cameras.position[:, None] - cameras.position[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(0.5 * np.median(apart.min(axis=1)), 0.01, 0.1))
