"""The built-in street: what its cameras say, what its walls hide, and its way to disk and back."""

import re

import numpy as np
import pytest

from taichi_nerf.data import load_scene
from taichi_nerf.data.builtin import builtin_scene, render
from taichi_nerf.data.builtin.street import DRIVES, SEGMENT, STOPS, WALL, drive_along, lights_of_drives
from taichi_nerf.data.builtin.street import street as street_world
from taichi_nerf.data.export import write_blender
from taichi_nerf.data.inspect import describe
from taichi_nerf.errors import UserError


@pytest.fixture(scope="module")
def street():
    return builtin_scene("street-2", resolution=12, views=(16, 0, 4), samples_per_pixel=1)


def test_photos_are_of_drives_with_exposures_and_test_views_of_the_same_and_neutral(street):
    train, test = street.splits["train"], street.splits["test"]
    assert train.ids["appearance"].tolist() == [0, 1, 2, 3] * 4 and DRIVES == 4
    assert 0.5 < np.abs(train.exposure).max() <= STOPS and np.ptp(train.exposure) > 0.5
    assert not test.exposure.any() and test.ids["appearance"].tolist() == [0, 1, 2, 3]


def test_test_views_are_in_the_light_of_their_drive(street):
    test, world = street.splits["test"], street_world(2)
    lights = lights_of_drives(4)
    for n, light in enumerate(lights):
        own, other = (render(world, test.cameras.subset([n]), one, 1).rgba[0] for one in (light, lights[n - 1]))
        assert np.array_equal(test.images.image(n), own) and not np.array_equal(own, other)


def test_cameras_stand_in_the_street_and_in_no_wall(street):
    for split in street.splits.values():
        x, y, z = split.cameras.position.T
        assert (np.abs(x) < SEGMENT).all() and (np.abs(y) < 0.2).all() and (z > 0.2).all()
        assert (np.abs((x + 0.5 * SEGMENT) % SEGMENT - 0.5 * SEGMENT) > WALL).all()  # from the walls at its multiples
        inside = street.to_model(split.cameras.position)
        assert (np.abs(inside) < 0.5).all()


def test_the_walls_hide_what_lies_behind_them(street):
    """Nearly all that a camera sees of the street is of its own segment."""
    split, own = street.splits["train"], []
    for n in range(len(split)):
        depth, place = split.depth[n], split.cameras.position[n]
        seen = np.isfinite(depth)
        row, column = np.nonzero(seen)
        x, y = ((np.stack([column, row], axis=1) + 0.5 - split.cameras.principal[n]) / split.cameras.focal[n]).T
        ways = np.stack([x, -y, -np.ones_like(x)], axis=1) @ split.cameras.camera_to_world[n, :, :3].T
        points = place + depth[seen][:, None] * ways / np.linalg.norm(ways, axis=1, keepdims=True)
        own.append(np.mean(np.floor((points[:, 0] + 1e-3) / SEGMENT) == np.floor(place[0] / SEGMENT)))
    assert np.mean(own) > 0.7


def test_a_drive_goes_from_end_to_end():
    x = drive_along(4, 60, 8).position[:, 0]
    assert (np.diff(x) > 0).all() and x[0] < -3.5 and x[-1] > 3.5


def test_it_comes_back_from_a_folder_with_its_exposures(street, tmp_path):
    write_blender(street, tmp_path / "street")
    again = load_scene(tmp_path / "street")
    np.testing.assert_allclose(again.splits["train"].exposure, street.splits["train"].exposure, atol=1e-6)
    said = [finding.text for finding in describe(again)]
    assert any(text.startswith("train: exposures that differ by ") for text in said)


def with_exposure(street, folder, value: str):
    """A folder of the street, one of whose training frames states another exposure."""
    write_blender(street, folder)
    file = folder / "transforms_train.json"
    file.write_text(re.sub(r'"exposure": [0-9.]+', f'"exposure": {value}', file.read_text(), count=1))
    return folder


def test_an_exposure_that_may_mean_something_else_is_not_used(street, tmp_path):
    scene = load_scene(with_exposure(street, tmp_path / "street", "-1.5"))
    assert scene.splits["train"].exposure is None and scene.splits["test"].exposure is not None
    assert any("exposures are not used" in note for note in scene.notes)


def test_an_exposure_that_is_no_number_is_said(street, tmp_path):
    with pytest.raises(UserError, match="exposure"):
        load_scene(with_exposure(street, tmp_path / "street", '"bright"'))
