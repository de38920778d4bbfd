"""Space in regions: disjoint boxes with equal numbers of points that are the whole cube."""

import numpy as np
import pytest

from taichi_nerf.data.builtin.cameras import looking
from taichi_nerf.data.regions import boxes_of, regions_of, shares_of
from taichi_nerf.data.scene import Images, Points, Scene, Split
from taichi_nerf.errors import UserError


def some_points(count: int = 4000) -> np.ndarray:
    """More of them at one end."""
    rng = np.random.default_rng(0)
    return (0.49 * rng.uniform(-1, 1, (count, 3)) ** np.array([3, 1, 5])).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_regions_are_disjoint_cover_the_cube_and_have_equal_numbers_of_points(count):
    points = some_points()
    boxes = boxes_of(points, 0.5, count)
    assert boxes.shape == (count, 2, 3) and (boxes[:, 0] < boxes[:, 1]).all()
    np.testing.assert_allclose(shares_of(boxes, points), 1 / count, atol=2 / len(points))
    anywhere = np.random.default_rng(1).uniform(-0.5, 0.5, (5000, 3)).astype(np.float32)
    anywhere[:count] = boxes[:, 0]  # what lies on a border, too, is in one
    inside = ((anywhere >= boxes[:, None, 0]) & (anywhere < boxes[:, None, 1])).all(axis=2)
    assert (inside.sum(axis=0) == 1).all()


def test_points_in_one_place_leave_a_cut_in_the_middle():
    boxes = boxes_of(np.full((100, 3), 0.1, np.float32), 0.5, 4)
    assert ((boxes[:, 1] - boxes[:, 0]).prod(axis=1) == 0.25).all()
    twice = boxes_of(np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.4]], np.float32), 0.5, 2)
    assert twice[0, 1, 2] == twice[1, 0, 2] == pytest.approx(0.35)  # where they differ


def test_a_few_far_points_do_not_decide_where_the_cut_is():
    points = some_points()
    near = boxes_of(points, 4.0, 2)
    points[:4, 1] = [-3.9, 3.9, -3.5, 3.5]
    np.testing.assert_allclose(boxes_of(points, 4.0, 2), near, atol=0.01)


def scene_of(points=None, cameras_within=True):
    """Of 8 cameras along x, in a cube of 8 or outside of it."""
    x = np.linspace(-3, 3, 8)
    places = np.stack([x, 0 * x + 0.1, 0 * x if cameras_within else 0 * x + 5], axis=1)
    images = Images.from_list([np.zeros((4, 4, 4), np.uint8)] * len(x))
    split = Split(name="train", cameras=looking(places, np.array((99.0, 1.0, 0.3)), 4, 1.0), images=images)
    return Scene(name="street", format="made up", splits={"train": split}, centre=np.zeros(3), scale=1.0, aabb_scale=8,
                 near=0.1, background="black", points=None if points is None else Points(position=points))


def test_a_scene_is_cut_by_its_points_or_its_cameras_or_its_size():
    points = np.array([*some_points(100), [7.0, 0.0, 0.0]], np.float32)  # of which one is outside of the model
    found = regions_of(scene_of(points), 4)
    assert found.by == "points"
    np.testing.assert_allclose(shares_of(found.boxes, points), 0.25, atol=0.02)
    found = regions_of(scene_of(), 2)
    assert found.by == "cameras" and found.boxes[0, 1, 0] == found.boxes[1, 0, 0] == 0
    assert regions_of(scene_of(cameras_within=False), 4).by == "space"


def test_more_regions_than_points_are_refused():
    points = np.array([[0, 0, 0.1], [0, 0, 0.2], [0, 0, 0.2], [9, 9, 9]], np.float32)
    with pytest.raises(UserError, match=r"cannot be cut into 4 regions: structure from motion found 2 points within "
                                        r"the model; give at most 2 --regions"):
        regions_of(scene_of(points), 4)
