"""Marching rays through an occupancy grid: steps along a lattice, samples in occupied cells only.

    o, d         a ray's origin and unit direction in model space
    [t0, t1]     its stretch inside the outermost cube and between near and far
    u            step coordinate: a ray's lattice is t_i = time(u_0 + i), i >= 0, with u_0 = step(t0) + jitter
    dt           clamp(cone t, dt_min, dt_max); the interval of sample i is [t_i, t_i + dt]
    middle       t_i + dt / 2, where the sample's position is, and what the kernels return as t
    pace         (cone, log(1 + cone), dt_min, dt_max)
    cell, k      the cell at the middle, in the finest cascade that contains it with cells wider than dt

A lattice point is a sample if its cell is occupied. The lattice points inside an empty cube of 4, 8 or 16 cells a
side, on a GPU also those inside one cell, are judged together; that changes no sample. (Müller et al., Instant Neural
Graphics Primitives, SIGGRAPH 2022, appendix E; there with samples at the start of their interval.)
"""

from .engine import live, on_cpu, stride_for, ti
from .integers import bit_at
from .launch import kernel
from .occupancy_grid import bit_is_set, cascade_scale, morton_decode, morton_encode
from .random import uniform

__all__ = [
    "fill_samples",
    "lattice_index",
    "lattice_stretch",
    "march_count",
    "next_run",
    "pack_samples",
    "ray_stretch",
    "reciprocal",
    "sample_positions_backward",
    "step_of_time",
    "step_size",
    "summarise_blocks",
    "time_of_step",
]

TINY = 1e-12
# A jump stays this many steps short of an exit: half an interval, and a little for rounding.
SHORT = 0.51


@ti.func
def step_size(t, pace):
    """dt = clamp(cone t, dt_min, dt_max)"""
    return ti.min(ti.max(pace[0] * t, pace[2]), pace[3])


@ti.func
def time_of_step(u, pace):
    """t at step coordinate u: linear, exponential where cone t > dt_min, linear where cone t > dt_max."""
    cone, growth, dt_min, dt_max = pace[0], pace[1], pace[2], pace[3]
    t = u * dt_min
    if cone > 0.0 and u * cone > 1.0:
        t = dt_min / cone * ti.exp(ti.min((u - 1.0 / cone) * growth, ti.log(dt_max / dt_min)))
        u_last = 1.0 / cone + ti.log(dt_max / dt_min) / growth
        t += ti.max(u - u_last, 0.0) * dt_max
    return t


@ti.func
def step_of_time(t, pace):
    """Inverse of `time_of_step`."""
    cone, growth, dt_min, dt_max = pace[0], pace[1], pace[2], pace[3]
    u = t / dt_min
    if cone > 0.0 and t * cone > dt_min:
        u = 1.0 / cone + ti.log(ti.min(t * cone, dt_max) / dt_min) / growth
        u += ti.max(t - dt_max / cone, 0.0) / dt_max
    return u


@ti.func
def reciprocal(d):
    """1 / d, finite for a ray parallel to a face."""
    return 1.0 / ti.select(ti.abs(d) < TINY, TINY, d)


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
def lattice_cell(i, u0, o, d, resolution, cascades, pace):
    """Lattice point i of a ray: its middle, its cell by number and by coordinates, its cascade, where it is in cells,
    and how many of these make a unit length."""
    t = time_of_step(u0 + ti.cast(i, float), pace)
    dt = step_size(t, pace)
    middle = t + 0.5 * dt
    k, per_length = cascade_at(o + middle * d, dt, resolution, cascades)
    x = (o + middle * d) * per_length + 0.5 * ti.cast(resolution, float)
    a = cell_coordinate(x[0], resolution)
    b = cell_coordinate(x[1], resolution)
    c = cell_coordinate(x[2], resolution)
    cell = k * resolution * resolution * resolution + morton_encode(a, b, c)
    return middle, cell, ti.Vector([a, b, c]), k, x, per_length


@ti.func
def next_run(
    start,
    end,
    u0,
    t1,
    o,
    d,
    inverse,
    bits: ti.template(),
    blocks: ti.template(),
    resolution,
    cascades,
    pace,
):
    """(i, j): the first samples of [start, end) are i .. j - 1, and j may be one as well; i = -1 if there are none.

    On a CPU points in occupied blocks are looked at one by one, which needs no exit from a cell, and none waits for
    the one before it. On a GPU, where each would wait for the memory, those in one cell are judged together.
    """
    found, i, j = -1, start, start
    while found < 0 and i < end:
        middle, cell, at, k, x, per_length = lattice_cell(i, u0, o, d, resolution, cascades, pace)
        if middle >= t1:
            break
        empty = empty_cube(cell, blocks, bits)
        j = i + 1
        if ti.static(not on_cpu()) or empty > 1:
            # A longer cube could reach into the next finer cascade.
            side = ti.max(ti.min(empty, resolution // 4), 1)
            leave = (
                middle
                + ti.min(
                    cells_to_exit(x[0], at[0], inverse[0], side),
                    cells_to_exit(x[1], at[1], inverse[1], side),
                    cells_to_exit(x[2], at[2], inverse[2], side),
                )
                / per_length
            )
            if pace[0] > 0.0 and k < cascades - 1:
                leave = ti.min(leave, 1.0 / (per_length * pace[0]))  # from there on dt asks for a coarser cascade
            j = ti.max(i + 1, lattice_index(ti.min(leave, t1), u0, pace))
        if empty == 0:
            found = i
            if ti.static(on_cpu()):
                while j < end:
                    middle, cell, at, k, x, per_length = lattice_cell(j, u0, o, d, resolution, cascades, pace)
                    if middle >= t1 or bit_is_set(bits, cell) == 0:
                        break
                    j += 1
        i = j
    return found, j


@ti.func
def lattice_origin(r, seed, t0, pace):
    """u_0 of ray r: less than a step behind t0, at random; at t0 if seed < 0."""
    u0 = step_of_time(t0, pace)
    if seed >= 0:
        u0 += uniform(seed, r)
    return u0


@ti.func
def lattice_index(t, u0, pace):
    """The first lattice index whose interval has its middle at t or behind, or one before it."""
    return ti.cast(ti.ceil(step_of_time(t, pace) - u0 - SHORT), ti.i32)


@ti.func
def ray_stretch(o, inverse, low, high, near, far):
    """(t0, t1) inside the box from `low` to `high` and between near and far; empty if t0 >= t1."""
    t0, t1 = near, far
    for axis in ti.static(range(3)):
        a = (low[axis] - o[axis]) * inverse[axis]
        b = (high[axis] - o[axis]) * inverse[axis]
        t0 = ti.max(t0, ti.min(a, b))
        t1 = ti.min(t1, ti.max(a, b))
    return t0, t1


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


@ti.func
def lattice_stretch(r, seed, o, inverse, blocks: ti.template(), resolution, cascades, pace, near, far):
    """(u_0, leave, first, end) of ray r: its samples are among lattice indices first .. end - 1, in front of leave."""
    half = ti.Vector([0.5, 0.5, 0.5]) * cascade_scale(cascades - 1)
    t0, t1 = ray_stretch(o, inverse, -half, half, near, far)
    low, high = occupied_box(blocks, resolution)
    enter, leave = ray_stretch(o, inverse, low, high, t0, t1)
    u0, first, end = 0.0, 0, 0
    if enter < leave:
        u0 = lattice_origin(r, seed, t0, pace)
        first = ti.max(lattice_index(enter, u0, pace), 0)
        end = lattice_index(leave, u0, pace) + 2
    return u0, leave, first, end


@kernel
def _march_count(
    origins: ti.types.ndarray(ndim=2),
    directions: ti.types.ndarray(ndim=2),
    bits: ti.types.ndarray(ndim=1),
    blocks: ti.types.ndarray(ndim=1),
    resolution: int,
    cascades: int,
    cone: float,
    growth: float,
    dt_min: float,
    dt_max: float,
    near: float,
    far: float,
    seed: int,
    max_samples: int,
    ray_count: ti.types.ndarray(ndim=1),
    runs: ti.types.ndarray(ndim=2),
    count: ti.types.ndarray(),
    counted: ti.template(),
):
    stride = ti.static(stride_for(32))
    summarise_blocks(bits, blocks, resolution)
    for r in range(origins.shape[0]):
        ray_count[r] = 0
    # The bound is the rays in use: of a longer loop the first thread would get them all.
    for slot in range(live(origins.shape[0], count, counted) * stride):
        if slot % stride != 0:
            continue
        r = slot // stride
        pace = ti.Vector([cone, growth, dt_min, dt_max])
        o = ti.Vector([origins[r, 0], origins[r, 1], origins[r, 2]])
        d = ti.Vector([directions[r, 0], directions[r, 1], directions[r, 2]])
        inverse = ti.Vector([reciprocal(d[0]), reciprocal(d[1]), reciprocal(d[2])])
        u0, leave, at, end = lattice_stretch(r, seed, o, inverse, blocks, resolution, cascades, pace, near, far)
        n = 0
        if at < end:
            run, first, behind = -1, 0, -1
            while at < end and n < max_samples:
                i, j = next_run(at, end, u0, leave, o, d, inverse, bits, blocks, resolution, cascades, pace)
                at = end
                if i >= 0:
                    at = j
                    if i != behind:
                        run += 1
                        first = i
                    behind = ti.min(j, i + max_samples - n)
                    n += behind - i
                    if 2 * run < runs.shape[1]:
                        runs[r, 2 * run] = first
                        runs[r, 2 * run + 1] = behind - first
        ray_count[r] = n


def march_count(origins, directions, bits, blocks, resolution: int, cascades: int, cone: float, growth: float,
                dt_min: float, dt_max: float, near: float, far: float, seed: int, max_samples: int, ray_count, runs,
                count=None) -> None:
    """The samples of each ray: how many, and where on its lattice.

    blocks     [C * G^3 / 2048 + 6] int32, written: a bit per block of 4 x 4 x 4 cells; then the low and the
               high corner of the box of the occupied cells, in cells of cascade 0 from the centre
    ray_count  [R] int32
    runs       [R, 2 * K] int32: lattice index and length of the first K runs of consecutive samples
    count      int32 on the device, or None: rays from count[0] on have no samples
    """
    _march_count(origins, directions, bits, blocks, resolution, cascades, cone, growth, dt_min, dt_max, near, far, seed,
                 max_samples, ray_count, runs, ray_count if count is None else count, count is not None)


@kernel
def pack_samples(
    ray_count: ti.types.ndarray(ndim=1),  # in, out [R] int32
    ray_start: ti.types.ndarray(ndim=1),  # in: inclusive sums of ray_count; out: first sample, [R] int32
    capacity: int,  # samples that there is room for
    rays: ti.types.ndarray(ndim=1),  # in, out [1] int32: rays in use
    samples: ti.types.ndarray(ndim=1),  # out [1] int32: their samples
):
    """Where each ray's samples begin. The first ray that does not fit, and all behind it, lose their samples and are no
    longer in use."""
    ti.loop_config(serialize=ti.static(on_cpu()))  # see `stride_for`
    for r in range(ray_count.shape[0]):
        end = ray_start[r]
        start = end - ray_count[r]
        ray_start[r] = ti.min(start, capacity)
        if end > capacity:
            ray_count[r] = 0
            if start <= capacity:
                rays[0] = ti.min(rays[0], r)
                samples[0] = start
        elif r == ray_count.shape[0] - 1:
            samples[0] = end


@kernel
def _fill_samples(
    origins: ti.types.ndarray(ndim=2),
    directions: ti.types.ndarray(ndim=2),
    bits: ti.types.ndarray(ndim=1),
    blocks: ti.types.ndarray(ndim=1),
    resolution: int,
    cascades: int,
    cone: float,
    growth: float,
    dt_min: float,
    dt_max: float,
    near: float,
    far: float,
    seed: int,
    runs: ti.types.ndarray(ndim=2),
    ray_start: ti.types.ndarray(ndim=1),
    ray_count: ti.types.ndarray(ndim=1),
    positions: ti.types.ndarray(ndim=2),
    t: ti.types.ndarray(ndim=1),
    dt: ti.types.ndarray(ndim=1),
    ray_index: ti.types.ndarray(ndim=1),
    count: ti.types.ndarray(),
    counted: ti.template(),
):
    stride = ti.static(stride_for(32))
    for slot in range(live(origins.shape[0], count, counted) * stride):
        if slot % stride != 0:
            continue
        r = slot // stride
        if ray_count[r] > 0:
            pace = ti.Vector([cone, growth, dt_min, dt_max])
            o = ti.Vector([origins[r, 0], origins[r, 1], origins[r, 2]])
            d = ti.Vector([directions[r, 0], directions[r, 1], directions[r, 2]])
            inverse = ti.Vector([reciprocal(d[0]), reciprocal(d[1]), reciprocal(d[2])])
            half = ti.Vector([0.5, 0.5, 0.5]) * cascade_scale(cascades - 1)
            t0, t1 = ray_stretch(o, inverse, -half, half, near, far)
            u0 = lattice_origin(r, seed, t0, pace)
            end = lattice_index(t1, u0, pace) + 2
            i, behind, run = -1, 0, 0
            for s in range(ray_start[r], ray_start[r] + ray_count[r]):
                i += 1
                if i >= behind:
                    if 2 * run < runs.shape[1]:
                        i = runs[r, 2 * run]
                        behind = i + runs[r, 2 * run + 1]
                        run += 1
                    else:
                        i, behind = next_run(
                            i, end, u0, t1, o, d, inverse, bits, blocks, resolution, cascades, pace
                        )
                low = time_of_step(u0 + ti.cast(i, float), pace)
                size = step_size(low, pace)
                middle = low + 0.5 * size
                t[s] = middle
                dt[s] = size
                ray_index[s] = r
                for axis in ti.static(range(3)):
                    positions[s, axis] = o[axis] + middle * d[axis]


def fill_samples(origins, directions, bits, blocks, resolution: int, cascades: int, cone: float, growth: float,
                 dt_min: float, dt_max: float, near: float, far: float, seed: int, runs, ray_start, ray_count,
                 positions, t, dt, ray_index, count=None) -> None:
    """The first ray_count[r] samples of each ray, written from ray_start[r] on.

    `runs` and `blocks` come from `march_count` with the same arguments, and so does `count`. Samples beyond the
    recorded runs are found by marching on.
    """
    _fill_samples(origins, directions, bits, blocks, resolution, cascades, cone, growth, dt_min, dt_max, near, far,
                  seed, runs, ray_start, ray_count, positions, t, dt, ray_index,
                  ray_count if count is None else count, count is not None)


@kernel
def sample_positions_backward(
    grad_positions: ti.types.ndarray(ndim=2),
    t: ti.types.ndarray(ndim=1),
    ray_start: ti.types.ndarray(ndim=1),
    ray_count: ti.types.ndarray(ndim=1),
    grad_origins: ti.types.ndarray(ndim=2),
    grad_directions: ti.types.ndarray(ndim=2),
):
    """x = o + t d with t held constant: dL/do = sum dL/dx, dL/dd = sum t dL/dx over a ray's samples."""
    for r in range(ray_start.shape[0]):
        for axis in ti.static(range(3)):
            to_origin, to_direction = 0.0, 0.0
            for s in range(ray_start[r], ray_start[r] + ray_count[r]):
                to_origin += grad_positions[s, axis]
                to_direction += t[s] * grad_positions[s, axis]
            grad_origins[r, axis] = to_origin
            grad_directions[r, axis] = to_direction
