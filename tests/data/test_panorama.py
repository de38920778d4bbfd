"""Pictures of what is all around, as light: what they hold in linear light, and which are none."""

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data.hdr import linear_from_srgb
from taichi_nerf.data.panorama import MOST_ROWS, read_panorama
from taichi_nerf.errors import UserError

from .test_hdr import write_exr, write_radiance


def test_pictures_are_read_as_linear_light(tmp_path):
    linear = (4 * np.random.default_rng(2).random((6, 12, 3)) ** 3).astype(np.float32)
    assert np.array_equal(read_panorama(write_exr(tmp_path / "a.exr", linear)), linear), "brighter than white, too"
    assert np.allclose(read_panorama(write_radiance(tmp_path / "a.hdr", linear)), linear, atol=0.02)
    eight = np.random.default_rng(3).integers(0, 256, (6, 12, 4), dtype=np.uint8)
    Image.fromarray(eight[..., :3]).save(tmp_path / "a.png")
    assert np.allclose(read_panorama(tmp_path / "a.png"), linear_from_srgb(eight[..., :3] / 255), atol=1e-6)
    Image.fromarray(eight).save(tmp_path / "b.png")
    through = linear_from_srgb(eight[..., :3] / 255) * eight[..., 3:] / 255
    assert np.allclose(read_panorama(tmp_path / "b.png"), through, atol=1e-6), "what is transparent gives none"


def test_a_large_picture_becomes_its_means(tmp_path):
    picture = np.zeros((2 * MOST_ROWS, 4 * MOST_ROWS, 3), np.float32)
    picture[100, 200] = 4000.0
    found = read_panorama(write_exr(tmp_path / "sun.exr", picture))
    assert found.shape == (MOST_ROWS, 2 * MOST_ROWS, 3)
    assert found[50, 100] == pytest.approx(1000.0) and np.count_nonzero(found) == 3


def test_values_that_are_no_light_give_none(tmp_path):
    picture = np.ones((2, 4, 3), np.float32)
    picture[0, 0], picture[0, 1], picture[0, 2] = np.nan, -3.0, np.inf
    told = []
    found = read_panorama(write_exr(tmp_path / "odd.exr", picture), told.append)
    assert (found[0, :2] == 0).all() and (found[0, 2] == 65504).all() and (found[1] == 1).all()
    assert len(told) == 1 and "odd.exr has 2 of 8 pixels that are infinite or no number; they shine with" in told[0]
    read_panorama(write_exr(tmp_path / "even.exr", np.ones((2, 4, 3), np.float32)), told.append)
    assert len(told) == 1
    with pytest.raises(UserError, match=r"endless\.exr has no pixel that is a finite number"):
        read_panorama(write_exr(tmp_path / "endless.exr", np.full((2, 4, 3), np.inf, np.float32)))


@pytest.mark.parametrize(("name", "shape", "said"), [
    ("wide.png", (10, 30, 3), "wide.png is 30 x 10 pixels, and a picture of what is all around is twice as wide"),
    ("black.png", (2, 4, 3), "black.png is black, and gives no light"),
])
def test_pictures_that_shine_on_nothing_are_refused(tmp_path, name, shape, said):
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / name)
    with pytest.raises(UserError, match=said):
        read_panorama(tmp_path / name)


@pytest.mark.parametrize("name", ["a.exr", "a.hdr", "a.png"])
def test_files_that_are_no_pictures_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"{name} does not exist; check the path of the picture"):
        read_panorama(tmp_path / name)
    (tmp_path / name).write_bytes(b"a text")
    with pytest.raises(UserError, match=f"{name} cannot be read as a picture .*; give an EXR, HDR, PNG or JPEG file"):
        read_panorama(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder cannot be read as a picture"):
        read_panorama(tmp_path / "folder")
