"""Pixels of rays, on bare arrays: by slots on a CPU, by ray on a GPU."""

import math

import numpy as np

from ..engine import configuration, on_cpu, ti
from ..hash_grid import entry_type
from ..launch import kernel
from ..ray_marching import summarise_blocks
from . import by_ray, by_slot
from .settings import FieldSettings


@kernel
def summarise_bits(bits: ti.types.ndarray(ndim=1), blocks: ti.types.ndarray(ndim=1), resolution: int):
    """`blocks` [C * G^3 / 2048 + 6] int32 of `bits` [C * G^3 / 32], as `ray_marching.march_count` makes them."""
    summarise_blocks(bits, blocks, resolution)


def render_rays(settings: FieldSettings, origins, directions, bits, blocks, table, levels, scales, density_weights,
                colour_weights, scratch, colour, opacity, depth, samples, spread=None) -> None:
    """Pixels of R rays: writes colour [R, 3], opacity [R], depth [R] (sum w t) and samples [R] (int32, evaluated).

    Args:
        origins, directions: [R, 3], model space, unit directions.
        bits: [C * G^3 / 32] int32. blocks: [C * G^3 / 2048 + 6] int32, from `summarise_bits`.
        table: [E * F], or on a CPU, faster, [E] of F-vectors: a `ti.Vector.ndarray`, or an array or tensor [E, F].
        levels, scales: of the `HashGridLayout`.
        density_weights, colour_weights: flat, layer after layer, [out, in] row by row.
        scratch: of `render_scratch`, for at least R rays.
        spread: [R], widths of what a ray sees at distance 1, model units; None: points.
    """
    if origins.shape[0] == 0:
        return
    sizes = (settings.features, settings.density_sizes, settings.colour_sizes, settings.degree, settings.harmonic)
    arguments = (origins, directions, bits, blocks, settings.resolution, settings.cascades, settings.cone,
                 math.log1p(settings.cone), settings.step, settings.near, settings.far, settings.max_samples,
                 settings.early_stop, settings.side, table, levels, scales, density_weights, colour_weights)
    outputs = (colour, opacity, depth, samples)
    widths = (scales if spread is None else spread, spread is not None)
    if on_cpu():
        by_slot.render_kernel(*sizes, _entry_type(table, settings.features))(*arguments, *outputs, *widths)
        return
    held = outputs
    if configuration().arch == ti.vulkan:  # an array of the host would come back whole after each pass, for the worse
        held = [array if isinstance(array, ti.Ndarray) else ti.ndarray(ti.i32 if array is samples else float,
                                                                       tuple(array.shape)) for array in outputs]
    for turn in range(_passes(settings.max_samples)):
        by_ray.render_kernel(*sizes)(*arguments, *held, *widths, turn, by_ray.FIRST_PASS << turn, *scratch)
    for array, device_array in zip(outputs, held):
        if array is not device_array:
            np.asarray(array)[...] = device_array.to_numpy()


def render_scratch(rays: int, max_samples: int) -> tuple:
    """What `render_rays` needs on a GPU for `rays` rays: how many are under way in each pass, which, and how far."""
    integers = [ti.ndarray(ti.i32, shape) for shape in (_passes(max_samples) + 1, (2, rays), rays)]
    return (*integers, ti.ndarray(float, rays))


def _passes(max_samples: int) -> int:
    """Passes of FIRST_PASS samples, then twice as many, .., that a ray of `max_samples` needs."""
    return max(1, math.ceil(math.log2(max_samples / by_ray.FIRST_PASS + 1)))


def _entry_type(table, features: int):
    """The vector type of the table's elements, or None for a flat table of numbers."""
    if isinstance(table, ti.lang.matrix.VectorNdarray):
        return entry_type(features, table.dtype == ti.f64)
    if isinstance(table, ti.Ndarray) or len(table.shape) == 1:
        return None
    return entry_type(features, str(table.dtype).endswith("float64"))
