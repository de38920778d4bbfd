"""Coordinates of corrections of cameras: what a step of each does to the picture."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf.config import RefineConfig, SettingError
from taichi_nerf.data.builtin import hemisphere_cameras
from taichi_nerf.data.scene import FISHEYE, Cameras
from taichi_nerf.training.preconditioning import directions_of, frustum, frustum_jacobian, preconditioner
from taichi_nerf.training.refinement import CameraRefinement

STEP = 1e-6


def telephoto(count=4) -> Cameras:
    """Cameras of one lens, in whose pictures a longer lens and a shorter way look nearly the same."""
    cameras = hemisphere_cameras(count, 20)
    return dataclasses.replace(cameras, focal=cameras.focal * 8)


def one_group(cameras: Cameras) -> np.ndarray:
    return np.zeros(len(cameras), int)


def corrected_directions(cameras: Cameras, correction: np.ndarray) -> np.ndarray:
    """[N, K, D, 3] directions of the frustum's points against the rays of their pixels, in the axes of cameras that a
    `correction` [10] moves."""
    place, depth = frustum(cameras)
    pose = cameras.camera_to_world.astype(np.float64)
    fisheye = (cameras.lens == FISHEYE)[:, None]
    points = pose[:, None, None, :, 3] + np.einsum("nij,nkj,nd->nkdi", pose[:, :, :3], directions_of(place, fisheye),
                                                   depth)
    # pose' = exp(twist) pose, the twist along the camera's axes; place = (pixel - principal') / focal'
    twist = (correction[:6].reshape(2, 3) @ pose[:, :, :3].swapaxes(1, 2)).reshape(-1, 6)
    moved = np.stack([torch.linalg.matrix_exp(torch.tensor(
        [[0, -w[2], w[1], v[0]], [w[2], 0, -w[0], v[1]], [-w[1], w[0], 0, v[2]], [0, 0, 0, 0]])).numpy()
        @ np.vstack([p, [0, 0, 0, 1]]) for p, w, v in zip(pose, twist[:, :3], twist[:, 3:])])
    seen = np.einsum("nji,nkdj->nkdi", moved[:, :3, :3], points - moved[:, None, None, :3, 3])
    ray = directions_of((place - correction[8:]) / np.exp(correction[6:8]), fisheye)
    return seen / np.linalg.norm(seen, axis=-1, keepdims=True) - ray[:, :, None]


@pytest.mark.parametrize("lens", ["perspective", "fisheye"])
def test_the_jacobian_is_that_of_finite_differences(lens):
    cameras = hemisphere_cameras(2, 20)
    if lens == "fisheye":
        cameras = dataclasses.replace(cameras, lens=np.full(2, FISHEYE, np.int32), focal=cameras.focal / 3)
    expected = np.stack([(corrected_directions(cameras, step) - corrected_directions(cameras, -step)) / (2 * STEP)
                         for step in STEP * np.eye(10)], axis=-1)
    np.testing.assert_allclose(frustum_jacobian(cameras).reshape(expected.shape), expected, atol=1e-6)


def preconditioned(cameras: Cameras) -> np.ndarray:
    """[N, 3 M, 10]: the Jacobian in the new coordinates, of cameras that share a lens."""
    found = preconditioner(cameras, one_group(cameras))
    change = np.zeros((len(cameras), 10, 10))
    change[:, :6, :6], change[:, 6:, 6:] = found.of_pose, found.of_lens
    change[:, :6, 6:] = -found.follow @ found.of_lens
    return frustum_jacobian(cameras) @ change


def test_a_lens_and_a_pose_that_look_the_same_are_taken_apart():
    cameras = telephoto()
    before = np.linalg.cond(frustum_jacobian(cameras))
    assert (before > 1000).all() and (np.linalg.cond(preconditioned(cameras)) < 0.2 * before).all()


def test_a_step_of_any_coordinate_moves_the_picture_at_most_as_far():
    moved = np.sqrt(np.square(preconditioned(telephoto())).sum(axis=1) / (frustum_jacobian(telephoto()).shape[1] / 3))
    assert (moved <= 1).all()
    poses = preconditioner(telephoto(), one_group(telephoto()), lenses=False)
    assert not poses.follow.any()
    moved = np.square(frustum_jacobian(telephoto())[:, :, :6] @ poses.of_pose).sum(axis=1)
    assert moved.max() < 2 * moved.min()


def test_cameras_in_the_middle_of_the_model_have_coordinates_as_well():
    cameras = hemisphere_cameras(3, 20)
    cameras.camera_to_world[:, :, 3] = 0
    assert all(np.isfinite(values).all() for values in preconditioner(cameras, one_group(cameras)))


def test_without_preconditioning_the_parameters_are_the_corrections():
    refinement = CameraRefinement(hemisphere_cameras(3, 20), lenses=True, precondition=False)
    twist, offset = refinement.corrections()
    assert twist is refinement.twist and offset is refinement.offset


def test_a_lens_takes_the_poses_along():
    refinement = CameraRefinement(telephoto(), lenses=True, precondition=True)
    with torch.no_grad():
        refinement.offset[0, :2] = 1e-3
    longer = refinement.refined()
    away, before = (np.linalg.norm(cameras.position, axis=1) for cameras in (longer, telephoto()))
    assert (longer.focal > telephoto().focal).all() and (away > before).all()
    zoom = longer.focal[:, 0] / telephoto().focal[:, 0]
    size = zoom * before / away
    assert (size - 1 < 0.8 * (zoom - 1)).all(), "what stands in the middle grows less than by the lens alone"


def test_preconditioning_of_nothing_is_refused():
    with pytest.raises(SettingError, match="precondition needs corrections: give poses or lenses"):
        RefineConfig(precondition=True)
    assert RefineConfig(precondition=True, lenses=True).active
