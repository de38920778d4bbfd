"""The light of a photo: what was learned of it, what fits one that is new, and the way from one to the next."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    ExposureConfig,
    FieldConfig,
    HashGridConfig,
    InstantNGPConfig,
    RunConfig,
    SamplingConfig,
    SceneConfig,
    TrainingConfig,
)
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.scene import Images
from taichi_nerf.errors import UserError
from taichi_nerf.models.views import render_view
from taichi_nerf.training.lights import lights_along, lights_of
from taichi_nerf.training.named_photos import with_lights
from taichi_nerf.training.run import make_model
from taichi_nerf.types import Shot

CONFIG = InstantNGPConfig(
    field=FieldConfig(hash_grid=HashGridConfig(levels=3, features=2, log2_entries=8, max_resolution=16),
                      geometry_features=4, density_width=8, colour_width=8, direction_degree=2),
    sampling=SamplingConfig(grid_resolution=16, steps=64), appearance=3)


@pytest.fixture(scope="module")
def scene():
    return builtin_scene(resolution=12, views=(4, 0, 2), samples_per_pixel=1)


@pytest.fixture
def model(scene):
    return make_lit(scene)


def make_lit(scene):
    """A model in whose pictures the light of a photo counts, on one thread."""
    runtime.init("cpu", torch.float32, threads=1)
    model = make_model(scene, CONFIG, seed=1)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for table, *_ in model.field.tables():
            table.normal_(generator=generator)
        model.codes["appearance"].table.normal_(generator=generator)
    return model


def run_of(scene, now=None, **config):
    """As far as lights look into a run, whose scene may be another one now."""
    return SimpleNamespace(path=Path("run"), cameras_scene=lambda: scene, split=lambda *_, **__: (now or scene, 1, 1),
                           config=RunConfig(scene=SceneConfig(), **{"model": CONFIG, **config}))


def renamed(scene, split, names):
    """`scene` with images of other names in one of its splits, or with fewer."""
    fewer = scene.splits[split].subset(range(len(names)))
    images = dataclasses.replace(fewer.images, names=tuple(names))
    return dataclasses.replace(scene, splits={**scene.splits, split: dataclasses.replace(fewer, images=images)})


def test_a_training_photo_has_the_light_that_was_learned(scene, model):
    names = scene.splits["train"].images.names
    found = lights_of(model, run_of(scene), [names[2], names[0], names[2]])
    assert torch.equal(found, model.codes["appearance"].table[[2, 0, 2]])


@pytest.mark.slow
def test_the_light_of_a_new_photo_is_found_and_the_model_stays(scene, model):
    """Of one that shows what the model does in a light that the training has not seen."""
    test, mean = scene.splits["test"], model.codes["appearance"].mean.detach()
    code = mean + torch.tensor([0.8, -0.6, 0.4])
    view = render_view(model, scene.model_cameras(test.cameras), 1, background=1.0,
                       shot=Shot.single(codes={"appearance": code}))
    shown = torch.cat([torch.from_numpy(view.colour), torch.ones(12, 12, 1)], dim=2).mul(255).round().byte().numpy()
    images = Images.from_list([test.images.image(0), shown], test.images.names)
    split = dataclasses.replace(test, images=images)
    given = dataclasses.replace(scene, splits={**scene.splits, "test": split})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (found,) = lights_of(model, run_of(given), [f"test/{test.images.names[1]}"])

    def error(light):
        colour = render_view(model, scene.model_cameras(test.cameras), 1, background=1.0,
                             shot=Shot.single(codes={"appearance": light})).colour
        return abs(colour - view.colour).mean()

    assert error(found.cpu()) < 0.3 * error(mean)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_lights_on_the_way_lie_between_those_at_its_ends():
    codes = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 4.0]])
    torch.testing.assert_close(lights_along(codes, 5), torch.tensor(
        [[0.0, 0.0], [0.5, 1.0], [1.0, 2.0], [1.0, 3.0], [1.0, 4.0]]))
    assert torch.equal(lights_along(codes[1:2], 3), codes[1:2].expand(3, -1))
    assert torch.equal(lights_along(codes, 1), codes[:1])


def test_what_there_is_not_is_refused(scene, model):
    with pytest.raises(UserError, match=r"nowhere is no photo of run; it has 0000, 0001, .*, \.\.\., 6 photos, whose"):
        lights_of(model, run_of(scene), ["nowhere"])
    with pytest.raises(UserError, match=r"train/0003.png is no photo of run; did you mean 0003 or .*\? It has 6 "):
        lights_of(model, run_of(scene), ["train/0003.png"])
    plain = InstantNGPConfig(field=CONFIG.field, sampling=CONFIG.sampling)
    with pytest.raises(UserError, match=r"knows no light of a photo: .* codes of them \(--model.appearance\); leave"):
        lights_of(model, run_of(scene, model=plain), ["0000"])
    exposed = run_of(scene, model=plain, training=TrainingConfig(exposure=ExposureConfig(learned=True)))
    with pytest.raises(UserError, match=r"is an exposure of each photo; leave --appearance out"):
        lights_of(model, exposed, ["0000"])


def test_photos_that_are_not_those_of_the_training_any_more_are_refused(scene, model):
    """Codes are those of photos in their order: of other photos they would be those of others."""
    train, test = scene.splits["train"].images.names, scene.splits["test"].images.names
    fewer = renamed(scene, "train", train[1:])
    with pytest.raises(UserError, match="the built-in scene has other training images than when run was begun, so"):
        lights_of(model, run_of(scene, now=fewer), [train[2]])
    gone = renamed(scene, "test", test[:1])
    with pytest.raises(UserError, match=rf"test/{test[1]} is no photo of the built-in scene; did you mean {test[0]}\? "
                                        "It has 1 in its split test; give the name of one"):
        lights_of(model, run_of(scene, now=gone), [f"test/{test[1]}"])


def test_a_test_photo_need_not_have_been_scored(scene):
    """Of photos in splits of their own the training scores every 8th."""
    few = renamed(scene, "test", ["scored"])
    assert with_lights(run_of(few), ["test/scored", "test/other", "val/0003"]) == [
        ("test", "scored"), ("test", "other"), ("val", "0003")]
    with pytest.raises(UserError, match="train/other is no photo of run"):
        with_lights(run_of(few), ["train/other"])


def test_a_name_that_several_photos_have_is_none(scene):
    twice = renamed(scene, "train", ["a", "b", "a"])
    assert with_lights(run_of(twice), ["b"]) == [("train", "b")]
    with pytest.raises(UserError, match=r"^a is the name of 2 photos of run, which differ in folder or ending alone"):
        with_lights(run_of(twice), ["b", "a"])
