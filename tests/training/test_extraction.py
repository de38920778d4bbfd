"""What an octree is made of, for fields that are known, and how it is trained further."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from taichi_nerf.config import ExtractionConfig, RayBatchConfig, SettingError, TrainingConfig, recipe
from taichi_nerf.data.svox import read_svox
from taichi_nerf.errors import UserError
from taichi_nerf.export.octree import write_octree
from taichi_nerf.fields.field import Field, Radiance
from taichi_nerf.metrics import psnr
from taichi_nerf.models.cones import sharpest_view
from taichi_nerf.models.model import Box, Model
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.octree import NOWHERE, Octree, cell_cubes, descend
from taichi_nerf.ops.octree_rendering import Frame
from taichi_nerf.ops.spherical_harmonics import encode_direction
from taichi_nerf.training import extraction
from taichi_nerf.training.extraction import extract, without_unseen
from taichi_nerf.training.fine_tuning import PATIENCE, fine_tune, without_validation
from taichi_nerf.training.run import make_model
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.types import UNKNOWN, Rays

from .test_family import SMALL

DENSITY, RADIUS = 60.0, 0.2
SETTINGS = ExtractionConfig(depth=5, samples=4)
COEFFICIENTS = torch.tensor([[1.0, 0.5, -0.3, 0.2], [-0.5, 0.0, 0.4, 0.1], [0.3, -0.2, 0.0, 0.6]])  # [3, B]


class KnownField(Field):
    """A ball around a place, whose colours are harmonics, which it says or keeps to itself."""

    def __init__(self, centre=(0.05, -0.1, 0.0), density=DENSITY, harmonics=1):
        super().__init__()
        self.centre, self.value, self.harmonics = torch.tensor(centre), density, harmonics

    def density(self, samples, shot=UNKNOWN, ray_index=None):
        return self.value * ((samples - self.centre).norm(dim=1) < RADIUS), samples

    def colour_coefficients(self, hidden, shot=UNKNOWN, ray_index=None):
        return COEFFICIENTS.expand(len(hidden), 3, 4)

    def colour(self, hidden, directions, shot=UNKNOWN, ray_index=None):
        return (encode_direction(directions, 2) @ COEFFICIENTS.t()).sigmoid()


class Known(Model):
    def __init__(self, **settings):
        super().__init__(None, Box())
        self.field = KnownField(**settings)

    def radiance(self, positions, shot=UNKNOWN):
        density, hidden = self.field.density(positions)
        return Radiance(density, self.field, hidden, shot)


def silent(name):
    return lambda done, total: None


def leaves_of(octree):
    """Middles in model space, densities, and coefficients of the leaves that are not empty."""
    field = octree.field
    dense = (field.cell_density > 0).nonzero().squeeze(1)
    corner, side = cell_cubes(field.tree)
    middles = field.frame.world_points(corner[dense] + side[dense, None] / 2)
    return middles, field.cell_density[dense], field.coefficients.detach()[dense].unflatten(1, (3, -1))


@pytest.mark.parametrize("harmonics", [1, None])
def test_leaves_hold_what_the_field_says(small_scene, harmonics):
    model = Known(harmonics=harmonics)
    octree = extract(model, small_scene, dataclasses.replace(SETTINGS, harmonics=1), silent)
    middles, density, coefficients = leaves_of(octree)
    distance = (middles - model.field.centre).norm(dim=1)
    side = 2 * octree.config.radius[0] / 2**SETTINGS.depth
    assert len(middles) > 500 and distance.max() < RADIUS + side
    inside = distance < RADIUS - side
    torch.testing.assert_close(density[inside], torch.full_like(density[inside], DENSITY))
    assert (density <= DENSITY + 1e-3).all()
    if harmonics is not None:
        torch.testing.assert_close(coefficients, COEFFICIENTS.expand_as(coefficients))
    for camera in torch.from_numpy(small_scene.model_cameras("train").camera_to_world[:, :3, 3]).float():
        seen = encode_direction(torch.nn.functional.normalize(middles - camera, dim=1), 2)  # [L, B]
        colour, expected = ((of_leaves * seen[:, None]).sum(2).sigmoid() for of_leaves in (coefficients, COEFFICIENTS))
        torch.testing.assert_close(colour, expected, atol=0.02, rtol=0)


def test_the_cube_is_as_small_as_the_object(small_scene):
    octree = extract(Known(), small_scene, SETTINGS, silent)
    cell = 1 / extraction.BOX_CELLS
    assert octree.config.centre == pytest.approx((0.05, -0.1, 0.0), abs=cell)
    assert RADIUS < octree.config.radius[0] < RADIUS + 3 * cell


def test_what_no_image_sees_is_no_leaf(small_scene):
    """The inside of a ball that nobody sees through."""
    _, deep, _ = leaves_of(extract(Known(density=60.0), small_scene, SETTINGS, silent))
    middles, hidden, _ = leaves_of(extract(Known(density=5000.0), small_scene, SETTINGS, silent))
    assert len(hidden) < 0.5 * len(deep)
    assert ((middles - torch.tensor((0.05, -0.1, 0.0))).norm(dim=1) > RADIUS / 2).all()


def test_a_larger_threshold_keeps_fewer_leaves(small_scene):
    few, many = (len(leaves_of(extract(Known(), small_scene, dataclasses.replace(SETTINGS, threshold=threshold),
                                       silent))[0]) for threshold in (0.1, 0.01))
    assert few < many


def test_the_picture_is_that_of_the_field(small_scene):
    """Of a ball of this density and radius, the opacity through its middle is known."""
    octree = extract(Known(), small_scene, dataclasses.replace(SETTINGS, samples=16), silent)
    origins, directions = torch.tensor([[0.05, -0.1, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]])

    pixels = octree.render(Rays(origins, directions))
    opacity = -math.expm1(-DENSITY * 2 * RADIUS)
    assert pixels.opacity.item() == pytest.approx(opacity, abs=0.01)
    expected = opacity * (encode_direction(directions, 2) @ COEFFICIENTS.t()).sigmoid()
    torch.testing.assert_close(pixels.colour.detach(), expected, atol=0.01, rtol=0)


def test_an_octree_of_a_deep_network_without_harmonics_shows_what_that_does(small_scene, monkeypatch):
    monkeypatch.setattr(extraction, "BOX_CELLS", 32)
    monkeypatch.setattr(extraction, "MOST_RAYS", 2**13)
    model, generator = make_model(small_scene, SMALL["nerf"]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            if name.endswith("density_layer.bias"):
                parameter.fill_(3.0)
    octree = extract(model, small_scene, SETTINGS, silent)
    cameras, seen = small_scene.model_cameras("train"), {}
    for each in (model, octree):
        view = render_view(each, cameras, 0, background=0.0)
        seen[each] = view.colour
        assert view.opacity.mean() > 0.3
    assert psnr(seen[octree], seen[model]) > 20


def test_leaves_that_nobody_sees_any_more_are_left_out(small_scene):
    octree = extract(Known(), small_scene, SETTINGS, silent)
    dense = (octree.field.cell_density > 0).nonzero().squeeze(1)
    with torch.no_grad():
        octree.field.thickness[dense[::2]] *= 1e-6
    fewer = without_unseen(octree, small_scene, SETTINGS.threshold, silent)
    assert 0.9 < 2 * len(leaves_of(fewer)[0]) / len(dense) <= 1.01
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    torch.testing.assert_close(fewer.density(points), octree.density(points), atol=0.01, rtol=1e-5)
    sharpest = sharpest_view(small_scene.model_cameras("train")).float()
    for each in (octree, fewer):  # pictures from afar are those of the field
        torch.testing.assert_close(each.sharpest, sharpest)


def test_an_empty_model_is_refused(small_scene):
    with pytest.raises(UserError, match="the model is empty"):
        extract(Known(density=0.0), small_scene, SETTINGS, silent)
    with pytest.raises(UserError, match=r"the training images see nothing of the model.*--threshold"):
        extract(Known(), small_scene, dataclasses.replace(SETTINGS, threshold=0.9999), silent)


def test_a_tree_that_is_too_large_is_refused_before_it_is_made(small_scene, capsys):
    with pytest.raises(UserError, match=r"would take .* GiB .*--depth or --harmonics.*--memory"):
        extract(Known(), small_scene, dataclasses.replace(SETTINGS, memory=1e-4), silent)
    assert "leaves of depth 5 with harmonics of degree 1" in capsys.readouterr().err


@pytest.mark.parametrize("settings, words", [
    ({"depth": 2}, "depth must be"), ({"depth": 13}, "depth must be"), ({"samples": 0}, "samples must be"),
    ({"threshold": 0.0}, "threshold must be above 0"), ({"threshold": float("nan")}, "threshold must be above 0"),
    ({"harmonics": 5}, "harmonics must be"), ({"memory": 0.0}, "memory must be above 0")])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        ExtractionConfig(**settings)


def trainer_of(octree, scene, **settings):
    found = recipe("plenoctree")
    return trainer_for(octree, scene, TrainingConfig(batch=RayBatchConfig(rays=256), optimiser=found.optimiser,
                                                     **settings))


def test_fine_tuning_gains_on_the_images_and_keeps_the_best(small_scene):
    octree = extract(Known(), small_scene, SETTINGS, silent)
    before = [parameter.detach().clone() for parameter in octree.parameters()]
    told = []
    first, best = fine_tune(trainer_of(octree, small_scene, steps=60), dataclasses.replace(
        small_scene, splits={"val": dataclasses.replace(small_scene.splits["train"], name="val")}),
        told=lambda share, text: told.append((share, text)))
    assert best > first + 0.1 and told[-1][0] == 1
    assert any(not torch.equal(parameter, value) for parameter, value in zip(octree.parameters(), before))


def test_fine_tuning_ends_where_the_views_that_were_left_out_do_not_gain(small_scene, monkeypatch):
    octree = extract(Known(), small_scene, SETTINGS, silent)
    before = [parameter.detach().clone() for parameter in octree.parameters()]
    scores = iter([30.0, *(29.0 - n for n in range(20))])
    monkeypatch.setattr("taichi_nerf.training.fine_tuning.evaluate", lambda *_, **__: type(
        "Score", (), {"mean_psnr": next(scores)}))
    trainer = trainer_of(octree, small_scene, steps=100)
    assert fine_tune(trainer, small_scene, told=lambda *_: None) == (30.0, 30.0)
    assert trainer.steps_done == 10 * (PATIENCE + 1)
    for parameter, value in zip(octree.parameters(), before):
        assert torch.equal(parameter, value)


def test_some_training_views_are_left_out(small_scene):
    split = small_scene.splits["train"]
    many = dataclasses.replace(small_scene, splits={"train": split.subset([n % len(split) for n in range(40)])})
    rest, validation = without_validation(many)
    assert (len(rest.splits["train"]), len(validation.splits["val"])) == (38, 2)
    rest, validation = without_validation(small_scene)
    assert (len(rest.splits["train"]), len(validation.splits["val"])) == (5, 1)
    few = dataclasses.replace(small_scene, splits={"train": split.subset([0, 1, 2])})
    assert without_validation(few) == (few, None)


def test_a_file_of_an_octree_lies_in_the_world_of_the_scene(small_scene, tmp_path):
    """Turned by 90 degrees, moved and scaled: a point of the world is as dense as in the model."""
    octree = extract(Known(), small_scene, SETTINGS, silent)
    turned = dataclasses.replace(small_scene, rotation=np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), scale=0.5,
                                 centre=np.array([1.0, 2.0, 3.0]))
    write_octree(tmp_path / "tree.npz", octree, turned)
    tree = read_svox(tmp_path / "tree.npz")
    model = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.5  # [M, 3]
    world = turned.to_world(model.numpy()) @ turned.rotation.T  # with the axes of the model
    cells, _ = descend(Octree(torch.from_numpy(tree.child), torch.from_numpy(tree.parent_depth)),
                       Frame(tree.offset, tree.scale).tree_points(torch.from_numpy(world).float()))
    inside = cells != NOWHERE
    found = torch.from_numpy(tree.density)[cells[inside].long()]
    torch.testing.assert_close(found, 0.5 * octree.density(model).detach()[inside], rtol=1e-3, atol=1e-3)
    assert found.max() > 10


def test_space_without_end_is_held_as_a_whole(small_scene):
    """A shell far outside of the core is where it was, as dense as it was."""
    model = Known()
    type(model).core = property(lambda self: 0.25)
    try:
        model.field.density = lambda samples, shot=UNKNOWN, ray_index=None: (
            20.0 * ((samples.norm(dim=1) > 4) & (samples.norm(dim=1) < 6)), samples)
        octree = extract(model, small_scene, dataclasses.replace(SETTINGS, depth=6), silent)
    finally:
        del type(model).core
    assert octree.config.unbounded and octree.config.radius == (0.25, 0.25, 0.25)
    middles, density, _ = leaves_of(octree)
    distance = middles.norm(dim=1)
    assert len(middles) > 50 and distance.min() > 2.5 and density.max() == pytest.approx(20, rel=0.01)
    pose = torch.from_numpy(small_scene.model_cameras("train").camera_to_world[0]).float()
    pixels = octree.render(Rays(pose[None, :, 3].contiguous(), -pose[None, :, 2].contiguous()))
    assert pixels.opacity.item() > 0.99
    assert 3 < (pixels.depth / pixels.opacity).item() < 9


def test_a_grid_that_is_too_large_is_refused(small_scene):
    with pytest.raises(UserError, match=r"cells of depth 12 takes 40.0 GiB, of which --memory allows 4;"):
        extract(Known(), small_scene, dataclasses.replace(SETTINGS, depth=12), silent)


def test_some_pieces_of_far_cells_are_where_they_are_asked_for():
    """Of a contracted tree, whose points are spread one by one."""
    frame = Frame.of_box((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), contracted=True)
    middles = torch.tensor([[0.9, 0.5, 0.5], [0.5, 0.5, 0.5], [0.5, 0.05, 0.6]])
    asked = []
    model = Known()
    model.radiance = lambda positions, shot=UNKNOWN: (
        asked.append(positions) or Radiance(positions[:, 0] * 0, model.field, positions, shot))
    extraction.leaves_of_model(model, frame, middles, 5, 4, lambda done, total: None)
    back = frame.tree_points(asked[0]).view(3, 4, 3)
    assert ((back - middles[:, None]).abs() <= 0.5 / 2**5 + 1e-5).all()
