"""Laws of the occupancy grid kernels, each on every backend."""

import pytest
import torch

from taichi_nerf.reference import occupancy_grid as reference
from taichi_nerf_kernels import occupancy_grid as kernels

G = 16
CUBE = G**3


def pack(backend, values, cascades, threshold):
    bits = backend.tensor(torch.full((cascades * CUBE // 32,), 0x5A5A5A5A), torch.int32)
    kernels.pack_bits(threshold, CUBE, values, backend.empty(CUBE // kernels.SPAN + 1), bits)
    for cascade in range(1, cascades):
        kernels.pool_bits(cascade, G, bits)
    return bits


def random_bits(backend, share, cascades, rng):
    return pack(backend, backend.tensor(torch.rand(cascades * CUBE, generator=rng) < share), cascades, 0.5)


def count(backend, bits):
    counts = torch.full_like(bits, -7)
    kernels.count_set_bits(bits, counts)
    return counts


def choose(backend, bits, uniform_count, occupied_count, seed=4):
    cells = backend.tensor(torch.full((uniform_count + occupied_count,), -7), torch.int32)
    cumulative = torch.cumsum(count(backend, bits), 0, dtype=torch.int32)
    kernels.choose_cells_forward(bits, cumulative, seed, uniform_count, cells)
    return cells.cpu().long()


def is_set(bits, cells):
    return (bits.cpu().long()[cells >> 5] >> (cells & 31)) & 1 == 1


def test_morton_order_is_a_bijection():
    index = torch.arange(2**15)
    cells = reference.morton_decode(index)
    assert torch.equal(reference.morton_encode(cells), index)
    assert cells.max() == 31 and len(torch.unique(cells, dim=0)) == 2**15


@pytest.mark.parametrize("cascades", [1, 3])
def test_positions_lie_in_their_cells(backend, cascades):
    cells = torch.arange(cascades * CUBE)
    positions = backend.empty(cascades * CUBE, 3)
    kernels.cell_positions_forward(backend.tensor(cells, torch.int32), 7, G, positions)
    backend.assert_close(positions, reference.cell_positions(cells, G, 7), scale=1e-2)
    inside = (positions.cpu().double() / 2.0 ** (cells // CUBE)[:, None] + 0.5) * G
    corner = reference.morton_decode(cells % CUBE)
    assert (inside >= corner - 1e-5).all() and (inside <= corner + 1 + 1e-5).all()


def test_decay_spares_invisible_cells(backend, rng):
    values = torch.rand(2 * CUBE, generator=rng, dtype=torch.float64) - 0.3
    decayed = backend.tensor(values.clone())
    kernels.decay_values(0.9, decayed)
    backend.assert_close(decayed, torch.where(values < 0, values, 0.9 * values))


def test_update_is_a_moving_maximum_whatever_the_order(backend, rng):
    values = torch.rand(2 * CUBE, generator=rng, dtype=torch.float64)
    values[::7] = -1
    cells = torch.randint(0, 300, (2000,), generator=rng)  # most cells several times
    fresh = torch.rand(2000, generator=rng, dtype=torch.float64) * 1.5
    expected = reference.moving_maximum(values, cells, 0.5 * fresh, 0.9)
    results = []
    for order in (torch.arange(2000), torch.randperm(2000, generator=rng)):
        updated = backend.tensor(values.clone())
        kernels.decay_values(0.9, updated)
        kernels.splat_max(
            backend.tensor(cells[order], torch.int32), backend.tensor(fresh[order]), 0.5, updated
        )
        backend.assert_close(updated, expected)
        results.append(updated)
    assert torch.equal(*results)


@pytest.mark.parametrize("cascades", [1, 3])
@pytest.mark.parametrize("threshold", [0.03, 5.0], ids=["threshold", "mean"])
def test_bits_are_values_above_threshold_or_mean_pooled_outwards(backend, rng, cascades, threshold):
    values = 0.1 * torch.rand(cascades * CUBE, generator=rng, dtype=torch.float64) ** 4
    values[torch.rand(cascades * CUBE, generator=rng) < 0.1] = -1
    bits = pack(backend, backend.tensor(values), cascades, threshold)
    expected = reference.occupancy(values, G, threshold)
    assert torch.equal(reference.dense_from_bits(bits.cpu(), G), expected)
    assert 0.01 < expected.float().mean() < 0.9


def test_one_cell_sets_one_bit_and_one_in_each_coarser_cascade(backend):
    for cell in (0, 31, 32, CUBE - 1, 1234):
        values = torch.zeros(3 * CUBE)
        values[cell] = 1
        bits = pack(backend, backend.tensor(values), 3, 0.5)
        dense = reference.dense_from_bits(bits.cpu(), G)
        assert dense.sum(dim=(1, 2, 3)).tolist() == [1, 1, 1]
        corner = reference.morton_decode(torch.tensor(cell))
        for cascade in range(3):
            assert dense[cascade].nonzero()[0].tolist() == corner.tolist()
            corner = corner // 2 + G // 4


def test_counting_bits_includes_the_sign_bit(backend, rng):
    bits = torch.randint(-(2**31), 2**31, (128,), generator=rng)
    bits[:3] = torch.tensor([-1, -(2**31), 0])
    expected = ((bits[:, None] >> torch.arange(32)) & 1).sum(1)
    assert torch.equal(count(backend, backend.tensor(bits, torch.int32)).cpu().long(), expected)


def test_uniform_draws_come_one_from_each_part(backend, rng):
    bits = random_bits(backend, 0.05, 2, rng)
    cells = choose(backend, bits, 2 * CUBE // 8, 0)
    assert torch.equal(cells // 8, torch.arange(2 * CUBE // 8))
    assert len(torch.unique(cells % 8)) == 8
    uneven = choose(backend, bits, 1000, 0)
    assert (uneven.diff() > 0).all() and uneven[0] < 9 and uneven[-1] >= 2 * CUBE - 9


def test_every_occupied_cell_is_drawn_once_if_there_are_as_many_draws(backend, rng):
    bits = random_bits(backend, 0.05, 2, rng)
    occupied = is_set(bits, torch.arange(2 * CUBE)).nonzero()[:, 0]
    cells = choose(backend, bits, 10, len(occupied))
    assert torch.equal(cells[10:], occupied)


@pytest.mark.parametrize("draws", [1, 40, 3000], ids=["one", "fewer than occupied", "more than occupied"])
def test_draws_from_the_occupied_cells_are_occupied(backend, rng, draws):
    bits = random_bits(backend, 0.05, 2, rng)
    assert is_set(bits, choose(backend, bits, 64, draws)[64:]).all()


def test_an_empty_grid_is_drawn_from_uniformly(backend):
    cells = choose(backend, backend.tensor(torch.zeros(CUBE // 32), torch.int32), 100, 512)
    assert torch.equal(cells[100:] // 8, torch.arange(512))


def look_at_the_centre(eyes):
    """[N, 3, 4] cameras at `eyes` that look at the origin."""
    back = eyes / eyes.norm(dim=-1, keepdim=True)
    right = torch.linalg.cross(torch.tensor([[0.1, 0.2, 1.0]], dtype=torch.float64).expand_as(back), back)
    right = right / right.norm(dim=-1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(back, right), back, eyes], dim=-1)


def cameras(rng, count=3, distance=2.0):
    eyes = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    poses = look_at_the_centre(distance * eyes / eyes.norm(dim=-1, keepdim=True))
    size = torch.tensor([[200.0, 120.0]], dtype=torch.float64).expand(count, 2)
    return poses, 2 * size.flip(-1) + 10, 0.5 * size + 7, size


def test_cells_that_no_camera_sees_are_marked(backend, rng):
    views = cameras(rng)
    values = torch.rand(3 * CUBE, generator=rng, dtype=torch.float64)
    values[5::11] = -1  # marks of an earlier call are forgotten where a camera sees the cell
    marked = backend.tensor(values.clone())
    kernels.mark_invisible(*[backend.tensor(v).contiguous() for v in views], 0.3, 0.1, G, marked)
    unseen = reference.invisible_cells(torch.arange(3 * CUBE), G, *views, 0.3, 0.1)
    wrong = (marked.cpu() < 0) != unseen
    assert wrong.sum() <= (0 if backend.dtype == torch.float64 else 3)
    backend.assert_close(
        marked[backend.tensor(~wrong & ~unseen, torch.bool)], values.clamp(min=0)[~wrong & ~unseen]
    )
    assert 0.05 < unseen.float().mean() < 0.95


def test_a_cell_with_a_point_in_view_is_never_marked(backend, rng):
    poses, focal, principal, size = cameras(rng)
    values = backend.tensor(torch.zeros(2 * CUBE))
    views = [backend.tensor(v).contiguous() for v in (poses, focal, principal, size)]
    kernels.mark_invisible(*views, 0.0, 0.0, G, values)
    cells = torch.arange(2 * CUBE)
    for seed in range(4):
        points = reference.cell_positions(cells, G, seed)
        for pose, f, c, wh in zip(poses, focal, principal, size):
            x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).unbind(-1)
            pixel = torch.stack([-f[0] * x / z + c[0], f[1] * y / z + c[1]], -1)
            visible = (z < 0) & (pixel > 0).all(-1) & (pixel < wh).all(-1)
            assert visible.any() and (values.cpu()[visible] == 0).all()
