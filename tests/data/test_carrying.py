"""Laws of cameras that are carried along with those that a training moved."""

from dataclasses import replace

import numpy as np
import pytest

from taichi_nerf.data.alignment import Similarity
from taichi_nerf.data.builtin import builtin_scene, hemisphere_cameras
from taichi_nerf.data.carrying import FORETOLD, MOST_JUDGED, carried_along, with_carried
from taichi_nerf.data.disturb import disturb_poses

ALL = hemisphere_cameras(48, 20)
TRAIN, TEST = ALL.subset(np.arange(48) % 8 != 0), ALL.subset(np.arange(48) % 8 == 0)


def moved_smoothly(cameras):
    """Each turned about the origin and moved by what changes slowly from place to place."""
    pose = cameras.camera_to_world.astype(np.float64)
    angle, aside = 0.02 * np.sin(0.4 * pose[:, 0, 3]), 0.03 * np.cos(0.4 * pose[:, 1, 3])
    turn = np.zeros((len(pose), 3, 3))
    turn[:, 0, 0], turn[:, 1, 1], turn[:, 2, 2] = np.cos(angle), np.cos(angle), 1
    turn[:, 1, 0], turn[:, 0, 1] = np.sin(angle), -np.sin(angle)
    moved = turn @ pose
    moved[:, 2, 3] += aside
    return replace(cameras, camera_to_world=moved)


def difference(a, b):
    return np.abs(a.camera_to_world.astype(np.float64) - b.camera_to_world).max(axis=(1, 2))


def test_what_moves_slowly_from_place_to_place_is_foretold():
    found = carried_along(TEST, TRAIN, moved_smoothly(TRAIN))
    truth = moved_smoothly(TEST)
    assert found.foretold > 0.8
    assert np.mean(difference(found.cameras, truth)) < 0.3 * np.mean(difference(TEST, truth))


def test_a_motion_of_all_carries_all():
    angle = 0.05
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    motion = Similarity(scale=1.0, rotation=turn, translation=np.array([0.1, -0.2, 0.05]))
    found = carried_along(TEST, TRAIN, motion.of_cameras(TRAIN))
    assert found.foretold > 0.99
    truth = motion.of_cameras(TEST)
    assert difference(found.cameras, truth).max() < 0.05 * difference(TEST, truth).min()


def test_carried_cameras_are_turned_and_not_bent():
    pose = carried_along(TEST, TRAIN, moved_smoothly(TRAIN)).cameras.camera_to_world[:, :, :3]
    np.testing.assert_allclose(pose.swapaxes(1, 2) @ pose, np.broadcast_to(np.eye(3), pose.shape), atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_random_corrections_carry_nothing(seed):
    found = carried_along(TEST, TRAIN, disturb_poses(TRAIN, 1.5, 0.02, seed=seed))
    assert found.foretold == 0
    np.testing.assert_array_equal(found.cameras.camera_to_world, TEST.camera_to_world)


def test_images_of_one_photo_in_several_sizes_do_not_foretell_one_another():
    moved = disturb_poses(TRAIN, 1.5, 0.02, seed=0)
    both = TRAIN.subset(np.repeat(np.arange(len(TRAIN)), 4)), moved.subset(np.repeat(np.arange(len(TRAIN)), 4))
    assert carried_along(TEST, *both).foretold == 0
    smooth = moved_smoothly(TRAIN)
    found, expected = (carried_along(TEST, TRAIN.subset(n), smooth.subset(n)) for n in (
        np.tile(np.arange(len(TRAIN)), 2), np.arange(len(TRAIN))))
    np.testing.assert_allclose(found.cameras.camera_to_world, expected.cameras.camera_to_world, atol=1e-6)


def test_rounding_is_no_correction():
    pose = TRAIN.camera_to_world * (1 + 1e-7)
    assert carried_along(TEST, TRAIN, replace(TRAIN, camera_to_world=pose)).foretold == 0


def test_cameras_far_from_all_others_stay():
    pose = TEST.camera_to_world.copy()
    pose[:, :, 3] += 1000
    far = replace(TEST, camera_to_world=pose)
    found = carried_along(far, TRAIN, moved_smoothly(TRAIN))
    assert found.foretold > FORETOLD
    np.testing.assert_allclose(found.cameras.camera_to_world, far.camera_to_world, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("move", [moved_smoothly, lambda cameras: cameras])
def test_few_cameras_and_cameras_that_did_not_move_carry_something_finite(count, move):
    few = TRAIN.subset(slice(0, count))
    found = carried_along(TEST, few, move(few))
    assert np.isfinite(found.cameras.camera_to_world).all() and np.isfinite(found.foretold)
    if count == 1 or move(few) is few:
        np.testing.assert_array_equal(found.cameras.camera_to_world, TEST.camera_to_world)


def test_cameras_at_one_place_are_told_apart_by_where_they_look():
    """Turned by as much as they look up: those that look alike foretell each other."""
    pose = ALL.camera_to_world.astype(np.float64)
    pose[:, :, 3] = [0.1, 0.2, 0.3]
    given, angle = replace(ALL, camera_to_world=pose), 0.1 * pose[:, 0, 2]
    turn = np.zeros((len(pose), 3, 3))
    turn[:, 0, 0], turn[:, 1, 1], turn[:, 2, 2] = np.cos(angle), np.cos(angle), 1
    turn[:, 1, 0], turn[:, 0, 1] = np.sin(angle), -np.sin(angle)
    after = replace(given, camera_to_world=np.concatenate([turn @ pose[:, :, :3], pose[:, :, 3:]], axis=2))
    train, test = np.arange(48) % 8 != 0, np.arange(48) % 8 == 0
    found = carried_along(given.subset(test), given.subset(train), after.subset(train))
    assert found.foretold > 0.5
    before = difference(given.subset(test), after.subset(test)).mean()
    assert difference(found.cameras, after.subset(test)).mean() < 0.5 * before


def test_more_cameras_than_are_judged():
    many = hemisphere_cameras(2 * MOST_JUDGED + 1, 20)
    found = carried_along(TEST, many, moved_smoothly(many))
    assert found.foretold > 0.9
    truth = moved_smoothly(TEST)
    assert difference(found.cameras, truth).max() < 0.3 * difference(TEST, truth).max()


def test_a_lens_that_was_corrected_is_that_of_its_test_cameras():
    focal = TEST.focal.copy()
    focal[0] *= 2
    given = replace(TEST, focal=focal)
    after = replace(TRAIN, focal=TRAIN.focal * np.float32(1.01), principal=TRAIN.principal + np.float32(0.5))
    found = carried_along(given, TRAIN, after).cameras
    np.testing.assert_array_equal(found.focal[0], focal[0])
    np.testing.assert_array_equal(found.focal[1:], after.focal[: len(TEST) - 1])
    np.testing.assert_array_equal(found.principal[1:], after.principal[: len(TEST) - 1])
    np.testing.assert_array_equal(found.camera_to_world, given.camera_to_world)


def test_training_cameras_are_left_where_they_are():
    given = builtin_scene(resolution=8, views=(6, 0, 2), samples_per_pixel=1)
    before = given.model_cameras("train")
    pose = before.camera_to_world.copy()
    pose[:, 2, 3] += 0.1
    scene = with_carried(given, before, replace(before, camera_to_world=pose))
    assert scene.splits["train"] is given.splits["train"] and scene.splits["train"].carried is None
    moved = scene.model_cameras("test").camera_to_world - given.model_cameras("test").camera_to_world
    np.testing.assert_allclose(moved[:, :, 3], np.broadcast_to([0, 0, 0.1], moved[:, :, 3].shape), atol=5e-3)
    assert scene.splits["test"].subset([0]).carried == scene.splits["test"].carried > 0.9
