"""The fused network against the float64 reference: value and every gradient."""

from itertools import pairwise

import pytest
import torch

from taichi_nerf.ops.mlp import fused_mlp
from taichi_nerf.reference import mlp as reference
from taichi_nerf_kernels.engine import on_cpu

from ..kernels.test_mlp import DEEP, LINEAR, ONE_HIDDEN, TWO_HIDDEN, on_backend


def random_weights(sizes, rng):
    return [torch.randn(b, a, generator=rng, dtype=torch.float64) * (2 / a) ** 0.5 for a, b in pairwise(sizes)]


LARGE = (31, 40, 33, 3)


@pytest.mark.parametrize("sizes", [ONE_HIDDEN, DEEP, LINEAR, TWO_HIDDEN, LARGE], ids=str)
def test_value_and_gradients_match_the_reference(backend, rng, sizes):
    if sizes == LARGE and on_cpu():
        pytest.skip("a CPU has one path for all sizes, and takes long to compile this one")
    sizes = on_backend(sizes)
    for count in (0, 1, 63, 2000):
        x = torch.randn(sizes[0], count, generator=rng, dtype=torch.float64)
        weights = random_weights(sizes, rng)
        cotangent = torch.randn(sizes[-1], count, generator=rng, dtype=torch.float64)
        exact = [x.requires_grad_(), *(weight.requires_grad_() for weight in weights)]
        expected = reference.mlp(exact[0], exact[1:])
        expected.backward(cotangent)

        given = [backend.tensor(tensor.detach()).requires_grad_() for tensor in exact]
        actual = fused_mlp(given[0], given[1:])
        actual.backward(backend.tensor(cotangent))

        backend.assert_close(actual, expected, "y")
        for name, got, wanted in zip(["x", *(f"weights[{i}]" for i in range(9))], given, exact):
            backend.assert_close(got.grad, wanted.grad, f"{name} gradient of {count} samples")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("finite differences need float64")
    sizes = on_backend(DEEP)
    x = torch.randn(sizes[0], 5, generator=rng, dtype=torch.float64).requires_grad_()
    weights = [weight.requires_grad_() for weight in random_weights(sizes, rng)]
    assert torch.autograd.gradcheck(lambda x, *weights: fused_mlp(x, weights), (x, *weights), eps=1e-7)


def test_a_transposed_cotangent_is_no_different(backend, rng):
    x = backend.tensor(torch.randn(7, 40, generator=rng, dtype=torch.float64)).requires_grad_()
    weights = [backend.tensor(weight) for weight in random_weights((7, 5), rng)]
    cotangent = backend.tensor(torch.randn(40, 5, generator=rng, dtype=torch.float64)).t()
    (expected,) = torch.autograd.grad(fused_mlp(x, weights), x, cotangent.contiguous())
    (actual,) = torch.autograd.grad(fused_mlp(x, weights), x, cotangent)
    assert torch.equal(actual, expected)


def test_wrong_arguments_are_named(backend):
    x = torch.zeros(7, 4, dtype=backend.dtype, device=backend.device)
    first, second = x.new_zeros(6, 7), x.new_zeros(2, 6)
    with pytest.raises(ValueError, match=r"x must have shape \(7, \*\), got \(4, 7\)"):
        fused_mlp(x.t(), [first, second])
    with pytest.raises(ValueError, match=r"weights\[1\] must have shape \(\*, 6\), got \(6, 2\)"):
        fused_mlp(x, [first, second.t()])
    with pytest.raises(TypeError, match="x must be"):
        fused_mlp(x.half(), [first, second])
    with pytest.raises(ValueError, match="at least one layer"):
        fused_mlp(x, [])
