"""The ray-box operation against the float64 reference, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.ray_aabb import intersect_ray_aabb
from taichi_nerf.reference import ray_aabb as reference

BOX = [[-0.5, -1.0, 0.25], [0.5, 2.0, 1.0]]


def make_rays(backend, count, rng):
    origins = torch.rand(count, 3, generator=rng, dtype=torch.float64) * 4 - 2
    targets = torch.rand(count, 3, generator=rng, dtype=torch.float64) * 2 - 0.5
    rays = origins, torch.nn.functional.normalize(targets - origins, dim=1)
    return [backend.tensor(x).requires_grad_() for x in rays]


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_value_and_gradient_equal_the_reference(backend, rng, count):
    rays = make_rays(backend, count, rng)
    outputs = intersect_ray_aabb(*rays, backend.tensor(BOX), 0.1)
    exact = [x.detach().double().requires_grad_() for x in rays]
    expected = reference.intersect_ray_aabb(*exact, backend.tensor(BOX).double(), 0.1)
    cotangents = [torch.randn(count, generator=rng, dtype=torch.float64).to(backend.device) for _ in range(2)]
    gradients = torch.autograd.grad(outputs, rays, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents)
    for name, actual, value in zip(("t_near", "t_far"), outputs, expected):
        backend.assert_close(actual, value, name)
    for name, actual, value in zip(("origins", "directions"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    rays = make_rays(backend, 40, rng)
    box = backend.tensor(BOX)
    t_near, t_far = intersect_ray_aabb(*rays, box)
    assert (t_far > t_near).any() and (t_far < 0).any()
    assert torch.autograd.gradcheck(lambda *x: intersect_ray_aabb(*x, box), rays)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    origins, directions = make_rays(backend, 4, rng)
    box = backend.tensor(BOX)
    with pytest.raises(ValueError, match="origins must have shape"):
        intersect_ray_aabb(origins[:, :2], directions, box)
    with pytest.raises(ValueError, match="directions must have shape"):
        intersect_ray_aabb(origins, directions[:3], box)
    with pytest.raises(ValueError, match="box must have shape"):
        intersect_ray_aabb(origins, directions, box[0])
    with pytest.raises(TypeError, match="box must be"):
        intersect_ray_aabb(origins, directions, box.half())
    with pytest.raises(ValueError, match="minimum"):
        intersect_ray_aabb(origins, directions, box, minimum=-1.0)
