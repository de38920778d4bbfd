"""Calls of kernels: the first and the later ones do the same, and what Taichi refuses stays refused."""

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf_kernels.engine import ENGINE, configuration, ti
from taichi_nerf_kernels.launch import kernel


@kernel
def add_scaled(a: ti.types.ndarray(ndim=1), count: int, factor: float, twice: ti.template(),
               out: ti.types.ndarray(ndim=2)):
    for i in range(count):
        for j in range(out.shape[1]):
            value = a[i] * factor
            if ti.static(twice):
                value *= 2
            out[i, j] += value


@kernel
def total_of_pairs(pairs: ti.types.ndarray(dtype=ti.types.vector(2, ti.f32), ndim=1),
                   out: ti.types.ndarray(ndim=1)):
    for i in range(pairs.shape[0]):
        out[i] = pairs[i].sum()


def call_three_times(backend, a, out, count, factor, twice):
    for _ in range(3):
        add_scaled(a, count, factor, twice, out)
    ti.sync()
    return (2 if twice else 1) * 3 * factor * a[:count].double().cpu()


@pytest.mark.parametrize("twice", [False, True])
def test_every_call_does_the_same_whatever_the_shapes_numbers_and_types(backend, twice):
    calls = ((5, 1, 0.5, None), (8, 3, 2, None), (4, 2, -3.0, torch.int32), (6, 1, 1.0, None))
    for size, width, factor, dtype in calls:
        a = backend.tensor(torch.arange(1, size + 1), dtype)
        out = torch.zeros(size, width, dtype=backend.dtype, device=backend.device)
        expected = call_three_times(backend, a, out, size - 1, factor, twice)
        assert torch.equal(out[: size - 1].double().cpu(), expected[:, None].expand(-1, width))
        assert (out[size - 1] == 0).all()


def test_arrays_of_the_compiler_and_of_numpy_are_taken(backend):
    real = ti.f64 if backend.dtype == torch.float64 else ti.f32
    a, out = ti.ndarray(real, 4), ti.ndarray(real, (4, 1))
    a.fill(1.0), out.fill(0.0)
    for _ in range(3):
        add_scaled(a, 4, 1.5, False, out)
    assert (out.to_numpy() == 4.5).all()
    a, out = np.ones(4, np.float32), np.zeros((4, 1), np.float32)
    for _ in range(3):
        add_scaled(a, 4, 1.5, False, out)
    assert (out == 4.5).all()


def test_elements_that_are_vectors_keep_their_shape(backend):
    pairs = torch.arange(6, dtype=torch.float32, device=backend.device).view(3, 2)
    out = torch.zeros(3, dtype=torch.float32, device=backend.device)
    for _ in range(2):
        total_of_pairs(pairs, out.zero_())
        assert out.tolist() == [1, 5, 9]
    with pytest.raises(Exception, match=r"[a-z]"):  # elements of three numbers are no pairs, in a later call either
        total_of_pairs(torch.ones(2, 3, dtype=torch.float32, device=backend.device), out)


@pytest.mark.parametrize("known", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("change", [
    {"a": lambda a: a.repeat(2)[::2]},
    {"a": lambda a: a[:, None]},
    {"a": lambda a: 1.0},
    {"count": lambda count: 1.5},
    {"factor": lambda factor: "x"},
    {"out": lambda out: None},
], ids=["strided", "axes", "no array", "no integer", "no number", "none"])
def test_what_the_compiler_refuses_stays_refused(backend, change, known):
    given = {"a": backend.tensor(torch.ones(4)), "count": 4, "factor": 1.0, "twice": False,
             "out": backend.tensor(torch.zeros(4, 1))}
    if known:
        add_scaled(*given.values())
    (name, changed), = change.items()
    given[name] = changed(given[name])
    with pytest.raises(Exception, match=r"[a-z]"):
        add_scaled(*given.values())


def test_code_is_compiled_anew_after_the_backend_has_been_started_anew(backend):
    a, out = backend.tensor(torch.ones(4)), backend.tensor(torch.zeros(4, 1))
    call_three_times(backend, a, out, 4, 1.0, False)
    runtime.init(backend.device.type if backend.name != "vulkan-f32" else "vulkan", backend.dtype)
    call_three_times(backend, a, out, 4, 1.0, False)
    assert (out == 6).all()


@pytest.mark.skipif(ENGINE != "taichi", reason="quadrants launches kernels itself")
def test_later_calls_leave_the_compiler_out(backend, monkeypatch):
    if configuration().debug:
        pytest.skip("in the debug mode every call goes through the compiler")
    a, out = backend.tensor(torch.ones(4)), backend.tensor(torch.zeros(4, 1))
    call_three_times(backend, a, out, 4, 1.0, False)
    monkeypatch.setattr(add_scaled, "_compiled", None)  # would raise if it were called
    call_three_times(backend, a, out, 4, 1.0, False)
    assert (out == 6).all()
