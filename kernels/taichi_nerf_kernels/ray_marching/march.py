"""The kernels: how many samples each ray has, where they begin, what they are, and the gradient of their positions."""

from ..bounds import samples_of_ray
from ..engine import live, on_cpu, stride_for, ti
from ..launch import kernel
from .grid import summarise_blocks
from .lattice import lattice_index, lattice_interval, lattice_origin, ray_of
from .runs import Marching, lattice_stretch, next_run, outer_stretch


@ti.func
def record_runs(r, start, end, u0, leave, o, d, inverse, max_samples, march: ti.template(), runs: ti.template()):
    """How many samples ray r has in [start, end); index and length of its first runs are written."""
    n, at = 0, start
    run, first, behind = -1, 0, -1
    while at < end and n < max_samples:
        i, j = next_run(at, end, u0, leave, o, d, inverse, march)
        at = end
        if i >= 0:
            at = j
            if i != behind:  # else it goes on with the run before
                run += 1
                first = i
            behind = ti.min(j, i + max_samples - n)
            n += behind - i
            if 2 * run < runs.shape[1]:
                runs[r, 2 * run] = first
                runs[r, 2 * run + 1] = behind - first
    return n


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
        march = ti.static(Marching(bits, blocks, resolution, cascades, pace, near, far))
        o, d, inverse = ray_of(origins, directions, r)
        u0, leave, first, end = lattice_stretch(r, seed, o, inverse, march)
        if first < end:
            ray_count[r] = record_runs(r, first, end, u0, leave, o, d, inverse, max_samples, march, runs)


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


@ti.func
def recorded_run(r, run, runs: ti.template()):
    """(i, j): run number `run` of ray r is the samples i .. j - 1."""
    return runs[r, 2 * run], runs[r, 2 * run] + runs[r, 2 * run + 1]


@ti.func
def write_sample(s, i, r, u0, o, d, pace, positions: ti.template(), t: ti.template(), dt: ti.template(),
                 ray_index: ti.template()):
    """Sample s is lattice point i of ray r."""
    middle, size = lattice_interval(i, u0, pace)
    t[s] = middle
    dt[s] = size
    ray_index[s] = r
    for axis in ti.static(range(3)):
        positions[s, axis] = o[axis] + middle * d[axis]


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
            # The lattice on which `march_count` has found the samples.
            pace = ti.Vector([cone, growth, dt_min, dt_max])
            march = ti.static(Marching(bits, blocks, resolution, cascades, pace, near, far))
            o, d, inverse = ray_of(origins, directions, r)
            t0, t1 = outer_stretch(o, inverse, march)
            u0 = lattice_origin(r, seed, t0, pace)
            end = lattice_index(t1, u0, pace) + 2
            # Run by run: those that are recorded, then others as they come.
            i, behind, run = -1, 0, 0
            first, last = samples_of_ray(ray_start, ray_count, r, positions.shape[0])
            for s in range(first, last):
                i += 1
                if i >= behind:
                    if 2 * run < runs.shape[1]:
                        i, behind = recorded_run(r, run, runs)
                        run += 1
                    else:
                        i, behind = next_run(i, end, u0, t1, o, d, inverse, march)
                write_sample(s, i, r, u0, o, d, pace, positions, t, dt, ray_index)


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
        first, last = samples_of_ray(ray_start, ray_count, r, t.shape[0])
        for axis in ti.static(range(3)):
            to_origin, to_direction = 0.0, 0.0
            for s in range(first, last):
                to_origin += grad_positions[s, axis]
                to_direction += t[s] * grad_positions[s, axis]
            grad_origins[r, axis] = to_origin
            grad_directions[r, axis] = to_direction
