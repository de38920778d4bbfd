"""Marching, step by step: every lattice point of every ray is tried, nothing is skipped.

Sizes: R rays, S samples, C cascades of G^3 cells. The lattice of a ray that enters at t0 is t_i = time(u_0 +
    i) with u_0 = step(t0) + jitter; time(u) grows by dt = clamp(cone * t, dt_min, dt_max) per unit of u, in
    closed form.
"""

import math

import torch

from .random import uniform

__all__ = ["march_rays", "step_of_time", "step_size", "time_of_step"]


def step_size(t: torch.Tensor, cone: float, dt_min: float, dt_max: float) -> torch.Tensor:
    return (cone * t).clamp(dt_min, dt_max)


def time_of_step(u: torch.Tensor, cone: float, dt_min: float, dt_max: float) -> torch.Tensor:
    """Linear up to t = dt_min / cone, then times 1 + cone a step up to t = dt_max / cone, then linear."""
    if cone == 0:
        return u * dt_min
    u_first = 1 / cone
    u_last = u_first + math.log(dt_max / dt_min) / math.log1p(cone)
    grown = dt_min / cone * torch.exp((u - u_first) * math.log1p(cone))
    far = dt_max / cone + (u - u_last) * dt_max
    return torch.where(u <= u_first, u * dt_min, torch.where(u <= u_last, grown, far))


def step_of_time(t: torch.Tensor, cone: float, dt_min: float, dt_max: float) -> torch.Tensor:
    """Inverse of `time_of_step`."""
    if cone == 0:
        return t / dt_min
    u_last = 1 / cone + math.log(dt_max / dt_min) / math.log1p(cone)
    grown = 1 / cone + torch.log((t * cone / dt_min).clamp(min=1)) / math.log1p(cone)
    far = u_last + (t - dt_max / cone) / dt_max
    return torch.where(t <= dt_min / cone, t / dt_min, torch.where(t <= dt_max / cone, grown, far))


def ray_stretch(origins: torch.Tensor, directions: torch.Tensor, half: float, near: float, far: float):
    """(t0, t1) [R] of each ray inside the cube [-half, half]^3 and [near, far]; empty if t0 >= t1."""
    directions = torch.where(directions.abs() < 1e-12, torch.full_like(directions, 1e-12), directions)
    a, b = (-half - origins) / directions, (half - origins) / directions
    return torch.minimum(a, b).amax(-1).clamp(min=near), torch.maximum(a, b).amin(-1).clamp(max=far)


def is_occupied(points: torch.Tensor, dt: torch.Tensor, occupied: torch.Tensor) -> torch.Tensor:
    """Whether the cell at each point is, in the finest cascade that holds it with cells wider than dt."""
    cascades, resolution = occupied.shape[:2]
    k = torch.zeros(points.shape[:-1], dtype=torch.int64)
    for finer in range(cascades - 1):
        outside = 2 * points.abs().amax(-1) >= 2**finer
        k = torch.where(outside | (dt * resolution >= 2**finer), finer + 1, k)
    cells = ((points / 2.0 ** k[..., None] + 0.5) * resolution).long().clamp(0, resolution - 1)
    return occupied[k, cells[..., 0], cells[..., 1], cells[..., 2]]


def march_rays(
    origins: torch.Tensor,
    directions: torch.Tensor,
    occupied: torch.Tensor,
    *,
    step_min: float,
    step_max: float | None = None,
    cone_angle: float = 0.0,
    near: float = 0.0,
    far: float | None = None,
    max_samples: int = 1024,
    seed: int | None = None,
    sample_limit: int | None = None,
):
    """The fields of PackedSamples in order, for `occupied` [C, G, G, G] bool."""
    pace = cone_angle, step_min, 1e10 if step_max is None else step_max
    rays = origins.shape[0]
    with torch.no_grad():
        half = 0.5 * 2 ** (occupied.shape[0] - 1)
        t0, t1 = ray_stretch(origins, directions, half, near, 1e10 if far is None else far)
        t1 = torch.minimum(t1, t0 + 8 * half)
        jitter = torch.zeros_like(t0) if seed is None else uniform(seed, torch.arange(rays)).to(t0)
        u0 = step_of_time(t0, *pace) + jitter
        hit = (t0 < t1) & torch.isfinite(origins + directions).all(-1)
        steps = int((step_of_time(t1, *pace) - u0)[hit].amax().ceil().clamp(min=0)) if hit.any() else 0
        low = time_of_step(u0[:, None] + torch.arange(steps), *pace)  # [R, steps]
        size = step_size(low, *pace)
        middle = low + 0.5 * size
        points = origins[:, None] + middle[..., None] * directions[:, None]
        sample = hit[:, None] & (middle < t1[:, None]) & is_occupied(points, size, occupied)
        sample &= torch.cumsum(sample, 1) <= max_samples
        if sample_limit is not None:
            sample &= (torch.cumsum(sample.reshape(-1), 0) <= sample_limit).reshape(sample.shape)
        ray_index = sample.nonzero()[:, 0]
        t, dt, count = middle[sample], size[sample], sample.sum(1)
    positions = origins[ray_index] + t[:, None] * directions[ray_index]
    return positions, t, dt, ray_index.int(), (torch.cumsum(count, 0) - count).int(), count.int()
