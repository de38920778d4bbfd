"""The proposal loss against the float64 reference, and its arguments."""

from functools import partial

import pytest
import torch

from taichi_nerf.ops.proposal_loss import blurred_proposal_loss, proposal_bound_loss
from taichi_nerf.reference import proposal_loss as reference


def make_inputs(backend, rays, intervals, proposals, rng):
    inputs = []
    for n, size in ((intervals, 1.0), (proposals, 0.5)):
        length = torch.rand(rays, n + 1, generator=rng, dtype=torch.float64) + 0.05
        weights = torch.rand(rays, n, generator=rng, dtype=torch.float64)
        inputs += [length.cumsum(1) / (n + 1), weights * size / max(n, 1)]
    return [backend.tensor(x) for x in inputs]


KINDS = {"bound": (proposal_bound_loss, reference.proposal_bound_loss),
         "blurred": (partial(blurred_proposal_loss, reach=0.02), partial(reference.blurred_proposal_loss, reach=0.02))}


@pytest.mark.parametrize("rays, intervals, proposals", [(0, 3, 4), (3, 0, 2), (3, 2, 0), (1, 1, 1), (63, 32, 63),
                                                        (2000, 5, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_equal_the_reference(backend, rng, rays, intervals, proposals, kind):
    operation, oracle = KINDS[kind]
    inputs = make_inputs(backend, rays, intervals, proposals, rng)
    exact = [x.double() for x in inputs]
    inputs[3].requires_grad_()
    exact[3].requires_grad_()
    loss, expected = operation(*inputs), oracle(*exact)
    backend.assert_close(loss, expected, "loss")
    cotangent = torch.randn(rays, generator=rng, dtype=torch.float64).to(backend.device)
    (gradient,) = torch.autograd.grad(loss, inputs[3], backend.tensor(cotangent))
    (expected_gradient,) = torch.autograd.grad(expected, exact[3], cotangent)
    backend.assert_close(gradient, expected_gradient, "gradient of proposal_weights")


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(backend, rng, kind):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    *given, weights = make_inputs(backend, 4, 6, 5, rng)
    assert torch.autograd.gradcheck(lambda q: KINDS[kind][0](*given, q), [weights.requires_grad_()])


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_gets_no_gradient(backend, rng, kind):
    inputs = [x.requires_grad_() for x in make_inputs(backend, 4, 6, 5, rng)]
    KINDS[kind][0](*inputs).sum().backward()
    assert [x.grad is None for x in inputs] == [True, True, True, False]


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    fenceposts, weights, proposal_fenceposts, proposal_weights = make_inputs(backend, 5, 4, 3, rng)
    with pytest.raises(ValueError, match=r"fenceposts must have shape \(5, 5\)"):
        proposal_bound_loss(fenceposts[:, 1:], weights, proposal_fenceposts, proposal_weights)
    with pytest.raises(ValueError, match=r"proposal_fenceposts must have shape \(5, 4\)"):
        proposal_bound_loss(fenceposts, weights, proposal_fenceposts[:, 1:], proposal_weights)
    with pytest.raises(TypeError, match="proposal_weights must be"):
        proposal_bound_loss(fenceposts, weights, proposal_fenceposts, proposal_weights.half())
    with pytest.raises(ValueError, match="reach must be above 0, got 0"):
        blurred_proposal_loss(fenceposts, weights, proposal_fenceposts, proposal_weights, 0.0)
