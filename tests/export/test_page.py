"""The page shows in a real browser what its octree shows, asks nobody for anything, and stays within its bound."""

import numpy as np
import pytest

from taichi_nerf.export.page import write_page

from .browser import opened
from .scenes import OFFSET, SCALE, around, ball_and_box, seen, tree_of


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a - b).mean()))


@pytest.fixture(scope="module")
def grid():
    return ball_and_box()


@pytest.fixture(scope="module")
def page(tmp_path_factory, grid):
    path = tmp_path_factory.mktemp("page") / "scene.html"
    write_page(path, *tree_of(grid), OFFSET, SCALE, name="a ball and a box", cameras=around())
    return path


def test_a_browser_shows_what_the_tree_shows(page, grid):
    cameras = around()
    with opened(page, cameras.size[0]) as view:
        for n in range(len(cameras)):
            assert psnr(view.picture(cameras, n), seen(grid, cameras, n)) > 35, n
        assert view.said == []
