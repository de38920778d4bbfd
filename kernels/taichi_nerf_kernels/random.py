"""Counter-based random numbers: a draw is a hash of (seed, index), without state, and the same on every
backend.

Two rounds of the 32-bit PCG permutation (Jarzynski and Olano, Hash Functions for GPU Rendering, JCGT 2020).
"""

from .engine import ti
from .integers import wrapping_add, wrapping_multiply
from .launch import kernel

__all__ = ["hash_bits", "random_bits", "uniform", "uniform_forward"]


@ti.func
def hash_bits(value):
    """One round of the PCG permutation: u32 -> u32."""
    state = wrapping_add(wrapping_multiply(value, ti.u32(747796405)), ti.u32(2891336453))
    word = wrapping_multiply((state >> ((state >> ti.u32(28)) + ti.u32(4))) ^ state, ti.u32(277803737))
    return (word >> ti.u32(22)) ^ word


@ti.func
def random_bits(seed: int, index: int):
    """32 random bits (u32) for the pair (seed, index)."""
    return hash_bits(wrapping_add(hash_bits(index), hash_bits(seed)))


@ti.func
def uniform(seed: int, index: int):
    """A number of [0, 1) with 24 random bits, exact in float32."""
    return ti.cast(ti.cast(random_bits(seed, index) >> ti.u32(8), ti.i32), float) * (1.0 / 16777216.0)


@kernel
def uniform_forward(seed: int, first: int, numbers: ti.types.ndarray(ndim=1)):
    """numbers[i] = uniform(seed, first + i)."""
    for i in range(numbers.shape[0]):
        numbers[i] = uniform(seed, first + i)
