"""bfloat16, the upper half of a float32, of which Taichi knows nothing: kept bit for bit in arrays of int16.

Matrix units of CPUs multiply it, and an array of it is half the memory to move. A kernel that reads and writes its
arrays by `load` and `store` takes either kind: [F, N] of int16 holds bfloat16, and of any other type holds itself.
PyTorch shares such an array as `tensor.view(torch.int16)`.
"""

from .engine import ti


def holds_bfloat16(array) -> bool:
    """Whether an argument of a kernel, in the kernel, is an array of int16."""
    return array.get_type().element_type == ti.i16


@ti.func
def widened(bits):
    """The number whose bfloat16 is `bits`."""
    return ti.bit_cast(ti.cast(ti.cast(bits, ti.u16), ti.u32) << 16, ti.f32)


@ti.func
def rounded(value):
    """The bits, as int16, of the bfloat16 nearest to `value`; of two as near, the even one."""
    bits = ti.bit_cast(ti.cast(value, ti.f32), ti.u32)
    upper = ti.u32(0x7FC0)  # of a NaN, whose bits could overflow
    if (bits & ti.u32(0x7FFFFFFF)) <= ti.u32(0x7F800000):
        upper = (bits + ti.u32(0x7FFF) + ((bits >> 16) & ti.u32(1))) >> 16
    return ti.cast(upper, ti.i16)


@ti.func
def load(array: ti.template(), row: int, column: int):
    """array[row, column]"""
    value = 0.0
    if ti.static(holds_bfloat16(array)):
        value = widened(array[row, column])
    else:
        value = array[row, column]
    return value


@ti.func
def store(array: ti.template(), row: int, column: int, value):
    """array[row, column] = value"""
    if ti.static(holds_bfloat16(array)):
        array[row, column] = rounded(value)
    else:
        array[row, column] = value
