"""Occupancy grid: one value and one bit a cell, C nested cubes of G^3 cells, cells of a cube in Morton order.

    k            cascade; covers the cube [-0.5 * 2^k, 0.5 * 2^k]^3
    G            cells per axis, a power of two, at least 16
    (i, j, l)    cell along x, y, z; i has the lowest Morton bit
    cell         k * G^3 + morton(i, j, l)
    values       [C * G^3] optical thickness of a marching step in the cell; -1 where no camera looks
    bits         [C * G^3 / 32] int32, cell c is bit c % 32 of word c // 32

64 consecutive cells, two words, are a block of 4 x 4 x 4; 32 are 4 x 4 x 2; 8 are 2 x 2 x 2.
(Müller et al., Instant Neural Graphics Primitives, SIGGRAPH 2022, appendix E.)
"""

from .engine import on_cpu, stride_for, ti
from .integers import bit_at, wrapping_multiply
from .launch import kernel
from .random import uniform

__all__ = [
    "bit_is_set",
    "cell_positions_forward",
    "choose_cells_forward",
    "count_set_bits",
    "decay_values",
    "mark_invisible",
    "morton_decode",
    "morton_encode",
    "pack_bits",
    "pool_bits",
    "splat_max",
]

LOG_SPAN = 11  # a task sweeps 2048 cells, which divides G^3 for every allowed G
SPAN = 1 << LOG_SPAN
# Bounds of parallel loops are shifted, not divided: the SPIR-V code generator refuses a division there.


@ti.func
def spread_bits(v):
    """Put two zero bits in front of each of the ten low bits."""
    v = (v | (v << 16)) & 0x030000FF
    v = (v | (v << 8)) & 0x0300F00F
    v = (v | (v << 4)) & 0x030C30C3
    return (v | (v << 2)) & 0x09249249


@ti.func
def gather_bits(v):
    """Every third bit: the inverse of `spread_bits`."""
    v = v & 0x09249249
    v = (v | (v >> 2)) & 0x030C30C3
    v = (v | (v >> 4)) & 0x0300F00F
    v = (v | (v >> 8)) & 0x030000FF
    return (v | (v >> 16)) & 0x000003FF


@ti.func
def morton_encode(i, j, l):
    """Morton index of a cell, each coordinate below 1024."""
    return spread_bits(i) | (spread_bits(j) << 1) | (spread_bits(l) << 2)


@ti.func
def morton_decode(morton):
    """Cell (i, j, l) of a Morton index."""
    return ti.Vector([gather_bits(morton), gather_bits(morton >> 1), gather_bits(morton >> 2)])


@ti.func
def bit_is_set(bits: ti.template(), cell):
    """1 if the cell is occupied, else 0."""
    return (bits[cell >> 5] >> (cell & 31)) & 1


@ti.func
def cascade_scale(cascade):
    """2^k, the side of cascade k."""
    return ti.cast(1 << cascade, float)


@ti.func
def population_count(word):
    """Number of set bits of an int32."""
    v = ti.cast(word, ti.u32)
    v = v - ((v >> ti.u32(1)) & ti.u32(0x55555555))
    v = (v & ti.u32(0x33333333)) + ((v >> ti.u32(2)) & ti.u32(0x33333333))
    v = (v + (v >> ti.u32(4))) & ti.u32(0x0F0F0F0F)
    return ti.cast(wrapping_multiply(v, ti.u32(0x01010101)) >> ti.u32(24), ti.i32)


@kernel
def cell_positions_forward(
    cells: ti.types.ndarray(ndim=1),
    seed: int,
    resolution: int,
    positions: ti.types.ndarray(ndim=2),
):
    """positions[m] = a point drawn uniformly inside cells[m], with the draws 3m .. 3m + 2 of `seed`."""
    for m in range(cells.shape[0]):
        cube = resolution * resolution * resolution
        cascade = cells[m] // cube
        corner = morton_decode(cells[m] - cascade * cube)
        scale = cascade_scale(cascade)
        for axis in ti.static(range(3)):
            inside = ti.cast(corner[axis], float) + uniform(seed, 3 * m + axis)
            positions[m, axis] = (inside / ti.cast(resolution, float) - 0.5) * scale


@kernel
def count_set_bits(bits: ti.types.ndarray(ndim=1), counts: ti.types.ndarray(ndim=1)):
    """counts[w] = occupied cells in word w."""
    stride = ti.static(stride_for(8))
    for slot in range((bits.shape[0] >> 6) * stride):
        if slot % stride != 0:
            continue
        block = slot // stride
        for w in range(64 * block, 64 * block + 64):
            counts[w] = population_count(bits[w])


@ti.func
def word_of_rank(cumulative: ti.template(), rank):
    """The word that holds the occupied cell number `rank`: the first whose inclusive count exceeds it."""
    low, high = 0, cumulative.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > rank:
            high = middle
        else:
            low = middle + 1
    return low


@ti.func
def nth_set_bit(word, n):
    """Place of the set bit number n (from 0) of an int32."""
    place, left = 0, n
    for bit in range(32):
        if (word >> bit) & 1 == 1:
            if left == 0:
                place = bit
            left -= 1
    return place


@ti.func
def stratum(n, m, count, u):
    """An integer of [0, n): the draw u inside part m of `count` equal parts. In integers: n may pass 2^24."""
    drawn = 0
    if count <= n:
        width = n // count
        low = m * width + ti.min(m, n - count * width)
        if m < n - count * width:
            width += 1
        drawn = low + ti.min(ti.cast(u * ti.cast(width, float), ti.i32), width - 1)
    else:
        drawn = ti.cast((ti.cast(m, float) + u) * ti.cast(n, float) / ti.cast(count, float), ti.i32)
    return ti.min(drawn, n - 1)


@kernel
def choose_cells_forward(
    bits: ti.types.ndarray(ndim=1),
    cumulative: ti.types.ndarray(ndim=1),
    seed: int,
    uniform_count: int,
    cells: ti.types.ndarray(ndim=1),
):
    """First `uniform_count` cells drawn from all, then cells drawn from the occupied; both stratified, in
    Morton order.

    cumulative [words] int32: inclusive sums of `count_set_bits`. If nothing is occupied, all cells come from
    all.
    """
    for n in range(cells.shape[0]):
        last = bits.shape[0] - 1
        occupied = cumulative[last]
        m, count = n, uniform_count
        if n >= uniform_count:
            m, count = n - uniform_count, cells.shape[0] - uniform_count
        u = uniform(seed, n)
        if n < uniform_count or occupied == 0:
            cells[n] = stratum((last + 1) * 32, m, count, u)
        else:
            rank = stratum(occupied, m, count, u)
            word = word_of_rank(cumulative, rank)
            before = 0
            if word > 0:
                before = cumulative[word - 1]
            cells[n] = word * 32 + nth_set_bit(bits[word], rank - before)


@kernel
def decay_values(decay: float, values: ti.types.ndarray(ndim=1)):
    """v <- decay * v, in place; the mark of an invisible cell (v < 0) stays."""
    stride = ti.static(stride_for(1))
    log_cells = ti.static(LOG_SPAN if on_cpu() else 0)  # of a task
    for slot in range((values.shape[0] >> log_cells) * stride):
        if slot % stride != 0:
            continue
        task = slot // stride
        for c in range(task << log_cells, (task + 1) << log_cells):
            v = values[c]
            values[c] = v * ti.select(v < 0.0, 1.0, decay)


@kernel
def splat_max(
    cells: ti.types.ndarray(ndim=1),
    fresh: ti.types.ndarray(ndim=1),
    factor: float,
    values: ti.types.ndarray(ndim=1),
):
    """v <- max(v, factor * fresh) in place, for `cells`, which may repeat; invisible ones are left alone, and numbers
    that are no cell left out."""
    for m in range(cells.shape[0]):
        cell = cells[m]
        if cell >= 0 and cell < values.shape[0]:
            if values[cell] >= 0.0:
                ti.atomic_max(values[cell], fresh[m] * factor)


@ti.func
def word_above(values: ti.template(), w: int, bar: float):
    """Word w of the bits value > bar."""
    word = 0
    for bit in ti.static(range(32)):
        word |= bit_at(values[w * 32 + bit] > bar, bit)
    return word


@kernel
def pack_bits(
    threshold: float,
    cube: int,
    values: ti.types.ndarray(ndim=1),
    sums: ti.types.ndarray(ndim=1),
    bits: ti.types.ndarray(ndim=1),
):
    """bit = v > min(threshold, mean of max(v, 0) over cascade 0).

    cube = G^3; sums [G^3 / SPAN + 1] is written: the sums of the spans in order, then the threshold used.
    """
    stride = ti.static(stride_for(1))
    for slot in range((cube >> LOG_SPAN) * stride):
        if slot % stride != 0:
            continue
        block = slot // stride
        total = 0.0
        for c in range(SPAN * block, SPAN * block + SPAN):
            total += ti.max(values[c], 0.0)
        sums[block] = total
    for _ in range(1):
        total = 0.0
        for block in range(cube >> LOG_SPAN):
            total += sums[block]
        sums[cube >> LOG_SPAN] = ti.min(threshold, total / ti.cast(cube, float))
    log_cells = ti.static(LOG_SPAN if on_cpu() else 5)  # of a task
    for slot in range((values.shape[0] >> log_cells) * stride):
        if slot % stride != 0:
            continue
        task = slot // stride
        bar = sums[cube >> LOG_SPAN]
        if ti.static(on_cpu()):
            for w in range(task * (SPAN // 32), (task + 1) * (SPAN // 32)):
                bits[w] = word_above(values, w, bar)
        else:
            bits[task] = word_above(values, task, bar)


@kernel
def pool_bits(cascade: int, resolution: int, bits: ti.types.ndarray(ndim=1)):
    """A cell of `cascade` is also occupied if one of the eight cells of the next finer cascade in it is."""
    for w in range((resolution * resolution * resolution) >> 5):
        words = resolution * resolution * resolution // 32
        quarter = resolution // 4
        first = morton_decode(w * 32) - quarter
        if first.min() >= 0 and first.max() < 2 * quarter:
            child = (cascade - 1) * words + (morton_encode(2 * first[0], 2 * first[1], 2 * first[2]) >> 5)
            word = bits[cascade * words + w]
            for bit in range(32):
                eight = (bits[child + (bit >> 2)] >> (8 * (bit & 3))) & 0xFF
                word |= bit_at(eight != 0, bit)
            bits[cascade * words + w] = word


@ti.func
def sphere_is_seen(
    center,
    radius,
    n,
    camera_to_world: ti.template(),
    focal: ti.template(),
    principal: ti.template(),
    size: ti.template(),
    near,
    margin,
):
    """Whether a ball touches what camera n sees beyond `near`, its image widened by `margin` a side."""
    p = ti.Vector([0.0, 0.0, 0.0])
    for axis in ti.static(range(3)):
        for row in ti.static(range(3)):
            p[axis] += camera_to_world[n, row, axis] * (center[row] - camera_to_world[n, row, 3])
    depth = -p[2]
    across = ti.Vector([p[0], -p[1]])  # pixels grow right and down
    seen = depth > near - radius
    for axis in ti.static(range(2)):
        f = focal[n, axis]
        low = principal[n, axis] + margin * size[n, axis]
        high = size[n, axis] - principal[n, axis] + margin * size[n, axis]
        seen = seen and f * across[axis] + low * depth > -radius * ti.sqrt(f * f + low * low)
        seen = seen and high * depth - f * across[axis] > -radius * ti.sqrt(f * f + high * high)
    return seen


@ti.func
def cube_is_seen(
    corner,
    cells,
    scale,
    resolution,
    camera_to_world: ti.template(),
    focal: ti.template(),
    principal: ti.template(),
    size: ti.template(),
    near,
    margin,
):
    """Whether any camera sees the ball around a cube of `cells` cells a side whose first cell is `corner`."""
    side = scale / ti.cast(resolution, float)
    center = (ti.cast(corner, float) + 0.5 * cells) * side - 0.5 * scale
    radius = 0.8660254 * cells * side  # half the diagonal
    seen = False
    n = 0
    while n < camera_to_world.shape[0] and not seen:
        seen = sphere_is_seen(center, radius, n, camera_to_world, focal, principal, size, near, margin)
        n += 1
    return seen


@kernel
def mark_invisible(
    camera_to_world: ti.types.ndarray(ndim=3),
    focal: ti.types.ndarray(ndim=2),
    principal: ti.types.ndarray(ndim=2),
    size: ti.types.ndarray(ndim=2),
    near: float,
    margin: float,
    resolution: int,
    values: ti.types.ndarray(ndim=1),
):
    """v <- -1 in every cell whose bounding ball no camera sees; the others get max(v, 0).

    Blocks of 4 x 4 x 4 cells are tried first. Pinhole cameras, OpenGL axes; `margin` is a fraction of the
    image.
    """
    stride = ti.static(stride_for(8))
    for slot in range((values.shape[0] >> 6) * stride):
        if slot % stride != 0:
            continue
        block = slot // stride
        cube = resolution * resolution * resolution
        cascade = block * 64 // cube
        scale = cascade_scale(cascade)
        first = morton_decode(block * 64 - cascade * cube)
        near_block = cube_is_seen(
            first, 4.0, scale, resolution, camera_to_world, focal, principal, size, near, margin
        )
        for c in range(64):
            seen = near_block
            if seen:
                corner = first + morton_decode(c)
                seen = cube_is_seen(
                    corner, 1.0, scale, resolution, camera_to_world, focal, principal, size, near, margin
                )
            cell = block * 64 + c
            values[cell] = ti.max(values[cell], 0.0) if seen else -1.0
