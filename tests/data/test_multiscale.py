"""Views at several scales: how they are made, and mip-NeRF's layout on disk, written and read."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.data.export import write_multiscale
from taichi_nerf.data.multiscale import with_scales
from taichi_nerf.data.scene import Cameras, Images, Scene, Sightings, Split, every_view
from taichi_nerf.errors import UserError

from .conftest import orbit_pose, write_json

SIDE, VIEWS = 16, {"train": 3, "test": 4}


def random_rgba(seed, side=SIDE):
    """Noise with every kind of alpha."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (side, side, 4), dtype=np.uint8)
    image[..., 3] = random.choice([0, 100, 255], (side, side))
    return image


def random_split(name, count, first):
    poses = np.array([orbit_pose(first + n, 12) for n in range(count)])[:, :3]
    cameras = Cameras(camera_to_world=poses, focal=np.full((count, 2), (20.0, 21.0)),
                      principal=np.full((count, 2), (7.5, 8.25)), distortion=np.zeros((count, 6)),
                      lens=np.zeros(count), size=np.full((count, 2), SIDE))
    images = Images.from_list([random_rgba(first + n) for n in range(count)], [f"r_{n}" for n in range(count)])
    return Split(name=name, cameras=cameras, images=images)


@pytest.fixture
def scene():
    splits = {name: random_split(name, count, 10 * k) for k, (name, count) in enumerate(VIEWS.items())}
    return Scene(name="noise", format="built-in", splits=splits, centre=np.zeros(3), scale=1 / 3, aabb_scale=1,
                 near=0.05, background="white", bounded=True)


@pytest.fixture
def folder(scene, tmp_path):
    return write_multiscale(with_scales(scene, 4), tmp_path / "noise")


def box_filtered(rgba):
    """Means of 2 x 2 pixels of premultiplied colour and of alpha, in [0, 1]."""
    alpha = rgba[..., 3:] / 255
    values = np.concatenate([rgba[..., :3] / 255 * alpha, alpha], axis=-1)
    height, width, _ = values.shape
    return values.reshape(height // 2, 2, width // 2, 2, 4).mean(axis=(1, 3))


def premultiplied(rgba):
    alpha = rgba[..., 3:] / 255
    return np.concatenate([rgba[..., :3] / 255 * alpha, alpha], axis=-1)


def test_a_scale_is_the_box_filter_of_the_premultiplied_image(scene):
    split, original = with_scales(scene, 3).splits["train"], scene.splits["train"]
    for view in range(len(original)):
        half = box_filtered(original.images.image(view))
        quarter = half.reshape(4, 2, 4, 2, 4).mean(axis=(1, 3))
        whole, *scaled = (split.images.image(3 * view + k) for k in range(3))
        assert np.array_equal(whole, original.images.image(view))
        for image, expected in zip(scaled, (half, quarter)):
            assert image.shape == expected.shape
            assert np.abs(premultiplied(image) - expected).max() < 1.01 / 255


def test_a_pixel_of_a_scale_looks_through_the_pixels_that_it_is_the_mean_of(scene):
    split = with_scales(scene, 4).splits["train"]
    whole = split.cameras.subset(slice(0, None, 4))
    for label in range(1, 4):
        scaled = split.cameras.subset(slice(label, None, 4))
        assert np.array_equal(scaled.camera_to_world, whole.camera_to_world)
        corner = (0 - whole.principal) / whole.focal, (SIDE - whole.principal) / whole.focal
        side = SIDE // 2**label
        assert np.allclose(corner[0], (0 - scaled.principal) / scaled.focal)
        assert np.allclose(corner[1], (side - scaled.principal) / scaled.focal)


def test_each_scale_has_the_same_weight_in_the_pool(scene):
    split = with_scales(scene, 4).splits["train"]
    pixels = split.images.size.prod(axis=1)
    total = [float((split.area_weight * pixels)[split.scale == s].sum()) for s in (1, 2, 4, 8)]
    assert total == [total[0]] * 4
    assert split.scale.tolist() == [1, 2, 4, 8] * 3 and len(split) == 4 * VIEWS["train"]
    assert split.images.names[:5] == ("r_0_d0", "r_0_d1", "r_0_d2", "r_0_d3", "r_1_d0")


def test_a_subset_keeps_its_scales_and_weights(scene):
    split = with_scales(scene, 2).splits["train"].subset([3, 0])
    assert split.scale.tolist() == [2, 1] and split.area_weight.tolist() == [4, 1]


def test_every_kth_view_keeps_all_its_scales():
    scale = np.tile([1, 2, 4], 5)
    assert every_view(scale, 15, 2).tolist() == [0, 1, 2, 6, 7, 8, 12, 13, 14]
    assert every_view(scale, 15, 1).tolist() == list(range(15))
    assert every_view(None, 5, 2).tolist() == [0, 2, 4]
    assert every_view(np.repeat([1, 2], 3), 6, 3).tolist() == [0, 3]  # scale by scale


def test_the_scales_of_a_view_share_what_is_known_of_it(scene):
    train = dataclasses.replace(scene.splits["train"], time=np.array([0, 0.5, 1]), exposure=np.array([1.0, 2.0, 3.0]),
                                bounds=np.arange(6).reshape(3, 2),
                                ids={"appearance": np.array([4, 5, 6])})
    split = with_scales(dataclasses.replace(scene, splits={"train": train}), 2).splits["train"]
    np.testing.assert_array_equal(split.time, [0, 0, 0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(split.exposure, [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(split.ids["appearance"], [4, 4, 5, 5, 6, 6])
    np.testing.assert_array_equal(split.bounds[2:4], [[2, 3], [2, 3]])


def test_another_orientation_is_taken_if_asked_for(folder):
    assert np.array_equal(load_scene(folder).rotation, np.eye(3))
    assert load_scene(folder, orient="up").rotation[2, 2] == pytest.approx(1)


def test_images_too_small_or_scaled_already_are_refused(scene):
    with pytest.raises(UserError, match="images of 16 pixels are too small for --scales 6"):
        with_scales(scene, 6)
    with pytest.raises(UserError, match="several scales already"):
        with_scales(with_scales(scene, 2), 2)
    assert with_scales(scene, 1) is scene


def test_what_is_written_is_read_again(scene, folder):
    loaded, given = load_scene(folder), with_scales(scene, 4)
    assert loaded.format == "multiscale" and loaded.name == "noise" and loaded.bounded
    assert loaded.scale == pytest.approx(1 / 3) and loaded.background == "white"
    for name, split in given.splits.items():
        back = loaded.splits[name]
        assert np.array_equal(back.images.pixels, split.images.pixels)
        assert np.array_equal(back.scale, split.scale) and np.array_equal(back.area_weight, split.area_weight)
        for field in ("camera_to_world", "focal", "principal", "size", "lens", "distortion"):
            assert np.allclose(getattr(back.cameras, field), getattr(split.cameras, field), rtol=1e-6), field
    assert load_scene(folder / "metadata.json").splits.keys() == loaded.splits.keys()


def test_the_file_is_that_of_mip_nerf(scene, folder):
    lists = json.loads((folder / "metadata.json").read_text())["train"]
    assert sorted(lists) == sorted(
        ("file_path", "cam2world", "width", "height", "focal", "label", "near", "far", "lossmult", "pix2cam"))
    assert {key: np.array(values).shape for key, values in lists.items()} == {
        key: {"cam2world": (12, 4, 4), "pix2cam": (12, 3, 3)}.get(key, (12,)) for key in lists}
    assert lists["file_path"] == [f"images_train/{view:03d}_d{label}.png" for view in range(3) for label in range(4)]
    assert lists["label"][:4] == [0, 1, 2, 3] and lists["lossmult"][:4] == [1, 4, 16, 64]
    assert lists["width"][:4] == [16, 8, 4, 2] and lists["focal"][:4] == [20, 10, 5, 2.5]
    # the pixel's centre through pix2cam is its direction in the camera, y up and z back
    direction = np.array(lists["pix2cam"][1]) @ (2.5, 0.5, 1.0)
    assert np.allclose(direction, ((2.5 - 3.75) / 10, -(0.5 - 4.125) / 10.5, -1))
    distance = np.linalg.norm(np.array(lists["cam2world"])[:, :3, 3], axis=1)
    assert (lists["near"] < distance).all() and (lists["far"] > distance).all() and min(lists["near"]) > 0


def test_another_box_survives_the_way_to_disk(scene, tmp_path):
    values = {**vars(scene), "aabb_scale": 4, "scale": 0.5, "centre": np.array((1.0, 2.0, 3.0)), "bounded": False}
    loaded = load_scene(write_multiscale(Scene(**values), tmp_path / "far"))
    assert (loaded.aabb_scale, loaded.scale, loaded.bounded) == (4, 0.5, False)
    assert np.allclose(loaded.centre, (1, 2, 3))
    assert loaded.splits["train"].scale.tolist() == [1, 1, 1]


def test_splits_and_every_kth_view_are_loaded_alone(folder):
    assert list(load_scene(folder, splits=["test"]).splits) == ["test"]
    test = load_scene(folder, every={"test": 3}).splits["test"]
    assert test.images.names == tuple(f"{v:03d}_d{j}" for v in (0, 3) for j in range(4))
    assert test.scale.tolist() == [1, 2, 4, 8] * 2


def test_a_layout_without_the_optional_lists_is_read(folder):
    content = json.loads((folder / "metadata.json").read_text())
    for lists in content.values():
        for key in ("width", "height", "label", "lossmult", "pix2cam"):
            del lists[key]
    write_json(folder / "metadata.json", content)
    split = load_scene(folder).splits["train"]
    assert split.scale.tolist() == [1] * 12 and split.area_weight.tolist() == [1] * 12
    assert np.allclose(split.cameras.principal, 0.5 * split.cameras.size)


BROKEN = {
    "no split": (lambda m: m.clear(), "neither 'train', 'val' nor 'test'"),
    "no files": (lambda m: m["train"].pop("file_path"), "'train' has no list 'file_path'"),
    "a short list": (lambda m: m["train"]["cam2world"].pop(), "'cam2world' of 'train' is no list of 12 entries"),
    "no focal length": (lambda m: m["train"].pop("focal"), "'focal' of 'train' is no list of 12 entries"),
    "a lens with skew": (lambda m: m["train"]["pix2cam"][0][0].__setitem__(1, 0.1), "'pix2cam' of image 0 of 'train'"),
    "no matrix": (lambda m: m["train"]["pix2cam"].__setitem__(2, "x"), "'pix2cam' of image 2 of 'train'"),
    "half a label": (lambda m: m["train"]["label"].__setitem__(0, 0.5), "'label' of 'train' has the entry 0.5"),
    "no weight": (lambda m: m["train"]["lossmult"].__setitem__(0, 0), "'lossmult' of 'train' has the entry 0"),
    "missing images": (lambda m: m["train"].update(file_path=["gone.png"] * 12), "gone.png does not exist"),
    "a scaled pose": (lambda m: m["train"]["cam2world"][0][0].__setitem__(0, 7), "is not a rotation"),
    "shared images": (lambda m: m.update(test=m["train"]), "is in the training images and in the test images"),
}


@pytest.mark.parametrize("change, message", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_sentence(folder, change, message):
    content = json.loads((folder / "metadata.json").read_text())
    change(content)
    write_json(folder / "metadata.json", content)
    with pytest.raises(UserError, match=message):
        load_scene(folder)


def test_a_damaged_image_is_left_out_with_its_scale(folder):
    (folder / "images_train" / "000_d1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read as an image"):
        load_scene(folder)
    scene = load_scene(folder, strict=False)
    assert scene.splits["train"].scale.tolist()[:4] == [1, 4, 8, 1] and len(scene.problems) == 1


def test_a_distorted_lens_cannot_be_written(scene, tmp_path):
    split = scene.splits["train"]
    cameras = Cameras(**{**vars(split.cameras), "distortion": np.full((3, 6), 0.01)})
    bent = Scene(**{**vars(scene), "splits": {"train": Split(name="train", cameras=cameras, images=split.images)}})
    with pytest.raises(UserError, match="distorted"):
        write_multiscale(bent, tmp_path / "bent")
    assert not list(tmp_path.iterdir())


def test_an_opaque_layout_has_a_black_background(folder):
    for path in folder.glob("images_*/*.png"):
        Image.open(path).convert("RGB").save(path)
    scene = load_scene(folder)
    assert scene.background == "black" and not scene.splits["train"].images.has_alpha


def test_a_pixel_of_a_scale_that_a_mask_covers_in_part_is_left_out(scene):
    train, random = scene.splits["train"], np.random.default_rng(0)
    allowed = [random.random((SIDE, SIDE)) < 0.9 for _ in range(len(train))]
    images = Images.from_list([train.images.image(n) for n in range(len(train))], allowed=allowed)
    masked = dataclasses.replace(scene, splits={"train": dataclasses.replace(train, images=images)})
    found = with_scales(masked, 3).splits["train"].images
    for view, whole in enumerate(allowed):
        half = whole.reshape(8, 2, 8, 2).all(axis=(1, 3))
        quarter = half.reshape(4, 2, 4, 2).all(axis=(1, 3))
        for label, expected in enumerate((whole, half, quarter)):
            assert np.array_equal(found.allowed_in(3 * view + label), expected)


def test_points_are_seen_at_the_same_place_of_each_scale(scene):
    train = scene.splits["train"]
    seen = [Sightings(point=[n, 4], pixel=[(3.0, 5.0), (15.5, 0.25)]) for n in range(len(train))]
    split = with_scales(dataclasses.replace(scene, splits={"train": dataclasses.replace(train, sightings=seen)}), 2)
    split = split.splits["train"]
    for n, found in enumerate(split.sightings):
        assert found.point.tolist() == [n // 2, 4]
        np.testing.assert_array_equal(found.pixel * split.scale[n], [(3.0, 5.0), (15.5, 0.25)])
