"""The exponential map and the displacement of points against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.se3 import displacement, displacement_slopes, exponential_map
from taichi_nerf.reference import se3 as reference


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_value_and_gradient_equal_the_reference(backend, rng, count):
    exact = torch.randn(count, 6, generator=rng, dtype=torch.float64)
    exact[: count // 3, :3] *= 1e-3
    twists = backend.tensor(exact).requires_grad_()
    exact = twists.detach().double().requires_grad_()
    transforms, expected = exponential_map(twists), reference.exponential_map(exact)
    backend.assert_close(transforms, expected, "transforms")
    cotangent = torch.randn(count, 3, 4, generator=rng, dtype=torch.float64).to(backend.device)
    (gradient,) = torch.autograd.grad(transforms, twists, backend.tensor(cotangent))
    (expected_gradient,) = torch.autograd.grad(expected, exact, cotangent)
    backend.assert_close(gradient, expected_gradient, "gradient of twists")


def warps(backend, rng, count, scale=1.0):
    """Twists of every size, from none on, how they change, and points."""
    exact = [scale * torch.randn(count, *shape, generator=rng, dtype=torch.float64) for shape in ((6,), (3, 6), (3,))]
    exact[0][: count // 2, :3] *= 10 ** (-8 * torch.rand(count // 2, 1, generator=rng, dtype=torch.float64))
    exact[0][:1] = 0
    return [backend.tensor(values).requires_grad_() for values in exact]


@pytest.mark.parametrize("count", [0, 1, 63, 500])
def test_displacements_and_their_slopes_equal_the_reference(backend, rng, count):
    given = warps(backend, rng, count)
    exact = [values.detach().double().requires_grad_() for values in given]
    for what, inputs in ((displacement, (0, 2)), (displacement_slopes, (0, 1, 2))):
        found = what(*(given[n] for n in inputs))
        expected = getattr(reference, what.__name__)(*(exact[n] for n in inputs))
        backend.assert_close(found, expected, what.__name__)
        cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64).to(backend.device)
        gradients = torch.autograd.grad(found, [given[n] for n in inputs], backend.tensor(cotangent))
        wanted = torch.autograd.grad(expected, [exact[n] for n in inputs], cotangent)
        for n, value, gradient in zip(inputs, wanted, gradients):
            backend.assert_close(gradient, value, f"{what.__name__}, gradient {n}")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    for angle in (0.0, 1e-9, 1e-4, 0.7, 1.3, 4.0):  # at the identity, near it, on both sides of the series' end
        given = warps(backend, rng, 3)
        with torch.no_grad():
            given[0][:, :3] = angle * torch.nn.functional.normalize(torch.randn(3, 3, generator=rng).double(), dim=1)
        assert torch.autograd.gradcheck(displacement, (given[0], given[2]))
        assert torch.autograd.gradcheck(displacement_slopes, given)
    twists = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    twists[0, :3] = 0
    twists[1, :3] *= 1e-4
    assert torch.autograd.gradcheck(exponential_map, [backend.tensor(twists).requires_grad_()])


def test_the_gradient_at_zero_is_that_of_the_generators(backend):
    twists = torch.zeros(1, 6, dtype=backend.dtype, device=backend.device, requires_grad=True)
    cotangent = backend.tensor(torch.arange(12.0).reshape(1, 3, 4))
    (gradient,) = torch.autograd.grad(exponential_map(twists), twists, cotangent)
    # R = I + w^: G_zy - G_yz, G_xz - G_zx, G_yx - G_xy; p = v
    backend.assert_close(gradient, torch.tensor([[9.0 - 6.0, 2.0 - 8.0, 4.0 - 1.0, 3.0, 7.0, 11.0]]), "gradient")


def test_wrong_arguments_raise_an_error_that_names_them(backend):
    with pytest.raises(ValueError, match="twists must have shape"):
        exponential_map(backend.empty(4, 7))
    with pytest.raises(TypeError, match="twists must be float32 or float64"):
        exponential_map(backend.empty(4, 6).half())
    with pytest.raises(TypeError, match=r"twists must be a torch\.Tensor"):
        exponential_map(None)
    with pytest.raises(ValueError, match=r"points must have shape \(4, 3\)"):
        displacement(backend.empty(4, 6), backend.empty(3, 3))
    with pytest.raises(ValueError, match=r"tangents must have shape \(4, 3, 6\)"):
        displacement_slopes(backend.empty(4, 6), backend.empty(4, 6), backend.empty(4, 3))
