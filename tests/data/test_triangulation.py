"""Deviations of triangulated distances: those of least squares, and what they mean for narrow and short tracks."""

import numpy as np
import pytest

from taichi_nerf.data.scene import Cameras, Points, Sightings
from taichi_nerf.data.triangulation import relative_deviations


def cameras_at(positions, focal: float = 100.0) -> Cameras:
    n = len(positions)
    pose = np.concatenate([np.tile(np.eye(3), (n, 1, 1)), np.array(positions, float)[:, :, None]], axis=2)
    return Cameras(camera_to_world=pose, focal=np.full((n, 2), focal), principal=np.full((n, 2), 50.0),
                   distortion=np.zeros((n, 6)), lens=np.zeros(n), size=np.full((n, 2), 100))


def seen(points, times: int) -> list[Sightings]:
    """The same points in so many images."""
    return [Sightings(point=points, pixel=np.zeros((len(points), 2))) for _ in range(times)]


def by_finite_differences(places: np.ndarray, point: np.ndarray, focal: float) -> np.ndarray:
    """[N]: the relative deviation of the distance from each place, for errors of a pixel."""
    def pixels(x):
        away = x - places
        return (focal * away / np.linalg.norm(away, axis=1)[:, None]).reshape(-1)

    step = 1e-6
    slope = np.stack([pixels(point + step * axis) - pixels(point - step * axis) for axis in np.eye(3)], 1) / (2 * step)
    covariance = np.linalg.inv(slope.T @ slope)
    away = point - places
    distance = np.linalg.norm(away, axis=1)
    unit = away / distance[:, None]
    return np.sqrt(np.einsum("ni,ij,nj->n", unit, covariance, unit)) / distance


def test_deviations_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    places, points = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)) + [0, 0, -6]
    found = relative_deviations(cameras_at(places), seen(range(5), 4),
                                Points(position=points, error=np.full(5, 0.7), views=np.full(5, 4)))
    for k, point in enumerate(points):
        expected = 0.7 * by_finite_differences(places, point, 100.0)
        np.testing.assert_allclose([deviation[k] for deviation in found], expected, rtol=1e-4)


def test_rays_that_cross_at_large_angles_tell_the_distance_better():
    wide, narrow = (relative_deviations(cameras_at([[-x, 0, 0], [x, 0, 0]]), seen([0], 2),
                                        Points(position=[[0, 0, -5]], error=[1.0], views=[2]))[0][0]
                    for x in (1.0, 0.1))
    assert narrow == pytest.approx(10 * wide, rel=0.05)


def test_one_ray_tells_no_distance():
    sightings = [*seen([0], 2), Sightings(point=[1], pixel=[[0, 0]])]
    found = relative_deviations(cameras_at([[-1, 0, 0], [1, 0, 0], [0, 0, 0]]), sightings,
                                Points(position=[[0, 0, -5], [0, 0, -5]], error=[1.0, 1.0], views=[2, 1]))
    assert found[2][0] > 1000 * found[0][0]


def test_few_sightings_say_little_about_the_error():
    points = Points(position=[[0, 0, -5]] * 5, error=[1.0, 1.0, 1.0, 0.0, 0.0], views=[9, 9, 9, 2, 100])
    *_, typical, short, long = relative_deviations(cameras_at([[-1, 0, 0], [1, 0, 0]]), seen(range(5), 2), points)[0]
    assert long < 0.3 * typical < 0.7 * typical < short < typical


def test_points_without_errors_are_all_as_sure():
    found = relative_deviations(cameras_at([[-1, 0, 0], [1, 0, 0]]), seen([0, 1], 2),
                                Points(position=[[0, 0, -5], [0, 0, -50]], views=[2, 2]))
    assert np.array_equal(found, np.ones((2, 2)))
