"""Multiresolution hash encoding (Mueller et al. 2022, Instant Neural Graphics Primitives, section 3).

Notation
    x  [N, 3]     positions in the unit cube; outside of it they are clamped, and the gradient to them is zero
    l             level, 0 <= l < L; its grid has `resolution` vertices along an axis and spacing 1 / scale
    p = x * scale_l + 1/2, cell = floor(p), f = p - cell: the fraction within the cell
    w_c           trilinear weight of corner c of the cell: the product over the axes of f or 1 - f
    table [E * F] the features of all levels, flat: feature k of entry e at e * F + k
    y [L * F, N]  y[l * F + k, i] = sum_c w_c table[entry_l(cell_i + c) * F + k]   (feature-major)
    sigma [N]     widths: standard deviations of Gaussians around the positions, 0 for points. y_l is then weighted by
                  level_weight = erf(1 / (sqrt(8) sigma scale_l)), so that no level is seen that is finer than what the
                  position stands for (Barron et al. 2023, Zip-NeRF, section 3.2)
    levels [L, 4] int32: first entry, number of entries, resolution, 1 if hashed else 0
    scales [L]

A level whose grid fits into the table is stored densely, x fastest; a larger one is hashed: the exclusive or of the
corner's coordinates times (1, 2654435761, 805459861), modulo the size, a power of two.

The gradient to the table adds to what it is given. On a CPU one task owns a level, so that it needs no atomics and is
the same in every run; on a GPU it adds atomically, in an order that differs from run to run. Positions are
differentiable except at the faces of cells; interpolation is linear, so that the second derivative is not provided.
"""

from .block import LANES, blend_lane, block_entries, locate_lane
from .by_level import CHUNK, encode_chunk, entry_type, level_in_turn, splat_level_serially, table_type
from .by_sample import RUN, splat_run
from .encode import (
    hash_grid_backward_positions,
    hash_grid_backward_table,
    hash_grid_backward_widths,
    hash_grid_forward,
)
from .layout import HashGridLayout, hash_grid_layout
from .point import (
    PRIME_Y,
    PRIME_Z,
    add_to_corners,
    dense_entry,
    encode_level,
    hashed_entry,
    level_position_gradient,
    level_weight,
    level_weight_gradient,
    level_width_gradient,
    locate,
    splat_cell,
    splat_level,
    vertex_entry,
)

__all__ = [
    "CHUNK",
    "LANES",
    "PRIME_Y",
    "PRIME_Z",
    "RUN",
    "HashGridLayout",
    "add_to_corners",
    "blend_lane",
    "block_entries",
    "dense_entry",
    "encode_chunk",
    "encode_level",
    "entry_type",
    "hash_grid_backward_positions",
    "hash_grid_backward_table",
    "hash_grid_backward_widths",
    "hash_grid_forward",
    "hash_grid_layout",
    "hashed_entry",
    "level_in_turn",
    "level_position_gradient",
    "level_weight",
    "level_weight_gradient",
    "level_width_gradient",
    "locate",
    "locate_lane",
    "splat_cell",
    "splat_level",
    "splat_level_serially",
    "splat_run",
    "table_type",
    "vertex_entry",
]
