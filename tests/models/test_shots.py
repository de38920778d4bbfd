"""What the images of a split are of: their times and ids, and which of them share a code."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import InstantNGPConfig, OptimiserConfig, TrainingConfig
from taichi_nerf.data import with_scales
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.models.family import counts_of
from taichi_nerf.models.shots import ids_of, shots_of, unseen_shots
from taichi_nerf.training.run import make_model
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.types import Shot


@pytest.fixture(scope="module")
def scene():
    return builtin_scene(resolution=16, views=(4, 0, 1), samples_per_pixel=1)


def with_train(scene, **changes):
    split = dataclasses.replace(scene.splits["train"], **changes)
    return dataclasses.replace(scene, splits={**scene.splits, "train": split})


def test_a_photo_has_an_appearance_of_its_own_whatever_its_size(scene):
    assert ids_of(scene.splits["train"])["appearance"].tolist() == [0, 1, 2, 3]
    scaled = with_scales(scene, 3)
    assert ids_of(scaled.splits["train"])["appearance"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert counts_of(scaled) == counts_of(scene) == {"appearance": 4, "transient": 4}


def test_ids_of_the_file_say_who_shares_a_code(scene):
    given = with_train(scene, ids={"appearance": np.array([2, 0, 2, 0]), "warp": np.array([0, 1, 2, 5])})
    assert counts_of(given) == {"appearance": 3, "warp": 6, "transient": 4}
    shots = shots_of(given.splits["train"])
    assert shots.ids["appearance"].tolist() == [2, 0, 2, 0] and shots.ids["warp"].tolist() == [0, 1, 2, 5]
    assert shots.image.tolist() == [0, 1, 2, 3] and shots.time is None


def test_a_view_that_was_not_trained_on_has_the_codes_that_it_shares_with_photos_that_were(scene):
    given = with_train(scene, ids={"appearance": np.array([2, 0, 2, 0])}, exposure=np.array([-1.0, 0.0, 1.0, 2.0]))
    model = make_model(given, InstantNGPConfig(appearance=2))
    model.know(shots_of(given.splits["train"]))
    test = scene.splits["test"]
    for ids, shared in (({"appearance": np.array([2])}, [2]), ({"appearance": np.array([1])}, None),
                        ({"appearance": np.array([7])}, None), ({}, None)):
        shots = unseen_shots(dataclasses.replace(test, ids=ids, exposure=np.array([0.5])), model)
        assert shots.image is None and shots.exposure.tolist() == [0.5]
        assert shots.ids.keys() == ({"appearance"} if shared else set())
        assert shared is None or shots.ids["appearance"].tolist() == shared


@pytest.mark.parametrize("gradients", ["autograd", "explicit"])
def test_images_of_one_photo_learn_one_code(scene, gradients):
    """And where the file says that photos share one, so do they."""
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    try:
        given = with_train(with_scales(scene, 2), ids={"appearance": np.array([0, 0, 1, 1, 0, 0, 3, 3])})
        model = make_model(given, InstantNGPConfig(appearance=2))
        start = model.codes["appearance"].table.detach().clone()
        still = OptimiserConfig(weight_decay=0.0)  # which would move a code that nobody has
        trainer = trainer_for(model, given, TrainingConfig(steps=9, gradients=gradients, optimiser=still))
        for _ in range(3):
            trainer.step()
        trainer.state_dict()  # which brings what was learned on the device here
        moved = (model.codes["appearance"].table - start).detach().abs().amax(dim=1)
        assert len(start) == 4 and (moved[[0, 1, 3]] > 1e-3).all() and moved[2] < 1e-5
        codes = model.codes["appearance"]  # that nobody has is no part of the mean
        torch.testing.assert_close(codes.mean, codes.table[[0, 1, 3]].mean(dim=0))
    finally:
        runtime.init(before.backend, before.dtype, threads=before.threads)


def test_rays_of_a_batch_know_the_time_and_the_ids_of_their_image(scene):
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    try:
        time = np.array([0.0, 0.25, 0.5, 1.0], np.float32)
        given = with_train(scene, time=time, ids={"warp": np.array([3, 1, 0, 2])})
        for config in (TrainingConfig(steps=5), TrainingConfig(steps=5, gradients="autograd")):
            trainer = trainer_for(make_model(given, InstantNGPConfig()), given, config)
            batch = trainer.batches.draw(trainer.clock.standing)
            shot, image = batch.rays.shot, batch.image_index.long()
            assert torch.equal(shot.time, torch.from_numpy(time)[image]) and len(set(image.tolist())) == 4
            assert torch.equal(shot.ids["warp"], torch.tensor([3, 1, 0, 2], dtype=torch.int32)[image])
            assert torch.equal(shot.image.long(), image)
    finally:
        runtime.init(before.backend, before.dtype, threads=before.threads)


def test_a_single_shot_is_of_one_ray_and_may_be_of_nothing():
    shot = Shot.single(image=3, time=0.5, ids={"warp": 2}, codes={"appearance": torch.zeros(4)})
    assert shot.image.tolist() == [3] and shot.time.tolist() == [0.5] and shot.ids["warp"].tolist() == [2]
    assert shot.codes["appearance"].shape == (1, 4)
    assert Shot.single() == Shot()
