"""Pages of training photos: what is left out of them, and which do not belong."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf.config import TrimConfig
from taichi_nerf.data.scene import Images
from taichi_nerf.training.photo_pages import has_pages, look_at, mask_page, some_photos, uncertainty_page
from taichi_nerf.training.run import make_model
from taichi_nerf.training.squares import squares_of
from taichi_nerf.training.strangers import photo_errors, strangers
from taichi_nerf.training.trainer import trainer_for

from .conftest import BATCH
from .test_family import SMALL as FAMILY
from .test_family import default_training
from .test_trimming import all_err

ROBUST = {"robust": True, "trim": TrimConfig(patch=4, margin=1.0, views=0), "batch": BATCH}


@pytest.fixture
def robust(make_trainer):
    trainer = make_trainer(**ROBUST)
    trainer.step()
    return trainer


@pytest.mark.parametrize("side, across", [(4, 4), (3, 9), (4, 2), (1, 5)])
def test_squares_are_those_of_the_photo_row_by_row(robust, small_scene, side, across):
    split = small_scene.splits["train"]
    squares = squares_of(robust, split, 2, across, side)
    rgba, image = squares.batch.rgba, split.images.image(2) / np.float32(255)
    assert squares.whole == (side * across >= 16)
    found = squares.picture(rgba)
    if squares.whole:
        np.testing.assert_allclose(found, image, atol=1e-6)
    else:
        np.testing.assert_allclose(found[0, 0], image[:side, :side].mean(axis=(0, 1)), atol=1e-6)
    flat = torch.from_numpy(split.images.pixels)[squares.batch.pixel_index.long()] / 255
    torch.testing.assert_close(flat, rgba)
    drawn = robust.batches.photos.images.pixel_centres(squares.batch.image_index, squares.batch.pixel_index)
    rays = robust.batches.source.through(squares.batch.image_index, drawn, None)
    assert torch.equal(rays.directions, squares.batch.rays.directions)


def test_a_photo_is_looked_at_as_the_training_does_which_stays_as_it_is(robust, small_scene):
    """What errs is left out, and what is transparent is not."""
    split, before = small_scene.splits["train"], robust.state_dict()
    before = {name: value.clone() for name, value in before["tensors"].items()}
    first, opaque = look_at(robust, split, 1, 100), split.images.image(1)[..., 3] > 0
    usual = float(np.median(np.square(first.trained - first.photo).mean(axis=2)[opaque]))
    robust.trimming.threshold.fill_(usual)
    all_err(robust.trimming)
    seen = look_at(robust, split, 1, 100)
    assert seen.name == split.images.names[1] and seen.photo.shape == (16, 16, 3) == seen.trained.shape
    error = np.square(seen.trained - seen.photo).mean(axis=2)
    kept = seen.kept > 0
    assert 0 < kept.mean() < 1 and kept[~opaque].all() and kept[error < usual].all()
    assert error[kept & opaque].mean() < error[~kept].mean()
    assert float(robust.trimming.threshold) == pytest.approx(usual)
    for name, value in robust.trimming.state().items():
        value.copy_(before[f"trimming.{name}"])
    after = robust.state_dict()["tensors"]
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    page = mask_page([seen] * 5)
    assert page.dtype == np.uint8 and page.shape == (2 * 260, 4 * 240 + 12, 3)
    tinted = (page[20:260, :240].astype(int) @ (1, -1, 0)) > 90
    assert abs(tinted.mean() - (1 - seen.kept.mean())) < 0.1


def test_what_a_model_is_unsure_of_is_shown(small_scene):
    trainer = trainer_for(make_model(small_scene, FAMILY["nerf-w"]), small_scene,
                          default_training(FAMILY["nerf-w"], steps=20))
    assert has_pages(trainer)
    seen = look_at(trainer, small_scene.splits["train"], 0, 8)
    assert seen.kept is None and seen.uncertainty.shape == (8, 8) and (seen.uncertainty >= 0).all()
    assert not np.array_equal(seen.alone, seen.trained)
    assert uncertainty_page([seen, seen]).shape == (152, 8 * 132 + 28, 3)


def masked(split, covers):
    """The views of a split, of each of which masks leave what `covers` [H, W] bool does not."""
    allowed = np.concatenate([start + np.flatnonzero(~covers) for start in split.images.offset.tolist()])
    return dataclasses.replace(split, images=dataclasses.replace(split.images, allowed=allowed.astype(np.int32)))


def test_what_a_mask_covers_is_pale_and_never_left_out(robust, small_scene):
    covers = np.zeros((16, 16), bool)
    covers[:, :8] = True
    split = masked(small_scene.splits["train"], covers)
    robust.trimming.threshold.fill_(1e-9)
    all_err(robust.trimming)
    seen, bare = look_at(robust, split, 1, 100), look_at(robust, small_scene.splits["train"], 1, 100)
    np.testing.assert_array_equal(seen.allowed, ~covers)
    assert bare.left_out[covers].any() and not seen.left_out[covers].any() and seen.left_out[~covers].any()
    np.testing.assert_array_equal(seen.left_out[~covers], bare.left_out[~covers])
    page, plain = mask_page([seen]).astype(int), mask_page([bare]).astype(int)
    np.testing.assert_allclose(page[20:, :120], 255 - (255 - (255 * seen.photo[:, :8]).repeat(15, 0).repeat(15, 1)) / 4,
                               atol=1)
    np.testing.assert_array_equal(page[20:, 120:], plain[20:, 120:])


def test_errors_under_masks_say_nothing_of_a_photo(make_trainer, small_scene):
    split, covers = small_scene.splits["train"], np.zeros((16, 16), bool)
    covers[:, :8] = True
    painted = [split.images.image(n).copy() for n in range(len(split))]
    painted[3][:, :8] = 255 - painted[3][:, :8]
    other, trainer = dataclasses.replace(split, images=Images.from_list(painted)), make_trainer()
    assert photo_errors(trainer, split)[3] != photo_errors(trainer, other)[3]
    np.testing.assert_array_equal(*(photo_errors(trainer, masked(each, covers)) for each in (split, other)))
    assert (photo_errors(trainer, masked(split, np.ones((16, 16), bool))) == 0).all()


def test_there_is_nothing_to_show_of_other_trainings(make_trainer):
    assert not has_pages(make_trainer())


def test_a_dozen_photos_are_spread_over_all():
    assert some_photos(3) == [0, 1, 2] and some_photos(100)[:2] == [0, 9] and len(some_photos(100)) == 12


def test_photos_that_stay_far_off_are_strangers():
    errors = np.array([0.001, 0.002, 0.2, 0.001, 0.003, 0.04, 0.002, 0.001])
    assert strangers(errors).tolist() == [2, 5]
    assert strangers(errors / 100).tolist() == []  # who would call 27 dB wrong
    assert strangers(np.full(9, 0.1)).tolist() == [] == strangers(errors[:3]).tolist()


def test_errors_are_those_of_pictures(make_trainer, small_scene):
    split = small_scene.splits["train"]
    image = 255 - split.images.image(3)
    images = Images.from_list([split.images.image(n) if n != 3 else image for n in range(len(split))])
    trainer = make_trainer()
    errors, changed = (photo_errors(trainer, each) for each in (split, dataclasses.replace(split, images=images)))
    assert errors.shape == (6,) and (errors != changed).tolist() == [False] * 3 + [True] + [False] * 2
