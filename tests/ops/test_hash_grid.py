"""The hash-grid op against the float64 reference: value and every gradient."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf.ops.hash_grid import HashGridLayout, hash_grid_encode, hash_grid_layout
from taichi_nerf.reference import hash_grid as reference

GRIDS = {
    "two features": dict(levels=5, features=2, log2_entries=10, base_resolution=4, max_resolution=64),
    "four features": dict(levels=3, features=4, log2_entries=9, base_resolution=5, max_resolution=40),
    "one dense level": dict(levels=1, features=1, log2_entries=12, base_resolution=16, max_resolution=16),
}


def some_widths(count: int, rng) -> torch.Tensor:
    """From a hundredth of a cell to hundreds of them; every seventh is a point."""
    widths = 10 ** (torch.rand(count, generator=rng, dtype=torch.float64) * 4 - 3)
    widths[::7] = 0
    return widths


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("count", [0, 1, 63, 2000])
@pytest.mark.parametrize("wide", [False, True], ids=["points", "widths"])
def test_value_and_gradients_match_the_reference(backend, rng, grid, count, wide):
    layout = hash_grid_layout(**grid)
    x = torch.rand(count, 3, generator=rng, dtype=torch.float64) * 1.2 - 0.1
    table = torch.randn(layout.entries, layout.features, generator=rng, dtype=torch.float64)
    cotangent = torch.randn(count, layout.outputs, generator=rng, dtype=torch.float64)
    x = x.to(backend.dtype).double()  # the same points in the same cells
    widths = some_widths(count, rng).to(backend.dtype).double() if wide else None

    expected_x, expected_table, expected_widths = asked(x, table, widths)
    shape = {k: v for k, v in grid.items() if k != "features"}
    expected = reference.hash_grid_encode(expected_x, expected_table, **shape, widths=expected_widths)
    expected.backward(cotangent)

    actual_x, actual_table, actual_widths = asked(
        *(None if value is None else backend.tensor(value) for value in (x, table, widths)))
    actual = hash_grid_encode(actual_x, actual_table, layout, widths=actual_widths)
    actual.backward(backend.tensor(cotangent))

    backend.assert_close(actual, expected, "features")
    backend.assert_close(actual_table.grad, expected_table.grad, "table gradient")
    if wide:
        backend.assert_close(actual_widths.grad, expected_widths.grad, "width gradient")
    near_a_face = 1e-5 if backend.dtype == torch.float32 else 0
    resolutions = torch.from_numpy(layout.scales)
    distance = ((expected_x.detach()[..., None] * resolutions + 0.5) % 1 - 0.5).abs().amax((1, 2))
    inside = distance < 0.5 - near_a_face * resolutions.max()
    backend.assert_close(actual_x.grad[inside.to(backend.device)], expected_x.grad[inside], "position gradient")


def asked(*values: torch.Tensor | None) -> list[torch.Tensor | None]:
    """The same, for gradients of their own."""
    return [None if value is None else value.clone().requires_grad_() for value in values]


def test_a_level_counts_as_the_error_function_says(backend):
    """A table of ones shows the weights themselves: those of Zip-NeRF, section 3.2."""
    layout = hash_grid_layout(**GRIDS["two features"])
    widths = torch.cat([torch.zeros(1), torch.logspace(-4, 8, 400)]).double()
    centre = torch.full((len(widths), 3), 0.37, dtype=torch.float64)
    weights = hash_grid_encode(backend.tensor(centre), backend.tensor(torch.ones(layout.entries, 2)), layout,
                               widths=backend.tensor(widths))
    n = torch.from_numpy(layout.scales).repeat_interleave(2)
    expected = torch.erf(1 / (math.sqrt(8) * widths[:, None] * n))
    assert (weights.double().cpu() - expected).abs().max() < (1e-5 if backend.dtype == torch.float32 else 1.2e-6)


def test_points_without_a_width_are_points_to_the_last_bit(backend, rng):
    layout = hash_grid_layout(**GRIDS["four features"])
    x = backend.tensor(torch.rand(100, 3, generator=rng, dtype=torch.float64))
    table = backend.tensor(torch.randn(layout.entries, 4, generator=rng, dtype=torch.float64))
    for nothing in (torch.zeros(100), torch.full((100,), -1.0)):
        assert torch.equal(hash_grid_encode(x, table, layout, widths=backend.tensor(nothing)),
                           hash_grid_encode(x, table, layout))


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("finite differences need float64")
    layout = hash_grid_layout(levels=2, features=2, log2_entries=6, base_resolution=3, max_resolution=7)
    x = torch.rand(7, 3, generator=rng, dtype=torch.float64).requires_grad_()
    table = torch.randn(layout.entries, 2, generator=rng, dtype=torch.float64).requires_grad_()
    widths = (0.05 + 0.5 * torch.rand(7, generator=rng, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, table, widths: hash_grid_encode(x, table, layout, widths=widths),
                                    (x, table, widths), eps=1e-7)


def test_known_features_are_not_computed_again_and_keep_their_gradient(backend, rng):
    layout = hash_grid_layout(**GRIDS["two features"])
    x = backend.tensor(torch.rand(50, 3, generator=rng, dtype=torch.float64))
    table = backend.tensor(torch.randn(layout.entries, 2, generator=rng, dtype=torch.float64)).requires_grad_()
    computed = hash_grid_encode(x, table, layout)
    computed.sum().backward()
    expected = table.grad.clone()
    table.grad = None
    marked = computed.detach() + 1  # whatever is handed in is what comes out
    reused = hash_grid_encode(x, table, layout, features=marked)
    assert torch.equal(reused, marked)
    reused.sum().backward()
    backend.assert_close(table.grad, expected)


def test_the_gradient_adds_to_a_given_buffer(backend, rng):
    layout = hash_grid_layout(**GRIDS["two features"])
    x = backend.tensor(torch.rand(50, 3, generator=rng, dtype=torch.float64))
    table = backend.tensor(torch.randn(layout.entries, 2, generator=rng, dtype=torch.float64)).requires_grad_()
    hash_grid_encode(x, table, layout).sum().backward()
    buffer = torch.ones_like(table.detach())
    expected, table.grad = table.grad + 1, None
    hash_grid_encode(x, table, layout, table_gradient=buffer).sum().backward()
    assert table.grad is None
    backend.assert_close(buffer, expected)


def test_wrong_arguments_are_named(backend):
    layout = hash_grid_layout(**GRIDS["two features"])
    table = torch.zeros(layout.entries, 2, dtype=backend.dtype, device=backend.device)
    x = torch.zeros(5, 3, dtype=backend.dtype, device=backend.device)
    with pytest.raises(ValueError, match=r"positions must have shape \(\*, 3\), got \(5, 2\)"):
        hash_grid_encode(x[:, :2], table, layout)
    with pytest.raises(ValueError, match="table must have shape"):
        hash_grid_encode(x, table[:-1], layout)
    with pytest.raises(TypeError, match="positions must be"):
        hash_grid_encode(x.half(), table, layout)
    with pytest.raises(ValueError, match=r"widths must have shape \(5\), got \(4,\)"):
        hash_grid_encode(x, table, layout, widths=x[:4, 0])
    with pytest.raises(ValueError, match="table_gradient must be contiguous"):
        hash_grid_encode(x, table, layout, table_gradient=table.t().contiguous().t())


@pytest.mark.parametrize("wrong", [[8, 64, 4, 0], [0, 63, 4, 0], [0, 48, 4, 1], [0, 0, 4, 1], [0, 2**31 - 8, 1290, 0]])
def test_a_layout_that_leads_outside_of_its_table_is_refused(wrong):
    HashGridLayout(features=2, levels=np.array([[0, 64, 4, 0]]), scales=np.ones(1))
    with pytest.raises(ValueError, match="levels must follow one another"):
        HashGridLayout(features=1, levels=np.array([wrong]), scales=np.ones(1))
    with pytest.raises(ValueError, match="levels \\[L, 4\\] and scales \\[L\\]"):
        HashGridLayout(features=2, levels=np.array([[0, 64, 4, 0]]), scales=np.ones(2))
