"""How large the next batch is, and the average of the weights.

    rays, marched, samples [1]   of a step, which only the device knows
"""

from ..engine import on_cpu, ti
from ..launch import kernel

RAYS, MARCHED, SAMPLES, SKIPPED = range(4)  # places in `totals`
MARCHED_PER_RAY, SAMPLES_PER_RAY = range(2)  # places in `pace`


@kernel
def next_batch(
    rays: ti.types.ndarray(ndim=1),  # in: rays of this step, out: of the next one; [1] int32
    marched: ti.types.ndarray(ndim=1),  # [1] int32
    samples: ti.types.ndarray(ndim=1),  # [1] int32
    pace: ti.types.ndarray(ndim=1),  # in, out [2]: marched samples per ray, visible ones; moving averages
    totals: ti.types.ndarray(ndim=1),  # in, out [4] int32: sums over steps of rays, marched, visible; steps without any
    smoothing: float,
    most_marched: int,
    most_samples: int,
    most_rays: int,
    together: int,
):
    """As many rays as give the number of samples to aim at, by how many samples a ray had lately; a multiple of those
    that belong `together`."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for _ in range(1):
        totals[RAYS] += rays[0]
        totals[MARCHED] += marched[0]
        totals[SAMPLES] += samples[0]
        totals[SKIPPED] += ti.cast(samples[0] == 0, ti.i32)
        per_ray = 1.0 / ti.cast(ti.max(rays[0], 1), float)
        pace[MARCHED_PER_RAY] += (1.0 - smoothing) * (ti.cast(marched[0], float) * per_ray - pace[MARCHED_PER_RAY])
        pace[SAMPLES_PER_RAY] += (1.0 - smoothing) * (ti.cast(samples[0], float) * per_ray - pace[SAMPLES_PER_RAY])
        wanted = ti.min(
            ti.cast(most_marched, float) / ti.max(pace[MARCHED_PER_RAY], 1e-3),
            ti.cast(most_samples, float) / ti.max(pace[SAMPLES_PER_RAY], 1e-3),
        )
        found = ti.max(16, together, ti.min(ti.cast(ti.min(wanted, ti.cast(most_rays, float)), ti.i32), most_rays))
        rays[0] = found - found % together


@kernel
def move_average(
    parameter: ti.types.ndarray(ndim=1),
    share: float,
    average: ti.types.ndarray(ndim=1),  # in, out
):
    """average <- average + share (parameter - average)"""
    for i in range(parameter.shape[0]):
        average[i] += share * (parameter[i] - average[i])
