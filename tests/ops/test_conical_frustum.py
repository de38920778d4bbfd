"""The conical frustum operations against the float64 reference, a Monte-Carlo mean, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.conical_frustum import cone_radii, frustum_gaussians, frustum_moments
from taichi_nerf.ops.positional_encoding import encode_gaussian
from taichi_nerf.reference import conical_frustum as reference
from taichi_nerf.reference import positional_encoding

NAMES = ("fenceposts", "origins", "directions", "radius")


def make_inputs(backend, rays, intervals, rng):
    growth = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) * 0.1 + 0.05
    radius = torch.rand(rays, generator=rng, dtype=torch.float64) * 0.2 + 0.05
    lines = [torch.randn(rays, 3, generator=rng, dtype=torch.float64) for _ in range(2)]
    lines[1] += lines[1].sign()  # no direction near zero length
    return [backend.tensor(x).requires_grad_() for x in (0.2 * growth.cumsum(1).exp(), *lines, radius)]


@pytest.mark.parametrize("rays, intervals", [(0, 4), (3, 0), (1, 1), (63, 9), (50, 40)])
@pytest.mark.parametrize("shape", ["cone", "cylinder"])
@pytest.mark.parametrize("kind", ["moments", "gaussians"])
def test_value_and_gradient_equal_the_reference(backend, rng, kind, rays, intervals, shape):
    inputs = make_inputs(backend, rays, intervals, rng)
    names, operation, oracle = NAMES, frustum_gaussians, reference.frustum_gaussians
    if kind == "moments":
        inputs, names = inputs[::3], NAMES[::3]
        operation, oracle = frustum_moments, reference.frustum_moments
    exact = [i.detach().double().requires_grad_() for i in inputs]
    outputs, expected = operation(*inputs, shape), oracle(*exact, shape)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    for n, (actual, value) in enumerate(zip(outputs, expected)):
        backend.assert_close(actual, value, f"output {n}")
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents, materialize_grads=True)
    for name, actual, value in zip(names, gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


@pytest.mark.parametrize("shape", ["cone", "cylinder"])
def test_gradcheck(backend, rng, shape):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    inputs = make_inputs(backend, 3, 4, rng)
    assert torch.autograd.gradcheck(lambda *x: frustum_gaussians(*x, shape), inputs)
    assert torch.autograd.gradcheck(lambda *x: frustum_moments(*x, shape), inputs[::3])


def test_radii_equal_the_reference(backend, rng):
    index = torch.randint(3, (200,), generator=rng)
    lens = torch.tensor([0, 0, 1])
    pixel = 200 + (torch.rand(200, 2, generator=rng, dtype=torch.float64) - 0.5) * 150
    distortion = torch.tensor([[0.0] * 6, [0.09, -0.18, 0.11, 0, 1e-3, -2e-3], [0.03, -0.01, 0.002, 0, 0, 0]])
    focal, principal = torch.full((3, 2), 180.0), torch.full((3, 2), 201.0)
    given = [backend.tensor(x) for x in (pixel, focal, principal, distortion)]
    index, lens = backend.tensor(index, torch.int32), backend.tensor(lens, torch.int32)
    exact = [x.double() for x in given]
    backend.assert_close(cone_radii(index, *given, lens), reference.cone_radii(index, *exact, lens), "radius")
    assert cone_radii(index[:0], given[0][:0], *given[1:], lens).shape == (0,)


@pytest.mark.parametrize("t_0, t_1, levels", [(1.9, 2.1, 4), (1.7, 2.3, 3), (3.5, 4.5, 2), (1.65, 2.35, 2)])
def test_integrated_encoding_is_the_mean_over_the_cone(backend, rng, t_0, t_1, levels):
    """Within 2 % for h / m < 0.2 and every frequency with 2^k h < 1.25.

    Of an interval of half length h the mean of a wave is sin(x) / x with x = 2^k h; that of the Gaussian is
    exp(-x^2 / 6), which differs by x^4 / 180 of the wave's height, and by up to a fifth of it near x = 3.
    """
    assert (t_1 - t_0) / (t_1 + t_0) < 0.2 and 2 ** (levels - 1) * (t_1 - t_0) / 2 < 1.25
    rays, radius = 6, 0.02
    origins = torch.randn(rays, 3, generator=rng, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(rays, 3, generator=rng, dtype=torch.float64), dim=1)
    fenceposts = torch.tensor([[t_0, t_1]] * rays, dtype=torch.float64)
    mean, variance = frustum_gaussians(*(backend.tensor(x) for x in (fenceposts, origins, directions)),
                                       backend.tensor([radius] * rays))
    found = encode_gaussian(mean[:, 0], variance[:, 0], levels).double().cpu()
    points = [reference.points_in_frustum(t_0, t_1, o, d, radius, 50_000, rng) for o, d in zip(origins, directions)]
    expected = torch.stack([positional_encoding.encode(p, levels, identity=False).mean(0) for p in points])
    middle = positional_encoding.encode(origins + (t_0 + t_1) / 2 * directions, levels, identity=False)
    size = expected.norm(dim=1)
    error = ((found - expected).norm(dim=1) / size).max().item()
    of_the_middle = ((middle - expected).norm(dim=1) / size).min().item()
    assert error < 0.02 < of_the_middle, f"{error:.3%}, of the point in the middle {of_the_middle:.3%}"


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    fenceposts, origins, directions, radius = make_inputs(backend, 5, 4, rng)
    with pytest.raises(ValueError, match=r"origins must have shape \(5, 3\)"):
        frustum_gaussians(fenceposts, origins[:4], directions, radius)
    with pytest.raises(TypeError, match="directions must be"):
        frustum_gaussians(fenceposts, origins, directions.half(), radius)
    with pytest.raises(ValueError, match=r"radius must have shape \(5\)"):
        frustum_moments(fenceposts, radius[:, None])
    with pytest.raises(ValueError, match="shape must be one of cone, cylinder, got 'sphere'"):
        frustum_moments(fenceposts, radius, "sphere")
    with pytest.raises(ValueError, match="fenceposts must have shape"):
        frustum_moments(fenceposts[:, :0], radius)
    if backend.device.type == "cpu":
        pixel, k, lens = origins[:, :2], backend.tensor(torch.zeros(5, 6)), backend.tensor([0] * 5, torch.int32)
        with pytest.raises(IndexError, match=r"image_index must lie in \[0, 5\), got -1..4"):
            index = backend.tensor([0, 4, -1, 2, 3], torch.int32)
            cone_radii(index, pixel, 1 + pixel, pixel, k, lens)
