"""Small fields that nobody has trained, and what the plain PyTorch of the reference sees of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from taichi_nerf.models.one_launch import FieldArrays
from taichi_nerf.ops.field_rendering import FieldSettings
from taichi_nerf.ops.hash_grid import hash_grid_layout
from taichi_nerf.reference.field_rendering import render_field

from ..kernels.test_ray_marching import make_bits
from .scenes import pinhole_rays

RESOLUTION = 16  # of the occupancy grid
GRID = {"log2_entries": 10, "base_resolution": 4, "max_resolution": 24}


def small_field(*, features=4, levels=4, width=16, colour_layers=1, harmonics=None, constant=False, cascades=1,
                geometry=7, degree=3, wide=False, rays=1, seed=0) -> tuple[FieldArrays, torch.Tensor]:
    """A ball of coloured mist, and the cells [C, G, G, G] of its occupancy grid. With `constant` the colour network has
    an input that is 1."""
    draw = np.random.default_rng(seed)
    layout = hash_grid_layout(features=features, levels=levels, **GRID)
    table = np.concatenate([draw.normal(size=(size, features)) * 0.8 * 0.6**level
                            for level, size in enumerate(layout.levels[:, 1])]).astype(np.float32)
    functions = (degree if harmonics is None else harmonics + 1) ** 2
    seen = functions if harmonics is None else int(constant)
    sizes = ((levels * features, width, geometry),
             (geometry + seen, *[width] * colour_layers, 3 if harmonics is None else 3 * functions))
    density, colour = ([draw.normal(size=(after, before)).astype(np.float32) * (2 / before) ** 0.5
                        for before, after in pairwise(layers)] for layers in sizes)
    density[-1][0] *= 10
    axis = (np.arange(RESOLUTION) + 0.5) / RESOLUTION - 0.5
    radius = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij")), axis=0)
    occupied = torch.from_numpy(np.stack([radius * 2**k < 0.2 + 0.1 * k for k in range(cascades)]))
    settings = FieldSettings(
        features=features, density_sizes=sizes[0], colour_sizes=sizes[1],
        degree=degree if harmonics is None else harmonics + 1, harmonic=harmonics is not None,
        side=2.0 ** (cascades - 1), resolution=RESOLUTION, cascades=cascades, step=3**0.5 / 64,
        cone=0.0 if cascades == 1 else 1 / 64, near=0.05)
    return FieldArrays(settings=settings, layout=layout, bits=make_bits(occupied).numpy(), table=table,
                       density_weights=density, colour_weights=colour, sees_cones=wide,
                       rays_per_pixel=rays), occupied


def seen_field(field: FieldArrays, occupied: torch.Tensor, cameras, n: int, background: float = 1.0) -> np.ndarray:
    """[H, W, 3]: what camera n sees."""
    if field.rays_per_pixel == 4:
        width, height = cameras.size[n]
        finer = seen_field(replace(field, rays_per_pixel=1), occupied, cameras.resized((2 * width, 2 * height)), n)
        return finer.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    settings, layout = field.settings, field.layout
    width, height = cameras.size[n]
    origins, directions, radius = pinhole_rays(cameras, n)
    colour, opacity, *_ = render_field(
        *(torch.from_numpy(array) for array in (origins, directions)), occupied,
        torch.from_numpy(field.table).double(), [torch.from_numpy(w).double() for w in field.density_weights],
        [torch.from_numpy(w).double() for w in field.colour_weights], side=settings.side, degree=settings.degree,
        grid={"levels": len(layout.levels), **GRID},
        march={"step_min": settings.step, "cone_angle": settings.cone, "near": settings.near},
        early_stop=settings.early_stop, spread=torch.from_numpy(0.5 * radius) if field.sees_cones else None,
        harmonic=settings.harmonic)
    return (colour + (1 - opacity[:, None]) * background).numpy().reshape(height, width, 3)
