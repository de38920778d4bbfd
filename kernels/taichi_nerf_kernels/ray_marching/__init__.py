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

from .grid import summarise_blocks
from .lattice import (
    lattice_index,
    lattice_interval,
    ray_of,
    ray_stretch,
    reciprocal,
    step_of_time,
    step_size,
    time_of_step,
)
from .march import fill_samples, march_count, pack_samples, sample_positions_backward
from .runs import Marching, lattice_stretch, next_run

__all__ = [
    "Marching",
    "fill_samples",
    "lattice_index",
    "lattice_interval",
    "lattice_stretch",
    "march_count",
    "next_run",
    "pack_samples",
    "ray_of",
    "ray_stretch",
    "reciprocal",
    "sample_positions_backward",
    "step_of_time",
    "step_size",
    "summarise_blocks",
    "time_of_step",
]
