"""Running sums of integers on the device.

On a GPU the values are cut into chunks of CHUNK, each for a block of as many threads. A CPU sums up a hundred
thousand of them in the time in which its threads wake up: there it is one loop.
"""

from .engine import on_cpu, ti
from .launch import kernel

__all__ = ["CHUNK", "inclusive_scan"]

LOG_CHUNK = 8
CHUNK = 2**LOG_CHUNK


@ti.func
def block_sum(value, thread, shared: ti.template()):
    """The sum of the values of threads 0 .. `thread` of a block of CHUNK, all of which call it (Hillis and Steele)."""
    total = value
    shared[thread] = total
    ti.simt.block.sync()
    for round in ti.static(range(LOG_CHUNK)):
        below = 0
        if thread >= ti.static(2**round):
            below = shared[thread - ti.static(2**round)]
        ti.simt.block.sync()
        total += below
        shared[thread] = total
        ti.simt.block.sync()
    return total


@kernel
def _scan_on_cpu(values: ti.types.ndarray(ndim=1), sums: ti.types.ndarray(ndim=1)):
    ti.loop_config(serialize=True)
    for _ in range(1):
        total = 0
        for i in range(values.shape[0]):
            total += values[i]
            sums[i] = total


@kernel
def _scan_on_gpu(values: ti.types.ndarray(ndim=1), partial: ti.types.ndarray(ndim=1), sums: ti.types.ndarray(ndim=1)):
    ti.loop_config(block_dim=CHUNK)
    for i in range((values.shape[0] + CHUNK - 1) // CHUNK * CHUNK):  # whole blocks: all their threads must synchronise
        shared = ti.simt.block.SharedArray((CHUNK,), ti.i32)
        value = 0
        if i < values.shape[0]:
            value = values[i]
        total = block_sum(value, i % CHUNK, shared)
        if i < values.shape[0]:
            sums[i] = total
        if i % CHUNK == CHUNK - 1:
            partial[i // CHUNK] = total
    ti.loop_config(block_dim=CHUNK)
    for thread in range(CHUNK):
        shared = ti.simt.block.SharedArray((CHUNK,), ti.i32)
        chunks = (values.shape[0] + CHUNK - 1) // CHUNK
        before = 0
        for part in range((chunks + CHUNK - 1) // CHUNK):
            chunk = part * CHUNK + thread
            value = 0
            if chunk < chunks:
                value = partial[chunk]
            total = block_sum(value, thread, shared)
            if chunk < chunks:
                partial[chunk] = before + total - value
            before += shared[CHUNK - 1]
            ti.simt.block.sync()
    for i in range(values.shape[0]):
        sums[i] += partial[i // CHUNK]


def inclusive_scan(values, partial, sums) -> None:
    """sums[i] = values[0] + .. + values[i].

    values   [N] int32
    partial  at least [N / CHUNK + 1] int32, overwritten on a GPU
    sums     [N] int32, written
    """
    if on_cpu():
        _scan_on_cpu(values, sums)
    else:
        _scan_on_gpu(values, partial, sums)
