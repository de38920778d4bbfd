"""What a person looks at: colour maps that read the right way, and files that are whole or not there."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from taichi_nerf import pictures
from taichi_nerf.errors import UserError
from taichi_nerf.pictures import (
    VideoWriter,
    depth_limits,
    depth_picture,
    error_picture,
    heat_map,
    normal_picture,
    side_by_side,
    to_uint8,
    write_png,
)

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def luminance(image):
    return (np.asarray(image, dtype=np.float64) @ LUMINANCE) / 255


def test_to_uint8_rounds_clips_and_expands_grey():
    image = np.array([[0.0, 1.0, -3.0], [2.0, 0.5, np.nan]])
    assert to_uint8(image)[..., 0].tolist() == [[0, 255, 0], [255, 128, 0]]
    assert to_uint8(image).shape == (2, 3, 3)
    whole = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert to_uint8(whole) is whole
    assert np.array_equal(to_uint8(whole / 255.0), whole)


def test_the_heat_map_gets_lighter_all_the_way():
    ramp = heat_map(np.linspace(0, 1, 256))
    assert ramp.min() >= 0 and ramp.max() <= 1
    light = ramp @ LUMINANCE
    assert (np.diff(light) > -1e-4).all() and light[0] < 0.05 and light[-1] > 0.85
    assert ramp[-1].min() < 0.75, "it does not end in white, which is what is not there"
    assert np.abs(np.diff(ramp, axis=0)).max() < 0.04, "no bands"
    assert np.array_equal(heat_map(np.array([-1.0, np.nan, 7.0])), ramp[[0, 0, -1]])


def test_near_is_bright_and_transparent_is_white():
    depth = np.linspace(1.0, 4.0, 40).reshape(4, 10)
    opacity = np.ones_like(depth)
    opacity[0, 0] = 0
    picture = depth_picture(depth, opacity)
    assert picture.shape == (4, 10, 3) and picture.dtype == np.uint8
    assert (picture[0, 0] == 255).all()
    light = luminance(picture).reshape(-1)[1:]
    assert (np.diff(light) <= 1e-2).all() and light[0] > 0.8 and light[-1] < 0.1


def test_depth_limits_ignore_outliers_and_what_is_not_there():
    depth = np.full((50, 50), 2.0)
    depth[:, 25:] = 3.0
    depth[0, 0], depth[0, 1], depth[0, 2] = 1e6, np.inf, np.nan
    opacity = np.ones_like(depth)
    depth[5], opacity[5] = 100.0, 0.1
    assert depth_limits(depth, opacity) == pytest.approx((2.0, 3.0))


def test_a_margin_widens_depth_limits_at_both_ends():
    depth, opacity = np.array([[2.0] * 50 + [4.0] * 50]), np.ones((1, 100))
    near, far = depth_limits(depth, opacity, margin=0.2)
    assert (1 / near, 1 / far) == pytest.approx((0.5 + 0.05, 0.25 - 0.05))
    assert 0 < depth_limits(depth, opacity, margin=9.0)[0] < depth_limits(depth, opacity, margin=9.0)[1] == 8


@pytest.mark.parametrize("depth", [0.0, 2.0])
def test_a_depth_picture_of_one_or_no_depth_is_a_picture(depth):
    depth = np.full((6, 5), depth)
    assert (depth_picture(depth, np.zeros_like(depth)) == 255).all()
    assert depth_picture(depth, np.ones_like(depth)).shape == (6, 5, 3)


def test_with_limits_the_same_depth_has_the_same_colour_in_every_picture():
    limits = (1.0, 5.0)
    one = depth_picture(np.array([[2.0, 1.0]]), np.ones((1, 2)), limits)
    other = depth_picture(np.array([[2.0, 5.0]]), np.ones((1, 2)), limits)
    assert np.array_equal(one[0, 0], other[0, 0])


def test_normals_are_shown_by_axis():
    normals = np.array([[[1.0, 0, 0], [0, -1.0, 0], [0, 0, 0]]])
    picture = normal_picture(normals, np.array([[1.0, 1.0, 0.0]]))
    assert picture.tolist() == [[[255, 128, 128], [128, 0, 128], [255, 255, 255]]]


def test_errors_are_brighter_where_they_are_larger():
    truth = np.full((1, 4, 3), 0.5)
    prediction = truth + np.array([0, 0.05, 0.15, 0.5])[None, :, None]
    light = luminance(error_picture(prediction, truth))[0]
    assert light[0] < 0.05 and (np.diff(light) > 0.05).all() and light[-1] > 0.85


def test_captions_are_in_letters_that_the_font_has():
    assert pictures.legible("Fête 12 \u2014 写真") == "Fete 12 ? ??" and pictures.legible("plain_1") == "plain_1"
    assert np.array_equal(pictures._caption("ph\u00f6to", 90), pictures._caption("photo", 90))


def test_a_caption_that_is_too_long_keeps_its_end():
    """That which says how much of a photo is left out."""
    one, other = (pictures._caption(f"{name}: 12.3% left out", 120) for name in ("a" * 60, "b" + "a" * 70))
    assert np.array_equal(one, other) and not np.array_equal(one, pictures._caption("a" * 60 + ": 45.6% left out", 120))
    assert (one[:, -4:] == 255).all()


def test_side_by_side_keeps_every_picture_whole():
    one, other = np.full((5, 40, 3), 10, np.uint8), np.full((8, 30), 0.5)
    canvas = side_by_side(one, other)
    assert canvas.shape == (8, 40 + pictures.GAP + 30, 3)
    assert (canvas[:5, :40] == 10).all() and (canvas[:, -30:] == 128).all() and (canvas[5:, :40] == 255).all()
    with_captions = side_by_side(one, other, captions=("one", "the other, which is long"))
    assert np.array_equal(with_captions[pictures.CAPTION :], canvas)
    assert (with_captions[: pictures.CAPTION] < 128).any(), "there is text"
    with pytest.raises(ValueError, match="captions"):
        side_by_side(one, other, captions=("one",))


def test_a_png_is_read_back_as_it_was(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    path = write_png(tmp_path / "a.png", image)
    assert np.array_equal(np.asarray(Image.open(path)), image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_png_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_png(tmp_path / "a.png", np.zeros((2, 2, 3)))
    before = path.read_bytes()

    def full(self, target, format):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"a\.png cannot be written \(no space left on device\)"):
        write_png(path, np.ones((2, 2, 3)))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_png_in_a_missing_folder_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_png(tmp_path / "missing" / "a.png", np.zeros((2, 2, 3)))


def read_video(ffmpeg, path):
    """What ffmpeg says about the file, and its pictures [F, H, W, 3]."""
    command = [ffmpeg, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    about = next(line for line in done.stderr.decode().splitlines() if "Video:" in line)
    width, height = (int(length) for length in re.search(r", (\d+)x(\d+)", about).groups())
    return about, np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


@pytest.fixture(scope="session")
def ffmpeg():
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        pytest.skip(f"no ffmpeg: {error}")


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (1, 1)])
def test_a_video_has_its_frames_its_rate_and_an_even_size(ffmpeg, tmp_path, size):
    shades = [0.1, 0.5, 0.9, 0.3, 0.7]
    with VideoWriter(tmp_path / "v.mp4", fps=10) as video:
        for shade in shades:
            video.write(np.full((*size, 3), shade))
    about, frames = read_video(ffmpeg, tmp_path / "v.mp4")
    assert "h264" in about and "yuv420p" in about and "10 fps" in about
    assert frames.shape[1:3] == tuple(length + length % 2 for length in size)
    assert [frame.mean() / 255 for frame in frames] == pytest.approx(shades, abs=0.02)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_an_error_on_the_way_leaves_no_video(ffmpeg, tmp_path):
    with pytest.raises(KeyError), VideoWriter(tmp_path / "v.mp4") as video:
        video.write(np.zeros((16, 16, 3)))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_size_are_refused(ffmpeg, tmp_path):
    with pytest.raises(ValueError, match="shape"), VideoWriter(tmp_path / "v.mp4") as video:
        video.write(np.zeros((16, 16, 3)))
        video.write(np.zeros((16, 18, 3)))


def test_a_video_without_pictures_or_folder_or_rate_is_a_user_error(ffmpeg, tmp_path):
    with pytest.raises(UserError, match="at least one picture"), VideoWriter(tmp_path / "v.mp4"):
        pass
    with pytest.raises(UserError, match="does not exist"), VideoWriter(tmp_path / "no" / "v.mp4") as video:
        video.write(np.zeros((16, 16, 3)))
    with pytest.raises(UserError, match="frames per second"):
        VideoWriter(tmp_path / "v.mp4", fps=0)


def test_without_ffmpeg_the_error_says_what_to_do(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(UserError, match="PNG files"):
        VideoWriter(tmp_path / "v.mp4")


def test_an_ffmpeg_that_fails_is_a_user_error(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def broken(*args, **kwargs):
        yield
        raise OSError("broken pipe\nUnknown encoder 'libx264'")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: "ffmpeg")
    monkeypatch.setattr(imageio_ffmpeg, "write_frames", broken)
    with pytest.raises(UserError, match=r"v\.mp4 cannot be written \(Unknown encoder"):
        with VideoWriter(tmp_path / "v.mp4") as video:
            video.write(np.zeros((16, 16, 3)))
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import resource, sys
import numpy as np
from taichi_nerf.errors import UserError
from taichi_nerf.pictures import VideoWriter

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
random = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1]) as video:
        for _ in range(30):
            video.write(random.random((64, 64, 3)))
except UserError as error:
    print(error)
"""


def test_a_video_that_the_disk_did_not_take_whole_is_none(ffmpeg, tmp_path):
    """Whose end alone fails, when all pictures have been handed over."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "v.mp4")], env=environment,
                          capture_output=True, text=True, timeout=120)
    assert "cannot be written" in done.stdout and done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_ffmpeg_that_says_nothing_on_a_full_disk_is_told_as_that(ffmpeg, tmp_path, monkeypatch):
    def silent(*args, **kwargs):
        yield
        raise OSError("broken pipe\n\nFFMPEG STDERR OUTPUT:\n")

    monkeypatch.setattr(importlib.import_module("imageio_ffmpeg"), "write_frames", silent)
    for free, reason in ((0, "the disk is full"), (2**40, "ffmpeg ended")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        with pytest.raises(UserError, match=rf"v\.mp4 cannot be written \({reason}\)"):
            with VideoWriter(tmp_path / "v.mp4") as video:
                video.write(np.zeros((16, 16, 3)))
