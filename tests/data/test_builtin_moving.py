"""What moves in the built-in scene: its masks and its motion against what is seen, and which camera sees which time."""

import numpy as np
import pytest

from taichi_nerf import runtime
from taichi_nerf.data.builtin import builtin_scene, hemisphere_cameras
from taichi_nerf.data.builtin.moving import (
    RUST,
    Film,
    correspondence,
    filmed,
    moves,
    moving_mask,
    moving_pictures,
    moving_still_life,
    still_points,
    surface_points,
    swinging,
)
from taichi_nerf.data.builtin.renderer import render
from taichi_nerf.data.builtin.still_life import daylight, still_life
from taichi_nerf.data.builtin.world import SPHERE, solids_of
from taichi_nerf.data.export import write_blender
from taichi_nerf.data.load import load_scene

SIDE = 40
TIMES = (0.0, 0.3, 0.8)


@pytest.fixture(scope="module", autouse=True)
def _on_the_cpu():
    before = runtime.current()
    runtime.init("cpu")
    yield
    runtime.init(before.backend, before.dtype, before.threads)


@pytest.fixture(scope="module")
def scene(_on_the_cpu):
    return builtin_scene("moving", resolution=SIDE, views=(7, 1, 3), samples_per_pixel=1)


@pytest.fixture(scope="module")
def seen(_on_the_cpu):
    """One camera at several times: its cameras, and the pictures of each time."""
    cameras = hemisphere_cameras(4, SIDE).subset([1] * len(TIMES))
    return cameras, moving_pictures(cameras, TIMES, 1)


def test_no_time_is_seen_twice_and_test_views_are_of_other_times(scene):
    train, test = scene.splits["train"], scene.splits["test"]
    np.testing.assert_allclose(train.time, np.arange(7) / 6)
    assert not set(train.time.tolist()) & set(test.time.tolist())
    steps = np.diff(train.cameras.position, axis=0)
    assert np.linalg.norm(steps, axis=1).mean() > 2  # neighbours in time are no neighbours in space
    assert np.allclose(np.linalg.norm(train.cameras.position, axis=1), 4.0, atol=1e-5)


def test_its_points_stand_still(scene):
    points = scene.points.position
    assert np.array_equal(points, still_points(scene.splits["train"]).position) and len(points) > 1000
    seen = np.concatenate([surface_points(scene.splits["train"].cameras, n, depth).reshape(-1, 3)
                           for n, depth in enumerate(scene.splits["train"].depth)]).astype(np.float32)
    assert set(map(tuple, points.tolist())) <= set(map(tuple, seen.tolist()))
    for time in scene.splits["train"].time:
        assert moves(points, time).mean() < 0.01  # what grows or bends touches the table


def test_everything_stays_in_the_box_at_all_times(scene):
    half = scene.half_side / scene.scale
    for time in np.linspace(0, 1, 41):
        for solid in solids_of(moving_still_life(time).groups):
            assert np.abs(solid.position).max() + (solid.size[0] if solid.kind == SPHERE else 0) < half


def test_masks_are_where_the_still_life_alone_looks_different(seen):
    cameras, pictures = seen
    alone = render(still_life(), cameras.subset([0]), daylight(), 1)
    for n, time in enumerate(TIMES):
        mask = moving_mask(cameras, n, pictures.depth[n], time)
        with np.errstate(invalid="ignore"):
            differ = ~(np.abs(pictures.depth[n] - alone.depth[0]) < 1e-4) & ~(
                np.isinf(pictures.depth[n]) & np.isinf(alone.depth[0]))
        assert 0.02 < mask.mean() < 0.2 and np.array_equal(mask, differ)


def test_a_point_of_a_surface_is_found_at_any_other_time(seen):
    """Where it is visible then, the same camera sees it there, in its own colour; and it comes back."""
    cameras, pictures = seen
    points = surface_points(cameras, 1, pictures.depth[1])
    mask = moving_mask(cameras, 1, pictures.depth[1], TIMES[1])
    then = correspondence(points[mask], TIMES[1], TIMES[2])
    assert np.isfinite(then).all() and moves(then, TIMES[2]).all()  # all that was there is there later
    assert np.linalg.norm(then - points[mask], axis=1).max() > 0.2
    np.testing.assert_allclose(correspondence(then, TIMES[2], TIMES[1]), points[mask], atol=1e-6)
    pose = cameras.camera_to_world[2].astype(float)
    local = (then - pose[:, 3]) @ pose[:, :3]
    column, row = ((local[:, :2] * (1, -1) / -local[:, 2:]) * cameras.focal[2] + cameras.principal[2]).astype(int).T
    depth = pictures.depth[2][row, column]
    visible = np.abs(depth - np.linalg.norm(local, axis=1)) < 0.02
    assert visible.mean() > 0.3
    now, later = (pictures.rgba[1][mask][visible], pictures.rgba[2][row, column][visible])
    assert np.median(np.abs(now.astype(int) - later.astype(int))[:, :3]) < 30


def test_what_stands_still_stays_and_what_is_not_there_yet_is_nowhere():
    table = np.array([[0.3, 0.2, -0.34], [0.9, 0.5, -0.34]])
    assert np.array_equal(correspondence(table, 0.2, 0.9), table) and not moves(table, 0.2).any()
    bud = solids_of(moving_still_life(1.0).groups)[-1]
    top = np.array([[*bud.position[:2], bud.position[2] + bud.size[0]]])
    assert moves(top, 1.0).all() and np.isnan(correspondence(top, 1.0, 0.0)).all()
    half = correspondence(top, 1.0, 0.5)
    assert np.isclose(half[0, 2] - top[0, 2], -2 * bud.size[0] * 0.5)  # half as large, on the table


def test_of_other_movers_pictures_masks_and_motion_are_those_of_these():
    def one_ball(time: float):
        return swinging(RUST, pivot=(0.0, 0.0, 0.9), length=0.7, radius=0.2, across=(0.0, 1.0, 0.0), angle=0.6 * time)

    film = Film(cameras=hemisphere_cameras(2, SIDE), time=np.array([0.0, 1.0]))
    split = filmed("train", film, 1, movers=one_ball)
    points = surface_points(film.cameras, 0, split.depth[0])[split.moving[0]]
    then = correspondence(points, 0.0, 1.0, one_ball)
    assert len(points) > 20 and moves(then, 1.0, one_ball).all() and not moves(then, 1.0).all()
    assert np.linalg.norm(then - points, axis=1).min() > 0.1
    alone = render(still_life(), film.cameras, daylight(), 1).depth
    with np.errstate(invalid="ignore"):
        assert (np.abs(np.array(split.depth) - alone)[np.array(split.moving)] > 1e-4).all()


def test_balls_are_rigid_and_the_reed_bends():
    first, later = (solids_of(moving_still_life(time).groups) for time in (0.0, 0.2))
    still = len(solids_of(still_life().groups))
    ball = first[still + 1]
    directions = np.random.default_rng(0).normal(size=(20, 3))
    surface = ball.position + ball.size[0] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    there = correspondence(surface, 0.0, 0.2)
    distances = [np.linalg.norm(points[:, None] - points[None], axis=-1) for points in (surface, there)]
    np.testing.assert_allclose(*distances, atol=1e-9)
    reed = [[solid.rotation[:, 2] for solid in solids[still + 4 : still + 10]] for solids in (first, later)]
    turned = [np.degrees(np.arccos(np.clip(a @ b, -1, 1))) for a, b in zip(*reed)]
    assert turned[0] < 10 and turned[-1] > 50 and np.all(np.diff(turned) > 5)


def test_two_cameras_take_turns_and_the_other_one_is_tested(_on_the_cpu):
    rig = builtin_scene("moving-rig", resolution=8, views=(9, 0, 4), samples_per_pixel=1)
    train, test = rig.splits["train"], rig.splits["test"]
    assert train.ids["camera"].tolist() == [0, 1] * 4 + [0] and len(test) == 4
    for n, warp in enumerate(test.ids["warp"]):
        assert test.time[n] == train.time[warp] and test.ids["camera"][n] != train.ids["camera"][warp]
        apart = np.linalg.norm(test.cameras.position[n] - train.cameras.position[warp])
        assert np.isclose(apart, 0.35, atol=1e-5)


@pytest.mark.parametrize("name", ["moving", "moving-rig", "crowd"])
def test_a_split_is_the_same_without_the_others(name):
    whole = load_scene(f"builtin:{name}", downscale=50, splits=["train", "test"])
    alone = load_scene(f"builtin:{name}", downscale=50, splits=["test"])
    one, other = whole.splits["test"], alone.splits["test"]
    assert list(alone.splits) == ["test"] and np.array_equal(one.images.pixels, other.images.pixels)
    assert one.time is None or (np.array_equal(one.time, other.time) and len(np.unique(one.time)) == len(one))


def test_it_comes_back_from_a_folder_of_d_nerf_with_its_times(scene, tmp_path):
    loaded = load_scene(write_blender(scene, tmp_path / "moving"))
    for name, split in scene.splits.items():
        np.testing.assert_allclose(loaded.splits[name].time, split.time)
    assert "each image has a time: the scene moves" in loaded.notes
