"""Gaussian rendering against the float64 reference, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.gaussian_rendering import render_gaussians
from taichi_nerf.reference import gaussian_rendering as reference

NAMES = ("means", "scales", "quaternions", "opacities", "harmonics")
WIDTH, HEIGHT = 37, 26


def make_gaussians(backend, count, bands, rng):
    """Some in front of the camera, some behind it, some at the edge; in the precision of the backend, and exactly."""
    def uniform(*shape):
        return torch.rand(shape, generator=rng, dtype=torch.float64)

    def normal(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    means = 4 * (uniform(count, 3) - 0.5)
    given = (means, 0.02 + 0.25 * uniform(count, 3) ** 2, normal(count, 4), 0.05 + 0.9 * uniform(count),
             0.4 * normal(count, 3, bands**2))
    given = [backend.tensor(x).requires_grad_() for x in given]
    return given, [x.detach().double().cpu().requires_grad_() for x in given]


def make_camera(backend):
    axes, _ = torch.linalg.qr(torch.tensor([[1.0, 0.1, 0.2], [-0.2, 1.1, 0.1], [-0.1, -0.3, 1.0]], dtype=torch.float64))
    axes = axes * torch.sign(torch.diagonal(axes))
    position = torch.tensor([[0.1], [-0.2], [1.6]], dtype=torch.float64)
    camera = torch.cat([axes, position], dim=1), torch.tensor([30.0, 33.0]), torch.tensor([17.0, 14.0])
    given = [backend.tensor(x) for x in camera]
    return given, [x.double().cpu() for x in given]


def both(backend, count, bands, rng):
    given, exact = make_gaussians(backend, count, bands, rng)
    camera, exact_camera = make_camera(backend)
    return (given, exact, render_gaussians(*given, *camera, WIDTH, HEIGHT),
            reference.render_gaussians(*exact, *exact_camera, WIDTH, HEIGHT))


def assert_equal_to_the_reference(backend, count, bands, rng):
    given, exact, drawn, expected = both(backend, count, bands, rng)
    for name, actual, value in zip(("colour", "opacity"), drawn, expected):
        backend.assert_close(actual, value, name, 1.0)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64) for e in expected]
    found = torch.autograd.grad(drawn, given, [backend.tensor(c) for c in cotangents])
    wanted = torch.autograd.grad(expected, exact, cotangents, materialize_grads=True, allow_unused=True)
    for name, gradient, expected_gradient in zip(NAMES, found, wanted):
        backend.assert_close(gradient, expected_gradient, f"gradient of {name}",
                             max(expected_gradient.abs().max().item(), 1.0) if count else None)


@pytest.mark.parametrize("count", [0, 1, 150])
def test_values_and_gradients_equal_the_reference(backend, rng, count):
    assert_equal_to_the_reference(backend, count, 2, rng)


@pytest.mark.slow
@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("count", [1, 600])
def test_all_degrees_equal_the_reference(backend, rng, count, bands):
    assert_equal_to_the_reference(backend, count, bands, rng)


@pytest.mark.slow
@pytest.mark.parametrize("output", [0, 1], ids=["colour", "opacity"])
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck_of_each_input(backend, rng, name, output):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    given, _ = make_gaussians(backend, 6, 2, rng)
    camera, _ = make_camera(backend)
    number = NAMES.index(name)

    def drawn(value):
        inputs = [x.detach() for x in given]
        inputs[number] = value
        return render_gaussians(*inputs, *camera, WIDTH, HEIGHT)[output]

    assert torch.autograd.gradcheck(drawn, given[number], atol=1e-6)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    given, _ = make_gaussians(backend, 4, 2, rng)
    means, scales, quaternions, opacities, harmonics = (x.detach() for x in given)
    camera, _ = make_camera(backend)

    def draw(means=means, scales=scales, opacities=opacities, harmonics=harmonics, width=WIDTH):
        return render_gaussians(means, scales, quaternions, opacities, harmonics, *camera, width, HEIGHT)

    with pytest.raises(ValueError, match=r"scales must have shape \(4, 3\)"):
        draw(scales=scales[:3])
    with pytest.raises(ValueError, match="opacities must have shape"):
        draw(opacities=opacities[:, None])
    with pytest.raises(TypeError, match=r"means must be float32 or float64"):
        draw(means=means.half())
    with pytest.raises(ValueError, match="harmonics must have 1, 4, 9, 16, 25 functions, got 3"):
        draw(harmonics=harmonics[..., :3])
    with pytest.raises(ValueError, match="width must be from 1 to 32768, got 0"):
        draw(width=0)
    with pytest.raises(ValueError, match=r"principal must have shape \(2\)"):
        render_gaussians(*(x.detach() for x in given), *camera[:2], camera[2][:1], WIDTH, HEIGHT)
