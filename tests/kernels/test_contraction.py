"""Laws of the contraction kernels, each on every backend."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf.reference import contraction as reference
from taichi_nerf_kernels import contraction as kernels


def contract(backend, points):
    out = backend.empty(len(points), 3)
    kernels.contract_forward(points, out)
    return out


def pull_back(backend, points, cotangent):
    out = backend.empty(len(points), 3)
    kernels.contract_backward(points, cotangent, out)
    return out


def points(backend, count, rng, log_reach=3.0):
    """Points in all directions, their distances spread evenly in the logarithm around 1."""
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng, dtype=torch.float64), dim=1)
    exponent = (torch.rand(count, 1, generator=rng, dtype=torch.float64) * 2 - 1) * log_reach
    return backend.tensor(direction * 10**exponent)


def test_inside_the_unit_ball_it_is_the_identity(backend, rng):
    x = points(backend, 500, rng)
    x = x / x.norm(dim=1, keepdim=True).clamp_min(1.001)
    assert torch.equal(contract(backend, x), x)


def test_the_image_lies_in_the_ball_of_radius_two(backend, rng):
    x = points(backend, 500, rng, 5.0)
    length = contract(backend, x).double().norm(dim=1)
    assert (length < 2).all() and length.max() > 1.999


def test_a_point_at_infinity_lands_at_two_without_a_nan(backend):
    x = backend.tensor([[1e15, 0.0, 0.0], [0.0, 0.0, 0.0]])
    out = contract(backend, x)
    gradient = pull_back(backend, x, torch.ones_like(x))
    backend.assert_close(out, torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), "contracted")
    assert torch.isfinite(gradient).all()


def test_directions_are_kept_and_the_order_of_distances(backend, rng):
    x = points(backend, 500, rng)
    y = contract(backend, x)
    cosine = torch.nn.functional.cosine_similarity(x.double(), y.double(), dim=1)
    assert (cosine - 1).abs().max() < 1e-6
    order = x.double().norm(dim=1).argsort()
    assert (y.double().norm(dim=1)[order].diff() > -1e-6).all()


def test_the_jacobian_is_that_of_automatic_differentiation(backend, rng):
    x = points(backend, 200, rng, 1.5)
    exact = torch.func.vmap(torch.func.jacrev(reference.contract))(x.double().cpu())
    columns = [pull_back(backend, x, backend.tensor(torch.eye(3)[i]).expand(200, 3).contiguous()) for i in range(3)]
    found = torch.stack(columns, dim=1).double().cpu()
    assert (found - exact).abs().max() < 1e-6
    assert (reference.jacobian(x.double().cpu()) - exact).abs().max() < 1e-12


def test_the_radius_shrinks_by_its_square(backend):
    x = backend.tensor([[4.0, 0.0, 0.0]])
    radial = pull_back(backend, x, backend.tensor([[1.0, 0.0, 0.0]]))
    across = pull_back(backend, x, backend.tensor([[0.0, 1.0, 0.0]]))
    assert radial.tolist() == [[1 / 16, 0.0, 0.0]] and across.tolist() == [[0.0, 7 / 16, 0.0]]


def test_widths_keep_the_volume_of_their_spheres(backend, rng):
    x = points(backend, 200, rng, 3.0)
    widths = backend.tensor(torch.rand(200, generator=rng, dtype=torch.float64))
    contracted, found = backend.empty(200, 3), backend.empty(200)
    kernels.contract_spheres_forward(x, widths, contracted, found)
    assert torch.equal(contracted, contract(backend, x))
    columns = [pull_back(backend, x, backend.tensor(torch.eye(3)[i]).expand(200, 3).contiguous()) for i in range(3)]
    volume = torch.linalg.det(torch.stack(columns, dim=1).double())
    backend.assert_close((found.double() / widths.double()) ** 3, volume, "volume")
    assert torch.equal(found[x.norm(dim=1) < 0.999], widths[x.norm(dim=1) < 0.999])


@pytest.mark.parametrize("subdivisions, count", [(1, 6), (2, 21), (3, 46)])
def test_the_basis_has_one_of_each_pair_of_opposite_vertices(subdivisions, count):
    basis = kernels.off_axis_basis(subdivisions)
    assert basis.shape == (count, 3) and np.allclose(np.linalg.norm(basis, axis=1), 1)
    product = np.abs(basis @ basis.T) - np.eye(count)
    assert product.max() < 0.96  # no two are parallel
    # The vertices are spread evenly: the squares of the projections of any vector sum to the same.
    assert np.allclose(basis.T @ basis, np.eye(3) * count / 3)


def test_the_21_directions_are_the_corners_and_edge_middles_of_an_icosahedron():
    basis = kernels.off_axis_basis()
    angles = np.degrees(np.arccos(np.clip(np.abs(basis @ basis.T), 0, 1)))
    nearest = np.sort(np.round(angles, 2), axis=1)[:, 1]
    assert sorted(set(nearest)) == [31.72] and math.isclose(np.degrees(np.arctan(2)) / 2, 31.72, abs_tol=0.01)
    with pytest.raises(ValueError, match="subdivisions must be at least 1"):
        kernels.off_axis_basis(0)


def project(backend, given, basis, contracted=True):
    shape = *given[2].shape, len(basis)
    mean, variance = backend.empty(*shape), backend.empty(*shape)
    kernels.project_forward(*given, basis, mean, variance, contracted)
    return mean, variance


def make_gaussians(backend, rays, samples, rng):
    lines = [torch.randn(rays, 3, generator=rng, dtype=torch.float64) * s for s in (0.3, 1.0)]
    t = torch.rand(rays, samples, generator=rng, dtype=torch.float64) * 6
    variances = [torch.rand(rays, samples, generator=rng, dtype=torch.float64) * s for s in (0.1, 0.01)]
    return [backend.tensor(x) for x in (*lines, t, *variances)]


@pytest.mark.parametrize("contracted", [True, False])
def test_projections_equal_those_of_the_covariance_matrices(backend, rng, contracted):
    given = make_gaussians(backend, 20, 9, rng)
    basis = backend.tensor(kernels.off_axis_basis())
    expected = reference.project_gaussians(*(x.double() for x in given), basis.double(), contracted)
    for name, a, b in zip(("mean", "variance"), project(backend, given, basis, contracted), expected):
        backend.assert_close(a, b, name)


def test_opposite_directions_have_opposite_means_and_equal_variances(backend, rng):
    given = make_gaussians(backend, 20, 5, rng)
    basis = backend.tensor(kernels.off_axis_basis())
    (mean, variance), (other_mean, other_variance) = (project(backend, given, b) for b in (basis, -basis))
    assert torch.equal(mean, -other_mean) and torch.equal(variance, other_variance)


def test_far_variances_are_neither_negative_nor_lost(backend, rng):
    """Out to 10^6, where the radial direction shrinks by 10^12, along the ray itself as across."""
    origins, directions = backend.tensor([[0.0, 0.0, 0.0]]), backend.tensor([[0.48, 0.64, 0.6]])
    t = backend.tensor([[10.0, 1e3, 1e6]])
    given = origins, directions, t, (t / 4).square(), (t / 1000).square()
    basis = torch.cat([directions, backend.tensor([[0.8, -0.6, 0.0]])])
    _, variance = project(backend, given, basis)
    expected = reference.project_gaussians(*(x.double() for x in given), basis.double())[1]
    along = (t.double() / 4 / t.double() ** 2) ** 2  # sigma / r^2
    across = (t.double() / 1000 * (2 - 1 / t.double()) / t.double()) ** 2
    assert (variance[0, :, 1].double() / across - 1).abs().max() < 1e-5
    # The ray passes through 0: its own direction shrinks by r^2, up to the rounding of r.
    assert (variance[0, :2, 0].double() / along[0, :2] - 1).abs().max() < 1e-3
    assert (variance >= 0).all() and torch.isfinite(expected).all()


def test_permuting_the_rays_permutes_outputs_and_gradients(backend, rng):
    given = make_gaussians(backend, 9, 5, rng)
    basis = backend.tensor(kernels.off_axis_basis())
    cotangents = [backend.tensor(torch.randn(9, 5, 21, generator=rng)) for _ in range(2)]

    def run(order):
        chosen = [x[order].contiguous() for x in given]
        gradients = [torch.full_like(x, float("nan")) for x in chosen]
        kernels.project_backward(*chosen, basis, *(c[order].contiguous() for c in cotangents), *gradients, True)
        return [*project(backend, chosen, basis), *gradients]

    order = torch.randperm(9, generator=rng).to(backend.device)
    for a, b in zip(run(torch.arange(9, device=backend.device)), run(order)):
        assert torch.equal(a[order], b)
