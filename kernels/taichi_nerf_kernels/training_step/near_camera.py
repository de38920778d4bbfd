"""The loss of the light that the beginning of each ray takes, of the samples of the step.

    loss = weight / R sum_r sum_i [t_i < e_r + reach] w_i        e_r: where samples of ray r begin

The first samples of a ray let pass exp(-sum of their optical depths), and take the rest: that is the inner sum.
As `taichi_nerf.training.near_camera`, which says why.
"""

from ..bfloat16 import load
from ..engine import live, stride_for, ti
from ..launch import kernel
from ..ray_aabb import box_interval, row
from ..volume_rendering import transmittance
from .activations import density_of, density_slope
from .loss import LOSS


@ti.func
def _entry(origin, direction, half, nearest):
    """Where a ray enters the box [-half, half]^3: at `nearest` within it, and where it misses it."""
    corner = ti.Vector([half, half, half])
    interval = box_interval(origin, direction, -corner, corner)
    entry = ti.max(interval[0], nearest)
    return ti.select(interval[2] < entry, nearest, entry)


@kernel
def differentiate_near_camera(
    geometry: ti.types.ndarray(ndim=2),  # [G.., K]
    t: ti.types.ndarray(ndim=1),  # [S], of the marched samples
    dt: ti.types.ndarray(ndim=1),  # [K]
    marched_start: ti.types.ndarray(ndim=1),  # [R] int32, of the marched samples
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32, of the visible ones
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    half: float,  # of the side of the box
    nearest: float,  # distance from the camera at which there are samples
    reach: float,
    weight: float,
    log_density_gradient: ti.types.ndarray(ndim=1),  # [K]: the gradient is added
    errors: ti.types.ndarray(ndim=1),  # [2] the loss is added
    rays: ti.types.ndarray(ndim=1),  # [1] int32
):
    """The loss above, and its gradient with respect to the log density."""
    stride = ti.static(stride_for(64))
    for slot in range(live(origins.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, marched = ray_start[ray], marched_start[ray]
        end = _entry(row(origins, ray), row(directions, ray), half, nearest) + reach
        scale = weight / ti.cast(rays[0], float)
        near, passed = 0, 0.0
        for k in range(ray_count[ray]):
            if t[marched + k] < end:
                near = k + 1
                passed += density_of(load(geometry, 0, begin + k)) * dt[begin + k]
        through = transmittance(passed)
        ti.atomic_add(errors[LOSS], scale * (1.0 - through))
        for k in range(near):
            slope = density_slope(load(geometry, 0, begin + k))
            log_density_gradient[begin + k] += scale * through * dt[begin + k] * slope
