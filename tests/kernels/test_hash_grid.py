"""The hash grid's kernels on bare arrays: layout, laws, and what they write."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf.reference.hash_grid import hash_grid_encode
from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.hash_grid import (
    encode_level,
    hash_grid_backward_positions,
    hash_grid_backward_table,
    hash_grid_backward_widths,
    hash_grid_forward,
    hash_grid_layout,
    level_position_gradient,
    level_width_gradient,
    splat_level,
)

SMALL = dict(levels=4, features=2, log2_entries=9, base_resolution=4, max_resolution=32)


def arrays(backend, layout, rng, count):
    levels = torch.from_numpy(layout.levels).to(backend.device)
    scales = backend.tensor(layout.scales)
    table = backend.tensor(torch.randn(layout.entries * layout.features, generator=rng, dtype=torch.float64))
    x = backend.tensor(torch.rand(count, 3, generator=rng, dtype=torch.float64))
    return x, table, levels, scales


def some_widths(backend, rng, count):
    """From a hundredth of the finest cell to the whole cube."""
    return backend.tensor(10 ** (torch.rand(count, generator=rng, dtype=torch.float64) * 4 - 4))


def test_layout_matches_the_published_table():
    layout = hash_grid_layout()
    assert layout.levels[:, 2].tolist()[:7] == [16, 23, 31, 43, 59, 81, 112]
    assert layout.levels[-1, 2] == 2048
    assert layout.levels[:, 3].tolist() == [0] * 5 + [1] * 11
    assert layout.entries == 6_098_120
    coarser = hash_grid_layout(max_resolution=1024)
    assert coarser.entries == 5_710_032 and coarser.levels[:, 3].tolist() == [0] * 6 + [1] * 10


@pytest.mark.parametrize("wrong", [dict(levels=0), dict(features=0), dict(log2_entries=31), dict(base_resolution=1),
                                   dict(base_resolution=64, max_resolution=32), dict(log2_entries=28, features=8)])
def test_layout_refuses_a_grid_that_cannot_be_indexed(wrong):
    with pytest.raises(ValueError, match="hash grid"):
        hash_grid_layout(**wrong)


def test_the_coarsest_levels_are_the_grid_that_ends_there():
    doubling = hash_grid_layout(levels=8, features=1, base_resolution=16, max_resolution=2048)
    for levels in (1, 6, 8):
        found = doubling.coarsest(levels)
        finest = 16 * 2 ** (levels - 1)
        expected = hash_grid_layout(levels=levels, features=1, base_resolution=16, max_resolution=finest)
        assert np.array_equal(found.levels, expected.levels) and found.outputs == levels
        np.testing.assert_allclose(found.scales, expected.scales)


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_every_output_is_written(backend, rng, count):
    layout = hash_grid_layout(**SMALL)
    x, table, levels, scales = arrays(backend, layout, rng, count)
    y, x_gradient = backend.empty(layout.outputs, count), backend.empty(count, 3)
    hash_grid_forward(x, table, levels, scales, y, layout.features)
    hash_grid_backward_positions(x, table, torch.ones_like(y), levels, scales, x_gradient, layout.features)
    assert torch.isfinite(y).all() and torch.isfinite(x_gradient).all()
    widths = some_widths(backend, rng, count)
    y, x_gradient, widths_gradient = backend.empty(layout.outputs, count), backend.empty(count, 3), backend.empty(count)
    hash_grid_forward(x, table, levels, scales, y, layout.features, widths=widths)
    hash_grid_backward_positions(x, table, torch.ones_like(y), levels, scales, x_gradient, layout.features, widths)
    hash_grid_backward_widths(x, widths, table, torch.ones_like(y), levels, scales, widths_gradient, layout.features)
    assert all(torch.isfinite(written).all() for written in (y, x_gradient, widths_gradient))


def test_a_constant_table_encodes_to_that_constant(backend, rng):
    layout = hash_grid_layout(**SMALL)
    x, table, levels, scales = arrays(backend, layout, rng, 500)
    y = backend.empty(layout.outputs, 500)
    hash_grid_forward(x, torch.full_like(table, 0.75), levels, scales, y, layout.features)
    backend.assert_close(y, torch.full_like(y, 0.75))


def test_a_dense_level_reproduces_a_linear_function(backend, rng):
    layout = hash_grid_layout(levels=1, features=1, log2_entries=12, base_resolution=16, max_resolution=16)
    x, _, levels, scales = arrays(backend, layout, rng, 300)
    x = x * 0.8 + 0.05  # away from the last vertex, which wraps
    vertex = np.indices((16, 16, 16))[::-1].reshape(3, -1)  # x fastest
    slope = np.array([1.0, -2.0, 0.5])
    table = backend.tensor(slope @ (vertex - 0.5) / layout.scales[0])
    y = backend.empty(1, 300)
    hash_grid_forward(x, table, levels, scales, y, 1)
    backend.assert_close(y[0], x.double().cpu() @ torch.from_numpy(slope))


def test_the_backward_pass_is_the_adjoint_of_the_forward_pass(backend, rng):
    """<g, A v> = <A^T g, v>: encoding is linear in the table."""
    layout = hash_grid_layout(**SMALL)
    x, v, levels, scales = arrays(backend, layout, rng, 777)
    g = backend.tensor(torch.randn(layout.outputs, 777, generator=rng, dtype=torch.float64))
    y, adjoint = backend.empty(layout.outputs, 777), torch.zeros_like(v)
    hash_grid_forward(x, v, levels, scales, y, layout.features)
    hash_grid_backward_table(x, g, levels, scales, adjoint, layout.features)
    forward, backward = (g.double() * y.double()).sum(), (adjoint.double() * v.double()).sum()
    backend.assert_close(backward, forward, scale=(g.norm() * y.norm()).item())


@pytest.mark.parametrize("wide", [False, True], ids=["points", "widths"])
def test_permuting_points_permutes_values_and_leaves_the_table_gradient(backend, rng, wide):
    layout = hash_grid_layout(**SMALL)
    x, table, levels, scales = arrays(backend, layout, rng, 500)
    widths = some_widths(backend, rng, 500) if wide else None
    g = backend.tensor(torch.randn(layout.outputs, 500, generator=rng, dtype=torch.float64))
    order = torch.randperm(500, generator=rng).to(backend.device)
    results = []
    permuted = widths[order].contiguous() if wide else None
    for points, cotangent, seen in ((x, g, widths), (x[order].contiguous(), g[:, order].contiguous(), permuted)):
        y, table_gradient = backend.empty(layout.outputs, 500), torch.zeros_like(table)
        hash_grid_forward(points, table, levels, scales, y, layout.features, widths=seen)
        hash_grid_backward_table(points, cotangent, levels, scales, table_gradient, layout.features, widths=seen)
        results.append((y, table_gradient))
    backend.assert_close(results[1][0], results[0][0][:, order])
    backend.assert_close(results[1][1], results[0][1])


def test_positions_outside_the_cube_are_clamped_and_get_no_gradient(backend, rng):
    layout = hash_grid_layout(**SMALL)
    _, table, levels, scales = arrays(backend, layout, rng, 0)
    x = backend.tensor([[-3.0, 0.5, 2.0], [0.0, 0.5, 1.0], [1e30, -1e30, 0.25]])
    y, x_gradient = backend.empty(layout.outputs, 3), backend.empty(3, 3)
    hash_grid_forward(x, table, levels, scales, y, layout.features)
    hash_grid_backward_positions(x, table, torch.ones_like(y), levels, scales, x_gradient, layout.features)
    backend.assert_close(y[:, 0], y[:, 1])
    assert x_gradient[0, 0] == 0 and x_gradient[0, 2] == 0 and (x_gradient[2, :2] == 0).all()
    assert x_gradient[0, 1] != 0


def test_points_in_one_cell_add_up(backend, rng):
    """Thousands of points that share corners: an addition that is lost shows."""
    layout = hash_grid_layout(levels=2, features=4, log2_entries=6, base_resolution=2, max_resolution=3)
    count = 5000
    x = backend.tensor(torch.rand(count, 3, generator=rng, dtype=torch.float64) * 0.01 + 0.4)
    levels, scales = torch.from_numpy(layout.levels).to(backend.device), backend.tensor(layout.scales)
    table_gradient = torch.zeros(layout.entries * layout.features, dtype=backend.dtype, device=backend.device)
    hash_grid_backward_table(x, torch.ones(layout.outputs, count, dtype=backend.dtype, device=backend.device), levels,
                             scales, table_gradient, layout.features)
    total = table_gradient.double().sum().item()
    assert math.isclose(total, count * layout.outputs, rel_tol=backend.tolerance)


def test_a_taichi_array_takes_the_same_gradient_as_a_tensor(backend, rng):
    layout = hash_grid_layout(**SMALL)
    x, table, levels, scales = arrays(backend, layout, rng, 200)
    g = backend.tensor(torch.randn(layout.outputs, 200, generator=rng, dtype=torch.float64))
    expected = torch.zeros_like(table)
    hash_grid_backward_table(x, g, levels, scales, expected, layout.features)
    array = ti.ndarray(ti.f64 if backend.dtype == torch.float64 else ti.f32, shape=table.shape[0])
    array.fill(0)
    hash_grid_backward_table(x, g, levels, scales, array, layout.features)
    backend.assert_close(torch.from_numpy(array.to_numpy()), expected)


@pytest.mark.parametrize("used", [0, 1, 63, 100])
@pytest.mark.parametrize("wide", [False, True], ids=["points", "widths"])
def test_points_beyond_the_count_are_neither_read_nor_written(backend, rng, used, wide):
    layout = hash_grid_layout(**SMALL)
    x, table, levels, scales = arrays(backend, layout, rng, 100)
    widths = some_widths(backend, rng, 100) if wide else None
    of_used = widths[:used].contiguous() if wide else None
    gradient = backend.tensor(torch.randn(layout.outputs, 100, generator=rng, dtype=torch.float64))
    expected, expected_gradient = backend.empty(layout.outputs, used), torch.zeros_like(table)
    hash_grid_forward(x[:used].contiguous(), table, levels, scales, expected, 2, widths=of_used)
    hash_grid_backward_table(x[:used].contiguous(), gradient[:, :used].contiguous(), levels, scales,
                             expected_gradient, 2, widths=of_used)
    x[used:], gradient[:, used:] = float("nan"), float("nan")
    if wide:
        widths[used:] = float("nan")
    count = backend.tensor([used], torch.int32)
    y, table_gradient = on_device(backend.empty(layout.outputs, 100)), torch.zeros_like(table)
    hash_grid_forward(x, table, levels, scales, y, 2, count, widths)
    hash_grid_backward_table(x, gradient, levels, scales, table_gradient, 2, count, widths)
    y = torch.as_tensor(y.to_numpy() if isinstance(y, ti.Ndarray) else y)
    assert torch.equal(y[:, :used], expected)
    assert y[:, used:].isnan().all()
    backend.assert_close(table_gradient, expected_gradient)


def on_device(tensor):
    """Where a tensor is a copy (Vulkan), what a kernel leaves alone in it does not come back: then a Taichi array."""
    if ti.lang.impl.current_cfg().arch != ti.vulkan:
        return tensor
    array = ti.ndarray(ti.f32, tuple(tensor.shape))
    array.from_numpy(tensor.numpy())
    return array


@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 63, 2000])
@pytest.mark.parametrize("wide", [False, True], ids=["points", "widths"])
def test_features_in_bfloat16_are_the_same_rounded(backend, rng, count, features, wide):
    """As a value, and as a gradient, of which nothing is lost once it is rounded."""
    if backend.name.startswith("vulkan"):
        pytest.skip("arrays of 16 bits are an extension there, and nothing needs them")
    layout = hash_grid_layout(**SMALL | {"features": features})
    x, table, levels, scales = arrays(backend, layout, rng, count)
    widths = some_widths(backend, rng, count) if wide else None
    y = backend.empty(layout.outputs, count)
    bits = torch.full_like(y, float("nan"), dtype=torch.bfloat16).view(torch.int16)
    hash_grid_forward(x, table, levels, scales, y, features, widths=widths)
    hash_grid_forward(x, table, levels, scales, bits, features, widths=widths)
    assert torch.equal(bits.view(torch.bfloat16), y.float().to(torch.bfloat16))
    gradient, of_bits = torch.zeros_like(table), torch.zeros_like(table)
    hash_grid_backward_table(x, bits.view(torch.bfloat16).to(backend.dtype), levels, scales, gradient, features,
                             widths=widths)
    hash_grid_backward_table(x, bits, levels, scales, of_bits, features, widths=widths)
    backend.assert_close(of_bits, gradient)
    assert count == 0 or of_bits.abs().max() > 0


@ti.kernel
def encode_in_a_kernel_of_ones_own(x: ti.types.ndarray(ndim=2), widths: ti.types.ndarray(ndim=1),
                                   table: ti.types.ndarray(ndim=1), levels: ti.types.ndarray(ndim=2),
                                   scales: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2), wide: ti.template()):
    """As the README of the kernels has it, for F = 2: y of points with widths, or without."""
    for i in range(x.shape[0]):
        p = ti.Vector([x[i, 0], x[i, 1], x[i, 2]])
        for level in range(scales.shape[0]):
            value = ti.Vector.zero(float, 2)
            if ti.static(wide):
                value = encode_level(p, table, levels, scales, level, 2, widths[i])
            else:
                value = encode_level(p, table, levels, scales, level, 2)
            for k in ti.static(range(2)):
                y[level * 2 + k, i] = value[k]


@ti.kernel
def differentiate_in_a_kernel_of_ones_own(
        x: ti.types.ndarray(ndim=2), widths: ti.types.ndarray(ndim=1), table: ti.types.ndarray(ndim=1),
        y_gradient: ti.types.ndarray(ndim=2), levels: ti.types.ndarray(ndim=2), scales: ti.types.ndarray(ndim=1),
        table_gradient: ti.types.ndarray(ndim=1), x_gradient: ti.types.ndarray(ndim=2),
        widths_gradient: ti.types.ndarray(ndim=1)):
    for i in range(x.shape[0]):
        p, width = ti.Vector([x[i, 0], x[i, 1], x[i, 2]]), widths[i]
        along, wider = ti.Vector.zero(float, 3), 0.0
        for level in range(scales.shape[0]):
            g = ti.Vector([y_gradient[level * 2, i], y_gradient[level * 2 + 1, i]])
            splat_level(p, g, table_gradient, levels, scales, level, 2, width)
            along += level_position_gradient(p, g, table, levels, scales, level, 2, width)
            wider += level_width_gradient(p, width, g, table, levels, scales, level, 2)
        for axis in ti.static(range(3)):
            x_gradient[i, axis] = along[axis]
        widths_gradient[i] = wider


@pytest.mark.parametrize("count", [0, 1, 63])
def test_a_kernel_of_ones_own_sees_levels_by_widths_and_has_every_gradient(backend, rng, count):
    """The functions for a level at a point, in kernels that know nothing else of the grid."""
    layout = hash_grid_layout(**SMALL)
    x, table, levels, scales = arrays(backend, layout, rng, count)
    widths = some_widths(backend, rng, count)
    y, g = backend.empty(layout.outputs, count), torch.randn(layout.outputs, count, generator=rng, dtype=torch.float64)
    of_points, expected_of_points = backend.empty(layout.outputs, count), backend.empty(layout.outputs, count)
    gradients = torch.zeros_like(table), backend.empty(count, 3), backend.empty(count)
    encode_in_a_kernel_of_ones_own(x, widths, table, levels, scales, y, True)
    differentiate_in_a_kernel_of_ones_own(x, widths, table, backend.tensor(g), levels, scales, *gradients)
    encode_in_a_kernel_of_ones_own(x, widths, table, levels, scales, of_points, False)
    exact = [values.double().cpu().requires_grad_() for values in (table.view(-1, 2), x, widths)]
    shape = {name: SMALL[name] for name in ("levels", "log2_entries", "base_resolution", "max_resolution")}
    expected = hash_grid_encode(exact[1], exact[0], **shape, widths=exact[2]).t()
    backend.assert_close(y, expected, "features")
    for name, found, wanted in zip(("table", "positions", "widths"), gradients,
                                   torch.autograd.grad(expected, exact, g)):
        backend.assert_close(found.view(wanted.shape), wanted, f"gradient to {name}")
    hash_grid_forward(x, table, levels, scales, expected_of_points, 2)
    backend.assert_close(of_points, expected_of_points, "features of points")
