"""Laws of the proposal loss kernels, each on every backend."""

import pytest
import torch

from taichi_nerf.reference import proposal_loss as reference
from taichi_nerf_kernels import proposal_loss as kernels


def make_histogram(backend, rays, intervals, rng):
    length = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) + 0.05
    fenceposts = length.cumsum(1) - length[:, :1]
    weights = torch.rand(rays, intervals, generator=rng, dtype=torch.float64)
    return [backend.tensor(x) for x in (fenceposts / fenceposts[:, -1:], weights / weights.sum(1, keepdim=True))]


def run(backend, target, proposal, cotangent=None):
    rays = len(target[0])
    loss, gradient = backend.empty(rays), torch.full_like(proposal[1], float("nan"))
    cotangent = torch.ones_like(loss) if cotangent is None else cotangent
    kernels.proposal_loss_forward(*target, *proposal, loss)
    kernels.proposal_loss_backward(*target, *proposal, cotangent, gradient)
    return loss, gradient


@pytest.mark.parametrize("intervals, proposals", [(1, 1), (32, 64), (64, 7), (5, 100)])
def test_loss_and_gradient_equal_the_sum_over_pairs(backend, rng, intervals, proposals):
    target, proposal = (make_histogram(backend, 40, n, rng) for n in (intervals, proposals))
    proposal[1] = proposal[1] * 0.3  # so that the bound is often too low
    exact = [x.double() for x in (*target, *proposal)]
    exact[3].requires_grad_()
    expected = reference.proposal_bound_loss(*exact)
    cotangent = backend.tensor(torch.randn(40, generator=rng))
    (expected_gradient,) = torch.autograd.grad(expected, exact[3], cotangent.double())
    loss, gradient = run(backend, target, proposal, cotangent)
    assert (expected > 0).double().mean() > 0.5
    backend.assert_close(loss, expected, "loss")
    backend.assert_close(gradient, expected_gradient, "gradient")


def test_a_histogram_bounds_itself(backend, rng):
    target = make_histogram(backend, 40, 30, rng)
    loss, gradient = run(backend, target, target)
    assert loss.abs().max() == 0 and gradient.abs().max() == 0


def test_the_sums_over_coarser_intervals_bound_the_finer_ones(backend, rng):
    fenceposts, weights = make_histogram(backend, 40, 30, rng)
    weights = torch.round(weights * 2**16) / 2**16  # sums without rounding
    coarse = fenceposts[:, ::5].contiguous(), weights.reshape(40, 6, 5).sum(2)
    loss, gradient = run(backend, (fenceposts, weights), coarse)
    assert loss.abs().max() == 0 and gradient.abs().max() == 0
    assert (run(backend, coarse, (fenceposts, weights))[0].abs().max()) == 0  # and the other way round


def test_more_proposal_than_needed_costs_nothing(backend, rng):
    target, proposal = (make_histogram(backend, 40, n, rng) for n in (30, 11))
    loss, _ = run(backend, target, (proposal[0], proposal[1] * 0 + 1))
    assert loss.abs().max() == 0


def test_intervals_that_only_touch_do_not_count(backend):
    target = backend.tensor([[0.25, 0.5]]), backend.tensor([[0.5]])
    proposal = backend.tensor([[0.0, 0.25, 0.5, 1.0]]), backend.tensor([[1.0, 0.25, 1.0]])
    loss, gradient = run(backend, target, proposal)
    expected = 0.25**2 / (0.5 + kernels.EPSILON)
    backend.assert_close(loss, torch.tensor([expected], dtype=torch.float64), "loss")
    assert gradient[0, 0] == 0 and gradient[0, 1] < 0 and gradient[0, 2] == 0


def test_outside_of_the_proposal_nothing_is_bounded(backend):
    target = backend.tensor([[0.0, 0.5, 2.0, 3.0]]), backend.tensor([[0.5, 0.0, 0.25]])
    proposal = backend.tensor([[1.0, 1.5]]), backend.tensor([[1.0]])
    loss, gradient = run(backend, target, proposal)
    expected = 0.5**2 / (0.5 + kernels.EPSILON) + 0.25**2 / (0.25 + kernels.EPSILON)
    backend.assert_close(loss, torch.tensor([expected], dtype=torch.float64), "loss")
    assert gradient.abs().max() == 0


def test_intervals_without_length_are_harmless(backend, rng):
    target, proposal = (make_histogram(backend, 20, n, rng) for n in (12, 9))
    target[0][:, 4] = target[0][:, 5]
    target[1][:, 4] = 0
    proposal[0][:, 3] = proposal[0][:, 4]
    loss, gradient = run(backend, target, proposal)
    expected = reference.proposal_bound_loss(*(x.double() for x in (*target, *proposal)))
    backend.assert_close(loss, expected, "loss")
    assert torch.isfinite(gradient).all()


def test_permuting_the_rays_permutes_losses_and_gradients(backend, rng):
    target, proposal = (make_histogram(backend, 20, n, rng) for n in (12, 9))
    order = torch.randperm(20, generator=rng).to(backend.device)
    shuffled = [[x[order].contiguous() for x in pair] for pair in (target, proposal)]
    for a, b in zip(run(backend, target, proposal), run(backend, *shuffled)):
        assert torch.equal(a[order], b)


def run_blurred(backend, target, proposal, reach):
    loss, slope = backend.empty(len(target[0])), torch.full_like(proposal[1], float("nan"))
    kernels.blurred_loss_forward(*target, *proposal, reach, loss, slope)
    return loss, slope


@pytest.mark.parametrize("intervals, proposals, reach", [(1, 1, 0.5), (32, 64, 0.03), (64, 7, 0.003), (5, 100, 0.3)])
def test_blurred_loss_and_gradient_equal_the_density_s_integral(backend, rng, intervals, proposals, reach):
    target, proposal = (make_histogram(backend, 40, n, rng) for n in (intervals, proposals))
    proposal[1] = proposal[1] * 0.3
    exact = [x.double() for x in (*target, *proposal)]
    exact[3].requires_grad_()
    expected = reference.blurred_proposal_loss(*exact, reach)
    (expected_slope,) = torch.autograd.grad(expected.sum(), exact[3])
    loss, slope = run_blurred(backend, target, proposal, reach)
    assert (expected > 0).double().mean() > 0.5
    backend.assert_close(loss, expected, "loss")
    backend.assert_close(slope, expected_slope, "slope")


def test_a_proposal_that_has_the_blurred_mass_costs_nothing(backend, rng):
    target, (places, _) = make_histogram(backend, 40, 30, rng), make_histogram(backend, 40, 11, rng)
    exact = [x.double() for x in (*target, places)]
    enough = backend.tensor(reference.blurred_cumulative(*exact, 0.02).diff(dim=1) + 1e-4)
    loss, slope = run_blurred(backend, target, (places, enough), 0.02)
    assert loss.abs().max() == 0 and slope.abs().max() == 0
    assert (run_blurred(backend, target, (places, enough - 2e-4), 0.02)[0] > 0).all()


def test_the_blurred_loss_is_smooth_where_fenceposts_pass_each_other(backend):
    """The bound jumps there."""
    def losses(shift):
        target = backend.tensor([[0.25 + shift, 0.5 + shift]]), backend.tensor([[1.0]])
        proposal = backend.tensor([[0.0, 0.25, 0.5, 1.0]]), backend.tensor([[0.25, 0.25, 0.25]])
        return float(run(backend, target, proposal)[0]), float(run_blurred(backend, target, proposal, 0.0625)[0])

    before, behind = losses(-1e-4), losses(1e-4)
    assert abs(behind[1] / before[1] - 1) < 1e-2
    bound = [losses(shift)[0] for shift in (0.0, 1e-4)]
    assert abs(bound[1] / bound[0] - 1) > 0.2


def test_an_interval_of_the_target_without_length_is_a_point(backend):
    """Blurred, it is a box of twice the reach, wherever that lies among the intervals of the proposal."""
    target = backend.tensor([[0.0, 0.5, 0.5, 1.0]]), backend.tensor([[0.0, 1.0, 0.0]])
    proposal = backend.tensor([[0.0, 0.375, 0.5, 1.0]]), backend.tensor([[0.0, 0.0, 0.0]])
    loss, slope = run_blurred(backend, target, proposal, 0.25)
    mass = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)  # of [0.25, 0.75]
    backend.assert_close(loss, (mass.square() / kernels.BLURRED_EPSILON).sum()[None], "loss")
    assert (slope < 0).all()
