"""Which pixels enough onlookers see: points carried to their times, and compared with what is seen there."""

import dataclasses

import numpy as np
import pytest

from taichi_nerf import runtime
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.builtin.cameras import looking
from taichi_nerf.data.builtin.moving import correspondences, moving_pictures
from taichi_nerf.data.co_seen import MOST_ONLOOKERS, CoSeenMasks, Onlookers, evenly, project, surface_points
from taichi_nerf.data.scene import FISHEYE, PERSPECTIVE, Cameras

SIDE = 24


def cameras(count, lens=PERSPECTIVE, distortion=(0.0,) * 6):
    """Cameras at z = 3 that look along -z, side by side."""
    pose = np.tile(np.eye(3, 4), (count, 1, 1))
    pose[:, 2, 3], pose[:, 0, 3] = 3, 0.01 * np.arange(count)
    return Cameras(camera_to_world=pose, focal=np.full((count, 2), 20.0), principal=np.full((count, 2), SIDE / 2),
                   distortion=np.tile(distortion, (count, 1)), lens=np.full(count, lens),
                   size=np.full((count, 2), SIDE))


def still(points, time, others):
    return (points for _ in others)


def onlookers(depths, carried=still):
    """Onlookers who see as far as `depths` say, each everywhere."""
    depth = [np.full((SIDE, SIDE), float(far)) for far in depths]
    return Onlookers(cameras=cameras(len(depths)), time=np.linspace(0, 1, len(depths)), depth=depth, carried=carried,
                     how="exactly", slack=0.01)


@pytest.mark.parametrize("lens, distortion", [(PERSPECTIVE, (0.0,) * 6), (PERSPECTIVE, (-0.1, 0.02, 0, 0, 1e-3, -2e-3)),
                                              (FISHEYE, (0.05, -0.01, 0, 0, 0, 0))])
def test_a_surface_point_is_seen_where_it_was_found(lens, distortion):
    one = cameras(2, lens, distortion)
    depth = np.random.default_rng(0).uniform(1, 2, (SIDE, SIDE))
    depth[0, 0] = np.inf
    pixel, ahead = project(one, 1, surface_points(one, 1, depth).reshape(-1, 3))
    v, u = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5, indexing="ij")
    assert np.allclose(pixel[1:], np.stack([u, v], -1).reshape(-1, 2)[1:], atol=1e-4) and ahead[1:].all()
    assert not ahead[0]  # no point
    assert not project(cameras(1), 0, np.array([[0.0, 0.0, 5.0]]))[1].any()  # behind it


def test_a_pixel_counts_that_more_than_five_and_a_tenth_of_the_views_see():
    wall = np.full((SIDE, SIDE), 2.0)  # what the picture shows
    middle = np.s_[8:16, 8:16]  # which all see from where they stand
    for seeing, of, counts in ((5, 20, False), (6, 20, True), (8, 80, False), (9, 80, True)):
        before = onlookers([3.0] * seeing + [1.0] * (of - seeing))  # what is nearer hides it
        assert before.mask(cameras(1), 0, wall, 0.0)[middle].all() == counts, (seeing, of)
    assert not onlookers([3.0] * 20).mask(cameras(1), 0, np.full((SIDE, SIDE), np.inf), 0.0).any()


def test_a_point_is_looked_for_where_it_has_moved_to():
    def leaves(points, time, others):
        return (points + (100 * (other > 0.5), 0, 0) for other in others)

    wall = np.full((SIDE, SIDE), 2.0)
    assert onlookers([3.0] * 10).mask(cameras(1), 0, wall, 0.0)[8:16, 8:16].all()
    assert not onlookers([3.0] * 10, leaves).mask(cameras(1), 0, wall, 0.0).any()  # five of ten see it
    nowhere = onlookers([3.0] * 10, lambda points, time, others: (points * np.nan for _ in others))
    assert not nowhere.mask(cameras(1), 0, wall, 0.0).any()


def test_large_pictures_are_looked_at_here_and_there():
    one = Cameras(**{**vars(cameras(1)), "size": [[300, 200]], "principal": [[150, 100]], "focal": [[900, 900]]})
    depth = np.full((200, 300), 2.0)
    depth[:, :150] = np.inf
    asked = []

    def counted(points, time, others):
        asked.append(len(points))
        return (points for _ in others)

    mask = onlookers([3.0] * 10, counted).mask(one, 0, depth, 0.0)
    assert mask.shape == (200, 300) and asked[0] < 2**14 and not mask[:, :150].any() and mask[:, 150:].all()
    assert len(evenly(1000, MOST_ONLOOKERS)) == MOST_ONLOOKERS and evenly(3, 100).tolist() == [0, 1, 2]


def test_the_built_in_scene_knows_exactly_what_its_training_cameras_see():
    before = runtime.current()
    runtime.init("cpu")
    scene = builtin_scene("moving", resolution=SIDE, views=(9, 0, 2), samples_per_pixel=1)
    test, train = scene.splits["test"], scene.splits["train"]
    exact = test.co_seen.onlookers
    assert len(test.co_seen) == 2 and np.array_equal(exact.time, train.time) and train.co_seen is None
    shares = [mask.mean() for mask in test.co_seen]
    assert all(0.1 < share < np.isfinite(depth).mean() for share, depth in zip(shares, test.depth))
    assert np.array_equal(test.subset([1]).co_seen[0], test.co_seen[1])
    itself = dataclasses.replace(exact, cameras=test.cameras.subset([0] * 6), depth=[test.depth[0]] * 6,
                                 time=np.repeat(test.time[:1], 6))
    seen = CoSeenMasks(test.cameras, test.depth, test.time, lambda: itself)[0]
    assert np.array_equal(seen, np.isfinite(test.depth[0]))  # all that it shows at its own time
    points = surface_points(test.cameras, 0, test.depth[0])[test.moving[0]]
    expected = np.zeros(len(points), int)
    for m, moved in enumerate(correspondences(points, test.time[0], train.time)):  # a ray straight at each of them
        there = np.flatnonzero(np.isfinite(moved).all(axis=1))
        eye = np.tile(train.cameras.position[m], (len(there), 1))
        met = moving_pictures(looking(eye, moved[there], 1, 1e-3), np.full(len(there), train.time[m]), 1).depth
        expected[there] += np.abs(met[:, 0, 0] - np.linalg.norm(moved[there] - eye, axis=1)) < 1e-2
    counted = exact.seen(points, test.time[0])
    assert 2 < expected.mean() < 7 and np.abs(counted - expected).mean() < 0.7
    runtime.init(before.backend, before.dtype, before.threads)
