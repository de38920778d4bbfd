"""Rays of their own through pixels whose distance is known, and the loss of where they end.

    loss = weight / R sum_r c_r (sum_i w_i max(|t_i - d| - dt_i / 2, 0) / max(t_i, d)  +  1 - sum_i w_i)

As `taichi_nerf.training.depth`, which says why.
"""

from ..bfloat16 import load, store
from ..camera.gather import _scaled, _write_ray
from ..engine import live, on_cpu, stride_for, ti
from ..launch import kernel
from ..random import random_bits
from ..volume_rendering import optical_depth_gradient, transmittance
from .activations import density_of, density_slope
from .loss import LOSS


@kernel
def known_rays_of_step(
    rays: ti.types.ndarray(ndim=1),  # [1] int32: those of the step
    per_pixel: int,
    share: float,
    room: int,
    known: ti.types.ndarray(ndim=1),  # out [1] int32
):
    """As many rays with a known distance as are that share of the step's pixels, rounded to the nearest, of two to the
    even one; at least one."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for _ in range(1):
        wanted = share * ti.cast(rays[0] // per_pixel, float)
        below = ti.cast(ti.floor(wanted), ti.i32)
        part = wanted - ti.cast(below, float)
        if part > 0.5 or (part == 0.5 and below % 2 == 1):
            below += 1
        known[0] = ti.min(ti.max(below, 1), room)


@kernel
def draw_known_rays(
    known_pixel: ti.types.ndarray(ndim=1),  # [M] int32: into pixels
    known_distance: ti.types.ndarray(ndim=1),  # [M]
    known_confidence: ti.types.ndarray(ndim=1),  # [M]
    pixels: ti.types.ndarray(ndim=1),  # [P] int32
    image_table: ti.types.ndarray(ndim=2),  # [N, 4] int32
    camera_table: ti.types.ndarray(ndim=2),  # [N, 22]
    seed: int,
    origins: ti.types.ndarray(ndim=2),  # out [R, 3]
    directions: ti.types.ndarray(ndim=2),  # out [R, 3]
    rgba: ti.types.ndarray(ndim=2),  # out [R, 4]
    image_index: ti.types.ndarray(ndim=1),  # out [R] int32
    pixel_index: ti.types.ndarray(ndim=1),  # out [R] int32
    distance: ti.types.ndarray(ndim=1),  # out [R]
    confidence: ti.types.ndarray(ndim=1),  # out [R]
    rays: ti.types.ndarray(ndim=1),  # [1] int32
):
    """With replacement, each by 24 random bits: number floor(uniform(seed, ray) M)."""
    stride = ti.static(stride_for(64))
    for slot in range(live(distance.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        bits = random_bits(seed, ray) & ti.u32(0xFFFFFF00)
        drawn = ti.cast(_scaled(bits, ti.cast(known_pixel.shape[0], ti.u32)), ti.i32)
        _write_ray(ray, known_pixel[drawn], pixels, image_table, camera_table, origins, directions, rgba, image_index,
                   pixel_index, 1)
        distance[ray], confidence[ray] = known_distance[drawn], known_confidence[drawn]


@ti.func
def _miss(t, dt, d):
    """Of the interval of length dt around t, which should be at d: from 0 to 1."""
    return ti.max(ti.abs(t - d) - 0.5 * dt, 0.0) / ti.max(t, d)


@kernel
def differentiate_distances(
    geometry: ti.types.ndarray(ndim=2),  # [G.., K]
    t: ti.types.ndarray(ndim=1),  # [S], of the marched samples
    dt: ti.types.ndarray(ndim=1),  # [S]
    marched_start: ti.types.ndarray(ndim=1),  # [R] int32, of the marched samples
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32, of the visible ones
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    distance: ti.types.ndarray(ndim=1),  # [R]
    confidence: ti.types.ndarray(ndim=1),  # [R]
    weight: float,
    weights: ti.types.ndarray(ndim=1),  # scratch [K]
    geometry_gradient: ti.types.ndarray(ndim=2),  # out [G, K]: its first row, the others are zero
    errors: ti.types.ndarray(ndim=1),  # [2] the loss is added
    rays: ti.types.ndarray(ndim=1),  # [1] int32
):
    """The loss above, and its gradient with respect to the log density: from front to back, and back again."""
    stride = ti.static(stride_for(64))
    for slot in range(live(distance.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        begin, kept, marched = ray_start[ray], ray_count[ray], marched_start[ray]
        d = distance[ray]
        scale = weight * confidence[ray] / ti.cast(rays[0], float)
        passed, through, carried = 0.0, 1.0, 0.0
        for k in range(kept):
            passed += density_of(load(geometry, 0, begin + k)) * dt[marched + k]
            after = transmittance(passed)
            weights[begin + k] = through - after
            miss = _miss(t[marched + k], dt[marched + k], d)
            carried += weights[begin + k] * miss
            through = after
        ti.atomic_add(errors[LOSS], scale * (carried + through))

        end, behind = through, 0.0
        for step in range(kept):
            k = kept - 1 - step
            miss = _miss(t[marched + k], dt[marched + k], d)
            tau_gradient = optical_depth_gradient(scale * miss, through, behind, -scale, end)
            slope = density_slope(load(geometry, 0, begin + k))
            store(geometry_gradient, 0, begin + k, dt[marched + k] * tau_gradient * slope)
            for row in range(1, geometry_gradient.shape[0]):
                store(geometry_gradient, row, begin + k, 0.0)
            behind += weights[begin + k] * scale * miss
            through += weights[begin + k]
