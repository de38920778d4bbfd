"""The page without a browser, and somebody who looks at it."""

import asyncio
import contextlib
import socket
from types import SimpleNamespace

import numpy as np
import pytest

from taichi_nerf.viewer.look import Shown
from taichi_nerf.viewer.studio import Studio

from ..test_paths import make_cameras, make_scene, ring
from .test_studio import Clock, SlowDoor


@pytest.fixture
def served(tmp_path):
    """`served(door, sharing, scene)`: a page that is served as long as the test runs."""
    pytest.importorskip("viser", reason="the viewer's library is not installed: pip install 'taichi-nerf[view]'")
    from taichi_nerf.viewer.face import Page

    pages = []

    def serve(door=None, sharing=None, scene=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        studio = Studio(door or SlowDoor(Clock()), Shown(), max_side=800)
        pages.append(Page(studio, scene or make_scene(make_cameras(ring(6))), tmp_path, host="127.0.0.1", port=port,
                          sharing=sharing))
        return pages[-1]

    yield serve
    for page in pages:
        page.close()


class Camera(SimpleNamespace):
    """That of a browser, which says where it is; viser's without a connection."""

    position, wxyz, image_width, image_height = np.zeros(3), np.array([1.0, 0, 0, 0]), 32, 24

    def on_update(self, callback):
        self.say = lambda: asyncio.run(callback(self))
        return callback


def visit(page):
    """The client of somebody who looks at a page."""
    client = SimpleNamespace(client_id=0, gui=page.server.gui, camera=Camera(fov=1.0), atomic=contextlib.nullcontext)
    asyncio.run(page._visitors._enter(client))
    return client
