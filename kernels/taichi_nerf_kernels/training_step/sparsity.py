"""Points anywhere in the box, and the loss of the light that they take.

    loss = weight / M sum_i (1 - exp(-scale density_i))         M points

As `taichi_nerf.training.sparsity`, which says why.
"""

from ..bfloat16 import load, store
from ..engine import live, stride_for, ti
from ..launch import kernel
from ..random import uniform
from .activations import density_of, density_slope
from .loss import LOSS

CHUNK = 64  # points of a task, whose losses are added up before others wait for the sum


@kernel
def draw_points(
    seed: int,
    unit: ti.types.ndarray(ndim=2),  # out [M.., 3]: in the unit cube
    points: ti.types.ndarray(ndim=1),  # [1] int32: M
):
    """Coordinate `axis` of point i is uniform(seed, 3 i + axis)."""
    for i in range(live(unit.shape[0], points, True)):
        for axis in ti.static(range(3)):
            unit[i, axis] = uniform(seed, 3 * i + axis)


@kernel
def differentiate_sparsity(
    geometry: ti.types.ndarray(ndim=2),  # [G.., M..]
    scale: float,
    weight: float,
    samples: ti.types.ndarray(ndim=1),  # [1] int32: visible samples of the step, which without any learns nothing
    geometry_gradient: ti.types.ndarray(ndim=2),  # out [G, M..]: its first row, the others are zero
    errors: ti.types.ndarray(ndim=1),  # [2] the loss is added
    points: ti.types.ndarray(ndim=1),  # [1] int32: M
):
    """The loss above, and its gradient with respect to the log density."""
    stride = ti.static(stride_for(8))
    for slot in range((live(geometry.shape[1], points, True) + CHUNK - 1) // CHUNK * stride):
        if slot % stride != 0:
            continue
        first = slot // stride * CHUNK
        share = weight / ti.cast(points[0], float)
        loss = 0.0
        for i in range(first, ti.min(first + CHUNK, live(geometry.shape[1], points, True))):
            log_density = load(geometry, 0, i)
            left = ti.exp(-scale * density_of(log_density))
            loss += share * (1.0 - left)
            slope = share * scale * left * density_slope(log_density)
            store(geometry_gradient, 0, i, ti.select(samples[0] > 0, slope, 0.0))
            for row in range(1, geometry_gradient.shape[0]):
                store(geometry_gradient, row, i, 0.0)
        ti.atomic_add(errors[LOSS], loss)
