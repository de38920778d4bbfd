"""`load_scene` of a SceneConfig whole, and of a path with the same settings as keywords."""

import dataclasses

import numpy as np
import pytest

from taichi_nerf.config import SceneConfig
from taichi_nerf.data import Scene, load_scene, with_scales
from taichi_nerf.errors import UserError


def assert_same(one: Scene, other: Scene):
    assert list(one.splits) == list(other.splits) and one.background == other.background
    for name, split in one.splits.items():
        assert split.images.names == other.splits[name].images.names
        assert np.array_equal(split.images.pixels, other.splits[name].images.pixels)
        assert np.array_equal(split.cameras.camera_to_world, other.splits[name].cameras.camera_to_world)


def test_settings_whole_and_as_keywords_load_the_same(capture):
    settings = {"downscale": 2, "scales": 2, "test_every": 3, "background": "white", "exposure": 1.0, "orient": "pca"}
    folder = capture.write()
    whole = load_scene(SceneConfig(path=str(folder), **settings))
    assert_same(whole, load_scene(folder, **settings))
    assert whole.background == "white" and len(whole.splits["test"]) == 2 * 4
    plain = load_scene(folder, **{**settings, "scales": 1})
    assert_same(whole, with_scales(plain, 2))


def test_keywords_stand_in_place_of_settings(capture):
    settings = SceneConfig(path=str(capture.write()), test_every=3, downscale=4)
    assert_same(load_scene(settings, downscale=1), load_scene(capture.folder, test_every=3))
    assert settings.downscale == 4


@pytest.mark.parametrize("path, name", [(None, "still life"), ("builtin:open-field", "open field")])
def test_a_built_in_scene_is_loaded_by_its_name(path, name):
    settings = SceneConfig(path=path, downscale=50)
    scene = load_scene(settings)
    assert scene.name == name and {name: len(split) for name, split in scene.splits.items()} == {
        "train": 60, "val": 8, "test": 16}
    assert scene.splits["train"].images.image(0).shape == (4, 4, 4)
    some = load_scene(settings, splits=["test"], every={"test": 8})
    assert list(some.splits) == ["test"]
    whole = scene.splits["test"].cameras.camera_to_world
    np.testing.assert_array_equal(some.splits["test"].cameras.camera_to_world, whole[::8])


@pytest.mark.parametrize("settings, message", [
    ({"format": "ply"}, "--format is ply; it must be one of blender"),
    ({"orient": "down"}, "--orient is down; it must be one of up, pca, none"),
    ({"downscale": 1.5}, "--downscale is 1.5; it must be a whole number of at least 1"),
    ({"scales": 9}, "scales must be from 1 to 8, got 9; give another value"),
])
def test_a_setting_that_is_none_is_refused_wherever_it_stands(capture, settings, message):
    folder = capture.write()
    with pytest.raises(UserError) as whole:
        load_scene(folder, **settings)
    assert message in str(whole.value)
    if "scales" not in settings:
        with pytest.raises(UserError) as keywords:
            load_scene(dataclasses.replace(SceneConfig(path=str(folder)), **settings))
        assert str(keywords.value) == str(whole.value)


def test_an_unknown_setting_is_a_mistake_of_the_program(capture):
    with pytest.raises(TypeError, match="resolution"):
        load_scene(capture.write(), resolution=3)
