"""Exposures of the training images: the curve, the gains, and their place in the training."""

import pytest
import torch

from taichi_nerf.config import ExposureConfig
from taichi_nerf.training.exposure import ExposureCorrection, exposed, from_linear, to_linear


def test_srgb_and_linear_light_are_inverse_and_meet_known_values():
    value = torch.linspace(0, 1.5, 301, dtype=torch.float64)
    torch.testing.assert_close(from_linear(to_linear(value)), value, atol=1e-7, rtol=0)
    torch.testing.assert_close(to_linear(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([0.0, 0.21404, 1.0]), atol=1e-5,
                               rtol=0)


def test_one_stop_doubles_the_light():
    colour = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.6
    brighter = exposed(colour, torch.ones(50).double(), torch.ones(3).double())
    torch.testing.assert_close(to_linear(brighter), 2 * to_linear(colour))


def test_no_stops_change_nothing_at_any_opacity():
    opacity = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    colour = opacity[:, None] * torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(exposed(colour, opacity, torch.zeros(3).double()), colour, atol=1e-7, rtol=0)


def test_exposure_changes_the_matter_and_not_how_much_there_is_of_it():
    straight = torch.tensor([[0.2, 0.4, 0.3]], dtype=torch.float64)
    for opacity in (0.1, 0.5, 1.0):
        found = exposed(opacity * straight, torch.tensor([opacity]).double(), torch.tensor([0.5, -0.5, 1.0]).double())
        torch.testing.assert_close(found / opacity, exposed(straight, torch.ones(1).double(),
                                                            torch.tensor([0.5, -0.5, 1.0]).double()))


def test_a_ray_that_meets_nothing_stays_black_and_its_gradient_finite():
    colour, opacity = torch.zeros(1, 3, requires_grad=True), torch.zeros(1, requires_grad=True)
    stops = torch.ones(1, 3, requires_grad=True)
    found = exposed(colour, opacity, stops)
    assert not found.any()
    found.sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in (colour, opacity, stops))


def test_white_is_the_end_but_for_the_way_back():
    bright = exposed(torch.full((1, 3), 0.95), torch.ones(1), torch.ones(3))
    assert 1 < bright.max() < 1.01


def test_what_all_images_share_is_not_in_the_gains():
    correction = ExposureCorrection(4)
    with torch.no_grad():
        correction.stops += torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(correction.centred(), torch.zeros(4, 3))


def test_gradients_equal_finite_differences():
    random = torch.Generator().manual_seed(2)
    opacity = torch.rand(8, generator=random, dtype=torch.float64) * 0.8 + 0.2
    colour = opacity[:, None] * torch.rand(8, 3, generator=random, dtype=torch.float64) * 0.5
    stops = torch.randn(8, 3, generator=random, dtype=torch.float64) * 0.3
    assert torch.autograd.gradcheck(exposed, [value.requires_grad_() for value in (colour, opacity, stops)])


def test_training_learns_gains_and_a_run_that_goes_on_takes_the_same_steps(make_trainer):
    whole, first, second = (make_trainer(exposure=ExposureConfig(learned=True)) for _ in range(3))
    for _ in range(4):
        whole.step()
    for _ in range(2):
        first.step()
    second.load_state_dict(first.state_dict())  # which brings the gains of the device here
    assert first.corrections.exposure.stops.any()
    for _ in range(2):
        second.step()
    expected, found = whole.state_dict()["tensors"], second.state_dict()["tensors"]
    assert expected.keys() == found.keys() and "correction.exposure.stops" in expected
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_checkpoint_without_gains_is_not_taken_for_one_with(make_trainer):
    plain, learning = make_trainer(gradients="autograd"), make_trainer(exposure=ExposureConfig(learned=True))
    with pytest.raises(ValueError, match=r"correction\.exposure\.stops"):
        learning.load_state_dict(plain.state_dict())
