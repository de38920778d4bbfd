"""Runs of samples along a ray: from empty space to the next occupied cell, and on to where it ends."""

from typing import NamedTuple

from ..engine import on_cpu, ti
from ..occupancy_grid import bit_is_set, cascade_scale, morton_encode
from .grid import cascade_at, cell_coordinate, cube_to_exit, empty_cube, occupied_box
from .lattice import lattice_index, lattice_interval, lattice_origin, ray_stretch

FARTHEST = 4.0  # sides of the outermost cube: over twice its diagonal, for rays of directions that are shorter than 1


class Marching(NamedTuple):
    """What the rays of a kernel have in common, as one argument of its functions.

    A kernel puts it together by ti.static(Marching(..)): names of its arguments, gone when it is compiled.
    """

    bits: object
    blocks: object
    """Bits of blocks and the box of the occupied cells, from `summarise_blocks`."""
    resolution: object
    cascades: object
    pace: object
    near: object
    far: object


@ti.func
def lattice_cell(i, u0, o, d, march: ti.template()):
    """Lattice point i of a ray: its middle, its cell by number and by coordinates, its cascade, where it is in cells,
    and how many of these make a unit length."""
    middle, dt = lattice_interval(i, u0, march.pace)
    k, per_length = cascade_at(o + middle * d, dt, march.resolution, march.cascades)
    x = (o + middle * d) * per_length + 0.5 * ti.cast(march.resolution, float)
    a = cell_coordinate(x[0], march.resolution)
    b = cell_coordinate(x[1], march.resolution)
    c = cell_coordinate(x[2], march.resolution)
    cell = k * march.resolution * march.resolution * march.resolution + morton_encode(a, b, c)
    return middle, cell, ti.Vector([a, b, c]), k, x, per_length


@ti.func
def run_end(start, end, u0, leave, o, d, march: ti.template()):
    """The first lattice index from `start` on, at most `end`, that is no sample."""
    j = start
    while j < end:
        middle, cell, _, _, _, _ = lattice_cell(j, u0, o, d, march)
        if middle >= leave or bit_is_set(march.bits, cell) == 0:
            break
        j += 1
    return j


@ti.func
def next_run(start, end, u0, leave, o, d, inverse, march: ti.template()):
    """(i, j): the first samples of [start, end) are i .. j - 1, and j may be one as well; i = -1 if there are none.

    On a CPU points in occupied blocks are looked at one by one, which needs no exit from a cell, and none waits for
    the one before it. On a GPU, where each would wait for the memory, those in one cell are judged together.
    """
    found, i, j = -1, start, start
    while found < 0 and i < end:
        middle, cell, at, k, x, per_length = lattice_cell(i, u0, o, d, march)
        if middle >= leave:
            break
        empty = empty_cube(cell, march.blocks, march.bits)
        j = i + 1
        if ti.static(not on_cpu()) or empty > 1:
            # A longer cube could reach into the next finer cascade.
            side = ti.max(ti.min(empty, march.resolution // 4), 1)
            beyond = middle + cube_to_exit(x, at, inverse, side) / per_length
            if march.pace[0] > 0.0 and k < march.cascades - 1:  # where dt asks for a coarser cascade
                beyond = ti.min(beyond, 1.0 / (per_length * march.pace[0]))
            j = ti.max(i + 1, lattice_index(ti.min(beyond, leave), u0, march.pace))
        if empty == 0:
            found = i
            if ti.static(on_cpu()):
                j = run_end(j, end, u0, leave, o, d, march)
        i = j
    return found, j


@ti.func
def outer_stretch(o, inverse, march: ti.template()):
    """(t0, t1) of a ray: inside the outermost cube and between near and far, and no longer than FARTHEST."""
    side = cascade_scale(march.cascades - 1)
    half = ti.Vector([0.5, 0.5, 0.5]) * side
    t0, t1 = ray_stretch(o, inverse, -half, half, march.near, march.far)
    return t0, ti.min(t1, t0 + FARTHEST * side)


@ti.func
def lattice_stretch(r, seed, o, inverse, march: ti.template()):
    """(u_0, leave, first, end) of ray r: its samples are among lattice indices first .. end - 1, in front of leave."""
    t0, t1 = outer_stretch(o, inverse, march)
    low, high = occupied_box(march.blocks, march.resolution)
    enter, leave = ray_stretch(o, inverse, low, high, t0, t1)
    u0, first, end = 0.0, 0, 0
    if enter < leave:
        u0 = lattice_origin(r, seed, t0, march.pace)
        first = ti.max(lattice_index(enter, u0, march.pace), 0)
        end = lattice_index(leave, u0, march.pace) + 2
    return u0, leave, first, end
