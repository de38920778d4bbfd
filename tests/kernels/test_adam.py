"""Laws of the sparse Adam kernel, each on every backend."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from taichi_nerf.reference import adam as reference
from taichi_nerf_kernels import adam as kernels

SETTINGS = (1e-2, 0.9, 0.99, 1e-12)


def make_table(backend, entries, features, rng):
    values = torch.randn(entries, features, generator=rng, dtype=torch.float64)
    zeros = torch.zeros_like(values)
    return SimpleNamespace(
        parameter=backend.tensor(values), first_moment=backend.tensor(zeros.clone()),
        second_moment=backend.tensor(zeros), step_count=backend.tensor(torch.zeros(entries), torch.int32),
    )


def sparse_gradient(backend, entries, features, rng, touched=0.3):
    gradient = torch.randn(entries, features, generator=rng, dtype=torch.float64)
    return backend.tensor(gradient * (torch.rand(entries, 1, generator=rng) < touched))


def step(backend, table, gradient, settings=SETTINGS, zero_gradient=False, levels=(), decay=()):
    """Step `table` in place, with a `decay` of its `levels`; returns how many entries overflowed."""
    lr, beta1, beta2, epsilon = settings
    digits = 53 if backend.dtype == torch.float64 else 24
    bias_correction = backend.tensor(kernels.bias_correction_table(beta1, beta2, digits))
    touched = torch.full_like(table.step_count, -7)
    overflowed = backend.tensor([0], torch.int32)
    take = kernels.adam_step_decayed if levels else kernels.adam_step
    take(table.parameter.view(-1), gradient.view(-1), table.first_moment.view(-1), table.second_moment.view(-1),
         table.step_count, bias_correction, *levels, touched, overflowed, lr, beta1, beta2, epsilon, *decay,
         gradient.shape[1], zero_gradient)
    return overflowed.item()


def clone(table):
    return SimpleNamespace(**{name: value.clone() for name, value in vars(table).items()})


@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("entries", [0, 1, 63, 4096, 4097])
def test_steps_equal_the_reference(backend, rng, entries, features):
    table = make_table(backend, entries, features, rng)
    expected = [value.double() for value in vars(clone(table)).values()]
    for _ in range(5):
        gradient = sparse_gradient(backend, entries, features, rng)
        step(backend, table, gradient)
        parameter, *moments = expected
        expected = reference.adam_step(parameter, gradient.double(), *moments, *SETTINGS)
    for (name, actual), value in zip(vars(table).items(), expected):
        backend.assert_close(actual, value, name)


@pytest.mark.parametrize("features", [1, 4])
@pytest.mark.parametrize("level_start, entries", [((0,), 1), ((0, 1), 63), ((0, 5, 1990), 2000), ((0, 4096), 4097)])
def test_levels_are_held_back_where_there_is_a_gradient(backend, rng, level_start, entries, features):
    table = make_table(backend, entries, features, rng)
    expected = [value.double().cpu() for value in vars(clone(table)).values()]
    start = torch.tensor(level_start)
    sizes = torch.diff(start, append=torch.tensor([entries]))
    levels = backend.tensor(start, torch.int32), backend.tensor(1 / (sizes * features).double())
    for _ in range(3):
        gradient = sparse_gradient(backend, entries, features, rng)
        step(backend, table, gradient, levels=levels, decay=(0.7,))
        parameter, *moments = expected
        pulled = reference.decay_gradient(parameter, gradient.double().cpu(), start, 0.7)
        expected = reference.adam_step(parameter, pulled, *moments, *SETTINGS)
    for (name, actual), value in zip(vars(table).items(), expected):
        backend.assert_close(actual, value, name)


def test_the_decay_is_the_gradient_of_the_levels_mean_squares(rng):
    parameter = torch.randn(20, 2, generator=rng, dtype=torch.float64).requires_grad_()
    (0.35 * (parameter[:5].square().mean() + parameter[5:].square().mean())).backward()
    ones = torch.ones(20, 2, dtype=torch.float64)
    found = reference.decay_gradient(parameter.detach(), ones, torch.tensor([0, 5]), 0.7) - ones
    torch.testing.assert_close(found, parameter.grad)


def test_untouched_entries_stay_bit_for_bit(backend, rng):
    table = make_table(backend, 500, 2, rng)
    step(backend, table, sparse_gradient(backend, 500, 2, rng, touched=1.0))
    before = clone(table)
    gradient = sparse_gradient(backend, 500, 2, rng)
    gradient[::7, 0] = 0  # touched in one feature only: the entry moves
    step(backend, table, gradient)
    untouched = (gradient == 0).all(1)
    assert 0 < untouched.sum() < 500
    for name, value in vars(table).items():
        assert torch.equal(value[untouched], getattr(before, name)[untouched]), name
        assert not (value[~untouched] == getattr(before, name)[~untouched]).all(-1).any(), name


def test_negative_zero_is_no_gradient(backend, rng):
    table = make_table(backend, 10, 2, rng)
    before = clone(table)
    step(backend, table, backend.tensor(torch.full((10, 2), -0.0)))
    assert torch.equal(table.parameter, before.parameter) and table.step_count.sum() == 0


def test_first_step_of_an_entry_has_the_size_of_the_learning_rate(backend, rng):
    table = make_table(backend, 2, 2, rng)
    late = torch.zeros(2, 2)
    late[0] = torch.tensor([1e-3, -50.0])
    for _ in range(100):
        step(backend, table, backend.tensor(late))
    late[1] = torch.tensor([1e-3, -50.0])  # its first gradient comes at step 101
    before = table.parameter.clone()
    step(backend, table, backend.tensor(late))
    assert table.step_count.tolist() == [101, 1]
    backend.assert_close((before - table.parameter)[1], torch.tensor([1e-2, -1e-2]), "step", scale=1.0)


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan"), 1e30])
def test_overflowed_entries_are_skipped_counted_and_leave_no_trace(backend, rng, bad):
    table = make_table(backend, 100, 2, rng)
    gradient = sparse_gradient(backend, 100, 2, rng, touched=1.0)
    step(backend, table, gradient)
    before, expected = clone(table), clone(table)
    step(backend, expected, gradient.clone())
    gradient[[3, 50], [0, 1]] = bad
    assert step(backend, table, gradient, zero_gradient=True) == 2
    for name, value in vars(table).items():
        assert torch.equal(value[[3, 50]], getattr(before, name)[[3, 50]]), name
        assert torch.equal(value[4:50], getattr(expected, name)[4:50]), name
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("zero_gradient", [False, True])
def test_gradient_is_left_alone_or_zero(backend, rng, zero_gradient):
    gradient = sparse_gradient(backend, 5000, 2, rng)
    before = gradient.clone()
    step(backend, make_table(backend, 5000, 2, rng), gradient, zero_gradient=zero_gradient)
    assert torch.equal(gradient, before * (not zero_gradient))


def test_permuting_the_entries_permutes_the_result(backend, rng):
    table = make_table(backend, 5000, 2, rng)
    order = torch.randperm(5000, generator=rng).to(backend.device)
    shuffled = SimpleNamespace(**{name: value[order] for name, value in vars(table).items()})
    gradient = sparse_gradient(backend, 5000, 2, rng)
    step(backend, table, gradient)
    step(backend, shuffled, gradient[order])
    for name, value in vars(table).items():
        assert torch.equal(getattr(shuffled, name), value[order]), name


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.9, 0.999), (0.0, 0.99), (0.9, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("digits, dtype", [(24, np.float32), (53, np.float64)])
def test_bias_correction_ends_where_it_is_one(betas, digits, dtype):
    table = kernels.bias_correction_table(*betas, digits).astype(dtype)
    n = np.arange(1, len(table) - 1)
    np.testing.assert_allclose(table[1:-1, 0], 1 / (1 - betas[0] ** n), rtol=np.finfo(dtype).eps * 4)
    np.testing.assert_allclose(table[1:-1, 1], 1 / np.sqrt(1 - betas[1] ** n), rtol=np.finfo(dtype).eps * 64)
    assert (table[-2:] == 1).all()
    assert len(table) < 40_000


def test_entry_beyond_the_table_is_not_corrected(backend, rng):
    table = make_table(backend, 4, 1, rng)
    table.step_count[:] = 1_000_000
    before = table.parameter.clone()
    step(backend, table, backend.tensor(torch.ones(4, 1)))
    backend.assert_close(before - table.parameter, torch.full((4, 1), 1e-2 * 0.1 / 0.1), "step", scale=1.0)


@pytest.mark.parametrize("parameters", [1, 63, 2000])
def test_dense_step_is_that_of_pytorch_with_weight_decay(backend, rng, parameters):
    expected = torch.randn(parameters, generator=rng, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([expected], lr=0.02, betas=(0.9, 0.99), eps=1e-8, weight_decay=1e-3)
    state = [backend.tensor(expected.detach().clone())] + [backend.tensor(torch.zeros(parameters)) for _ in range(3)]
    steps = backend.tensor([0, -7], dtype=torch.int32)
    samples = backend.tensor([3], dtype=torch.int32)
    correction = backend.tensor(kernels.bias_correction_table(0.9, 0.99))
    for _ in range(5):
        expected.grad = torch.randn(parameters, generator=rng, dtype=torch.float64)
        state[1].copy_(expected.grad)
        optimiser.step()
        kernels.adam_step_dense(*state, steps, samples, correction, 0.02, 0.9, 0.99, 1e-8, 1e-3)
        assert (state[1] == 0).all()
    assert steps[0] == 5
    backend.assert_close(state[0], expected)


@pytest.mark.parametrize("samples, gradient", [(0, 1.0), (1, float("inf")), (1, float("nan"))])
def test_dense_step_without_samples_or_with_an_overflow_changes_nothing(backend, samples, gradient):
    parameter, first, second = (backend.tensor(torch.full((70,), value)) for value in (1.0, 2.0, 3.0))
    gradients = backend.tensor(torch.ones(70))
    gradients[69] = gradient
    steps = backend.tensor([4, 0], dtype=torch.int32)
    correction = backend.tensor(kernels.bias_correction_table(0.9, 0.99))
    kernels.adam_step_dense(parameter, gradients, first, second, steps, backend.tensor([samples], dtype=torch.int32),
                            correction, 0.02, 0.9, 0.99, 1e-8, 0.0)
    assert steps[0] == 4
    for tensor, value in ((parameter, 1), (gradients, 0), (first, 2), (second, 3)):
        assert (tensor == value).all()
