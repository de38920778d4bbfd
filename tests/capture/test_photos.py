"""Which photos are taken, and how they are copied."""

import contextlib
import importlib.machinery
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.capture.photos import copy_photos, find_photos, photos_below, unread_photos
from taichi_nerf.errors import UserError

from .test_video import blurred, texture


def save(folder, name, picture, **options):
    Image.fromarray(picture.astype(np.uint8)).save(folder / name, **options)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "copies").mkdir()
    for n in (10, 9, 1, 2):
        save(tmp_path / "photos", f"IMG_{n}.jpg", texture(60, 80))
    return tmp_path


def copy(folder, most=100, max_size=1000):
    return copy_photos(find_photos(folder / "photos"), folder / "copies", most=most, max_size=max_size)


def test_photos_are_found_in_their_natural_order(folder):
    (folder / "photos" / "notes.txt").write_text("")
    (folder / "photos" / ".hidden.jpg").write_text("")
    assert [path.name for path in find_photos(folder / "photos")] == [f"IMG_{n}.jpg" for n in (1, 2, 9, 10)]


def test_too_few_photos_or_photos_of_another_kind_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no photo"):
        find_photos(tmp_path)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"")
    with pytest.raises(UserError, match=r"HEIC photos \(IMG_1\.HEIC\), which are not read; export them as JPEG"):
        find_photos(tmp_path)
    with pytest.raises(UserError, match="cannot be listed"):
        find_photos(tmp_path / "none")


def test_a_plain_photo_is_copied_byte_by_byte(folder):
    sharpness, failed = copy(folder)
    assert not failed and set(sharpness) == {path.name for path in (folder / "photos").iterdir()}
    for path in (folder / "photos").iterdir():
        assert (folder / "copies" / path.name).read_bytes() == path.read_bytes()


def test_a_turned_photo_is_set_upright_and_a_large_one_made_smaller(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    wide = np.tile(np.linspace(0, 255, 80), (60, 1))
    save(folder / "photos", "turned.jpg", wide, exif=exif, quality=95)
    save(folder / "photos", "large.jpg", np.tile(np.linspace(0, 255, 400), (100, 1)))
    copy(folder, max_size=200)
    with Image.open(folder / "copies" / "turned.jpg") as image:
        assert image.size == (60, 80) and image.getexif().get(0x0112, 1) == 1
        assert np.abs(np.asarray(image.convert("L")) - wide.T).max() < 8
    with Image.open(folder / "copies" / "large.jpg") as image:
        assert image.size == (200, 50)


def test_of_too_many_photos_the_sharpest_of_each_few_is_taken(folder):
    for n in (1, 9, 10):
        save(folder / "photos", f"IMG_{n}.jpg", blurred(texture(60, 80), 7))
    save(folder / "photos", "IMG_10.jpg", texture(60, 80))
    sharpness, _ = copy(folder, most=2)
    assert list(sharpness) == ["IMG_2.jpg", "IMG_10.jpg"]


def test_a_photo_that_cannot_be_read_is_named_with_the_reason(folder):
    path = folder / "photos" / "IMG_9.jpg"
    path.write_bytes(path.read_bytes()[:300])
    for most in (100, 3):
        for old in (folder / "copies").iterdir():
            old.unlink()
        sharpness, failed = copy(folder, most=most)
        assert set(sharpness) == {f"IMG_{n}.jpg" for n in (1, 2, 10)}
        assert set(failed) == {"IMG_9.jpg"} and "cannot be read" in failed["IMG_9.jpg"]


def test_photos_of_one_name_and_deep_photos_are_kept_apart_and_made_8_bit(folder):
    save(folder / "photos", "IMG_1.png", texture(60, 80))
    Image.fromarray((texture(60, 80) * 257).astype(np.uint16)).save(folder / "photos" / "deep.tif")
    sharpness, failed = copy(folder)
    assert not failed and len({name.rsplit(".", 1)[0] for name in sharpness}) == 6
    with Image.open(folder / "copies" / "deep.png") as image:
        assert image.mode == "RGB" and np.abs(np.asarray(image)[..., 0] - texture(60, 80)).max() <= 1.5


def test_photos_in_folders_are_taken_where_there_are_no_others(tmp_path):
    for name in ("left", "right"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for n in range(2):
            save(tmp_path / "photos" / name, f"{n}.jpg", texture(60, 80) * (0.5 if name == "left" else 1))
    (tmp_path / "copies").mkdir()
    sharpness, failed = copy(tmp_path)
    assert not failed and set(sharpness) == {"left_0_jpg.jpg", "left_1_jpg.jpg", "right_0_jpg.jpg", "right_1_jpg.jpg"}
    assert photos_below(tmp_path / "photos") == []
    for n in range(3):
        save(tmp_path / "photos", f"IMG_{n}.jpg", texture(60, 80))
    assert [path.name for path in find_photos(tmp_path / "photos")] == ["IMG_0.jpg", "IMG_1.jpg", "IMG_2.jpg"]
    assert len(photos_below(tmp_path / "photos")) == 4


@pytest.mark.parametrize("ending", ["HEIC", "dng"])
def test_photos_of_phones_and_cameras_are_named_or_read(folder, monkeypatch, ending):
    (folder / "photos" / f"IMG_20.{ending}").write_bytes(b"a photo")
    name, package = ("pillow_heif", "pillow-heif") if ending == "HEIC" else ("rawpy", "rawpy")
    monkeypatch.setitem(sys.modules, name, None)
    assert len(find_photos(folder / "photos")) == 4
    kind = "HEIC" if ending == "HEIC" else "raw"
    assert unread_photos(folder / "photos") == {
        f"IMG_20.{ending}": f"{kind} is not read without {package}: pip install {package}"}
    picture = Image.fromarray(texture(60, 80).astype(np.uint8)).convert("RGB")
    monkeypatch.setitem(sys.modules, name, module_that_reads(name, picture))
    sharpness, failed = copy(folder)
    assert not failed and "IMG_20.jpg" in sharpness and unread_photos(folder / "photos") == {}
    (folder / "photos" / f"IMG_20.{ending}").write_bytes(b"damaged")
    assert copy(folder)[1] == {f"IMG_20.{ending}": "cannot be read (it is damaged)"}


def module_that_reads(name: str, picture: Image.Image) -> types.ModuleType:
    """In the place of pillow-heif or rawpy, with as much of either as is used."""
    def check(path):
        if path.read_bytes() == b"damaged":
            raise ValueError("it is damaged")

    def open_heif(path, convert_hdr_to_8bit):
        check(path)
        return types.SimpleNamespace(to_pillow=lambda: picture)

    @contextlib.contextmanager
    def imread(path):
        check(Path(path))
        yield types.SimpleNamespace(postprocess=lambda use_camera_wb: np.asarray(picture))

    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.open_heif, module.imread = open_heif, imread
    return module


def test_a_photo_that_is_another_format_by_its_content_is_not_opened(folder):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\nshowpage\n"
    (folder / "photos" / "IMG_9.jpg").write_bytes(postscript)
    assert copy(folder)[1] == {"IMG_9.jpg": "cannot be read (no known image format)"}


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 are Linux's")
def test_names_that_are_not_utf_8_become_names_that_are(folder):
    raw = os.fsencode(folder / "photos")
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        os.rename(raw + b"/IMG_1.jpg", raw + b"/" + name)
        save(folder / "photos", "IMG_1.jpg", texture(60, 80))
    (folder / "photos" / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"")
    sharpness, failed = copy(folder)
    assert len(sharpness) == 6 and sum(name.startswith("caf_") for name in sharpness) == 2
    assert list(failed) == ["bad\ufffd.jpg"]
    for name in [*sharpness, *failed, *failed.values()]:
        name.encode("utf-8")
    assert {path.name for path in (folder / "copies").iterdir()} == set(sharpness)
