"""Laws of the spherical harmonics kernels, each on every backend."""

import math

import pytest
import torch

from taichi_nerf.reference import spherical_harmonics as reference
from taichi_nerf_kernels import spherical_harmonics as kernels

DEGREES = range(1, kernels.MAX_DEGREE + 1)


def unit_directions(backend, count, rng):
    directions = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    return backend.tensor(torch.nn.functional.normalize(directions, dim=1))


def basis(backend, directions, degree):
    values = backend.empty(len(directions), degree**2)
    kernels.spherical_harmonics_forward(directions, values, degree)
    return values


def gradient(backend, directions, cotangent, degree):
    found = backend.empty(len(directions), 3)
    kernels.spherical_harmonics_backward(directions, cotangent, found, degree)
    return found


@pytest.mark.parametrize("degree", DEGREES)
def test_basis_and_gradient_equal_the_polynomials_written_out(backend, rng, degree):
    directions = unit_directions(backend, 200, rng)
    exact = directions.double().requires_grad_()
    expected = reference.spherical_harmonics(exact, degree)
    backend.assert_close(basis(backend, directions, degree), expected, "basis")
    cotangent = backend.tensor(torch.randn(200, degree**2, generator=rng))
    (expected_gradient,) = torch.autograd.grad(expected, exact, cotangent.double(), materialize_grads=True)
    found = gradient(backend, directions, cotangent, degree)
    scale = max(1.0, expected_gradient.abs().max().item())
    backend.assert_close(found, expected_gradient, "gradient", scale)


def test_tangential_gradient_equals_that_on_the_sphere(backend, rng):
    vectors = torch.randn(100, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    unit = torch.nn.functional.normalize(vectors, dim=1)
    cotangent = torch.randn(100, 25, generator=rng, dtype=torch.float64)
    (on_sphere,) = torch.autograd.grad((reference.spherical_harmonics(unit, 5) * cotangent).sum(), vectors)
    found = gradient(backend, backend.tensor(unit.detach()), backend.tensor(cotangent), 5).double().cpu()
    tangential = found - (found * unit).sum(1, keepdim=True) * unit
    length = vectors.detach().norm(dim=1, keepdim=True)
    backend.assert_close(tangential, on_sphere * length, "tangential gradient")


def test_basis_is_orthonormal_on_the_sphere(backend):
    # The product of two functions of degree 4 has degree 8: 5 Gauss points in z and 9 angles would suffice.
    z, weight = torch.linalg.eigh(legendre_jacobi_matrix(6))
    weight = weight[0].square() * 2  # sums to 2, the length of [-1, 1]
    angle = torch.arange(12, dtype=torch.float64) * (2 * math.pi / 12)
    ring = (1 - z.square()).sqrt()[:, None]
    points = torch.stack([ring * angle.cos(), ring * angle.sin(), z[:, None].expand(6, 12)], -1)
    area = (weight[:, None] * (2 * math.pi / 12)).expand(6, 12).reshape(-1, 1)
    values = basis(backend, backend.tensor(points.reshape(-1, 3)), 5).double().cpu()
    backend.assert_close(values.T @ (area * values), torch.eye(25), "inner products")


def legendre_jacobi_matrix(n):
    """Its eigenvalues are the Gauss-Legendre points; the weights follow from its eigenvectors."""
    k = torch.arange(1, n, dtype=torch.float64)
    off_diagonal = k / (4 * k.square() - 1).sqrt()
    return torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1)


def test_squares_of_a_band_sum_to_a_constant(backend, rng):
    values = basis(backend, unit_directions(backend, 500, rng), 5).square()
    for l in range(5):
        total = values[:, l * l:(l + 1) ** 2].sum(1)
        backend.assert_close(total, torch.full_like(total, (2 * l + 1) / (4 * math.pi)), f"band {l}")


def test_band_product_of_two_directions_is_the_legendre_polynomial(backend, rng):
    a, b = unit_directions(backend, 200, rng), unit_directions(backend, 200, rng)
    product = basis(backend, a, 5) * basis(backend, b, 5)
    u = (a.double() * b.double()).sum(1)
    legendre = [u**0, u, (3 * u**2 - 1) / 2, (5 * u**3 - 3 * u) / 2, (35 * u**4 - 30 * u**2 + 3) / 8]
    for l, polynomial in enumerate(legendre):
        expected = (2 * l + 1) / (4 * math.pi) * polynomial
        backend.assert_close(product[:, l * l:(l + 1) ** 2].sum(1), expected, f"band {l}")


def test_bands_are_even_or_odd(backend, rng):
    directions = unit_directions(backend, 100, rng)
    there, back = basis(backend, directions, 5), basis(backend, -directions, 5)
    sign = backend.tensor([(-1.0) ** l for l in range(5) for _ in range(2 * l + 1)])
    assert torch.equal(back, there * sign)


def test_lower_degrees_are_the_first_columns(backend, rng):
    directions = unit_directions(backend, 50, rng)
    full = basis(backend, directions, 5)
    for degree in range(1, 5):
        backend.assert_close(basis(backend, directions, degree), full[:, :degree**2], f"degree {degree}")


def test_first_band_has_the_settled_signs(backend):
    directions = backend.tensor(torch.eye(3))
    c = math.sqrt(3 / (4 * math.pi))
    expected = torch.tensor([[0, 0, -c], [-c, 0, 0], [0, c, 0]], dtype=torch.float64)
    backend.assert_close(basis(backend, directions, 2)[:, 1:], expected, "band 1")


def test_no_directions(backend):
    assert basis(backend, backend.empty(0, 3), 4).shape == (0, 16)


def test_shuffled_directions_have_shuffled_values_and_gradients(backend, rng):
    count = 64  # all in full vectors of a processor: those that are left over are computed one by one, and may round
    directions = unit_directions(backend, count, rng)  # otherwise
    order = torch.randperm(count, generator=rng).to(backend.device)
    cotangent = backend.tensor(torch.randn(count, 16, generator=rng))
    assert torch.equal(basis(backend, directions, 4)[order], basis(backend, directions[order], 4))
    assert torch.equal(gradient(backend, directions, cotangent, 4)[order],
                       gradient(backend, directions[order], cotangent[order], 4))
