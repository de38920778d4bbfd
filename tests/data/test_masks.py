"""Which pixels masks leave, of whichever kind they are, in every size of the images."""

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.config import SceneConfig, SettingError
from taichi_nerf.data import Images, load_scene
from taichi_nerf.data.images import Decoding, Mask, decode_image, read_mask
from taichi_nerf.data.inspect import describe
from taichi_nerf.errors import UserError

from .conftest import picture


def save_mask(path, allowed: np.ndarray, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(allowed.astype(np.uint8) * 255).save(path, **options)
    return path


def random_mask(n: int, width=12, height=16) -> np.ndarray:
    return np.random.default_rng(100 + n).random((height, width)) < 0.7


def with_masks(capture, key="mask_path"):
    """The capture, with a mask of its own for every image but the last."""
    for n, frame in enumerate(capture.frames[:-1]):
        save_mask(capture.folder / "masks" / f"{n:04d}.png", random_mask(n))
        frame[key] = f"masks/{n:04d}.png"
    return capture.write()


@pytest.mark.parametrize("key", ["mask_path", "object_mask_path"])
def test_what_is_black_in_a_stated_mask_is_left_out(capture, key):
    folder = with_masks(capture, key)
    for split in load_scene(folder).splits.values():
        for n, name in enumerate(split.images.names):
            number = int(name)
            expected = np.ones((16, 12), bool) if number == 11 else random_mask(number)
            assert np.array_equal(split.images.allowed_in(n), expected), name
        assert split.images.allowed.dtype == np.int32 and (np.diff(split.images.allowed) > 0).all()
        assert 0.2 < split.images.masked_share < 0.4
    assert any("under masks" in finding.text for finding in describe(load_scene(folder)))


def test_masks_can_be_ignored(capture):
    scene = load_scene(with_masks(capture), masks=False)
    assert all(split.images.allowed is None for split in scene.splits.values())


def test_what_is_white_in_a_dynamic_mask_beside_an_image_is_left_out(capture):
    moving = ~random_mask(3)
    save_mask(capture.folder / "images" / "dynamic_mask_0003.png", moving)
    images = load_scene(capture.folder).splits["train"].images
    for n, name in enumerate(images.names):
        assert np.array_equal(images.allowed_in(n), ~moving if name == "0003" else np.ones_like(moving))


def test_several_masks_of_an_image_leave_what_all_of_them_leave(capture):
    folder = with_masks(capture)
    one, other = random_mask(3), random_mask(50)
    save_mask(folder / "masks" / "object.png", other)
    capture.frames[3]["object_mask_path"] = "masks/object.png"
    capture.write()
    images = load_scene(folder).splits["train"].images
    assert np.array_equal(images.allowed_in(images.names.index("0003")), one & other)


def test_an_object_can_be_cut_out(capture):
    folder = with_masks(capture)
    save_mask(capture.folder / "images" / "dynamic_mask_0003.png", ~random_mask(50))
    plain, cut = load_scene(folder), load_scene(folder, cut_out=True)
    assert (plain.background, cut.background) == ("black", "white")
    for name, split in cut.splits.items():
        assert split.images.has_alpha
        for n, stem in enumerate(split.images.names):
            kept = np.ones((16, 12), bool) if stem == "0011" else random_mask(int(stem))
            assert np.array_equal(split.images.image(n)[..., 3], np.where(kept, 255, 0)), stem
            assert np.array_equal(split.images.image(n)[..., :3], plain.splits[name].images.image(n)[..., :3])
        assert (split.images.allowed is None) == (name == "test"), "only the mask of what moves still leaves out"
    images = cut.splits["train"].images
    for n, stem in enumerate(images.names):
        assert np.array_equal(images.allowed_in(n), random_mask(50) if stem == "0003" else np.ones((16, 12), bool))


def test_without_masks_nothing_can_be_cut_out(capture):
    with pytest.raises(UserError, match=r"no image of the split '\w+' has a mask of an object.*--cut-out"):
        load_scene(capture.write(), cut_out=True)
    ignored = load_scene(with_masks(capture), cut_out=True, masks=False)
    assert not any(split.images.has_alpha for split in ignored.splits.values())
    with pytest.raises(SettingError, match="cut-out needs the masks"):
        SceneConfig(cut_out=True, masks=False)


def test_the_outline_of_a_smaller_object_is_soft(tmp_path):
    rgb, allowed = picture(1, 12, 12, 3), np.random.default_rng(5).random((12, 12)) < 0.6
    Image.fromarray(rgb).save(tmp_path / "image.png")
    mask = Mask(save_mask(tmp_path / "mask.png", allowed))
    image, left = decode_image(tmp_path / "image.png", [mask], Decoding(downscale=2, cut_out=True))
    share = allowed.reshape(6, 2, 6, 2).mean(axis=(1, 3))
    assert left is None and np.abs(image[..., 3] - 255 * share).max() <= 0.5


def test_alpha_can_be_a_mask(blender_folder):
    scene, masked = load_scene(blender_folder), load_scene(blender_folder, alpha="mask")
    assert scene.background == "white" and masked.background == "black"
    for name, split in masked.splits.items():
        before = scene.splits[name].images
        assert not split.images.has_alpha and (split.images.pixels[:, 3] == 255).all()
        assert np.array_equal(split.images.pixels[:, :3], before.pixels[:, :3])
        for n in range(len(split)):
            assert np.array_equal(split.images.allowed_in(n), before.image(n)[..., 3] > 127)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_pixel_of_a_smaller_image_counts_if_all_that_it_covers_counts(tmp_path, factor):
    rgb, allowed = picture(1, 13, 11, 3), np.random.default_rng(5).random((11, 13)) < 0.85
    Image.fromarray(rgb).save(tmp_path / "image.png")
    mask = Mask(save_mask(tmp_path / "mask.png", allowed))
    image, small = decode_image(tmp_path / "image.png", [mask], Decoding(downscale=factor))
    height, width = 11 // factor, 13 // factor
    assert image.shape == (height, width, 4)
    for i in range(height):
        for j in range(width):
            rows = slice(int(np.floor(i * 11 / height)), int(np.ceil((i + 1) * 11 / height)))
            columns = slice(int(np.floor(j * 13 / width)), int(np.ceil((j + 1) * 13 / width)))
            assert small[i, j] == allowed[rows, columns].all()


def test_masks_of_ones_count_and_the_ringing_of_a_jpeg_does_not(tmp_path):
    allowed = np.zeros((16, 16), bool)
    allowed[4:12, 4:12] = True
    Image.fromarray(allowed.astype(np.uint8)).save(tmp_path / "ones.png")
    Image.fromarray(allowed.astype(np.uint8) * 255).save(tmp_path / "ringing.jpg", quality=30)
    assert (np.asarray(Image.open(tmp_path / "ringing.jpg")) > 0).sum() > allowed.sum()
    for name in ("ones.png", "ringing.jpg"):
        assert np.array_equal(read_mask(Mask(tmp_path / name), (16, 16)), allowed)


def test_a_subset_of_images_keeps_its_masks():
    arrays, masks = [picture(n, 4 + n, 3) for n in range(4)], [random_mask(n, 4 + n, 3) for n in range(4)]
    images = Images.from_list(arrays, allowed=masks)
    for chosen in ([2, 0], slice(1, None, 2), []):
        part = images.subset(chosen)
        for n, original in enumerate(np.arange(4)[chosen]):
            assert np.array_equal(part.allowed_in(n), masks[original])


def test_bad_masks_end_in_one_sentence(capture):
    capture.frames[1]["mask_path"] = "masks/none.png"
    with pytest.raises(UserError, match=r"the mask .*none\.png does not exist.*--no-masks"):
        load_scene(capture.write())
    save_mask(capture.folder / "masks" / "none.png", np.ones((5, 5), bool))
    with pytest.raises(UserError, match=r"none\.png is 5 x 5 pixels and its image 12 x 16"):
        load_scene(capture.folder)
    (capture.folder / "masks" / "none.png").write_text("no image")
    with pytest.raises(UserError, match=r"none\.png cannot be read as an image"):
        load_scene(capture.folder)
    capture.frames[1]["mask_path"] = 7
    with pytest.raises(UserError, match="'mask_path' is 7, not a path"):
        load_scene(capture.write())


def test_masks_that_leave_nothing_are_refused(capture):
    save_mask(capture.folder / "masks" / "all.png", np.zeros((16, 12), bool))
    for frame in capture.frames:
        frame["mask_path"] = "masks/all.png"
    with pytest.raises(UserError, match="masks leave no pixel of the split 'train'"):
        load_scene(capture.write())


def test_the_object_masks_of_a_real_capture_are_read(real_data):
    folder = real_data("statue_of_liberty")
    images = load_scene(folder, splits=["test"], downscale=4).splits["test"].images
    assert 0.1 < images.masked_share < 0.9
    assert all(images.allowed_in(n).any() for n in range(len(images)))
