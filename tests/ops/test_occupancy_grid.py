"""The occupancy grid operations, the sampler made of them, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.occupancy_grid import (
    cell_positions,
    choose_cells,
    decay_occupancy,
    mark_invisible_cells,
    pack_occupancy,
    splat_occupancy,
)
from taichi_nerf.reference import occupancy_grid as reference
from taichi_nerf.samplers.occupancy import OccupancyGrid
from taichi_nerf.types import Rays

G = 16
CUBE = G**3


def shell(positions):
    """Density of a hollow ball."""
    return 50.0 * ((positions.norm(dim=-1) - 0.3).abs() < 0.06).to(positions)


def make_grid(backend, cascades=1, **options):
    return OccupancyGrid(G, cascades, step_min=0.01, dtype=backend.dtype, device=backend.device, **options)


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_cell_positions_equal_the_reference(backend, rng, count):
    cells = torch.randint(0, 2 * CUBE, (count,), generator=rng)
    positions = cell_positions(backend.tensor(cells, torch.int32), resolution=G, seed=5, dtype=backend.dtype)
    backend.assert_close(positions, reference.cell_positions(cells, G, 5))


def test_update_and_packing_equal_the_reference(backend, rng):
    values = torch.rand(2 * CUBE, generator=rng, dtype=torch.float64) ** 4
    cells = torch.randint(0, 2 * CUBE, (2000,), generator=rng)
    fresh = torch.rand(2000, generator=rng, dtype=torch.float64)
    updated = backend.tensor(values.clone())
    decay_occupancy(updated, 0.8)
    splat_occupancy(updated, backend.tensor(cells, torch.int32), backend.tensor(fresh), 0.5)
    expected = reference.moving_maximum(values, cells, 0.5 * fresh, 0.8)
    backend.assert_close(updated, expected)
    bits = backend.tensor(torch.zeros(2 * CUBE // 32), torch.int32)
    pack_occupancy(updated, bits, resolution=G, cascades=2, threshold=0.123)
    assert torch.equal(reference.dense_from_bits(bits.cpu(), G), reference.occupancy(expected, G, 0.123))


def test_no_cells_are_a_valid_call(backend):
    values = backend.tensor(torch.ones(CUBE))
    none = backend.tensor(torch.zeros(0), torch.int32)
    splat_occupancy(values, none, backend.empty(0))
    assert torch.equal(values, torch.ones_like(values))
    bits = backend.tensor(torch.ones(CUBE // 32), torch.int32)
    assert choose_cells(bits, uniform_count=0, occupied_count=0, seed=0).shape == (0,)


def test_bad_arguments_raise(backend):
    values, bits = backend.tensor(torch.ones(CUBE)), backend.tensor(torch.zeros(CUBE // 32), torch.int32)
    with pytest.raises(ValueError, match="resolution must be a power of two"):
        pack_occupancy(values, bits, resolution=24, cascades=1, threshold=0.1)
    with pytest.raises(ValueError, match="bits must have shape"):
        pack_occupancy(values, bits[1:], resolution=G, cascades=1, threshold=0.1)
    with pytest.raises(TypeError, match=r"cells must be torch\.int32"):
        cell_positions(bits.long(), resolution=G, seed=0)
    with pytest.raises(ValueError, match="at least one camera"):
        none = backend.empty(0, 2)
        mark_invisible_cells(values, backend.empty(0, 3, 4), none, none, none, resolution=G)
    for options in ({"decay": 0.0}, {"occupied_fraction": 1.5}, {"update_every": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            make_grid(backend, **options)
    with pytest.raises(ValueError, match="cascades must be from 1 to 8"):
        make_grid(backend, cascades=9)


def test_cells_and_grids_that_are_none_are_refused_or_left_out(backend):
    values, fresh = backend.tensor(torch.ones(CUBE)), backend.tensor([5.0, 5.0])
    for cell in (-1, CUBE, -2**31, 2**31 - 1):
        cells = backend.tensor([3, cell], torch.int32)
        if backend.device.type == "cpu":
            with pytest.raises(IndexError, match=rf"cells must lie in \[0, {CUBE}\)"):
                splat_occupancy(values, cells, fresh)
        else:
            splat_occupancy(values, cells, fresh)
            assert values.sum() == CUBE + 4
    with pytest.raises(IndexError, match="nothing to point at"):
        splat_occupancy(values[:0], backend.tensor([0, 0], torch.int32), fresh)
    with pytest.raises(ValueError, match="bits must hold whole cascades"):
        choose_cells(backend.tensor([], torch.int32), uniform_count=3, occupied_count=3, seed=0)
    camera = [backend.tensor(torch.ones(1, *shape)) for shape in ((3, 4), (2,), (2,), (2,))]
    with pytest.raises(ValueError, match="values must hold 1 to 8 cascades of 16\\^3 cells, got 0"):
        mark_invisible_cells(values[:0], *camera, resolution=G)
    with pytest.raises(ValueError, match="resolution must be a power of two"):
        mark_invisible_cells(values, *camera, resolution=0)


def test_a_new_grid_is_full(backend):
    assert make_grid(backend, 2).occupied_share == 1.0


def test_one_update_finds_the_occupied_cells(backend):
    grid = make_grid(backend, 2, chunk=1000)
    assert grid.update(shell, 0)
    dense = reference.dense_from_bits(grid.bits.cpu(), G)[0]
    cells = (torch.stack(dense.nonzero(as_tuple=True), -1) + 0.5) / G - 0.5
    half_diagonal = 0.75**0.5 / G
    assert ((cells.norm(dim=-1) - 0.3).abs() < 0.06 + half_diagonal).all()
    centers = (torch.cartesian_prod(*[torch.arange(G)] * 3) + 0.5) / G - 0.5
    deep = (centers.norm(dim=-1) - 0.3).abs() < 0.06 - half_diagonal
    assert deep.any() and dense.reshape(-1)[deep].all()


def test_only_every_nth_step_updates(backend):
    grid = make_grid(backend, update_every=4)
    assert [grid.update(shell, step) for step in range(9)] == [True, False, False, False] * 2 + [True]
    assert grid.updates == 3


def test_the_grid_stays_full_until_the_first_update(backend):
    grid = make_grid(backend, update_every=4, first_update=6)
    assert [grid.update(shell, step) for step in range(10)] == [False] * 8 + [True, False]
    assert grid.occupied_share < 1


def test_an_update_visits_as_many_cells_as_asked(backend):
    visited = []

    def density(positions):
        visited.append(len(positions))
        return shell(positions)

    grid = make_grid(backend, warmup_steps=48, warmup_cells=300, cells_per_update=200, chunk=1 << 20)
    for step in range(0, 80, 16):
        grid.update(density, step)
    assert visited == [CUBE, 300, 300, 200, 200]


def test_what_is_thin_is_kept_through_the_warm_up_and_given_up_after_it(backend):
    """Thickness 0.002 in one half, 0.1 in the other: the threshold of 0.01 rises from a tenth of that."""
    grid = make_grid(backend, warmup_steps=32, warmup_threshold=0.1)
    shares = []
    for step in (0, 16, 32):
        grid.update(lambda x: torch.where(x[:, 0] < 0, 0.2, 10.0).to(x), step)
        shares.append(grid.occupied_share)
    assert [grid.threshold_at(step) for step in (0, 16, 32, 48)] == pytest.approx([1e-3, 10**-2.5, 1e-2, 1e-2])
    assert shares[0] == 1 and shares[1] == shares[2] == 0.5


def test_occupied_cells_are_visited_more_often(backend):
    grid = make_grid(backend, warmup_steps=0, cells_per_update=400, occupied_fraction=0.75)
    grid.update(shell, 0)
    share = grid.occupied_share
    seen = []
    grid.update(lambda x: seen.append(x) or shell(x), 16)
    inside = (shell(torch.cat(seen)) > 0).double().mean().item()
    assert share < 0.3 and inside > 0.4


def test_matter_that_moves_is_forgotten_here_and_found_there(backend):
    def half(sign):
        return lambda x: shell(x) * (sign * x[:, 0] > 0)

    def share(grid):
        dense = reference.dense_from_bits(grid.bits.cpu(), G)[0]
        return dense[: G // 2].double().mean().item(), dense[G // 2 :].double().mean().item()

    grid = make_grid(backend, warmup_steps=0, decay=0.5, cells_per_update=CUBE, occupied_fraction=0.25)
    grid.update(half(-1), 0)
    left, right = share(grid)
    assert left > 0.1 and right == 0
    for step in range(16, 321, 16):
        grid.update(half(1), step)
    assert share(grid)[0] < 0.1 * left and share(grid)[1] > 0.8 * left


def test_the_same_seed_gives_the_same_grid_and_another_seed_another(backend):
    def trained(seed):
        grid = make_grid(backend, 2, seed=seed, warmup_steps=16, cells_per_update=500)
        for step in range(0, 64, 16):
            grid.update(lambda x: torch.exp(-20 * x.square().sum(-1)), step)
        return grid.values

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_a_grid_resumes_from_its_state(backend):
    first, second = make_grid(backend, warmup_steps=0), make_grid(backend, warmup_steps=0)
    first.update(shell, 0)
    second.load_state_dict(first.state_dict())
    for grid in (first, second):
        grid.update(shell, 16)
    assert torch.equal(first.values, second.values) and torch.equal(first.bits, second.bits)
    assert second.updates == 2


def test_cells_out_of_sight_stay_empty(backend):
    grid = make_grid(backend)
    pose = torch.eye(3, 4)[None]
    pose[0, :, 3] = torch.tensor([0.3, 0.0, 1.5])  # looks along -z, a narrow view
    pair = torch.tensor([[100.0, 100.0]])
    grid.mark_invisible(pose, 5 * pair, 0.5 * pair, pair, margin=0.0)
    seen = grid.occupied_share
    assert 0.02 < seen < 0.5
    grid.update(lambda x: torch.ones_like(x[:, 0]), 0)
    assert grid.occupied_share == pytest.approx(seen)
    aims = torch.tensor([[0.3, 0.0, -1.0], [-0.4, 0.0, -1.0]])
    origins = aims * torch.tensor([1.0, 1.0, -1.0])
    samples = grid.march(Rays(backend.tensor(origins), backend.tensor([[0.0, 0.0, -1.0]] * 2)))
    assert samples.ray_count[0] == 100 and samples.ray_count[1] == 0
