"""Truncated signed distances against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.tsdf import BEYOND, integrate_depth
from taichi_nerf.reference import tsdf as reference

NAMES = ("distance", "pixel_weight", "camera_to_world", "focal", "principal", "corner")


def make_views(backend, views: int, size: tuple[int, int], rng):
    """Cameras on a sphere of radius 2 that look at about the middle, whose pixels show anything."""
    def uniform(*shape):
        return torch.rand(shape, generator=rng, dtype=torch.float64)

    width, height = size
    back = torch.nn.functional.normalize(torch.randn(views, 3, generator=rng, dtype=torch.float64), dim=1)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([[0.1, 0.2, 1.0]]).double().expand(views, 3),
                                                             back), dim=1)
    pose = torch.stack([right, torch.linalg.cross(back, right), back, 2 * back + 0.2 * uniform(views, 3)], dim=2)
    distance = 1.7 + 0.6 * uniform(views, 1, 1) + 0.02 * uniform(views, height, width)
    distance = torch.where(uniform(views, height, width) < 0.1, BEYOND, distance)
    focal = torch.full((views, 2), 1.5 * width).double()
    principal = torch.tensor([[width / 2 + 0.3, height / 2]]).double().expand(views, 2)
    corner = torch.tensor([-0.5, -0.4, -0.3]).double()
    return [backend.tensor(x) for x in (distance, uniform(views, height, width), pose, focal, principal, corner)]


@pytest.mark.parametrize("views, size, shape", [
    (2, (9, 7), (11, 9, 6)),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in (
        (0, (9, 7), (3, 4, 5)), (1, (1, 1), (1, 1, 1)), (3, (64, 63), (40, 1, 33)), (2, (0, 5), (4, 4, 4)))),
])
def test_sums_equal_the_reference(backend, rng, views, size, shape):
    given = make_views(backend, views, size, rng)
    total, weight = (backend.tensor(torch.rand(shape, generator=rng, dtype=torch.float64)) for _ in range(2))
    exact = [x.double().clone() for x in (*given, total, weight)]
    integrate_depth(*given, total, weight, 0.1, 0.25)
    expected = exact[6:] if 0 in size else reference.integrate_depth(*exact, 0.1, 0.25)
    differ = ((total.double() - expected[0].to(total.device)).abs() > 1e-4).double().mean()
    assert differ < 0.01 if backend.dtype == torch.float32 else differ == 0  # places on the border of two pixels
    if backend.dtype == torch.float64:
        backend.assert_close(total, expected[0], "total")
        backend.assert_close(weight, expected[1], "weight")


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    given = make_views(backend, 2, (9, 7), rng)
    total, weight = backend.tensor(torch.zeros(4, 4, 4)), backend.tensor(torch.zeros(4, 4, 4))
    for number in range(len(NAMES)):
        wrong = [x[:1] if n == number else x for n, x in enumerate(given)]
        with pytest.raises(ValueError, match="must have shape"):
            integrate_depth(*wrong, total, weight, 0.1, 0.3)
    with pytest.raises(ValueError, match="truncation must be positive, got 0"):
        integrate_depth(*given, total, weight, 0.1, 0.0)
    with pytest.raises(ValueError, match="weight must have shape"):
        integrate_depth(*given, total, weight[1:], 0.1, 0.3)
    with pytest.raises(ValueError, match="total must be contiguous"):
        integrate_depth(*given, total.transpose(0, 1), weight, 0.1, 0.3)
