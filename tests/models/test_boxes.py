"""Boxes of a field that are hidden or moved: the picture is that of the field as if it had been so from the start."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf.config import recipe
from taichi_nerf.errors import UserError
from taichi_nerf.models.boxes import Motion, hidden, moved
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box
from taichi_nerf.models.objects import turn_around
from taichi_nerf.models.views import render_view
from taichi_nerf.types import Rays

from .ball import Ball, EndedBall, Slabs
from .test_rays import MODELS, some_rays
from .test_views import cameras_around

AXES = torch.eye(3)
HALF = math.sqrt(0.5)
TURNED = torch.tensor([[HALF, 0, -HALF], [0, 1, 0], [HALF, 0, HALF]], dtype=torch.float64)  # about y


def some_lines():
    origins = torch.tensor([[0.05, 0.1, 0.9], [-0.2, 0.1, 0.9], [0.3, 0.3, 0.9]], dtype=torch.float64)
    directions = torch.tensor([[0.1, 0.0, -1.0]] * 3, dtype=torch.float64)
    return Rays(origins, torch.nn.functional.normalize(directions, dim=1))


def by(*offset, turn=0.0, middle=(0.0, 0.0, 0.0)):
    return Motion.about(np.array(middle), turn_around(np.array([0.0, 0.0, 1.0]), turn), np.array(offset))


def close(found, expected, within):
    for name in ("colour", "opacity", "depth"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=within), name


def test_what_is_in_a_box_is_gone_and_what_lies_behind_it_is_seen(in_double):
    """Hiding a slab shows the other as if it had never been there; a box beside the rays changes nothing."""
    both, lower, rays = Slabs([30.0, 12.0]), Slabs([0.0, 12.0]), some_lines()
    close(hidden(both, [[-0.5, -0.5, 0.05], [0.5, 0.5, 0.35]], AXES).render(rays), lower.render(rays), 1e-6)
    close(hidden(both, [[0.6, -0.5, -0.5], [0.7, 0.5, 0.5]], AXES).render(rays), both.render(rays), 1e-9)
    nothing = hidden(hidden(both, [[-1, -1, 0.05], [1, 1, 0.35]], AXES), [[-1, -1, -0.35], [1, 1, -0.05]], AXES)
    assert nothing.render(rays).opacity.max() < 1e-6
    turned = hidden(both, [[-9, -9, -9], [0, 9, 9]], TURNED).density(torch.tensor(
        [[0.1, 0, 0.2], [0.1, 0, -0.2]], dtype=torch.float64))
    assert turned.tolist() == [30.0, 0.0], "x of the box is (1, 0, 1) of the model"


def test_what_is_moved_is_seen_at_its_new_place_alone(in_double):
    """The upper slab takes the place of the lower one, which is gone, and leaves nothing behind."""
    both, upper, rays = Slabs([30.0, 12.0]), Slabs([0.0, 30.0]), some_lines()
    found = moved(both, [[-9, -9, 0.05], [9, 9, 0.35]], AXES, by(0.0, 0.0, -0.4)).render(rays)
    expected = upper.render(rays)
    assert torch.allclose(found.opacity, expected.opacity, atol=2e-3)  # to where the march samples
    assert torch.allclose(found.depth, expected.depth, atol=3e-3)
    field = moved(both, [[-9, -9, 0.05], [9, 9, 0.35]], AXES, by(0.0, 0.0, -0.4))
    places = torch.tensor([[0, 0, 0.2], [0, 0, -0.2], [0, 0, -0.6]], dtype=torch.float64)
    assert field.density(places).tolist() == [0.0, 30.0, 0.0]
    back = moved(field, [[-9, -9, -0.35], [9, 9, -0.05]], AXES, by(0.0, 0.0, 0.4))
    close(back.render(rays), Slabs([30.0, 0.0]).render(rays), 3e-3)


def test_a_move_that_overlaps_itself_and_one_of_nothing_change_what_they_must(in_double):
    both, rays = Slabs([30.0, 12.0]), some_lines()
    box = [[-9, -9, 0.05], [9, 9, 0.35]]
    close(moved(both, box, AXES, by(0.0, 0.0, 0.0)).render(rays), both.render(rays), 1e-9)
    field = moved(both, box, AXES, by(0.0, 0.0, 0.1))
    places = torch.tensor([[0, 0, z] for z in (0.15, 0.25, 0.38, -0.2)], dtype=torch.float64)
    assert field.density(places).tolist() == [0.0, 30.0, 30.0, 12.0]


def test_a_ball_that_is_moved_and_turned_is_the_ball_from_there(on_cpu):
    """Colour, opacity, depth and normals are those of a ball that always was where this one is brought."""
    place, offset, turn = np.array([0.1, 0.15, 0.0]), np.array([-0.25, -0.1, 0.1]), 40.0
    ball = EndedBall(torch.float32, "cpu", centre=tuple(place), radius=0.15)
    middle = np.array([0.05, 0.1, 0.0])
    motion = by(*offset, turn=turn, middle=middle)
    there = (motion.rotation @ torch.from_numpy(place) + motion.offset).numpy()
    corners = [list(place - 0.2), list(place + 0.2)]
    cameras = cameras_around(size=(24, 18), focal=40.0)
    found = render_view(moved(ball, corners, AXES, motion), cameras, 0, background=1.0, normals=True)
    expected = render_view(EndedBall(torch.float32, "cpu", centre=tuple(there), radius=0.15), cameras, 0,
                           background=1.0, normals=True)
    solid = expected.opacity > 0.99
    assert solid.sum() > 20
    assert np.abs(found.colour - expected.colour).mean() < 2e-3
    assert np.abs(found.opacity - expected.opacity).mean() < 4e-3
    assert np.abs(found.depth - expected.depth)[solid].max() < 0.01
    assert (found.normals * expected.normals).sum(axis=-1)[solid].min() > 0.98


def test_directions_turn_along(in_double):
    """A field that shows in which direction it is looked at shows that within the box as it was."""
    slabs = Slabs([4000.0, 0.0])
    slabs.field.colour = lambda hidden, directions, shot, ray_index: directions[ray_index.long()]
    quarter = by(0.0, 0.0, 0.0, turn=90.0)
    rays = some_lines()
    plain = slabs.render(rays).colour
    turned = moved(slabs, [[-9, -9, 0.05], [9, 9, 0.35]], AXES, quarter).render(rays).colour
    assert torch.allclose(turned, torch.stack([plain[:, 1], -plain[:, 0], plain[:, 2]], dim=1), atol=1e-9)
    assert plain[:, 0].min() > 0.05


def test_samples_are_where_they_are_seen(in_double):
    both, rays = Slabs([3.0, 2.0]), some_lines()
    pixels = moved(both, [[-9, -9, 0.05], [9, 9, 0.35]], AXES, by(0.3, 0.0, 0.3, turn=30.0)).render(rays)
    samples, index = pixels.samples, pixels.samples.ray_index.long()
    along = rays.origins[index] + samples.t[:, None] * rays.directions[index]
    assert torch.allclose(samples.positions, along, atol=1e-9) and (index.diff() >= 0).all()
    assert torch.allclose(pixels.carried(torch.ones_like(pixels.weights)), pixels.opacity)
    assert torch.allclose(pixels.carried(samples.t), pixels.depth)
    for ray in range(3):
        assert (samples.t[index == ray].diff() > 0).all()


def test_the_gradient_is_that_of_both_pieces(in_double):
    model, rays = Slabs([5.0, 4.0]), some_lines()
    field = moved(model, [[-9, -9, 0.05], [9, 9, 0.35]], AXES, by(0.0, 0.0, 0.2))

    def value(densities):
        with torch.no_grad():
            model.field.densities.copy_(densities)
        pixels = field.render(rays)
        return pixels.colour.square().sum() + pixels.depth.sum()

    start = torch.tensor([5.0, 4.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(value(start), model.field.densities)
    for axis in range(2):
        step = 1e-5 * torch.eye(2, dtype=torch.float64)[axis]
        difference = ((value(start + step) - value(start - step)) / 2e-5).item()
        assert abs(gradient[axis].item() - difference) < 1e-6 * abs(difference) and abs(difference) > 1e-4


@pytest.mark.parametrize("rays", [0, 1, 63])
def test_any_number_of_rays_and_no_piece_at_all(in_double, rays):
    lines = Rays(torch.zeros(rays, 3, dtype=torch.float64),
                 torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64).expand(rays, 3).contiguous(),
                 limit=torch.full((rays,), 0.5, dtype=torch.float64))
    pixels = hidden(Slabs([30.0, 12.0]), [[-1] * 3, [1] * 3], AXES).render(lines)  # all of them lie in the box
    assert len(pixels.opacity) == rays and not pixels.opacity.any() and len(pixels.samples) == 0


@pytest.mark.parametrize(("kind", "encoding"), [
    pytest.param(*model, marks=() if model in (("instant-ngp", None), ("nerf", None)) else pytest.mark.slow)
    for model in MODELS])
def test_every_model_that_ends_rays_moves_what_is_in_a_box(all_on_cpu, kind, encoding):
    model = build_model(recipe(kind, "small", encoding).model, Box(bounded=True), counts={"appearance": 3})
    rays, box = some_rays(), [[-0.3] * 3, [0.3] * 3]
    pixels = moved(model, box, AXES, by(0.1, 0.0, 0.1, turn=20.0)).render(rays)
    assert len(pixels.colour) == len(rays) and pixels.colour.isfinite().all()
    assert torch.allclose(pixels.carried(torch.ones_like(pixels.weights)), pixels.opacity, atol=1e-5)
    whole = model.render(rays)
    if whole.packed is not None:  # sampled on a lattice, which boxes do not move
        close(moved(model, box, AXES, by(0.0, 0.0, 0.0)).render(rays), whole, 1e-4)
        assert not torch.allclose(pixels.colour, whole.colour, atol=1e-4)
    everything = hidden(model, [[-9] * 3, [9] * 3], AXES).render(rays)
    assert everything.opacity.max() == 0


def test_models_that_cannot_are_refused(on_cpu):
    with pytest.raises(UserError, match="nothing can be hidden in this model"):
        hidden(Ball(torch.float32, "cpu"), [[-1] * 3, [1] * 3], AXES)
    with pytest.raises(UserError, match="nothing can be moved in this model"):
        moved(Ball(torch.float32, "cpu"), [[-1] * 3, [1] * 3], AXES, by(0.1, 0.0, 0.0))
    forward = EndedBall(torch.float32, "cpu")
    forward.all_directions = False
    moved(forward, [[-1] * 3, [1] * 3], AXES, by(0.1, 0.0, 0.0))
    with pytest.raises(UserError, match="move it without --move-turn"):
        moved(forward, [[-1] * 3, [1] * 3], AXES, by(0.1, 0.0, 0.0, turn=5.0))
