"""What kernels make of numbers out of arrays, on every backend: no index of theirs leaves its array."""

import math

import pytest
import torch

from taichi_nerf_kernels.bounds import entry_in, is_finite, samples_of_ray
from taichi_nerf_kernels.distortion import distortion_forward
from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.launch import kernel
from taichi_nerf_kernels.occupancy_grid import splat_max

LEAST, MOST = -2**31, 2**31 - 1


@kernel
def look(numbers: ti.types.ndarray(ndim=1), finite: ti.types.ndarray(ndim=1), ray_start: ti.types.ndarray(ndim=1),
         ray_count: ti.types.ndarray(ndim=1), size: int, ranges: ti.types.ndarray(ndim=2)):
    for i in range(numbers.shape[0]):
        finite[i] = ti.cast(is_finite(numbers[i]), ti.i32)
    for ray in range(ray_start.shape[0]):
        begin, end = samples_of_ray(ray_start, ray_count, ray, size)
        ranges[ray, 0] = begin
        ranges[ray, 1] = end
        ranges[ray, 2] = entry_in(ray_start[ray], size)


def test_finite_numbers_are_told_from_others_and_ranges_end_with_their_array(backend):
    numbers = backend.tensor([0.0, -1e38, 1e-45, math.inf, -math.inf, math.nan])
    pairs = torch.tensor([[a, b] for a in (LEAST, -3, 0, 4, 10, MOST) for b in (LEAST, -1, 0, 6, MOST)])
    start, count = (x.contiguous() for x in backend.tensor(pairs, torch.int32).unbind(1))
    finite, ranges = torch.full_like(start[:6], -7), start.new_full((len(pairs), 3), -7)
    look(numbers, finite, start, count, 10, ranges)
    assert finite.tolist() == [1, 1, 1, 0, 0, 0]
    begin = pairs[:, 0].clamp(0, 10)
    end = begin + torch.minimum(pairs[:, 1].clamp(min=0), 10 - begin)
    assert torch.equal(ranges.long().cpu(), torch.stack([begin, end, pairs[:, 0].clamp(0, 9)], dim=1))


@pytest.mark.parametrize("start, count", [(LEAST, 3), (MOST, 3), (-2, 5), (2, MOST), (0, LEAST)])
def test_samples_and_cells_that_there_are_not_are_left_out(backend, start, count):
    room = backend.tensor([9e9] * 4 + [0.5] * 4 + [9e9] * 4)  # the samples are the four in the middle
    first, length = backend.tensor([start, 0], torch.int32), backend.tensor([count, 4], torch.int32)
    loss = backend.empty(2)
    distortion_forward(room[4:8], room[4:8], room[4:8], first, length, loss)
    assert (loss < 1).all() and loss[1] > 0
    splat_max(backend.tensor([start, 1, 4, MOST], torch.int32), backend.tensor([1e10] * 4), 1.0, room[4:8])
    expected = torch.tensor([9e9] * 4 + [1e10 if start == 0 else 0.5, 1e10, 1e10 if start == 2 else 0.5, 0.5]
                            + [9e9] * 4)
    backend.assert_close(room, expected.double())
