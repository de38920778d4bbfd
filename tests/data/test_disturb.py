"""Scenes made worse on purpose are worse by what was asked for."""

import numpy as np
import pytest

from taichi_nerf.data.builtin import hemisphere_cameras
from taichi_nerf.data.disturb import disturb_poses, jitter_exposure
from taichi_nerf.data.scene import Images, Split


def test_poses_are_turned_and_moved_by_what_was_asked_for():
    cameras = hemisphere_cameras(20, 16)
    found = disturb_poses(cameras, 2.0, 0.1, seed=3).camera_to_world.astype(float)
    turn = found[:, :, :3] @ cameras.camera_to_world[:, :, :3].astype(float).transpose(0, 2, 1)
    np.testing.assert_allclose(np.degrees(np.arccos((np.trace(turn, axis1=1, axis2=2) - 1) / 2)), 2.0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found[:, :, 3] - cameras.position, axis=1), 0.1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(found[:, :, :3]), 1, atol=1e-5)


def test_exposures_have_mean_zero_and_reach_no_further_than_asked():
    pixels = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 1, 4))
    split = Split(name="train", cameras=hemisphere_cameras(20, 1).resized([1, 256]),
                  images=Images.from_list([pixels] * 20))
    found, stops = jitter_exposure(split, 1.0, seed=1)
    assert stops.mean() == pytest.approx(0, abs=1e-12) and 0.7 < np.abs(stops).max() <= 1
    for n, e in enumerate(stops):
        image = found.images.image(n)[:, 0]
        assert (np.diff(image[:, 0].astype(int)) >= 0).all() and np.array_equal(image[:, 3], pixels[:, 0, 3])
        middle = 128 / 255
        light = (((image[128, 0] / 255) + 0.055) / 1.055) ** 2.4 / ((middle + 0.055) / 1.055) ** 2.4
        assert np.log2(light) == pytest.approx(e, abs=0.02)
