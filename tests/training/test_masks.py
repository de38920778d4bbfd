"""A masked pixel is as if it had not been photographed, in both kinds of step and in the scores."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    BatchConfig,
    FieldConfig,
    HashGridConfig,
    InstantNGPConfig,
    SamplingConfig,
    TrainingConfig,
)
from taichi_nerf.data import Images
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.metrics import psnr
from taichi_nerf.training.evaluate import evaluate
from taichi_nerf.training.run import fit, make_model
from taichi_nerf.training.trainer import trainer_for

from .conftest import BATCH, SMALL
from .test_checkpoint import assert_same
from .test_evaluate import make_ball, make_scene

SIDE, SQUARE = 32, 12
MODEL = InstantNGPConfig(
    field=FieldConfig(hash_grid=HashGridConfig(levels=5, features=2, log2_entries=12, max_resolution=64)),
    sampling=SamplingConfig(grid_resolution=16, steps=64, first_update=16, update_every=8, warmup_updates=4),
)


def with_images(scene, split, **changes):
    """The scene with other images of a split."""
    images = dataclasses.replace(scene.splits[split].images, **changes)
    changed = dataclasses.replace(scene.splits[split], images=images)
    return dataclasses.replace(scene, splits={**scene.splits, split: changed})


@pytest.mark.parametrize("gradients", ["explicit", "autograd"])
def test_the_colour_of_a_masked_pixel_changes_no_step(small_scene, gradients):
    runtime.init("cpu", torch.float32, threads=1)
    images = small_scene.splits["train"].images
    rng = np.random.default_rng(0)
    allowed = np.flatnonzero(rng.random(len(images.pixels)) < 0.6)
    masked = np.setdiff1d(np.arange(len(images.pixels)), allowed)
    trainers = []
    for colour in ((255, 0, 255, 255), (0, 255, 0, 255)):
        pixels = images.pixels.copy()
        pixels[masked] = colour
        scene = with_images(small_scene, "train", pixels=pixels, allowed=allowed)
        config = TrainingConfig(steps=20, batch=BATCH, gradients=gradients)
        trainer = trainer_for(make_model(scene, SMALL), scene, config)
        for _ in range(6):
            trainer.step()
        trainers.append(trainer)
    assert trainers[0].totals().samples > 0
    assert_same(*trainers)


def with_a_moving_square(scene):
    """An opaque square somewhere else before the still life in every training image; and masks of it."""
    images, rng = scene.splits["train"].images, np.random.default_rng(4)
    pictures, masks = [], []
    for n in range(len(images)):
        picture, left = images.image(n).copy(), np.ones((SIDE, SIDE), bool)
        y, x = rng.integers(SIDE // 8, SIDE * 7 // 8 - SQUARE, 2)
        picture[y : y + SQUARE, x : x + SQUARE] = (255, 0, 200, 255)
        left[y : y + SQUARE, x : x + SQUARE] = False
        pictures.append(picture)
        masks.append(left)
    return Images.from_list(pictures), Images.from_list(pictures, allowed=masks)


@pytest.mark.slow
def test_a_masked_object_that_moves_leaves_no_trace():
    runtime.init("cpu", torch.float32, threads=1)
    scene = builtin_scene(resolution=SIDE, views=(40, 0, 4), samples_per_pixel=4)
    square, masked = with_a_moving_square(scene)
    batch, scores = BatchConfig(samples=2048, marched=2**14, max_rays=512), {}
    for name, images in (("clean", scene.splits["train"].images), ("masked", masked), ("square", square)):
        split = dataclasses.replace(scene.splits["train"], images=images)
        trained = dataclasses.replace(scene, splits={**scene.splits, "train": split})
        model = make_model(trained, MODEL)
        fit(model, trained, TrainingConfig(steps=250, batch=batch))
        scores[name] = evaluate(model, scene).mean_psnr
    print(scores)
    assert scores["masked"] > scores["clean"] - 0.5
    assert scores["square"] < scores["clean"] - 3.0


def test_masked_pixels_are_left_out_of_the_scores():
    """Half of the picture is wrong and masked; the other half is off by 10 of 255."""
    model = make_ball()
    scene = make_scene(model, (10, 10))
    images = scene.splits["test"].images
    pictures, masks = [], []
    for n in range(2):
        picture, left = images.image(n).copy(), np.ones((12, 16), bool)
        left[:, 8:] = False
        picture[:, 8:] = 255 - picture[:, 8:]
        picture[..., 3] = 255
        pictures.append(picture)
        masks.append(left)
    plain = evaluate(model, with_images(scene, "test", pixels=Images.from_list(pictures).pixels))
    parts = Images.from_list(pictures, allowed=masks)
    result = evaluate(model, with_images(scene, "test", pixels=parts.pixels, allowed=parts.allowed))
    assert plain.mean_psnr < 20
    assert result.psnr == pytest.approx([-20 * np.log10(10 / 255)] * 2, abs=1e-6)
    assert result.protocol["masked"] == "50.00 % of the pixels, which are left out of the scores"
    assert "masked: 50.00 %" in str(result) and "masked" not in plain.protocol


def test_psnr_of_some_pixels_is_that_of_a_picture_of_them():
    rng = np.random.default_rng(0)
    one, other, counted = rng.random((9, 7, 3)), rng.random((9, 7, 3)), rng.random((9, 7)) < 0.4
    assert psnr(one, other, counted) == pytest.approx(psnr(one[counted][None], other[counted][None]))
    with pytest.raises(ValueError, match="counted must be bool"):
        psnr(one, other, np.zeros((9, 7), bool))
