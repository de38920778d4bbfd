"""Foveated pictures: equal where the eye looks, alike elsewhere, with a part of the rays."""

import numpy as np
import pytest
import torch

from taichi_nerf.models.foveated import ZONES, foveated_view, rates_around
from taichi_nerf.models.views import directions_of, render_view

from .ball import Ball
from .test_views import cameras_around

pytestmark = pytest.mark.usefixtures("all_on_cpu")


def test_half_of_the_rays_or_less_show_the_same_in_the_middle():
    model, cameras = Ball(torch.float32, "cpu", radius=0.45, softness=0.02, peak=300.0), cameras_around(
        size=(97, 83), distance=1.0, focal=45.0)
    full = render_view(model, cameras, 1, background=0.3)
    view, share = foveated_view(model, cameras, 1, background=0.3)
    rate = rates_around(directions_of(model, cameras, 1))
    assert {1, 2, 4} == set(np.unique(rate)) and share < 0.5
    inside = rate == 1
    for name in ("colour", "opacity", "depth"):
        one, other = getattr(full, name), getattr(view, name)
        assert np.allclose(one[inside], other[inside], atol=1e-6), name
        there = (full.opacity > 0.5) & (view.opacity > 0.5)
        assert np.abs(one - other)[there].mean() < 0.02, name
    assert 0 < view.samples < full.samples


def test_the_gaze_moves_what_is_sharp_and_angles_decide():
    cameras = cameras_around(size=(60, 40), focal=30.0)
    directions = directions_of(Ball(torch.float32, "cpu"), cameras, 0)
    rate = rates_around(directions, gaze=(5.0, 30.0))
    angle = np.degrees(np.arccos(np.clip(directions @ directions[30, 5], -1, 1)))
    assert rate[30, 5] == 1 and (rate[angle <= 20] == 1).all() and (rate[(angle > 20.01) & (angle < 35)] == 2).all()
    assert (rate[angle > 35.01] == 4).all() and [step for _, step in ZONES] == [1, 2, 4]


@pytest.mark.slow
def test_only_what_is_wanted_is_rendered():
    model, cameras = Ball(torch.float32, "cpu"), cameras_around()
    full = render_view(model, cameras, 0, background=1.0)
    wanted = np.zeros((18, 24), bool)
    wanted[6:10, 8:15] = True
    view = render_view(model, cameras, 0, background=1.0, wanted=wanted)
    assert np.allclose(view.colour[wanted], full.colour[wanted], atol=1e-6)
    assert (view.opacity[~wanted] == 0).all() and (view.colour[~wanted] == 1).all()
