"""Light on surfaces in a field: that of a lamp is in test_objects, here is the field's own."""

import numpy as np
import pytest
import torch
from torch import nn

from taichi_nerf.errors import UserError
from taichi_nerf.models.lights import linear, srgb, surroundings_in, surroundings_of
from taichi_nerf.models.objects import WithObjects, surface_of
from taichi_nerf.models.pixels import Pixels
from taichi_nerf.ops.ray_mesh import occluded_by_mesh
from taichi_nerf.types import Rays, Shot

from .ball import Slabs
from .test_objects import like, plain

UP = np.array([0.0, 0.0, 1.0])
PLACES = [(0.1, -0.2, 0.3), (0.0, 0.4, 0.0)]


class Room(nn.Module):
    """Shows the colours of some light from each direction, and nothing where the light is not a number."""

    def __init__(self, light):
        super().__init__()
        self.light, self.nothing, self.told = light, nn.Parameter(torch.zeros((), dtype=torch.float64)), []

    def render(self, rays, standing=None):
        self.told.append(rays)
        light = self.light(rays.directions)
        there = light.isfinite().all(dim=1)
        colour = torch.where(there[:, None], srgb(light), 0.0)
        return Pixels(colour=colour, opacity=there.to(colour), depth=there.to(colour), weights=there.to(colour))


def patchy(directions):
    x, y, z = directions.T
    return torch.stack([0.4 + 0.3 * x, 0.3 + 0.2 * x * y - 0.1 * z, 0.2 + 0.2 * (z > 0)], dim=1)


def around(count=200_000):
    """[count, 3] directions, evenly spread."""
    number = np.arange(count) + 0.5
    height, turn = 1 - 2 * number / count, number * np.pi * (3 - 5**0.5)
    level = np.sqrt(1 - height**2)
    return torch.from_numpy(np.stack([level * np.cos(turn), level * np.sin(turn), height], axis=1))


@pytest.mark.parametrize("up", [UP, np.array([0.6, 0.0, 0.8])])
def test_a_dull_surface_gets_what_all_directions_together_give(in_double, up):
    """E(n) / pi is the mean over the sphere of 4 max(n.d, 0) L(d), whichever way the picture lies."""
    found = surroundings_of(Room(patchy), PLACES, up, background=0.0)
    directions, normal = around(), around(50)
    expected = 4 * ((normal @ directions.T).clamp_min(0) @ patchy(directions)) / len(directions)
    assert torch.allclose(found.on(1, normal, normal, None), expected, atol=0.01)
    assert torch.equal(found.harmonics[0], found.harmonics[1])


def test_it_is_looked_at_from_the_places_as_the_shot_says_and_nothing_is_background(in_double):
    room = Room(lambda directions: torch.full_like(directions, torch.nan))
    found = surroundings_of(room, PLACES, UP, background=(1.0, 0.5, 0.0), shot=Shot.single(time=0.25))
    normal = around(20)
    expected = linear(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)).expand(20, 3)
    assert torch.allclose(found.on(0, normal, normal, None), expected, atol=2e-3)
    seen = torch.cat([rays.origins for rays in room.told]).unique(dim=0)
    assert torch.allclose(seen, torch.tensor(sorted(PLACES), dtype=torch.float64), atol=1e-6)
    assert all((rays.shot.time == 0.25).all() for rays in room.told)


def test_a_wall_hides_the_light_that_comes_from_its_side(in_double):
    """Of a sky that is bright towards x alone a wall there takes nearly all, one at the other side hardly any."""
    found = surroundings_of(Room(lambda d: (0.02 + 0.9 * (d[:, :1] > 0.2)).expand(-1, 3)), PLACES, UP, background=0.0)
    assert found.share.sum().item() == pytest.approx(1) and (found.sky @ torch.from_numpy(UP) > 0).all()
    points = torch.zeros(1, 3, dtype=torch.float64)
    lost = []
    for x in (0.1, -0.1):
        wall = surface_of(plain([[x, -9, -9], [x, 9, -9], [x, 9, 9], [x, -9, 9]], [[0, 1, 2], [0, 2, 3]],
                                np.tile([1.0, 0, 0], (2, 3, 1))), like(torch.float64))

        def hidden(points, directions, distance, wall=wall):
            flat = directions.reshape(-1, 3).contiguous()
            return occluded_by_mesh(wall.mesh, torch.zeros_like(flat), flat).view(*distance.shape, 1).to(points)

        lost.append(found.lost(points, hidden).item())
    assert lost[0] > 0.9 and lost[1] < 0.1


def test_a_lit_surface_is_its_colour_times_its_light_and_shades_the_field(in_double):
    model = Slabs([0.0, 400.0])
    square = plain([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]], [[0, 1, 2], [0, 2, 3]],
                   np.tile([0.0, 0.0, 1.0], (2, 3, 1)))
    surface = surface_of(square, like(torch.float64))
    light = surroundings_of(Room(lambda d: torch.full_like(d, 0.5)), [(0.0, 0.0, 0.0)], UP, background=0.0)
    down = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64)
    unlit, lit = (WithObjects(model, [surface], each).render(Rays(torch.tensor(
        [[0.02, 0.03, 0.9], [0.12, 0.0, 0.9], [0.48, 0.48, 0.9]], dtype=torch.float64).repeat_interleave(4, dim=0),
        down.expand(12, 3).contiguous(), per_pixel=4)).colour for each in (None, light))
    assert torch.allclose(linear(lit[0]), 0.5 * linear(unlit[0]), atol=1e-3)
    assert (lit[1] < 0.97 * unlit[1]).all(), "beside the square, a tenth below it, a part of the sky is gone"
    assert (lit[2] > 0.97 * unlit[2]).all()


def test_a_model_that_looks_one_way_does_not_know_what_is_around(in_double):
    room = Room(patchy)
    room.all_directions = False
    with pytest.raises(UserError, match="light around an object is unknown in a model of normalised device"):
        surroundings_of(room, PLACES, UP, background=0.0)


AHEAD = np.array([1.0, 0.0, 0.0])


def shining(picture, up=UP, ahead=AHEAD):
    return surroundings_in(np.asarray(picture, np.float32), 2, up, ahead, like(torch.float64))


def test_a_white_picture_lights_as_a_constant_does(in_double):
    """As a field does that is white all around, and twice as much where the light is twice as strong."""
    normal = around(50)
    found = shining(np.full((16, 32, 3), 2.0))
    assert torch.allclose(found.on(1, normal, normal, None), torch.full((50, 3), 2.0, dtype=torch.float64), atol=0.01)
    of_room = surroundings_of(Room(torch.ones_like), PLACES, UP, background=0.0)
    assert torch.allclose(found.harmonics, 2 * of_room.harmonics, atol=0.02)
    assert torch.allclose(found.share, of_room.share, atol=0.01)


@pytest.mark.parametrize(("rows", "columns", "towards"), [
    (slice(None), slice(8, 24), (1.0, 0.0, 0.0)),  # the middle is ahead
    (slice(None), slice(16, 32), (0.0, -1.0, 0.0)),  # the right half to the right of it
    (slice(0, 8), slice(None), (0.0, 0.0, 1.0)),  # the upper half above
])
def test_one_bright_half_of_a_picture_lights_that_side(in_double, rows, columns, towards):
    """A half of the sphere gives what faces it all of its light, what faces the other way none, and a half to what
    stands at right angles, up to the few per cent that harmonics of degree 2 do not keep."""
    picture = np.zeros((16, 32, 3))
    picture[rows, columns] = (1.0, 0.5, 0.25)
    axis = torch.tensor([towards], dtype=torch.float64)
    across = axis[:, [1, 2, 0]]
    to, fro, beside = (shining(picture).on(0, normal, normal, None)[0] for normal in (axis, -axis, across))
    assert to.tolist() == pytest.approx([1.0, 0.5, 0.25], rel=0.05) and fro.abs().max() < 0.05
    assert beside.tolist() == pytest.approx([0.5, 0.25, 0.125], rel=0.05)


def test_a_picture_turns_with_what_is_ahead_and_up(in_double):
    picture = np.random.default_rng(3).random((16, 32, 3))
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    normal = around(50)
    turned = shining(picture, turn @ UP, turn @ AHEAD)
    assert torch.allclose(turned.on(0, normal, normal @ torch.from_numpy(turn).T, None),
                          shining(picture).on(0, normal, normal, None))


def test_the_shadow_of_a_sun_in_a_picture_falls_away_from_it(in_double):
    """A wall hides the sun where it lies between, and the sun's direction is that of its pixel, not of the nearest of
    a few."""
    picture = np.full((64, 128, 3), 0.001)
    picture[20, 80] = 500.0
    found = shining(picture)
    height, yaw = np.pi * (0.5 - 20.5 / 64), 2 * np.pi * (80.5 / 128 - 0.5)  # to the right of x, which is towards -y
    sun = torch.tensor([np.cos(height) * np.cos(yaw), -np.cos(height) * np.sin(yaw), np.sin(height)])
    brightest = found.share.argmax()
    assert found.share[brightest] > 0.95 and found.sky[brightest] @ sun > np.cos(np.radians(1))
    point = torch.zeros(1, 3, dtype=torch.float64)
    for cosine, expected in ((0.99, 1.0), (-0.99, 0.0)):
        lost = found.lost(point, lambda points, directions, distance, least=cosine: (
            (directions @ (sun if least > 0 else -sun)[:, None]) > abs(least)).double())
        assert lost.item() == pytest.approx(expected, abs=0.05)
