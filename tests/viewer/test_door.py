"""From a look to a picture: what of a model is seen, and before what."""

import copy
import math

import numpy as np
import pytest

from taichi_nerf.models.cones import sharpest_view
from taichi_nerf.models.model import Box
from taichi_nerf.models.plenoctree import PlenOctree
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import Look, Shown, perspective_cameras

from ..export.scenes import around, ball_and_box, tree_of

SIZE = (40, 30)


@pytest.fixture(scope="module")
def door(all_on_cpu):
    return Door(PlenOctree.of_svox(tree_of(ball_and_box(4, 4)), Box()))


def look_from_the_side(fov=0.8, size=SIZE):
    pose = around(2).camera_to_world[1]
    return Look(pose=tuple(map(tuple, pose.tolist())), fov=fov, window=size)


def picture(door, fov=0.8, size=SIZE, supersample=False, **shown):
    return door.picture(look_from_the_side(fov, size), Shown(**shown), size, lambda: False, supersample)


def seen(door, **settings):
    """[H, W, 3] in [0, 1]"""
    return picture(door, **settings).image / 255.0


def opacity_of(door):
    return seen(door, what="opacity")[..., :1]


def test_the_background_is_seen_as_far_as_the_model_is_transparent(door):
    black, colour = seen(door, background=(0.0, 0.0, 0.0)), (1.0, 0.5, 0.25)
    opacity = opacity_of(door)
    assert 0.1 < opacity.mean() < 0.9
    assert np.abs(seen(door, background=colour) - (black + (1 - opacity) * colour)).max() < 2 / 255


def test_the_field_of_view_is_vertical_and_twice_as_wide_has_the_picture_in_its_middle(door):
    narrow = seen(door, fov=0.8, size=(20, 14))
    wide = seen(door, fov=2 * math.atan(2 * math.tan(0.4)), size=(40, 28))
    assert narrow.std() > 0.1 and np.abs(wide[7:21, 10:30] - narrow).max() < 2 / 255


def test_outside_of_the_crop_box_there_is_background(door):
    everything, empty = opacity_of(door), (2.0, 2.0, 2.0)
    assert seen(door, what="opacity", crop=((1.9, 1.9, 1.9), empty)).max() == 0
    half = seen(door, what="opacity", crop=((-2.0, -2.0, 0.0), empty))[..., :1]
    assert 0.02 < half.mean() < 0.9 * everything.mean() and (half <= everything + 1 / 255).all()
    assert np.array_equal(opacity_of(door), everything)  # and then it is whole again


def test_distances_are_where_something_is(door):
    distance, opacity = picture(door, distances=True).distance, opacity_of(door)[..., 0]
    opaque = opacity > 0.51
    assert np.isfinite(distance[opaque]).all() and np.isinf(distance[opacity < 0.49]).all()
    assert 1.5 < distance[opaque].mean() < 3.6  # the camera stands at 3.6
    assert picture(door).distance is None


def test_where_photos_saw_more_a_picture_can_be_finer_and_is_the_mean_of_one_of_their_size(door):
    look, large = look_from_the_side(), (4 * SIZE[0], 4 * SIZE[1])
    sharp = Door(copy.deepcopy(door.model))
    sharp.model.sharpest.copy_(sharpest_view(perspective_cameras(np.array([look.pose]), np.array([0.8]), large)))
    assert sharp.can_be_finer(look, Shown(), SIZE) and not sharp.can_be_finer(look, Shown(), large)
    assert not sharp.can_be_finer(look, Shown(what="depth"), SIZE)
    assert not Door(sharp.model, supersample=False).can_be_finer(look, Shown(), SIZE)
    assert not door.can_be_finer(look, Shown(), SIZE)  # which knows nothing of photos
    mean = seen(door, size=large).reshape(SIZE[1], 4, SIZE[0], 4, 3).mean(axis=(1, 3))
    assert np.abs(seen(sharp, supersample=True) - mean).max() < 2 / 255
    assert np.abs(seen(sharp) - mean).max() > 0.05
