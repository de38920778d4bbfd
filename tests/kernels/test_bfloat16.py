"""bfloat16 in arrays of int16: every number, and rounding as PyTorch rounds."""

import pytest
import torch

from taichi_nerf_kernels.bfloat16 import load, store
from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.launch import kernel


@kernel
def copy(source: ti.types.ndarray(ndim=2), target: ti.types.ndarray(ndim=2)):
    for row, column in ti.ndrange(source.shape[0], source.shape[1]):
        store(target, row, column, load(source, row, column))


@pytest.fixture
def backend(backend):
    if backend.name.startswith("vulkan"):
        pytest.skip("arrays of 16 bits are an extension there, and nothing needs them")
    return backend


def rounded(backend, values):
    """[1, N] of bfloat16 of float32 `values`, by the kernels."""
    bits = torch.full((1, len(values)), 7, dtype=torch.int16, device=backend.device)
    copy(backend.tensor(values)[None].contiguous(), bits)
    return bits.view(torch.bfloat16).cpu()


def test_every_number_is_read_as_it_is_and_written_back(backend):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16, device=backend.device)[None].contiguous()
    expected = bits.view(torch.bfloat16).to(backend.dtype)
    values, again = backend.empty(1, 2**16), torch.full_like(bits, 7)
    copy(bits, values)
    nan = expected.isnan()
    assert torch.equal(values.isnan(), nan) and torch.equal(values[~nan], expected[~nan])
    copy(bits, again)
    assert torch.equal(again[~nan], bits[~nan]) and again.view(torch.bfloat16)[nan].isnan().all()


def test_rounding_is_to_the_nearest_and_of_two_to_the_even_one(backend, rng):
    spread = torch.randn(5000, generator=rng) * 10.0 ** (60 * torch.rand(5000, generator=rng) - 30)
    bits = torch.randint(-(2**15), 2**15, (5000,), generator=rng, dtype=torch.int32)
    halfway = ((bits << 16) + 2**15).view(torch.float32)
    halfway = halfway[halfway.isfinite() & (halfway.abs() >= torch.finfo(torch.float32).tiny)]  # those below may be cut
    odd = torch.tensor([0.0, -0.0, 3.4e38, -3.4e38, float("inf"), -float("inf")])
    for values in (spread, halfway, odd):
        expected = values.to(torch.bfloat16)
        assert torch.equal(rounded(backend, values).view(torch.int16)[0], expected.view(torch.int16))


def test_what_is_no_number_stays_none(backend):
    bits = torch.tensor([0x7FFFFFFF, -1, 0x7F800001], dtype=torch.int32)
    assert rounded(backend, bits.view(torch.float32)).isnan().all()
