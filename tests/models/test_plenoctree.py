"""PlenOctrees against their reference in plain PyTorch, and the laws that every model obeys."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

from taichi_nerf import cli
from taichi_nerf.config import PlenOctreeConfig, RayBatchConfig, SettingError, TrainingConfig
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.svox import read_svox, write_svox
from taichi_nerf.errors import UserError
from taichi_nerf.models.family import box_of, build_model
from taichi_nerf.models.model import Box
from taichi_nerf.models.plenoctree import PlenOctree
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.octree import cell_cubes, descend, insert_points, root_of
from taichi_nerf.reference.models import plenoctree as reference
from taichi_nerf.training import checkpoint
from taichi_nerf.training.run import Meter
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.types import Rays, Seeds, Standing
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import WHATS, Look, Shown

CONFIG = PlenOctreeConfig(degree=2, centre=(0.125, 0.0, 0.0), radius=(0.5, 0.25, 0.5), early_stop=0.1, skip=1.0)
BOX = Box(bounded=True, near=0.25)
TRAINING = Standing(step=3, progress=0.5, seeds=Seeds(1, 2, 3))


def make_model(device, dtype, rng, config=CONFIG, box=BOX, density=12.0):
    tree, _ = insert_points(root_of(), torch.rand(6, 3, generator=rng), 4)
    values = density * torch.rand(tree.cells, generator=rng), torch.randn(tree.cells, 12, generator=rng)
    return PlenOctree.of_tree(config, box, tree, *values).to(device, dtype)


def rays_of(backend, rng, count=63):
    origins = torch.randn(count, 3, generator=rng)
    directions = torch.nn.functional.normalize(0.3 * torch.randn(count, 3, generator=rng) - origins, dim=1)
    return Rays(backend.tensor(origins), backend.tensor(directions))


def exactly(model):
    """What the model holds, in float64."""
    return {name: value.detach().double().cpu() for name, value in model.state_dict().items()}


def box_of_tree(config):
    return {"centre": config.centre, "radius": config.radius, "unbounded": config.unbounded}


@pytest.mark.parametrize("standing", [None, TRAINING], ids=["picture", "training"])
def test_it_renders_what_its_reference_does(backend, rng, standing):
    model, rays = make_model(backend.device, backend.dtype, rng), rays_of(backend, rng)
    pixels = model.render(rays, standing)
    field, state = model.field, exactly(model)
    exact = [state[f"field.{name}"].requires_grad_() for name in ("thickness", "coefficients")]
    stops = {} if standing else {"early_stop": 0.1, "skip": 1.0}
    expected = reference.plenoctree(state, rays.origins.double().cpu(), rays.directions.double().cpu(),
                                    **box_of_tree(CONFIG), near=0.25, **stops)
    for name, value in zip(("colour", "opacity", "depth"), expected):
        backend.assert_close(getattr(pixels, name), value, name)
    assert len(pixels.samples) == pixels.visible == len(rays)
    for tensor in field.tables():
        assert not tensor[1].any()
    cotangent = torch.randn(len(rays), 3, generator=rng, dtype=torch.float64)
    pixels.colour.backward(backend.tensor(cotangent))
    at_thickness, at_coefficients = torch.autograd.grad(expected[0], exact, cotangent)
    assert field.thickness.grad is None and field.coefficients.grad is None
    backend.assert_close(field.thickness_gradient, at_thickness, "thickness")
    backend.assert_close(field.coefficients_gradient, at_coefficients, "coefficients")


@pytest.mark.parametrize("unbounded", [False, True])
def test_its_density_and_all_of_space_are_those_of_its_reference(backend, rng, unbounded):
    config = dataclasses.replace(CONFIG, unbounded=unbounded)
    model, rays = make_model(backend.device, backend.dtype, rng, config), rays_of(backend, rng, 9)
    o, d = rays.origins.double().cpu(), rays.directions.double().cpu()
    positions = torch.cat([0.3 * o, 3 * o])
    density = reference.plenoctree_density(exactly(model), positions, **box_of_tree(config))
    backend.assert_close(model.density(backend.tensor(positions)), density, "density")
    assert bool((density > 0).any()) and bool((density[9:] > 0).any()) == unbounded
    expected = reference.plenoctree(exactly(model), o, d, **box_of_tree(config), near=0.25)
    for name, value in zip(("colour", "opacity", "depth"), expected):
        backend.assert_close(getattr(model.render(rays, TRAINING), name), value, name)


def test_one_launch_shows_what_the_model_does_and_what_has_changed_since(backend, rng):
    model, rays = make_model(backend.device, backend.dtype, rng), rays_of(backend, rng)
    for _ in range(2):
        *found, leaves = model.one_launch()(rays)
        with torch.no_grad():
            pixels = model.render(rays)
            model.field.thickness += 1.0
        for name, value in zip(("colour", "opacity", "depth"), found):
            backend.assert_close(value, getattr(pixels, name), name)
    assert leaves.shape == (len(rays),) and int(leaves.max()) > 0


@pytest.mark.parametrize("unbounded", [False, True])
def test_cropped_to_a_box_its_leaves_alone_are_seen(backend, rng, unbounded):
    model = make_model(backend.device, backend.dtype, rng, dataclasses.replace(CONFIG, unbounded=unbounded))
    rays, density = rays_of(backend, rng), model.field.cell_density
    whole = model.one_launch()(rays)[0].clone()
    with model.cropped((-9.0, -9.0, -9.0), (0.125, 9.0, 9.0)):
        left = model.field.cell_density
        *found, _ = model.one_launch()(rays)
        pixels = model.render(rays)
    corner, side = cell_cubes(model.field.tree)
    inside = model.field.frame.world_points(corner + side[:, None] / 2)[:, 0] <= 0.125
    assert torch.equal(left, torch.where(inside, density, 0)) and (density > 0)[~inside].any()
    for name, value in zip(("colour", "opacity", "depth"), found):
        backend.assert_close(value, getattr(pixels, name), name)
    assert not torch.equal(found[0], whole) and torch.equal(model.one_launch()(rays)[0], whole)


def test_an_unbounded_tree_shows_what_is_outside_of_its_core(backend, rng):
    model = make_model(backend.device, backend.dtype, rng, dataclasses.replace(CONFIG, unbounded=True))
    rays = rays_of(backend, rng)
    away = dataclasses.replace(rays, directions=torch.nn.functional.normalize(rays.origins, dim=1))
    pixels = model.render(away, TRAINING)
    assert bool((pixels.opacity > 0.5).any()) and bool(torch.isfinite(pixels.depth).all())
    assert bool((model.density(rays.origins * 30) > 0).any())
    inner, outer = model.field.sides(backend.tensor([[0.125, 0.0, 0.0], [9.0, 0.0, 0.0]]))
    assert inner <= 1 < outer
    with pytest.raises(UserError, match="has no file of svox"):
        model.as_svox()


def test_density_is_that_of_the_leaf_and_of_nothing_outside(backend, rng):
    model = make_model(backend.device, backend.dtype, rng)
    positions = backend.tensor([[0.125, 0.0, 0.0], [0.125, 0.3, 0.0], [9.0, 0.0, 0.0]])
    found = model.density(positions)
    cell = model.field.density(positions)[1][0]
    backend.assert_close(found[0], model.field.cell_density[cell])
    assert found[1:].tolist() == [0.0, 0.0]


def test_a_pixel_of_several_rays_is_their_mean(backend, rng):
    model, rays = make_model(backend.device, backend.dtype, rng), rays_of(backend, rng, 8)
    one, several = model.render(rays), model.render(dataclasses.replace(rays, per_pixel=4))
    backend.assert_close(several.colour, one.colour.view(2, 4, 3).mean(1), "colour")
    assert several.samples.ray_total == 8


# on a CPU


def test_a_checkpoint_knows_the_size_of_its_tree(on_cpu, rng, tmp_path):
    path, model = tmp_path / "model.safetensors", make_model("cpu", torch.float32, rng)
    checkpoint.save_model(path, model, steps=0, seconds=0.0)
    found = checkpoint.load(path)
    assert found.config == CONFIG and found.sizes == model.sizes and model.sizes["nodes"] > 1
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["header"])["sizes"] == model.sizes


@pytest.mark.parametrize("sizes", [{}, {"nodes": 0}, {"nodes": 3}, {"nodes": 10**9}, {"leaves": 3}, {"nodes": -1}, 7])
def test_a_checkpoint_with_the_size_of_another_tree_is_refused(on_cpu, rng, tmp_path, sizes, monkeypatch):
    path, model = tmp_path / "model.safetensors", make_model("cpu", torch.float32, rng)
    monkeypatch.setattr(PlenOctree, "sizes", sizes)
    checkpoint.save_model(path, model, steps=0, seconds=0.0)
    monkeypatch.undo()
    with pytest.raises(UserError, match="does not fit the model that it describes"):
        checkpoint.load(path)


def test_a_file_of_svox_is_the_same_model(on_cpu, rng, tmp_path):
    model = make_model("cpu", torch.float32, rng)
    write_svox(tmp_path / "tree.npz", model.as_svox())
    found = PlenOctree.of_svox(read_svox(tmp_path / "tree.npz"), BOX)
    assert found.config.centre == pytest.approx(CONFIG.centre) and found.config.radius == pytest.approx(CONFIG.radius)
    rays = Rays(torch.tensor([[0.1, 0.05, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    with torch.no_grad():
        a, b = model.render(rays), found.render(rays)
    torch.testing.assert_close(a.colour, b.colour, rtol=2e-3, atol=1e-3)
    assert a.opacity.item() > 0.5


def test_sizes_are_of_models_that_have_some():
    with pytest.raises(ValueError, match="the sizes of its arrays are"):
        build_model(PlenOctreeConfig(), Box(), sizes={"leaves": 2})
    with pytest.raises(ValueError, match="nodes"):
        build_model(PlenOctreeConfig(), Box(), sizes={"nodes": 2**28})


def test_training_it_further_brings_it_closer_to_the_images(on_cpu, rng):
    scene = builtin_scene(resolution=16, views=(4, 1, 1), samples_per_pixel=1)
    config = PlenOctreeConfig(degree=2)
    model = make_model("cpu", torch.float32, rng, config, box_of(scene), density=30.0)
    trainer = trainer_for(model, scene, TrainingConfig(batch=RayBatchConfig(rays=256), steps=60))
    meter, losses = Meter(trainer), []
    for step in range(60):
        trainer.step()
        if step % 30 == 29:
            losses.append(meter.report().loss)
    assert losses[1] < 0.85 * losses[0], losses


def test_a_view_of_it_has_normals_and_is_the_same_by_either_renderer(on_cpu, rng):
    scene = builtin_scene(resolution=16, views=(1, 1, 1), samples_per_pixel=1)
    ball = torch.rand(4000, 3, generator=rng) - 0.5
    ball = ball[ball.norm(dim=1) < 0.4] + 0.5
    tree, _ = insert_points(root_of(), ball, 4)
    density = torch.zeros(tree.cells)
    density[descend(tree, ball)[0].long()] = 1e4
    model = PlenOctree.of_tree(PlenOctreeConfig(degree=2), box_of(scene), tree, density, torch.randn(tree.cells, 12))
    camera = scene.splits["train"].cameras
    views = [render_view(model, camera, 0, background=1.0, normals=name == "torch", renderer=name)
             for name in ("torch", "taichi")]
    assert abs(views[0].colour - views[1].colour).max() < 1e-5
    there = views[0].opacity > 0.99
    assert there.sum() > 8 and ((views[0].normals[there] ** 2).sum(-1) > 0.9).mean() > 0.7


def test_the_viewer_has_every_picture_of_it(on_cpu, rng):
    door = Door(make_model(torch.device("cpu"), torch.float32, rng))
    look = Look(pose=((1.0, 0.0, 0.0, 0.125), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.5)), fov=0.9, window=(24, 16))

    def picture(**shown):
        return door.picture(look, Shown(**shown), look.window, lambda: False).image

    door.warm_up(look, Shown(), look.window)
    assert all(picture(what=what).std() > 1 for what in WHATS)
    assert (picture(crop=((-9.0, -9.0, -9.0), (0.125, 9.0, 9.0))) != picture()).any()


def test_images_alone_do_not_train_it(capsys):
    assert cli.main(["train", "--model", "plenoctree"]) == 2
    assert capsys.readouterr().err.strip() == (
        "taichi-nerf: --model plenoctree is not trained on images alone: train another model, and make it out of that "
        "by taichi-nerf octree RUN")


def test_boxes_and_stops_out_of_range_are_refused():
    for settings, message in (({"radius": (1.0, 1.0)}, "radius must be three numbers, x y z, got 2"),
                              ({"radius": (1.0, 0.0, 1.0)}, "radius must be from 1e-06"),
                              ({"centre": (float("nan"), 0.0, 0.0)}, "centre must be from"),
                              ({"early_stop": 2.0}, "early-stop must be from 0 to 1"),
                              ({"skip": -1.0}, "skip must be from 0")):
        with pytest.raises(SettingError, match=message):
            PlenOctreeConfig(**settings)
