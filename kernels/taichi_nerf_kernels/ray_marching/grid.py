"""The occupancy grid as rays meet it: the cell at a point, empty space around it, and the box of all that is occupied.

    blocks   [C * G^3 / 2048 + 6] int32: a bit per block of 4 x 4 x 4 cells; then the low and the high corner of the box
             of the occupied cells, in cells of cascade 0 from the centre
"""

from ..engine import ti
from ..integers import bit_at
from ..occupancy_grid import bit_is_set, cascade_scale, morton_decode


@ti.func
def cascade_at(p, dt, resolution, cascades):
    """The finest cascade whose cube contains p with cells wider than dt, and its cells per unit length."""
    extent = ti.max(ti.abs(p[0]), ti.abs(p[1]), ti.abs(p[2]))
    need = ti.max(2.0 * extent, dt * ti.cast(resolution, float))
    k, per_length = 0, ti.cast(resolution, float)
    while k < cascades - 1 and need >= cascade_scale(k):
        k += 1
        per_length *= 0.5
    return k, per_length


@ti.func
def cell_coordinate(x, resolution):
    """The whole part of x, which rounding may have put just outside of [0, resolution)."""
    return ti.min(ti.max(ti.cast(x, ti.i32), 0), resolution - 1)


@ti.func
def cells_to_exit(x, i, inverse, run):
    """Along one axis: from x to the far face of the aligned `run` cells around cell i, over the direction."""
    low = i & -run
    face = low + ti.select(inverse > 0.0, run, 0)
    return (ti.cast(face, float) - x) * inverse


@ti.func
def cube_to_exit(x, at, inverse, side):
    """From x to where a ray leaves the aligned cube of `side` cells around cell `at`, over the direction."""
    return ti.min(
        cells_to_exit(x[0], at[0], inverse[0], side),
        cells_to_exit(x[1], at[1], inverse[1], side),
        cells_to_exit(x[2], at[2], inverse[2], side),
    )


@ti.func
def empty_cube(cell, blocks: ti.template(), bits: ti.template()):
    """Side of an empty aligned cube around the cell, in cells: 0 (the cell is occupied), 1, 4, 8 or 16."""
    block = cell >> 6
    word = block >> 5
    run = 0
    if (blocks[word] >> (block & 31)) & 1 == 0:
        run = 4
        if (blocks[word] >> (block & 24)) & 255 == 0:
            run = 8
            if (blocks[word] | blocks[word ^ 1]) == 0:
                run = 16
    elif bit_is_set(bits, cell) == 0:
        run = 1
    return run


@ti.func
def widen_box(word, blocks: ti.template(), resolution):
    """Make the box at the end of `blocks` hold the 16 x 16 x 8 cells of one word of `blocks`."""
    box = blocks.shape[0] - 6
    cube = resolution * resolution * resolution
    k = word * 2048 // cube
    corner = morton_decode(word * 2048 - k * cube) - resolution // 2
    for axis in ti.static(range(3)):
        ti.atomic_min(blocks[box + axis], corner[axis] << k)
        ti.atomic_max(blocks[box + 3 + axis], (corner[axis] + ti.static((16, 16, 8)[axis])) << k)


@ti.func
def summarise_blocks(bits: ti.template(), blocks: ti.template(), resolution):
    """Write `blocks`: two parallel loops, for the outermost scope of a kernel."""
    for n in range(6):
        blocks[blocks.shape[0] - 6 + n] = ti.select(n < 3, 1 << 24, -(1 << 24))
    for w in range(blocks.shape[0] - 6):
        word = 0
        for bit in range(32):
            word |= bit_at((bits[64 * w + 2 * bit] | bits[64 * w + 2 * bit + 1]) != 0, bit)
        blocks[w] = word
        if word != 0:
            widen_box(w, blocks, resolution)


@ti.func
def occupied_box(blocks: ti.template(), resolution):
    """Opposite corners of the box of the occupied cells, a hundredth of a cell wider against rounding."""
    box = blocks.shape[0] - 6
    low, high = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    for axis in ti.static(range(3)):
        low[axis] = (ti.cast(blocks[box + axis], float) - 0.01) / ti.cast(resolution, float)
        high[axis] = (ti.cast(blocks[box + 3 + axis], float) + 0.01) / ti.cast(resolution, float)
    return low, high
