"""Pixels that stay on disk: the same as in memory, built once, and anew when their files change or they are damaged."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taichi_nerf import runtime
from taichi_nerf.data import cache, images, load_scene
from taichi_nerf.errors import UserError
from taichi_nerf.ops.camera import training_rays
from taichi_nerf.training.photos import photos_of

from .conftest import picture
from .test_masks import with_masks


@pytest.fixture(autouse=True)
def own_folder(monkeypatch):
    monkeypatch.delenv("TAICHI_NERF_CACHE", raising=False)


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded so far."""
    files, read = [], images.decode_image

    def counted(path, *arguments):
        files.append(path.name)
        return read(path, *arguments)

    monkeypatch.setattr(images, "decode_image", counted)
    return files


def pixels(folder, mode="disk", **options):
    """Of the training images."""
    return load_scene(folder, splits=["train"], cache=mode, **options).splits["train"].images


def one_cache(folder) -> Path:
    [found] = (folder / cache.FOLDER).iterdir()
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_training_rays_are_the_same_from_disk_as_from_memory(backend, capture, masked):
    folder = with_masks(capture) if masked else capture.folder
    batches = []
    for mode in ("memory", "disk", "disk"):
        scene = load_scene(folder, cache=mode)
        assert isinstance(scene.splits["train"].images.pixels.base, np.memmap) == (mode == "disk")
        photos = photos_of(scene)
        assert not photos.has_alpha and (photos.images.allowed is not None) == masked
        batches.append(training_rays(photos.images, 500, seed=9))
    for batch in batches[1:]:
        for one, other in zip(batches[0], batch):
            assert torch.equal(one, other)


def test_images_are_decoded_once_and_their_number_is_told(capture, decoded):
    told = []
    first = pixels(capture.folder, on_image=lambda done, total: told.append((done, total)))
    assert len(decoded) == len(first) == 10 and told == [(n + 1, 10) for n in range(10)]
    assert np.array_equal(first.pixels, pixels(capture.folder).pixels) and len(decoded) == 10
    assert np.array_equal(first.pixels, pixels(capture.folder, "memory").pixels)


def test_another_size_exposure_or_mask_is_another_cache(capture, decoded):
    folder = with_masks(capture)
    for options in ({}, {"downscale": 2}, {"exposure": 1.0}, {"masks": False}):
        before = len(decoded)
        pixels(folder, **options)
        assert len(decoded) == before + 10
    assert len(list((folder / cache.FOLDER).iterdir())) == 4


def test_a_changed_file_makes_the_cache_stale(capture, decoded):
    before = pixels(capture.folder).pixels.copy()
    Image.fromarray(picture(77, 12, 16, channels=3)).save(capture.folder / "images" / "0005.png")
    after = pixels(capture.folder).pixels
    assert len(decoded) == 20 and not np.array_equal(before, after)
    assert np.array_equal(after, pixels(capture.folder, "memory").pixels)
    assert one_cache(capture.folder)  # in the place of the old one


def cut(folder):
    os.truncate(folder / "pixels.bin", 100)


def flip(folder):
    data = bytearray((folder / "pixels.bin").read_bytes())
    data[1234] ^= 64
    (folder / "pixels.bin").write_bytes(data)


def lose(folder):
    (folder / "pixels.bin").unlink()


def confuse(folder):
    (folder / "about.json").write_text("[1, 2")


def forget(folder):
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "checksums": []}))


def lose_masks(folder):
    (folder / "allowed.bin").write_bytes(b"1234")


@pytest.mark.parametrize("damage", [cut, flip, lose, confuse, forget, lose_masks])
def test_a_damaged_cache_is_built_anew(capture, decoded, damage):
    folder = with_masks(capture)
    before = pixels(folder)
    before, allowed = before.pixels.copy(), before.allowed.copy()
    damage(one_cache(folder))
    after = pixels(folder)
    assert len(decoded) == 20
    assert np.array_equal(after.pixels, before) and np.array_equal(after.allowed, allowed)
    assert len(pixels(folder)) == 10 and len(decoded) == 20


def test_only_pixels_that_need_more_than_half_of_the_memory_stay_on_disk(capture, monkeypatch):
    needed = 4 * 10 * 12 * 16
    for memory, on_disk in ((2 * needed, False), (2 * needed - 1, True)):
        monkeypatch.setattr(cache, "memory_bytes", lambda memory=memory: memory)
        assert isinstance(pixels(capture.folder, "auto").pixels.base, np.memmap) == on_disk
    monkeypatch.undo()
    assert 2**27 < cache.memory_bytes() < 2**50
    assert pixels(capture.folder, "auto").pixels.base is None


def test_a_scene_that_cannot_be_written_has_its_cache_with_the_users(capture, tmp_path, monkeypatch, decoded):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(cache, "_is_writable", lambda folder: folder.name != cache.FOLDER)
    pixels(capture.folder)
    assert not (capture.folder / cache.FOLDER).exists()
    if sys.platform == "linux":
        assert len(list((tmp_path / "user" / "taichi-nerf").iterdir())) == 1
    pixels(capture.folder)
    assert len(decoded) == 10


def test_a_folder_can_be_named(capture, tmp_path, monkeypatch):
    monkeypatch.setenv("TAICHI_NERF_CACHE", str(tmp_path / "large disk"))
    pixels(capture.folder)
    assert len(list((tmp_path / "large disk").iterdir())) == 1 and not (capture.folder / cache.FOLDER).exists()


def test_a_full_disk_is_one_sentence(capture, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match=r"the pixel cache .* cannot be written \(it needs 0\.0 GB and 0\.0 GB"):
        pixels(capture.folder)


def test_an_image_that_cannot_be_read_leaves_no_cache_or_is_left_out(capture, decoded):
    (capture.folder / "images" / "0005.png").write_bytes((capture.folder / "images" / "0005.png").read_bytes()[:150])
    with pytest.raises(UserError, match=r"0005\.png cannot be read"):
        pixels(capture.folder)
    assert not list((capture.folder / cache.FOLDER).iterdir())
    for _ in range(2):
        scene = load_scene(capture.folder, splits=["train"], cache="disk", strict=False)
        assert len(scene.splits["train"]) == 9 and "0005.png cannot be read" in scene.problems[0]
    with pytest.raises(UserError, match=r"0005\.png cannot be read"):
        pixels(capture.folder)


def test_a_mask_that_is_missing_is_named(capture):
    capture.frames[1]["mask_path"] = "masks/none.png"
    with pytest.raises(UserError, match=r"the mask .*none\.png does not exist"):
        pixels(capture.write())


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say what is in memory")
def test_only_what_is_drawn_is_read_into_memory(tmp_path):
    """256 MiB of pixels, of which a batch of 64 rays touches a few pages."""
    count = 2**26
    np.memmap(tmp_path / "pixels.bin", np.uint8, "w+", shape=(count, 4))  # a hole: no room on the disk is used
    mapped = np.memmap(tmp_path / "pixels.bin", np.uint8, "r", shape=(count, 4))

    def resident() -> int:
        lines = Path("/proc/self/smaps").read_text().split("\n")
        at = next(n for n, line in enumerate(lines) if "pixels.bin" in line)
        return next(int(line.split()[1]) for line in lines[at:] if line.startswith("Rss:")) * 1024

    runtime.init("cpu", torch.float32)
    scene = load_scene_of(mapped, side=2**13)
    packed = photos_of(scene).images
    before = resident()
    training_rays(packed, 64, seed=1)
    assert resident() - before < 2**24


def load_scene_of(mapped: np.ndarray, side: int):
    """A scene of one image of side x side pixels."""
    from taichi_nerf.data import Cameras, Images, Scene, Split

    cameras = Cameras(camera_to_world=np.eye(4)[None, :3], focal=[[side, side]], principal=[[side / 2] * 2],
                      distortion=np.zeros((1, 6)), lens=[0], size=[[side, side]])
    pictures = Images(pixels=mapped, offset=[0], size=[[side, side]], names=["large"])
    split = Split(name="train", cameras=cameras, images=pictures)
    return Scene(name="large", format="transforms", splits={"train": split}, centre=np.zeros(3), scale=1.0,
                 aabb_scale=1, near=0.05, background="black")
