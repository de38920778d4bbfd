"""The sparse Adam optimiser: against PyTorch's, and as a citizen of torch.optim."""

import copy
import pickle
import sys

import pytest
import torch

from taichi_nerf.ops.adam import Adam, SparseAdam
from taichi_nerf.reference import adam as reference


def make_parameter(backend, entries, features, rng):
    values = torch.randn(entries, features, generator=rng, dtype=torch.float64)
    return torch.nn.Parameter(backend.tensor(values))


def sparse_gradient(parameter, rng, touched=0.3):
    entries = len(parameter)
    gradient = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return (gradient * (torch.rand(entries, 1, generator=rng) < touched)).to(parameter)


@pytest.mark.parametrize("entries", [0, 1, 63, 2000])
def test_dense_gradients_give_the_adam_of_pytorch(backend, rng, entries):
    ours = make_parameter(backend, entries, 2, rng)
    theirs = torch.nn.Parameter(ours.detach().double())
    optimiser = SparseAdam([ours], lr=1e-2, betas=(0.9, 0.999), eps=1e-8)
    expected = torch.optim.Adam([theirs], lr=1e-2, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(10):
        ours.grad = sparse_gradient(ours, rng, touched=2.0)
        theirs.grad = ours.grad.double()
        optimiser.step()
        expected.step()
    backend.assert_close(ours, theirs, "parameter")


def test_sparse_gradients_give_the_reference(backend, rng):
    parameter = make_parameter(backend, 2000, 4, rng)
    optimiser = SparseAdam([parameter], lr=3e-3, betas=(0.8, 0.95), eps=1e-10)
    start = parameter.detach().double()
    expected = start, torch.zeros_like(start), torch.zeros_like(start), torch.zeros(2000, device=start.device)
    for _ in range(5):
        parameter.grad = sparse_gradient(parameter, rng)
        value, *moments = expected
        expected = reference.adam_step(value, parameter.grad.double(), *moments, 3e-3, 0.8, 0.95, 1e-10)
        optimiser.step()
    backend.assert_close(parameter, expected[0], "parameter")
    for name, value in zip(("first_moment", "second_moment", "step_count"), expected[1:]):
        backend.assert_close(optimiser.state[parameter][name], value, name)


def test_restored_state_continues_exactly(backend, rng):
    parameter = make_parameter(backend, 300, 2, rng)
    optimiser = SparseAdam([parameter], lr=1e-2)
    gradients = [sparse_gradient(parameter, rng) for _ in range(6)]

    def train(p, o, steps):
        for gradient in steps:
            p.grad = gradient.clone()
            o.step()

    train(parameter, optimiser, gradients[:3])
    restored = torch.nn.Parameter(parameter.detach().clone())
    other = SparseAdam([restored], lr=1.0)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert other.state[restored]["step_count"].dtype == torch.int32
    train(parameter, optimiser, gradients[3:])
    train(restored, other, gradients[3:])
    assert torch.equal(parameter, restored)


def test_copies_and_pickles_can_step(backend, rng):
    parameter = make_parameter(backend, 10, 2, rng)
    parameter.grad = sparse_gradient(parameter, rng)
    optimiser = SparseAdam([parameter])
    optimiser.step()
    for other in (copy.deepcopy(optimiser), pickle.loads(pickle.dumps(optimiser))):
        copied = other.param_groups[0]["params"][0]
        copied.grad = torch.ones_like(copied)
        other.step()
        assert not (copied == parameter).any()
        assert other.overflowed_entries == 0


def test_groups_and_schedules_set_the_learning_rate(backend, rng):
    first, second = (make_parameter(backend, 5, 2, rng) for _ in range(2))
    before = [first.detach().clone(), second.detach().clone()]
    optimiser = SparseAdam([{"params": [first]}, {"params": [second], "lr": 1e-3}], lr=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 ** step)
    for _ in range(2):
        first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
        optimiser.step()
        schedule.step()
    for parameter, start, lr in zip((first, second), before, (1e-2, 1e-3)):
        backend.assert_close(start - parameter, torch.full((5, 2), 1.5 * lr), "step", scale=1.0)


def test_parameter_without_gradient_is_not_touched(backend, rng):
    parameter = make_parameter(backend, 5, 2, rng)
    before = parameter.detach().clone()
    optimiser = SparseAdam([parameter])
    optimiser.step()
    assert torch.equal(parameter, before) and not optimiser.state


def test_overflows_are_counted_and_training_goes_on(backend, rng):
    parameter = make_parameter(backend, 50, 2, rng)
    optimiser = SparseAdam([parameter])
    for _ in range(3):
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[7, 1] = float("nan")
        parameter.grad[9, 0] = float("inf")
        optimiser.step()
    assert optimiser.overflowed_entries == 6
    assert torch.isfinite(parameter).all()
    assert optimiser.state[parameter]["step_count"].sum() == 48 * 3


@pytest.mark.parametrize("contiguous", [True, False])
def test_zero_gradient_leaves_zeros(backend, rng, contiguous):
    parameter = make_parameter(backend, 50, 2, rng)
    ones = backend.tensor(torch.ones(1, 1))
    parameter.grad = ones.expand(50, 2).contiguous() if contiguous else ones.expand(50, 2)
    optimiser = SparseAdam([parameter], zero_gradient=True)
    optimiser.step()
    assert parameter.grad.shape == (50, 2) and parameter.grad.abs().max() == 0
    assert optimiser.state[parameter]["step_count"].sum() == 50


def test_minimises_a_quadratic_with_a_closure(backend, rng):
    parameter = make_parameter(backend, 20, 2, rng)
    optimiser = SparseAdam([parameter], lr=0.1)

    def loss():
        optimiser.zero_grad()
        value = (parameter - 3).square().sum()
        value.backward()
        return value

    first = optimiser.step(loss).item()
    for _ in range(200):
        last = optimiser.step(loss).item()
    assert last < 1e-3 * first


def test_wrong_arguments_raise(backend, rng):
    parameter = make_parameter(backend, 4, 2, rng)
    with pytest.raises(ValueError, match="parameter must have shape"):
        SparseAdam([torch.nn.Parameter(parameter.detach().view(-1))])
    with pytest.raises(ValueError, match="contiguous"):
        SparseAdam([torch.nn.Parameter(parameter.detach().t())])
    with pytest.raises(TypeError, match="float32 or float64"):
        SparseAdam([torch.nn.Parameter(parameter.detach().half())])
    for wrong in ({"lr": -1.0}, {"betas": (0.9, 1.0)}, {"eps": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SparseAdam([parameter], **wrong)
    parameter.grad = torch.ones_like(parameter).to_sparse()
    with pytest.raises(TypeError, match="gradient must be dense"):
        SparseAdam([parameter]).step()


@pytest.mark.parametrize("name, wrong", [
    ("first_moment", lambda x: x[:-1]), ("second_moment", lambda x: x[:, :1]), ("second_moment", lambda x: x.half()),
    ("first_moment", lambda x: x.t().contiguous().t()), ("step_count", lambda x: x[:1]),
    ("step_count", lambda x: x.long()),
])
def test_a_state_that_is_not_of_the_parameter_is_refused(backend, rng, name, wrong):
    parameter = make_parameter(backend, 4, 2, rng)
    optimiser, before = SparseAdam([parameter]), parameter.detach().clone()
    optimiser.state[parameter] = {"first_moment": torch.zeros_like(before), "second_moment": torch.zeros_like(before),
                                  "step_count": torch.zeros(4, dtype=torch.int32, device=before.device)}
    optimiser.state[parameter][name] = wrong(optimiser.state[parameter][name])
    parameter.grad = torch.ones_like(parameter)
    with pytest.raises((TypeError, ValueError), match=f"{name} must "):
        optimiser.step()
    assert torch.equal(parameter, before)


def test_a_step_count_below_zero_leads_to_no_other_correction_than_there_is(backend, rng):
    parameter = make_parameter(backend, 3, 2, rng)
    optimiser = SparseAdam([parameter])
    for _ in range(2):
        parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        optimiser.state[parameter]["step_count"].copy_(torch.tensor([-2**31, 2**31 - 1, -5]))
    assert torch.isfinite(parameter).all()


def test_a_decay_holds_its_levels_back(backend, rng):
    parameter = make_parameter(backend, 300, 2, rng)
    value, zeros = parameter.detach().double().cpu(), torch.zeros(300, 2, dtype=torch.float64)
    optimiser = SparseAdam([{"params": [parameter], "level_start": (0, 100)}], lr=3e-3, decay=30.0)
    parameter.grad = sparse_gradient(parameter, rng)
    gradient = reference.decay_gradient(value, parameter.grad.double().cpu(), torch.tensor([0, 100]), 30.0)
    expected = reference.adam_step(value, gradient, zeros, zeros, torch.zeros(300, dtype=torch.int64), 3e-3, 0.9, 0.99,
                                   1e-15)
    optimiser.step()
    backend.assert_close(parameter, expected[0])


@pytest.mark.parametrize("level_start", [(), (1,), (0, 0), (0, 4)])
def test_levels_outside_of_the_table_are_refused(level_start):
    parameter = torch.nn.Parameter(torch.ones(4, 2))
    parameter.grad = torch.ones(4, 2)
    with pytest.raises(ValueError, match="level_start must ascend from 0 and stay below 4"):
        SparseAdam([{"params": [parameter], "level_start": level_start}], decay=1.0).step()
    with pytest.raises(ValueError, match="decay must be at least 0"):
        SparseAdam([parameter], decay=-1.0)


@pytest.mark.parametrize("optimiser", [Adam, SparseAdam])
def test_no_optimiser_asks_for_pytorchs_compiler(monkeypatch, optimiser):
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # whose import takes seconds, and fails now
    parameter = torch.nn.Parameter(torch.ones(4, 2))
    made = optimiser([parameter], lr=0.1)
    parameter.grad = torch.ones(4, 2)
    made.step()
    made.zero_grad()
    made.load_state_dict(made.state_dict())
    torch.testing.assert_close(parameter.detach(), torch.full((4, 2), 0.9))
    with pytest.raises(ImportError):
        torch.optim.Adam([parameter]).step()


def test_adam_is_pytorchs():
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    pairs = [(Adam([ours], lr=0.1, weight_decay=0.01, fused=True), ours),
             (torch.optim.Adam([theirs], lr=0.1, weight_decay=0.01, fused=True), theirs)]
    for step in range(5):
        for optimiser, parameter in pairs:
            parameter.grad = torch.sin(torch.arange(7.0) + step)
            optimiser.step()
    assert torch.equal(ours, theirs)
