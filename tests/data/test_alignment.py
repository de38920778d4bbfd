"""Laws of the alignment of cameras."""

import dataclasses

import numpy as np
import pytest

from taichi_nerf.data.alignment import Similarity, align_cameras, pose_errors
from taichi_nerf.data.builtin import hemisphere_cameras

CAMERAS = hemisphere_cameras(12, 20)
TURN = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
SIMILARITY = Similarity(scale=2.5, rotation=TURN * np.sign(np.linalg.det(TURN)), translation=np.array([1.0, -2, 7]))


def rotation(axis, degrees):
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross, angle = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]), np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def with_poses(change):
    pose = CAMERAS.camera_to_world.copy()
    change(pose)
    return dataclasses.replace(CAMERAS, camera_to_world=pose)


def test_a_similarity_is_found_again():
    found = align_cameras(CAMERAS, SIMILARITY.of_cameras(CAMERAS))
    assert found.scale == pytest.approx(2.5, rel=1e-5)
    np.testing.assert_allclose(found.rotation, SIMILARITY.rotation, atol=1e-5)
    np.testing.assert_allclose(found.translation, SIMILARITY.translation, atol=1e-4)


def test_a_similarity_is_no_error():
    degrees, distance = pose_errors(SIMILARITY.of_cameras(CAMERAS), CAMERAS)
    assert degrees.max() < 1e-3 and distance.max() < 1e-4


def test_moved_cameras_see_the_moved_world():
    point = np.array([0.3, -0.2, 0.1])
    moved, there = SIMILARITY.of_cameras(CAMERAS), SIMILARITY.of_points(point)
    for before, after in zip(CAMERAS.camera_to_world, moved.camera_to_world):
        seen, still = before[:, :3].T @ (point - before[:, 3]), after[:, :3].T @ (there - after[:, 3])
        np.testing.assert_allclose(still / np.linalg.norm(still), seen / np.linalg.norm(seen), atol=1e-5)


def test_one_camera_that_is_turned_is_off_by_its_angle_less_what_the_alignment_takes():
    def turn(pose):
        pose[0, :, :3] = rotation([1, 2, 3], 6) @ pose[0, :, :3]

    degrees, _ = pose_errors(with_poses(turn), CAMERAS)
    assert degrees[0] == pytest.approx(6 * 11 / 12, abs=0.05)
    np.testing.assert_allclose(degrees[1:], 6 / 12, atol=0.05)


def test_opposite_turns_leave_the_alignment_alone():
    def turn(pose):
        pose[0::2, :, :3] = rotation([0, 0, 1], 1.5) @ pose[0::2, :, :3]
        pose[1::2, :, :3] = rotation([0, 0, 1], -1.5) @ pose[1::2, :, :3]

    degrees, distance = pose_errors(with_poses(turn), CAMERAS)
    np.testing.assert_allclose(degrees, 1.5, atol=1e-3)
    assert distance.max() < 1e-4


def test_cameras_at_one_place_are_aligned_by_how_they_look():
    def gather(pose):
        pose[:, :, 3] = [1, 2, 3]

    gathered = with_poses(gather)
    found = align_cameras(gathered, SIMILARITY.of_cameras(gathered))
    assert found.scale == 1
    np.testing.assert_allclose(found.rotation, SIMILARITY.rotation, atol=1e-5)
    assert pose_errors(gathered, SIMILARITY.of_cameras(gathered))[1].max() < 1e-5


def test_other_cameras_are_refused():
    with pytest.raises(ValueError, match="must be the same cameras"):
        align_cameras(CAMERAS, CAMERAS.subset([0, 1]))
