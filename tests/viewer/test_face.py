"""The page, without a browser: what its panel offers and says."""

import asyncio
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from taichi_nerf.errors import UserError
from taichi_nerf.viewer.look import Shown
from taichi_nerf.viewer.sharing import Sharing
from taichi_nerf.viewer.studio import Studio

from ..test_paths import make_cameras, make_scene, ring
from .conftest import Camera, visit
from .test_studio import Clock, SlowDoor

pytest.importorskip("viser", reason="the viewer's library is not installed: pip install 'taichi-nerf[view]'")

from taichi_nerf.viewer.face import Page
from taichi_nerf.viewer.face.cameras import NEAR


def test_a_port_that_is_taken_in_the_last_moment_ends_in_a_sentence(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port, studio = other.getsockname()[1], Studio(SlowDoor(Clock()), Shown(), max_side=800)
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 was taken just now; try again, or choose"):
            Page(studio, make_scene(make_cameras(ring(6))), tmp_path, host="127.0.0.1", port=port)


def test_a_pause_that_ended_by_itself_is_not_offered_to_be_ended(served):
    sharing = Sharing(SimpleNamespace(attended=False), None)
    page = served(sharing=sharing)
    sharing.paused = True
    page.tell(0.5, "step 5")
    assert page._pause.label == "Go on"
    sharing()  # nobody looks
    page.tell(0.6, "step 6")
    assert page._pause.label == "Pause" and not page._pause.disabled
    page.tell(1.0, "done")
    assert page._pause.disabled and page._share.disabled


def test_the_crop_box_is_drawn_by_its_edges_as_long_as_it_is_cropped_to(served):
    door = SlowDoor(Clock())
    door.can_crop = True
    page = served(door)
    panel, scene = page._picture, page.server.scene
    half = panel.half_side
    panel._cropping.value = True
    assert panel.studio.shown.crop == ((-half,) * 3, (half,) * 3) and panel.studio.shown.distances
    ends = scene.get_handle_by_name("/crop").points
    assert ends.shape == (12, 2, 3) and np.allclose(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1), 2 * half)
    panel._cropping.value = False
    assert panel.studio.shown.crop is None and scene.get_handle_by_name("/crop") is None


def test_who_stands_where_a_camera_stood_does_not_see_what_is_drawn_of_it(served):
    page = served()
    frusta = list(page.cameras._frusta.values())
    assert len(frusta) == 6 and page.server.initial_camera.near == NEAR
    for handle in frusta:  # viser's scale is the cube root of the volume
        half = np.tan(0.5 * handle.fov)
        assert handle.scale / np.cbrt(half**2 * handle.aspect / 3) < NEAR


def test_the_time_has_a_slider_where_the_model_knows_it(served):
    still = served()
    assert still._visitors.look_of(visit(still)).time is None and not still._visitors._times
    door = SlowDoor(Clock())
    door.moves = True
    page = served(door)
    client, studio = visit(page), page._visitors.studio
    times = page._visitors._times[0]
    times._slider.value = 0.25
    assert studio._seats[0].watcher.look.time == 0.25  # a move, which breaks off what grows
    page._path._add(client)
    assert page._path.keys.times_between(1) == [0.25]
    page._visitors.place(client, np.eye(3, 4), np.zeros(3), 1.0, time=0.75)
    assert times.value == 0.75


def test_the_time_runs_until_it_is_stopped(served):
    door = SlowDoor(Clock())
    door.moves = True
    page = served(door)
    visit(page)
    times = page._visitors._times[0]
    running = threading.Thread(target=times._play_or_stop, args=(None,))
    running.start()
    end = time.monotonic() + 5
    while times.value == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert times.value > 0 and times._button.label == "Stop"
    times._play_or_stop(None)
    running.join(timeout=5)
    assert not running.is_alive() and times._button.label == "Play"


def test_the_slider_tells_a_browsers_field_of_view_until_somebody_moves_it(served):
    page = served()
    client = SimpleNamespace(client_id=0, gui=page.server.gui, camera=Camera(fov=np.radians(75)))
    asyncio.run(page._visitors._enter(client))
    slider = page._visitors._fov[0]
    assert slider.value == 75
    client.camera.fov = np.radians(39.6)
    client.camera.say()
    assert slider.value == 40 and client.camera.fov == np.radians(39.6)  # as it was, not rounded
    slider.value = 50
    for callback in slider._impl.update_cb:
        callback(SimpleNamespace(client=client))
    assert client.camera.fov == np.radians(50)
    client.camera.fov = np.radians(45)  # said late
    client.camera.say()
    assert slider.value == 50


def test_the_panel_says_what_shows_the_scene_in_a_headset(served, monkeypatch):
    import viser

    told, make = [], viser.GuiApi.add_markdown
    monkeypatch.setattr(viser.GuiApi, "add_markdown", lambda gui, content, **more: (
        told.append(content), make(gui, content, **more))[1])
    served()
    assert any("headset" in content and "taichi-nerf page RUN --field" in content for content in told)
