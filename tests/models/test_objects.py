"""Surfaces within a field: what hides what, by how much, and what flows back to the field."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.mesh_files import Mesh
from taichi_nerf.errors import UserError
from taichi_nerf.fields.field import Field
from taichi_nerf.models.hidden import WithoutBox
from taichi_nerf.models.model import Box
from taichi_nerf.models.objects import Lamp, WithObjects, placed, surface_of
from taichi_nerf.models.render import ended, render_samples
from taichi_nerf.models.views import render_view
from taichi_nerf.samplers.occupancy import OccupancyGrid
from taichi_nerf.types import UNKNOWN, Rays

from .ball import Ball
from .test_views import cameras_around, hit, true_rays

RED = (0.8, 0.1, 0.1)


class EndedBall(Ball):
    """The ball as a model that ends rays."""

    ends_rays, sees_cones, box = True, False, Box()

    def render(self, rays, standing=None):
        samples = self.grid.march(rays)
        samples = samples if rays.limit is None else ended(samples, rays)
        return render_samples(self.field, samples, rays.directions, 1e-4).averaged(rays.per_pixel)


class SlabField(Field):
    """Two slabs, of a density each: between z = 0.1 and 0.3, and between -0.3 and -0.1."""

    def __init__(self, densities):
        super().__init__()
        self.densities = torch.nn.Parameter(torch.tensor(densities, dtype=torch.float64))

    def density(self, samples, shot=UNKNOWN, ray_index=None):
        z = samples[:, 2]
        upper, lower = (z - 0.2).abs() < 0.1, (z + 0.2).abs() < 0.1
        return self.densities[0] * upper + self.densities[1] * lower, samples

    def colour(self, hidden, directions, shot=UNKNOWN, ray_index=None):
        return torch.sigmoid(hidden)


class Slabs(EndedBall):
    def __init__(self, densities):
        torch.nn.Module.__init__(self)
        self.field = SlabField(densities)
        self.grid = OccupancyGrid(16, step_min=3**0.5 / 256, dtype=torch.float64, device="cpu")


def sphere(centre, radius, rings=40):
    """A mesh of a sphere in RED, with the corners on it."""
    height = np.pi * np.arange(rings + 1) / rings
    turn = 2 * np.pi * np.arange(2 * rings) / (2 * rings)
    h, t = np.meshgrid(height, turn, indexing="ij")
    normals = np.stack([np.sin(h) * np.cos(t), np.sin(h) * np.sin(t), np.cos(h)], axis=-1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij")
    a, b = row * 2 * rings + column, row * 2 * rings + (column + 1) % (2 * rings)
    faces = np.stack([a, b, a + 2 * rings, b, b + 2 * rings, a + 2 * rings], axis=-1).reshape(-1, 3).astype(np.int32)
    return plain(radius * normals + centre, faces, normals[faces])


def plain(vertices, faces, normals):
    shape = (len(faces), 3)
    return Mesh(vertices=np.asarray(vertices, float), faces=np.asarray(faces, np.int32), corner_normals=normals,
                corner_colours=np.broadcast_to(RED, (*shape, 3)).copy(), corner_uv=np.zeros((*shape, 2)),
                texture_of=np.full(len(faces), -1, np.int32))


def like(dtype=torch.float32):
    return torch.empty(0, dtype=dtype)


@pytest.mark.slow
def test_a_ball_before_and_within_another_is_the_exact_composite(on_cpu):
    model, cameras = EndedBall(torch.float32, "cpu"), cameras_around(size=(48, 36), focal=60.0)
    towards = cameras.position[0] / np.linalg.norm(cameras.position[0])
    for centre in (0.4 * towards, 0.25 * cameras.camera_to_world[0, :, 0]):
        put = WithObjects(model, [surface_of(sphere(centre, 0.15), like())])
        alone = render_view(model, cameras, 0, background=1.0)
        view = render_view(put, cameras, 0, background=1.0)
        origin, direction = true_rays(cameras.resized((480, 360)), 0)
        distance = hit(origin - centre, direction, 0.15)
        nearer = np.isfinite(distance) & ~(distance > hit(origin, direction, 0.3))
        cover = nearer.reshape(36, 10, 48, 10).mean(axis=(1, 3))[..., None]
        expected = cover * RED + (1 - cover) * alone.colour
        assert 0.02 < cover.mean() < 0.5
        assert -10 * np.log10(np.square(view.colour - expected).mean()) > 35
        inside = cover[..., 0] == 1
        origin, direction = true_rays(cameras, 0)
        assert np.abs(view.depth - hit(origin - centre, direction, 0.15))[inside].max() < 0.01
        assert (view.opacity[inside] > 0.999).all()


def test_what_lies_behind_or_inside_is_hidden(on_cpu):
    model, cameras = EndedBall(torch.float32, "cpu"), cameras_around()
    towards = cameras.position[0] / np.linalg.norm(cameras.position[0])
    alone = render_view(model, cameras, 0, background=1.0).colour
    for centre, radius in ((-0.45 * towards, 0.1), (0.0 * towards, 0.25)):
        put = WithObjects(model, [surface_of(sphere(centre, radius), like())])
        assert np.abs(render_view(put, cameras, 0, background=1.0).colour - alone).max() < 2e-3


def test_a_surface_shows_through_as_much_as_the_field_lets_pass(in_double):
    """One integral: red times exp(-density length) behind a slab, and the gradient by the density in front."""
    model = Slabs([5.0, 40.0])
    square = plain([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]],
                   np.tile([0.0, 0.0, 1.0], (2, 3, 1)))
    put = WithObjects(model, [surface_of(square, like(torch.float64))])
    origins = torch.tensor([[0.05, 0.1, 0.9], [-0.2, 0.1, 0.9]], dtype=torch.float64).repeat_interleave(4, dim=0)
    down = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64).expand(8, 3).contiguous()
    rays = Rays(origins, down, per_pixel=4)
    pixels = put.render(rays)
    passed = math.exp(-5.0 * 0.2)
    assert torch.allclose(pixels.opacity, torch.ones(2, dtype=torch.float64))
    in_front = model.render(Rays(origins[::4], down[::4], limit=torch.full((2,), 0.9, dtype=torch.float64)))
    assert torch.allclose(1 - in_front.opacity, torch.full((2,), passed, dtype=torch.float64), rtol=0.05)
    through = (1 - in_front.opacity)[:, None] * torch.tensor(RED, dtype=torch.float64)
    assert torch.allclose(pixels.colour, in_front.colour + through)

    def value(densities):
        with torch.no_grad():
            model.field.densities.copy_(densities)
        return put.render(rays).colour.square().sum()

    start = torch.tensor([5.0, 40.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(value(start), model.field.densities)
    step = torch.tensor([1e-5, 0.0], dtype=torch.float64)
    difference = (value(start + step) - value(start - step)).item() / 2e-5
    assert abs(gradient[0].item() - difference) < 1e-7 * abs(difference) and abs(difference) > 1e-3
    assert gradient[1] == 0, "what is behind the surface has no part in it"


@pytest.mark.slow
def test_a_shadow_falls_where_the_lamp_is_hidden_and_no_further(in_double):
    model = Slabs([0.0, 400.0])
    centre = np.array([0.0, 0.0, 0.15])
    lamp = Lamp(position=(0.0, 0.0, 40.0), up=(0.0, 0.0, 1.0), share=0.6)
    surface = surface_of(sphere(centre, 0.1), like(torch.float64))
    lit, unlit = WithObjects(model, [surface], lamp), WithObjects(model, [surface])
    places = torch.tensor([[0.0, 0.0], [0.07, 0.0], [0.0, -0.45], [0.45, 0.45]], dtype=torch.float64)
    origins = torch.cat([places, torch.full((4, 1), -0.05, dtype=torch.float64)], dim=1).repeat_interleave(4, dim=0)
    down = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64).expand(16, 3).contiguous()
    rays = Rays(origins, down, per_pixel=4)
    ratio = (lit.render(rays).colour / unlit.render(rays).colour).mean(dim=1)
    dark = 1.055 * 0.4 ** (1 / 2.4) - 0.055  # of sRGB, where 0.4 of the linear light is left
    assert (ratio[:2] < dark + 1e-6).all() and (ratio[:2] > 0.85 * dark).all()
    assert (ratio[2:] > 0.97).all()


def test_what_is_in_a_box_is_gone_and_what_lies_behind_it_is_seen(in_double):
    """Hiding a slab shows the other as if it had never been there; a box beside the rays changes nothing."""
    both, lower = Slabs([30.0, 12.0]), Slabs([0.0, 12.0])
    origins = torch.tensor([[0.05, 0.1, 0.9], [-0.2, 0.1, 0.9], [0.3, 0.3, 0.9]], dtype=torch.float64)
    directions = torch.tensor([[0.1, 0.0, -1.0]] * 3, dtype=torch.float64)
    rays = Rays(origins, torch.nn.functional.normalize(directions, dim=1))
    expected = lower.render(rays)
    found = WithoutBox(both, [[-0.5, -0.5, 0.05], [0.5, 0.5, 0.35]]).render(rays)
    for name in ("colour", "opacity", "depth"):  # to a step of the march
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=0.01), name
    assert torch.allclose(WithoutBox(both, [[0.6, -0.5, -0.5], [0.7, 0.5, 0.5]]).render(rays).colour,
                          both.render(rays).colour)
    nothing = WithoutBox(WithoutBox(both, [[-1, -1, 0.05], [1, 1, 0.35]]), [[-1, -1, -0.35], [1, 1, -0.05]])
    assert nothing.render(rays).opacity.max() < 1e-6
    half = math.sqrt(0.5)
    turn = torch.tensor([[half, 0, -half], [0, 1, 0], [half, 0, half]], dtype=torch.float64)  # about y
    turned = WithoutBox(both, [[-9, -9, -9], [0, 9, 9]], turn).density(torch.tensor(
        [[0.1, 0, 0.2], [0.1, 0, -0.2]], dtype=torch.float64))
    assert turned.tolist() == [30.0, 0.0], "x of the box is (1, 0, 1) of the model"


@pytest.mark.slow
def test_objects_are_placed_in_the_world_of_the_scene(on_cpu):
    scene = builtin_scene(resolution=4, views=(1, 0, 0), samples_per_pixel=1)
    cube = plain(np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], float), [[0, 1, 2]], np.tile([0.0, -1.0, 0.0], (1, 3, 1)))
    world = placed(cube, scene, np.array([0.0, 0.0, 1.0]), at=(0.3, -0.6, 0.9), scale=0.5, turn=90.0)
    assert np.allclose(world.vertices / scene.scale, [[0.3, -0.6, 0.9], [0.3, -0.1, 0.9], [0.3, -0.6, 1.4]], atol=1e-6)
    lying = placed(cube, scene, np.array([0.0, 1.0, 0.0]), at=(0, 0, 0)).vertices / scene.scale
    assert np.allclose(lying, [[0, 0, 0], [1, 0, 0], [0, 1, 0]], atol=1e-6)


def test_a_model_that_ends_no_rays_is_refused(on_cpu):
    with pytest.raises(UserError, match="nothing can be hidden in this model"):
        WithoutBox(Ball(torch.float32, "cpu"), [[-1] * 3, [1] * 3])
    with pytest.raises(UserError, match="cannot be put into this model, which does not end a ray at a given depth"):
        WithObjects(Ball(torch.float32, "cpu"), [])
