"""Laws of the running sum, on every backend."""

import pytest
import torch

from taichi_nerf_kernels.scan import CHUNK, inclusive_scan


@pytest.mark.parametrize("count", [1, 63, CHUNK, CHUNK + 1, 2000, CHUNK**2 + 300])
def test_inclusive_scan_is_the_running_sum(backend, rng, count):
    values = torch.randint(0, 1000, (count,), generator=rng, dtype=torch.int32)
    sums = backend.tensor(torch.full((count,), -7), torch.int32)
    partial = backend.tensor(torch.full((count // CHUNK + 1,), -7), torch.int32)
    inclusive_scan(backend.tensor(values, torch.int32), partial, sums)
    assert torch.equal(sums.cpu(), values.cumsum(0, dtype=torch.int32))
