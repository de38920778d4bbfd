"""What kernels ask of numbers that come out of arrays, before these lead anywhere: an index, a loop, a distance.

An array may hold anything, and on a GPU the host does not wait to look. A kernel therefore takes no index from an array
as it is: the functions here cost an instruction or two beside the read.
"""

from .engine import ti

__all__ = ["entry_in", "float_bits", "is_finite", "samples_of_ray"]

_INFINITE = 0x7F800000  # exponent bits of a float32 that is inf or NaN


@ti.func
def float_bits(x):
    """Bits of `x` as a float32: comparisons with NaN do not survive fast-math, comparisons of integers do."""
    return ti.bit_cast(ti.cast(x, ti.f32), ti.i32)


@ti.func
def is_finite(x):
    """Whether `x` is neither NaN nor beyond the range of a float32."""
    return (float_bits(x) & _INFINITE) != _INFINITE


@ti.func
def entry_in(index, size):
    """The entry of `size` nearest to `index`."""
    return ti.max(0, ti.min(index, size - 1))


@ti.func
def samples_of_ray(ray_start: ti.template(), ray_count: ti.template(), ray, size):
    """(begin, end) of the samples of a ray, those of them that are among the `size` that there are."""
    begin = ti.max(0, ti.min(ray_start[ray], size))
    return begin, begin + ti.max(0, ti.min(ray_count[ray], size - begin))
