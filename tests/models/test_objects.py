"""Surfaces within a field: what hides what, by how much, and what flows back to the field."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.mesh_files import Mesh
from taichi_nerf.data.point_discs import discs_of
from taichi_nerf.errors import UserError
from taichi_nerf.models.cones import sharpest_view
from taichi_nerf.models.lights import Lamp
from taichi_nerf.models.objects import WithObjects, placed, surface_of
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.ray_mesh import intersect_ray_mesh
from taichi_nerf.types import Rays

from .ball import Ball, EndedBall, Slabs
from .test_views import cameras_around, hit, true_rays

RED = (0.8, 0.1, 0.1)


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


def test_normals_are_those_of_what_is_seen(on_cpu):
    """Of a ball of the field with a meshed one before it: on either as of a sphere, and nothing beside them."""
    model, cameras = EndedBall(torch.float32, "cpu"), cameras_around(size=(24, 18), focal=24.0)
    towards = cameras.position[0] / np.linalg.norm(cameras.position[0])
    centre = 0.35 * towards + 0.2 * cameras.camera_to_world[0, :, 0]
    put = WithObjects(model, [surface_of(sphere(centre, 0.1), like())])
    found = render_view(put, cameras, 0, background=1.0, normals=True).normals.reshape(-1, 3)
    origin, direction = true_rays(cameras, 0)
    direction = direction.reshape(-1, 3)
    mesh, field = hit(origin - centre, direction, 0.1), hit(origin, direction, 0.3)
    on_mesh = np.isfinite(hit(origin - centre, direction, 0.09))
    on_field = np.isfinite(hit(origin, direction, 0.27)) & ~np.isfinite(hit(origin - centre, direction, 0.13))
    assert on_mesh.sum() > 5 and on_field.sum() > 20
    for seen, distance, middle, radius in ((on_mesh, mesh, centre, 0.1), (on_field, field, 0.0, 0.3)):
        expected = (origin + distance[seen, None] * direction[seen] - middle) / radius
        assert (found[seen] * expected).sum(axis=1).min() > 0.97
    nothing = ~np.isfinite(hit(origin - centre, direction, 0.13)) & ~np.isfinite(hit(origin, direction, 0.36))
    assert nothing.any() and not found[nothing].any()


def test_samples_are_those_of_the_field_in_front(in_double):
    square = plain([[0, -9, 0], [9, -9, 0], [9, 9, 0], [0, 9, 0]], [[0, 1, 2], [0, 2, 3]],
                   np.tile([0.0, 0.0, -1.0], (2, 3, 1)))
    put = WithObjects(Slabs([5.0, 4.0]), [surface_of(square, like(torch.float64))])
    x = torch.tensor([0.3, 0.3, 0.3, 0.3, -0.3, -0.3, -0.3, -0.3, 0.01, -0.01, 0.01, -0.01], dtype=torch.float64)
    origins = torch.stack([x, torch.zeros_like(x), torch.full_like(x, 0.9)], dim=1)
    down = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64).expand(12, 3).contiguous()
    pixels = put.render(Rays(origins, down, per_pixel=4))  # of a pixel on it, one beside it, one of both
    of_field = pixels.carried(torch.ones_like(pixels.weights)).view(3, 4).mean(dim=1)
    assert torch.allclose(of_field, pixels.opacity - pixels.extras["surfaces"])
    assert torch.allclose(pixels.carried(pixels.samples.t).view(3, 4).mean(dim=1) + 0.9 * pixels.extras["surfaces"],
                          pixels.depth)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.allclose(pixels.extras["normals"], pixels.extras["surfaces"][:, None] * up), "of the side that is seen"
    assert pixels.extras["surfaces"].tolist() == pytest.approx([math.exp(-1), 0, math.exp(-1) / 2], rel=0.05)


def test_what_lies_behind_or_inside_is_hidden(on_cpu):
    model, cameras = EndedBall(torch.float32, "cpu"), cameras_around()
    towards = cameras.position[0] / np.linalg.norm(cameras.position[0])
    alone = render_view(model, cameras, 0, background=1.0).colour
    for centre, radius in ((-0.45 * towards, 0.1), (0.0 * towards, 0.25)):
        put = WithObjects(model, [surface_of(sphere(centre, radius), like())])
        assert np.abs(render_view(put, cameras, 0, background=1.0).colour - alone).max() < 2e-3


def test_a_small_picture_with_an_object_sees_as_much_of_the_field_as_without(on_cpu):
    """Each pixel of the photos that a pixel sees has its ray in the field, and four at the outline of the object."""
    model, cameras = EndedBall(torch.float32, "cpu"), cameras_around(size=(12, 9), focal=15.0)
    photos = cameras.resized((36, 27))
    model.sharpest = sharpest_view(photos)
    centre = 0.4 * cameras.camera_to_world[0, :, 0]
    put = WithObjects(model, [surface_of(sphere(centre, 0.12), like())])
    alone, of_one, view, large = (render_view(of, seen, 0, background=1.0, supersample=several, normals=True)
                                  for of, seen, several in ((model, cameras, True), (model, cameras, False),
                                                            (put, cameras, True), (put, photos, True)))
    expected = large.colour.reshape(9, 3, 12, 3, 3).mean(axis=(1, 3))
    assert np.abs(view.colour - expected).max() < 1e-4
    origin, direction = true_rays(cameras, 0)
    beside = ~np.isfinite(hit(origin - centre, direction, 0.2))
    assert beside.sum() > 50 and np.abs(view.colour - alone.colour)[beside].max() < 1e-4
    assert np.abs(of_one.colour - alone.colour)[beside].max() > 0.05, "the outline of the ball"
    assert np.abs(view.normals - alone.normals)[beside].max() < 1e-2


def test_points_of_a_ball_are_met_where_the_ball_is(on_cpu):
    """Without normals and radius: the discs of points spread over a sphere close it, to a hundredth of its radius."""
    number = np.arange(2000)
    height, turn = 1 - (2 * number + 1) / 2000, number * math.pi * (3 - math.sqrt(5))
    level = np.sqrt(1 - height**2)
    place = 0.3 * np.stack([level * np.cos(turn), level * np.sin(turn), height], axis=1)
    surface = surface_of(discs_of(place), like())
    origin, direction = true_rays(cameras_around(size=(24, 18), focal=24.0), 0)
    direction = direction.reshape(-1, 3)
    expected = hit(origin, direction, 0.3)
    rays = (torch.from_numpy(np.broadcast_to(each, direction.shape).astype(np.float32)) for each in (origin, direction))
    found = intersect_ray_mesh(surface.mesh, *rays)
    met = np.isfinite(hit(origin, direction, 0.29))
    assert met.sum() > 50 and np.abs(found.t.numpy() - expected)[met].max() < 0.006
    normal = surface.looks(found.triangle[torch.from_numpy(met)], found.barycentric[torch.from_numpy(met)])[1].numpy()
    outwards = (origin + expected[met, None] * direction[met]) / 0.3
    assert np.abs((normal * outwards).sum(axis=1)).min() > 0.98, "either side"
    beside = ~np.isfinite(hit(origin, direction, 0.32))
    assert beside.sum() > 20 and (found.triangle.numpy()[beside] < 0).all()


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


@pytest.mark.slow
def test_objects_are_placed_in_the_world_of_the_scene(on_cpu):
    scene = builtin_scene(resolution=4, views=(1, 0, 0), samples_per_pixel=1)
    cube = plain(np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], float), [[0, 1, 2]], np.tile([0.0, -1.0, 0.0], (1, 3, 1)))
    world = placed(cube, scene, np.array([0.0, 0.0, 1.0]), at=(0.3, -0.6, 0.9), scale=0.5, turn=90.0)
    assert np.allclose(world.vertices / scene.scale, [[0.3, -0.6, 0.9], [0.3, -0.1, 0.9], [0.3, -0.6, 1.4]], atol=1e-6)
    lying = placed(cube, scene, np.array([0.0, 1.0, 0.0]), at=(0, 0, 0)).vertices / scene.scale
    assert np.allclose(lying, [[0, 0, 0], [1, 0, 0], [0, 1, 0]], atol=1e-6)


def test_a_model_that_ends_no_rays_is_refused(on_cpu):
    with pytest.raises(UserError, match="cannot be put into this model, which does not end a ray at a given depth"):
        WithObjects(Ball(torch.float32, "cpu"), [])
