"""Arithmetic of 32-bit words modulo 2^32, which hashes want.

Taichi's debug mode reports an integer that overflows. Where it is meant to, these functions say so, and reach the same
result in halves of 16 bits while the debug mode is on; otherwise they are one instruction.
"""

from .engine import configuration, ti

__all__ = ["bit_at", "wrapping_add", "wrapping_add_signed", "wrapping_multiply", "wrapping_multiply_signed"]


@ti.func
def wrapping_add(a, b):
    """a + b modulo 2^32 (u32), of integers of 32 bits."""
    x, y = ti.cast(a, ti.u32), ti.cast(b, ti.u32)
    result = x
    if ti.static(configuration().debug):
        low = (x & ti.u32(0xFFFF)) + (y & ti.u32(0xFFFF))
        high = (x >> ti.u32(16)) + (y >> ti.u32(16)) + (low >> ti.u32(16))
        result = ((high & ti.u32(0xFFFF)) << ti.u32(16)) | (low & ti.u32(0xFFFF))
    else:
        result = x + y
    return result


@ti.func
def wrapping_multiply(a, b):
    """a * b modulo 2^32 (u32), of integers of 32 bits."""
    x, y = ti.cast(a, ti.u32), ti.cast(b, ti.u32)
    result = x
    if ti.static(configuration().debug):
        x_low, x_high = x & ti.u32(0xFFFF), x >> ti.u32(16)
        y_low, y_high = y & ti.u32(0xFFFF), y >> ti.u32(16)
        middle = ((x_high * y_low) & ti.u32(0xFFFF)) + ((x_low * y_high) & ti.u32(0xFFFF))
        result = wrapping_add(x_low * y_low, (middle & ti.u32(0xFFFF)) << ti.u32(16))
    else:
        result = x * y
    return result


@ti.func
def wrapping_multiply_signed(a, b):
    """The same of int32: as u32 LLVM would not turn a loop of such products into vector code."""
    result = a
    if ti.static(configuration().debug):
        result = ti.cast(wrapping_multiply(a, b), ti.i32)
    else:
        result = a * b
    return result


@ti.func
def wrapping_add_signed(a, b):
    """a + b modulo 2^32 of int32."""
    result = a
    if ti.static(configuration().debug):
        result = ti.cast(wrapping_add(a, b), ti.i32)
    else:
        result = a + b
    return result


@ti.func
def bit_at(value, place):
    """An int32 whose bit number `place`, the sign included, is 1 if `value` is true."""
    word = ti.cast(value, ti.i32)
    if ti.static(configuration().debug):
        word = ti.cast(ti.cast(value, ti.u32) << ti.cast(place, ti.u32), ti.i32)
    else:
        word = word << place
    return word
