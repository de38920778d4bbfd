"""Pixels, whatever made them: means of several rays, other colours, and the samples that they are made of."""

import torch

from taichi_nerf.models.pixels import Level, Pixels, pixels_of_levels
from taichi_nerf.types import Rays

R, S = 6, 4


def some_pixels(rng, **others):
    colour, opacity, depth = (torch.rand(R, *shape, generator=rng) for shape in ((3,), (), ()))
    return Pixels(colour=colour, opacity=opacity, depth=depth, **others)


def some_levels(rng):
    """A proposal, which has no pixels, and two levels that have; the fenceposts of the last are even."""
    t = torch.linspace(1, 2, S + 1).expand(R, -1)
    weights = [torch.rand(R, S, generator=rng) for _ in range(3)]
    pixels = [None, some_pixels(rng), some_pixels(rng)]
    return [Level(s=t - 1, t=t, weights=w, pixels=p) for w, p in zip(weights, pixels)]


def some_rays(rng):
    directions = torch.nn.functional.normalize(torch.randn(R, 3, generator=rng), dim=1)
    return Rays(torch.randn(R, 3, generator=rng), directions)


def test_the_mean_of_rays_is_of_all_that_is_shown(rng):
    extras = {"uncertainty": torch.rand(R, generator=rng), "normal": torch.rand(R, 3, generator=rng)}
    pixels = some_pixels(rng, extras=extras, weights=torch.ones(9))
    mean = pixels.averaged(3)
    for name in ("colour", "opacity", "depth"):
        value = getattr(pixels, name)
        torch.testing.assert_close(getattr(mean, name), value.view(2, 3, *value.shape[1:]).mean(dim=1))
    for name, value in extras.items():
        torch.testing.assert_close(mean.extras[name], value.view(2, 3, *value.shape[1:]).mean(dim=1))
    assert mean.visible == 9 and pixels.averaged(1) is pixels


def test_what_is_shown_is_the_last_level_and_all_levels_change_alike(rng):
    levels, rays = some_levels(rng), some_rays(rng)
    pixels = pixels_of_levels(rays, levels)
    assert pixels.colour is levels[-1].pixels.colour and pixels.marched == 3 * R * S and pixels.visible == R * S
    asked = []

    def dimmed(colour, opacity):
        asked.append(opacity)
        return 0.5 * colour

    dim = pixels.with_colours(dimmed)
    assert [id(opacity) for opacity in asked] == [id(level.pixels.opacity) for level in levels[1:]]
    for level, before in zip(dim.levels[1:], levels[1:]):
        assert torch.equal(level.pixels.colour, 0.5 * before.pixels.colour)
    assert dim.colour is dim.levels[-1].pixels.colour and dim.levels[0] is levels[0]
    mean = pixels.averaged(2)
    assert mean.colour is mean.levels[-1].pixels.colour and len(mean.colour) == R // 2
    assert torch.equal(mean.levels[-1].weights, levels[-1].weights)


def test_samples_of_intervals_are_their_middles(rng):
    rays = some_rays(rng)
    samples = pixels_of_levels(rays, some_levels(rng)).samples
    t = torch.tensor([1.125, 1.375, 1.625, 1.875])
    torch.testing.assert_close(samples.t.view(R, S), t.expand(R, -1))
    torch.testing.assert_close(samples.dt, torch.full((R * S,), 0.25))
    expected = rays.origins[:, None] + t[:, None] * rays.directions[:, None]
    torch.testing.assert_close(samples.positions.view(R, S, 3), expected)
    assert samples.ray_count.tolist() == [S] * R and samples.ray_index.tolist() == sorted(list(range(R)) * S)


def test_colours_over_a_background(rng):
    pixels = some_pixels(rng)
    background = torch.rand(R, 3, generator=rng)
    torch.testing.assert_close(pixels.over(background), pixels.colour + (1 - pixels.opacity)[:, None] * background)
