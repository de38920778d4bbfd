"""Glass within a field: the integral that is split at it, in closed form, and its gradients on either side."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from taichi_nerf.config import recipe
from taichi_nerf.fields.field import Field
from taichi_nerf.models.family import build_model
from taichi_nerf.models.lights import Lamp, linear, srgb
from taichi_nerf.models.model import Box
from taichi_nerf.models.objects import WithObjects
from taichi_nerf.models.surfaces import MOST_LAYERS, surface_of
from taichi_nerf.models.views import render_view
from taichi_nerf.samplers.occupancy import OccupancyGrid
from taichi_nerf.types import UNKNOWN, Rays

from .ball import EndedBall, Slabs
from .test_objects import RED, like, plain, sphere
from .test_rays import MODELS, some_rays
from .test_views import cameras_around

BLUE, GREEN, DENSITY = (0.1, 0.2, 0.9), (0.2, 0.7, 0.3), 1.7
GREY = (0.5, 0.4, 0.2)  # of the fog


class FogField(Field):
    """One density and one colour everywhere."""

    def __init__(self):
        super().__init__()
        self.densities = torch.nn.Parameter(torch.tensor([DENSITY, DENSITY], dtype=torch.float64))  # above, below z = 0

    def density(self, samples, shot=UNKNOWN, ray_index=None):
        return torch.where(samples[:, 2] > 0, self.densities[0], self.densities[1]), samples

    def colour(self, hidden, directions, shot=UNKNOWN, ray_index=None):
        return torch.tensor(GREY, dtype=torch.float64).expand(len(hidden), 3)


class Fog(Slabs):
    def __init__(self):
        super().__init__([0.0, 0.0])
        self.field = FogField()
        self.grid = OccupancyGrid(16, step_min=1 / 128, dtype=torch.float64, device="cpu")  # which end at its faces


def pane(z, opacity=None, colour=RED, tinted=None):
    """A level square at z that covers all; of two triangles, whose shared edge no ray of the tests misses."""
    mesh = plain([[-9, -9, z], [9, -9, z], [9, 9, z], [-9, 9, z]], [[0, 1, 2], [0, 2, 3]],
                 np.tile([0.0, 0.0, 1.0], (2, 3, 1)))
    return replace(mesh, corner_colours=np.broadcast_to(colour, (2, 3, 3)).copy(),
                   opacity=None if opacity is None else np.full(2, opacity),
                   tinted=None if tinted is None else np.full(2, tinted))


def put(*meshes, model=None, light=None):
    return WithObjects(model or Fog(), [surface_of(mesh, like(torch.float64)) for mesh in meshes], light)


def down(*places):
    """Rays from z = 0.5, the upper face of what models march through, at (x, y) each; four a pixel."""
    origins = torch.tensor([[x, y, 0.5] for x, y in places], dtype=torch.float64).repeat_interleave(4, dim=0)
    directions = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64).expand(len(origins), 3).contiguous()
    return Rays(origins, directions, per_pixel=4)


def of_channels(panes, density=DENSITY):
    """Colour [3], what is left of each channel [3], and the part of surfaces of a ray through fog between z = 0.5 and
    -0.5, and panes (z, opacity, colour, and what is tinted) in it."""
    colour, left, part, above = np.zeros(3), np.ones(3), 0.0, 0.5
    for z, opacity, own, *tinted in [*panes, (-0.5, 0.0, RED)]:
        passed = left * math.exp(-density * (above - z))
        colour = colour + (left - passed) * np.array(GREY) + passed * opacity * np.array(own)
        left, above = passed * (1 - opacity - sum(tinted) * (1 - np.array(own))), z
        part += (passed - left).mean()
    return colour, left, part


def closed_form(panes, density=DENSITY):
    """The same of panes that tint nothing, with the opacity in place of what is left."""
    colour, left, part = of_channels(panes, density)
    return colour, 1 - left[0], part


@pytest.mark.parametrize("panes", [
    [(0.13, 0.4, RED)],
    [(0.31, 0.4, RED), (-0.2, 0.7, BLUE)],
    [(0.31, 0.7, BLUE), (-0.2, 0.4, RED)],
    [(0.3, 0.2, RED), (0.1, 0.3, BLUE), (-0.1, 1.0, GREEN), (-0.3, 0.5, RED)],
    [(0.2, 0.0, RED)],
    [(0.45 - 0.05 * k, 0.05, BLUE) for k in range(MOST_LAYERS)],
])
def test_glass_in_fog_is_the_closed_form(in_double, panes):
    """Whatever the order in which it is given, and where a ray meets the edge that two triangles share."""
    colour, opacity, part = closed_form(panes)
    for order in (panes, panes[::-1]):
        pixels = put(*(pane(*each) for each in order)).render(down((0.05, 0.1), (0.0, 0.0), (-0.3, 0.2)))
        assert np.allclose(pixels.colour.detach().numpy(), colour, atol=1e-6)
        assert np.allclose(pixels.opacity.detach().numpy(), opacity, atol=1e-6)
        assert np.allclose(pixels.extras["surfaces"].detach().numpy(), part, atol=1e-6)


@pytest.mark.parametrize("panes", [
    [(0.13, 0.0, BLUE, 1.0)],
    [(0.31, 0.3, RED, 0.5), (-0.2, 0.7, BLUE)],
    [(0.3, 0.2, RED, 0.8), (0.1, 0.3, BLUE), (-0.1, 0.0, GREEN, 1.0), (-0.3, 1.0, RED)],
    [(0.3, 0.0, RED, 1.0), (0.1, 0.0, RED, 1.0)],
    [(0.3, 0.4, RED, 0.0)],
])
def test_tinted_glass_in_fog_is_the_closed_form(in_double, panes):
    """Channel by channel, and over a background, which is tinted, too."""
    colour, left, part = of_channels(panes)
    pixels = put(*(pane(*each) for each in panes)).render(down((0.05, 0.1), (0.0, 0.0), (-0.3, 0.2)))
    background = torch.tensor([0.9, 0.4, 1.0], dtype=torch.float64)
    for found, expected in ((pixels.colour, colour), (pixels.over(background), colour + left * background.numpy()),
                            (pixels.opacity, 1 - left.mean()), (pixels.extras["surfaces"], part)):
        assert np.allclose(found.detach().numpy(), expected, atol=1e-6)


def test_a_white_background_behind_tinted_glass_has_its_colour_in_pictures(on_cpu):
    """Through the front and the back of a ball, twice; where nothing is it stays white."""
    model, cameras = EndedBall(torch.float32, "cpu", peak=0.0), cameras_around(size=(24, 18), focal=24.0)
    ball = sphere((0.0, 0.0, 0.0), 0.3, rings=12)
    ball = replace(ball, opacity=np.zeros(len(ball.faces)), tinted=np.full(len(ball.faces), 0.7))
    colour = render_view(WithObjects(model, [surface_of(ball, like())]), cameras, 0, background=1.0).colour
    assert np.allclose(colour[9, 12], (0.3 + 0.7 * np.array(RED)) ** 2, atol=1e-6)
    assert np.allclose(colour[0, 0], 1.0)


def test_it_is_known_when_a_ray_meets_more_surfaces_than_it_goes_through(in_double):
    """The last of too many panes is not seen, whether it is opaque or not; of just enough all are."""
    panes = [(0.45 - 0.05 * k, 0.05, BLUE) for k in range(MOST_LAYERS)]
    for more, goes_on in (([], False), ([(-0.45, 1.0, RED)], True), ([(-0.45, 0.3, RED)], True)):
        scene = put(*(pane(*each) for each in [*panes, *more]))
        pixels = scene.render(down((0.05, 0.1)))
        assert scene.goes_on == goes_on
        assert np.allclose(pixels.colour[0].detach().numpy(), closed_form(panes)[0], atol=1e-6)


def test_the_order_of_panes_is_that_along_the_ray(in_double):
    near, far = pane(0.31, 0.7, BLUE), pane(-0.2, 0.7, RED)
    colour = put(near, far).render(down((0.1, 0.2))).colour[0]
    swapped = put(pane(0.31, 0.7, RED), pane(-0.2, 0.7, BLUE)).render(down((0.1, 0.2))).colour[0]
    assert colour[2] > 0.5 and swapped[0] > 0.5 and abs(colour[2] - swapped[2]) > 0.3


def test_what_is_opaque_behind_a_pane_ends_the_ray(in_double):
    covered = put(pane(0.3, 0.4), pane(0.0, 1.0, BLUE)).render(down((0.1, 0.2)))
    more = put(pane(0.3, 0.4), pane(0.0, 1.0, BLUE), pane(-0.2, 0.9, GREEN)).render(down((0.1, 0.2)))
    assert torch.equal(covered.colour, more.colour) and covered.opacity.item() == pytest.approx(1, abs=1e-12)
    assert (covered.samples.positions[:, 2] > -1e-9).all(), "nothing of the field is looked at behind it"


@pytest.mark.parametrize("tinted", [None, 0.5])
def test_gradients_flow_to_the_field_in_front_of_glass_and_behind_it(in_double, tinted):
    model = Fog()
    scene = put(pane(0.0, 0.4, tinted=tinted), model=model)
    rays = down((0.05, 0.1), (-0.2, 0.3))

    def value(densities):
        with torch.no_grad():
            model.field.densities.copy_(densities)
        pixels = scene.render(rays)
        return (pixels.opacity.sum() + 0.3 * pixels.depth.sum() + pixels.colour.square().sum()
                + pixels.over(pixels.colour.new_tensor((0.3, 0.6, 0.8))).square().sum())

    start = torch.tensor([1.7, 0.9], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(value(start), model.field.densities)
    for axis in range(2):
        step = 1e-5 * torch.eye(2, dtype=torch.float64)[axis]
        difference = (value(start + step) - value(start - step)).item() / 2e-5
        assert gradient[axis].item() == pytest.approx(difference, rel=1e-7) and abs(difference) > 1e-2


def test_samples_are_those_on_both_sides_in_order_and_by_what_is_left(in_double):
    pixels = put(pane(0.31, 0.4), pane(-0.2, 0.7)).render(down((0.05, 0.1), (-0.2, 0.3)))
    samples, (_, opacity, part) = pixels.samples, closed_form([(0.31, 0.4, RED), (-0.2, 0.7, RED)])
    of_field = pixels.carried(torch.ones_like(pixels.weights)).view(2, 4).mean(dim=1)
    assert np.allclose(of_field.numpy(), opacity - part, atol=1e-6)
    for ray in (0, 4):
        t = samples.t[samples.ray_start[ray] : samples.ray_start[ray] + samples.ray_count[ray]]
        assert (t.diff() > 0).all() and t[0] < 0.19 and t[-1] > 0.7


def test_the_outline_of_a_pane_is_seen_by_all_rays_of_its_pixels(in_double):
    """Of a pixel half covered: the mean of the one with glass and the one without, behind another pane, too."""
    half = pane(0.0, 0.6, BLUE)
    half = replace(half, vertices=half.vertices + np.where(half.vertices[:, :1] < 0, (9.0, 0, 0), 0.0))
    origins = torch.tensor([[x, 0.1, 0.5] for x in (0.01, -0.01, 0.01, -0.01)], dtype=torch.float64)
    rays = replace(down((0.0, 0.1)), origins=origins)
    for others in ([], [(0.2, 0.3, RED)]):
        found = put(half, *(pane(*each) for each in others)).render(rays).colour[0].detach().numpy()
        expected = (closed_form(others)[0] + closed_form([*others, (0.0, 0.6, BLUE)])[0]) / 2
        assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 63])
def test_any_number_of_pixels(in_double, count):
    rays = down(*((0.01 * k - 0.3, 0.1) for k in range(63)))[: 4 * count]
    pixels = put(pane(0.1, 0.4)).render(replace(rays, per_pixel=4))
    assert len(pixels.colour) == count and (len(pixels.samples) > 0) == (count > 0)
    assert np.allclose(pixels.colour.detach().numpy(), closed_form([(0.1, 0.4, RED)])[0], atol=1e-6)


@pytest.mark.parametrize(("kind", "encoding"), [
    pytest.param(*model, marks=() if model in (("instant-ngp", None), ("nerf", None)) else pytest.mark.slow)
    for model in MODELS])
def test_every_model_that_ends_rays_goes_on_behind_glass(all_on_cpu, kind, encoding):
    """Panes through the middle of what it shows, two of them at nearly one place; and one that lets all light pass."""
    model = build_model(recipe(kind, "small", encoding).model, Box(bounded=True), counts={"appearance": 3})
    rays = some_rays()

    def behind(*opacities):
        panes = (pane(1e-6 * k, opacity, BLUE) for k, opacity in enumerate(opacities))
        return WithObjects(model, [surface_of(mesh, like()) for mesh in panes]).render(rays)

    pixels, field = behind(0.3, 0.5), model.render(rays)
    part = pixels.extras["surfaces"]
    assert pixels.colour.isfinite().all() and part.max() > 0.05
    of_field = pixels.carried(torch.ones_like(pixels.weights)).view(-1, rays.per_pixel).mean(dim=1)
    assert torch.allclose(of_field, pixels.opacity - part, atol=1e-5)
    clear = behind(0.0)
    assert clear.extras["surfaces"].max() == 0
    if field.packed is not None:  # sampled on a lattice, which panes do not move
        assert torch.allclose(clear.colour, field.colour, atol=1e-4)


def test_a_texture_multiplies_the_opacity(in_double):
    texture = np.full((4, 4, 4), (1.0, 1.0, 1.0, 0.5), np.float32)
    glass = replace(pane(0.1, 0.8), texture_of=np.zeros(2, np.int32), textures=(texture,))
    found = put(glass).render(down((0.1, 0.2))).colour[0].detach().numpy()
    assert np.allclose(found, closed_form([(0.1, 0.4, RED)])[0], atol=1e-6)


def test_glass_takes_its_part_of_a_shadow(in_double):
    """Two panes of 0.3 and 0.5 let 0.35 of the light of a lamp pass, and of that of the sky above them; of tinted light
    each channel has its part, by the linear colour of the glass."""
    lamp = Lamp(position=(0.0, 0.0, 40.0), up=(0.0, 0.0, 1.0))
    scene = put(pane(0.3, 0.3), pane(0.1, 0.5), model=Slabs([0.0, 0.0]), light=lamp)
    points = torch.tensor([[0.1, 0.2, -0.2], [0.0, 0.0, 0.2], [0.1, 0.2, 0.4]], dtype=torch.float64)
    assert lamp.lost(points, scene._hidden)[:, 0].tolist() == pytest.approx([0.65, 0.3, 0.0])
    scene = put(pane(0.3, 0.3, BLUE, 0.6), pane(0.1, 0.5, RED), model=Slabs([0.0, 0.0]), light=lamp)
    through = 0.1 + 0.6 * linear(torch.tensor(BLUE, dtype=torch.float64))
    expected = torch.stack([1 - 0.5 * through, 1 - through, torch.zeros_like(through)])
    torch.testing.assert_close(lamp.lost(points, scene._hidden), expected)
    assert lamp.lost(points[:0], scene._hidden).shape == (0, 3)


@pytest.mark.parametrize("tinted", [0.0, 0.5])
def test_a_ball_behind_glass_is_seen_through_it(backend, tinted):
    """Of each colour its part, and the depth is their mean; beside the ball the pane alone."""
    model = EndedBall(backend.dtype, backend.device)
    glass = pane(0.4, 0.3, BLUE, tinted or None)
    scene = WithObjects(model, [surface_of(glass, torch.empty(0, dtype=backend.dtype, device=backend.device))])
    rays = down((0.05, 0.1), (0.45, -0.45))
    rays = replace(rays, origins=rays.origins.to(model.field.centre), directions=rays.directions.to(model.field.centre))
    pixels = scene.render(rays)
    ball, beside = pixels.colour.detach().cpu().numpy()
    passed = 0.7 - tinted * (1 - np.array(BLUE))
    assert np.allclose(ball, 0.3 * np.array(BLUE) + passed * np.array(GREY), atol=2e-3)
    assert np.allclose(beside, 0.3 * np.array(BLUE), atol=1e-5)
    surface = 0.5 - math.sqrt(0.3**2 - 0.05**2 - 0.1**2)
    taken = 1 - passed.mean()
    assert pixels.depth.tolist() == pytest.approx([taken * 0.1 + (1 - taken) * surface, taken * 0.1], abs=0.01)
    assert pixels.opacity.tolist() == pytest.approx([1.0, taken], abs=2e-3)


def test_glass_that_is_opaque_is_what_is_not_glass_to_the_bit(on_cpu):
    """A ball whose opacity is stated as 1, lit by a lamp, whose light it hides from itself and from the field."""
    model, cameras = EndedBall(torch.float32, "cpu"), cameras_around(size=(24, 18), focal=24.0)
    towards = cameras.position[0] / np.linalg.norm(cameras.position[0])
    ball = sphere(0.35 * towards, 0.1, rings=12)
    lamp = Lamp(position=(2.0, 1.0, 4.0), up=(0.0, 0.0, 1.0))
    stated = replace(ball, opacity=np.ones(len(ball.faces)))
    one, other = (render_view(WithObjects(model, [surface_of(mesh, like())], lamp), cameras, 0, background=1.0)
                  for mesh in (ball, stated))
    assert np.array_equal(one.colour, other.colour) and np.array_equal(one.depth, other.depth)
    assert np.abs(one.colour - render_view(model, cameras, 0, background=1.0).colour).max() > 0.1


def test_a_shadow_takes_its_part_of_the_light_whatever_the_colour(in_double):
    """It is light that is lost, not a part of the sRGB values, of which dark colours would keep too much; and a ray
    that shows little of the field keeps its opacity."""
    class Dim:
        def on(self, number, points, normal, hidden):
            return torch.ones_like(points[:, :1])

        def lost(self, points, hidden):
            return torch.full_like(points[:, :1], 0.7)

    for density in (0.2, DENSITY, 300.0):
        model = Fog()
        with torch.no_grad():
            model.field.densities.fill_(density)
        pixels = put(pane(-0.5, 0.0), model=model, light=Dim()).render(down((0.05, 0.1)))
        dark = srgb(0.3 * linear(torch.tensor(GREY, dtype=torch.float64))).numpy()
        covered = 1 - math.exp(-density)
        assert np.allclose(pixels.colour[0].detach().numpy(), covered * dark, atol=1e-3 if density > 100 else 1e-6)
        assert pixels.opacity.item() == pytest.approx(covered, abs=1e-3)
    assert (dark / GREY).max() - (dark / GREY).min() > 0.02, "in sRGB it is another part of each"
    pixels.colour.sum().backward()
    assert model.field.densities.grad.isfinite().all()
