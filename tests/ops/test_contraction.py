"""The contraction operations against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.contraction import contract_points, contract_spheres, off_axis_basis, project_gaussians
from taichi_nerf.reference import contraction as reference

NAMES = ("origins", "directions", "t_mean", "t_variance", "radial_variance")


def make_inputs(backend, rays, samples, rng):
    origins, directions = (torch.randn(rays, 3, generator=rng, dtype=torch.float64) * s for s in (0.3, 1.0))
    directions = directions + directions.sign()
    t = torch.rand(rays, samples, generator=rng, dtype=torch.float64) * 3
    variances = [torch.rand(rays, samples, generator=rng, dtype=torch.float64) * s for s in (0.1, 0.05)]
    return [backend.tensor(x).requires_grad_() for x in (origins, directions, t, *variances)]


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_points_equal_the_reference_in_value_and_gradient(backend, rng, count):
    points = backend.tensor(torch.randn(count, 3, generator=rng, dtype=torch.float64) * 2).requires_grad_()
    exact = points.detach().double().requires_grad_()
    contracted, expected = contract_points(points), reference.contract(exact)
    backend.assert_close(contracted, expected, "contracted")
    cotangent = torch.randn(count, 3, generator=rng, dtype=torch.float64).to(backend.device)
    (gradient,) = torch.autograd.grad(contracted, points, backend.tensor(cotangent))
    (expected_gradient,) = torch.autograd.grad(expected, exact, cotangent)
    backend.assert_close(gradient, expected_gradient, "gradient")


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_spheres_equal_the_reference_in_value_and_gradient(backend, rng, count):
    points = torch.randn(count, 3, generator=rng, dtype=torch.float64) * 2
    widths = torch.rand(count, generator=rng, dtype=torch.float64)
    inputs = [backend.tensor(x).requires_grad_() for x in (points, widths)]
    exact = [i.detach().double().requires_grad_() for i in inputs]
    outputs, expected = contract_spheres(*inputs), reference.contract_spheres(*exact)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents)
    for name, actual, value in zip(("points", "widths"), outputs, expected):
        backend.assert_close(actual, value, name)
    for name, actual, value in zip(("points", "widths"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


@pytest.mark.parametrize("rays, samples, directions", [(0, 4, 21), (3, 0, 21), (1, 1, 1), (63, 9, 21), (20, 100, 6)])
@pytest.mark.parametrize("contract", [True, False])
def test_gaussians_equal_the_reference_in_value_and_gradient(backend, rng, rays, samples, directions, contract):
    inputs = make_inputs(backend, rays, samples, rng)
    basis = backend.tensor(off_axis_basis()[:directions] if directions != 6 else off_axis_basis(1) * 1.5)
    exact = [i.detach().double().requires_grad_() for i in inputs]
    outputs = project_gaussians(*inputs, basis, contract)
    expected = reference.project_gaussians(*exact, basis.double(), contract)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    for name, actual, value in zip(("mean", "variance"), outputs, expected):
        backend.assert_close(actual, value, name)
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents)
    for name, actual, value in zip(NAMES, gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    points = backend.tensor(torch.randn(8, 3, generator=rng, dtype=torch.float64) * 2).requires_grad_()
    assert torch.autograd.gradcheck(contract_points, [points])
    assert torch.autograd.gradcheck(contract_spheres, [points, points.detach()[:, 0].abs().requires_grad_()])
    inputs, basis = make_inputs(backend, 3, 3, rng), backend.tensor(off_axis_basis())
    assert torch.autograd.gradcheck(lambda *x: project_gaussians(*x, basis), inputs)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    inputs, basis = make_inputs(backend, 5, 4, rng), backend.tensor(off_axis_basis())
    origins, directions, t_mean, t_variance, radial = inputs
    with pytest.raises(ValueError, match="points must have shape"):
        contract_points(origins[0])
    with pytest.raises(ValueError, match=r"widths must have shape \(5\)"):
        contract_spheres(origins, t_mean)
    with pytest.raises(ValueError, match=r"t_mean must have shape \(5, \*\)"):
        project_gaussians(origins, directions, t_mean[:4], t_variance, radial, basis)
    with pytest.raises(TypeError, match="radial_variance must be"):
        project_gaussians(origins, directions, t_mean, t_variance, radial.half(), basis)
    with pytest.raises(ValueError, match="basis must have shape"):
        project_gaussians(*inputs, basis.t())
