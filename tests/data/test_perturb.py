"""The perturbations of the study of NeRF in the Wild: which pixels, in which colours, of which images."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from taichi_nerf.data import load_scene, with_scales
from taichi_nerf.data.inspect import describe
from taichi_nerf.data.perturb import occluder, perturbed, recoloured, with_perturbed_training
from taichi_nerf.errors import UserError


def pixels(scene, split="train"):
    images = scene.splits[split].images
    return [images.image(n) for n in range(len(images))]


def test_the_square_of_an_image_of_the_study_is_that_of_its_code():
    """Ten rectangles of PIL, both ends included, the later over the earlier."""
    random = np.random.RandomState(3)
    left, top = (random.randint(200, 400) for _ in range(2))
    expected = Image.new("RGBA", (800, 800))
    draw = ImageDraw.Draw(expected)
    for k in range(10):
        colour = tuple(int(c) for c in np.random.RandomState(30 + k).choice(range(256), 3))
        draw.rectangle((left + 20 * k, top, left + 20 * (k + 1), top + 200), fill=colour)
    picture, covered = occluder(3, 800, 800)
    expected = np.array(expected)
    assert np.array_equal(covered, expected[..., 3] > 0) and covered.sum() == 201**2
    assert np.array_equal(picture[covered], expected[covered])


def test_colours_are_those_of_the_studys_code():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    random = np.random.RandomState(2)
    gain, shift = random.uniform(0.8, 1.2, size=3), random.uniform(-0.2, 0.2, size=3)
    assert np.array_equal(recoloured(rgb, 2), (255 * np.clip(gain * (rgb / 255) + shift, 0, 1)).astype(np.uint8))
    # as they were computed once: another release of numpy draws no other numbers
    assert recoloured(np.repeat(np.array([[0], [100], [255]], np.uint8), 3, axis=1), 1).tolist() == [
        [0, 0, 0], [76, 72, 38], [226, 241, 162]]


@pytest.mark.parametrize("size", [(100, 100), (96, 64), (64, 96)])
def test_a_smaller_image_has_the_square_in_its_middle(size):
    width, height = size
    for number in range(1, 20):
        _, covered = occluder(number, width, height)
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        side = min(size) / 4
        assert abs(len(rows) - side) <= 1 and abs(len(columns) - side) <= 1
        assert covered.sum() == len(rows) * len(columns)
        assert width / 4 - 1 <= columns[0] <= width / 2 and height / 4 - 1 <= rows[0] <= height / 2


def test_training_images_but_the_first_differ_each_in_its_way_and_others_do_not(blender_folder):
    clean, found = load_scene(blender_folder), load_scene(blender_folder, perturb="both")
    for split in ("val", "test"):
        assert all(map(np.array_equal, pixels(found, split), pixels(clean, split)))
        assert found.splits[split].occluded is None
    first, *others = pixels(found)
    assert np.array_equal(first, pixels(clean)[0]) and not found.splits["train"].occluded[0].any()
    for n, image in enumerate(others, 1):
        picture, covered = occluder(n, 10, 8)
        assert np.array_equal(found.splits["train"].occluded[n], covered) and covered.any()
        assert np.array_equal(image[covered], picture[covered])
        assert np.array_equal(image[~covered, :3], recoloured(pixels(clean)[n], n)[~covered, :3])
        assert np.array_equal(image[~covered, 3], pixels(clean)[n][~covered, 3])
    assert "perturbed: training images but the first have colours" in found.notes[-1]
    assert any("% under occluders" in finding.text for finding in describe(found))


def test_one_kind_leaves_the_other_out(blender_folder):
    clean, colour, square = (load_scene(blender_folder, perturb=how) for how in (None, "colour", "occluders"))
    assert colour.splits["train"].occluded is None
    for n, (image, before) in enumerate(zip(pixels(colour), pixels(clean))):
        assert np.array_equal(image[..., 3], before[..., 3]) and (n == 0) == np.array_equal(image, before)
    for image, before, covered in zip(pixels(square), pixels(clean), square.splits["train"].occluded):
        assert np.array_equal(image[~covered], before[~covered])


def test_a_view_is_perturbed_alike_whichever_others_are_loaded(blender_folder):
    every = load_scene(blender_folder, splits=["train"], every={"train": 3}, perturb="both")
    whole = load_scene(blender_folder, perturb="both")
    assert np.array_equal(pixels(every)[1], pixels(whole)[3])


def test_masks_and_scales_go_with_perturbed_images(blender_folder):
    split = load_scene(blender_folder).splits["train"]
    masked = dataclasses.replace(split.images, allowed=np.arange(0, len(split.images.pixels), 2))
    found = perturbed(dataclasses.replace(split, images=masked), "occluders")
    assert np.array_equal(found.images.allowed, masked.allowed)
    assert [mask.any() for mask in found.subset([0, 2]).occluded] == [False, True]
    assert len(load_scene(blender_folder, perturb="both", scales=2).splits["train"]) == 2 * len(split)


def test_images_on_disk_stay_as_they_are(blender_folder):
    before = load_scene(blender_folder, splits=["train"], cache="disk")
    load_scene(blender_folder, splits=["train"], cache="disk", perturb="both")
    assert all(map(np.array_equal, pixels(before), pixels(load_scene(blender_folder, splits=["train"]))))


def test_what_cannot_be_perturbed_is_said_in_a_sentence(blender_folder):
    with pytest.raises(UserError, match="--perturb is noise; it must be one of colour, occluders, both"):
        load_scene(blender_folder, perturb="noise")
    scaled = with_scales(load_scene(blender_folder), 2)
    with pytest.raises(UserError, match="several sizes"):
        with_perturbed_training(scaled, "both")
