"""What decoding needs beside the pixels, and what becomes of it where there is no room."""

import errno
import os
import threading
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import area, cache, deep, load_scene
from taichi_nerf.data.area import downscaled
from taichi_nerf.data.images import image_size, read_image, read_images
from taichi_nerf.data.opening import FORMATS, open_image
from taichi_nerf.data.room import Room
from taichi_nerf.errors import UserError

from .odd import Transforms
from .test_images import png_16_bit


def deep_values(channels: int, height: int = 60, width: int = 50) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 65536, (height, width, channels), dtype=np.uint16)


@pytest.mark.parametrize("channels", [3, 4])
def test_bands_of_rows_change_nothing(tmp_path, monkeypatch, channels):
    (tmp_path / "deep.png").write_bytes(png_16_bit(deep_values(channels)))
    whole = [read_image(tmp_path / "deep.png", exposure=stops) for stops in (0, 0.5)]
    small = [downscaled(image, factor) for image in whole for factor in (2, 7)]
    for pixels in (1, 333, 2**14):
        monkeypatch.setattr(deep, "BAND_PIXELS", pixels)
        monkeypatch.setattr(area, "BAND_PIXELS", pixels)
        banded = [read_image(tmp_path / "deep.png", exposure=stops) for stops in (0, 0.5)]
        assert all(np.array_equal(one, other) for one, other in zip(whole, banded))
        assert all(np.array_equal(one, downscaled(image, factor)) for one, (image, factor) in zip(
            small, ((image, factor) for image in banded for factor in (2, 7))))


def test_a_deep_image_needs_little_more_than_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(deep, "BAND_PIXELS", 2**14)
    monkeypatch.setattr(area, "BAND_PIXELS", 2**14)
    (tmp_path / "deep.png").write_bytes(png_16_bit(deep_values(3, 600, 500)))
    tracemalloc.start()
    read_images([tmp_path / "deep.png"], downscale=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 600 * 500  # without what Pillow holds: 8 bytes a pixel


def test_no_more_pixels_are_decoded_at_once_than_there_is_room_for():
    room, held, most = Room(100), [], []

    def work(pixels):
        with room.of(pixels):
            held.append(pixels)
            most.append(sum(held))
            time.sleep(0.002)
            held.remove(pixels)

    threads = [threading.Thread(target=work, args=(pixels,)) for pixels in (40, 50, 30, 500, 60, 70, 20) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(most) == 21 and not held
    assert max(total for total in most if total < 500) <= 100 and max(most) == 500  # too large for the room: alone


def test_a_disk_that_fills_ends_in_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    folder = Transforms(tmp_path / "scene").folder

    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(UserError, match=r"the pixel cache .* cannot be written \(No space left on device\); make room"):
        load_scene(folder, cache="disk")
    assert list((folder / cache.FOLDER).iterdir()) == []
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS: written byte by byte
    monkeypatch.setattr(cache, "_BLOCK", 1000)
    one, other = (load_scene(folder, cache=mode).splits["train"].images.pixels for mode in ("disk", "memory"))
    assert isinstance(one.base, np.memmap) and np.array_equal(one, other)
    assert len(list((folder / cache.FOLDER).iterdir())) == 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_formats_that_are_promised_are_read_whatever_their_name(tmp_path, kind):
    Image.new("RGB", (5, 4), (10, 20, 30)).save(tmp_path / "image.bin", kind)
    assert kind in FORMATS and image_size(tmp_path / "image.bin") == (5, 4)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO", "EPS"])
def test_no_other_format_is_read_whatever_its_name(tmp_path, kind):
    Image.new("RGB", (16, 16), (10, 20, 30)).save(tmp_path / "image.png", kind)
    with pytest.raises(Image.UnidentifiedImageError):
        open_image(tmp_path / "image.png")
    with pytest.raises(UserError, match=r"image\.png cannot be read as an image \(no known image format\)"):
        read_image(tmp_path / "image.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["image.png", "image.exr"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (image_size, read_image):
        with pytest.raises(UserError, match=r"cannot be read as an image \(it is a pipe or a device, not a file\)"):
            read(tmp_path / name)
