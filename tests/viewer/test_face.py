"""The page, without a browser: what its panel offers and says."""

import socket
from types import SimpleNamespace

import pytest

from taichi_nerf.viewer.look import Shown
from taichi_nerf.viewer.sharing import Sharing
from taichi_nerf.viewer.studio import Studio

from ..test_paths import make_cameras, make_scene, ring
from .test_studio import Clock, SlowDoor

pytest.importorskip("viser", reason="the viewer's library is not installed: pip install 'taichi-nerf[view]'")

from taichi_nerf.viewer.face import Page


@pytest.fixture
def served(tmp_path):
    """`served(door, sharing)`: a page that is served as long as the test runs."""
    pages = []

    def serve(door=None, sharing=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        studio = Studio(door or SlowDoor(Clock()), Shown(), max_side=800)
        pages.append(Page(studio, make_scene(make_cameras(ring(6))), tmp_path, host="127.0.0.1", port=port,
                               sharing=sharing))
        return pages[-1]

    yield serve
    for page in pages:
        page.close()


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
