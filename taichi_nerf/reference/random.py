"""Counter-based random numbers: a hash of (seed, index), two rounds of the PCG permutation on 32 bits."""

import torch

__all__ = ["random_bits", "uniform"]

WORD = 0xFFFFFFFF


def hash_bits(value: torch.Tensor) -> torch.Tensor:
    """One round: 32-bit words held in int64 -> the same."""
    state = (_times(value, 747796405) + 2891336453) & WORD
    word = _times((state >> ((state >> 28) + 4)) ^ state, 277803737)
    return (word >> 22) ^ word


def random_bits(seed: int, index: torch.Tensor) -> torch.Tensor:
    """32 random bits, held in int64, for integers `index` of any shape."""
    index = index.long() & WORD
    return hash_bits((hash_bits(index) + hash_bits(torch.full_like(index, seed & WORD))) & WORD)


def uniform(seed: int, index: torch.Tensor) -> torch.Tensor:
    """Numbers of [0, 1), float64, for integers `index` of any shape."""
    return (random_bits(seed, index) >> 8).double() / 2**24


def _times(a: torch.Tensor, factor: int) -> torch.Tensor:
    """a * factor modulo 2^32, without leaving int64."""
    return (a * (factor & 0xFFFF) + ((a * (factor >> 16) & 0xFFFF) << 16)) & WORD
