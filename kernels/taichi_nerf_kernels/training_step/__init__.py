"""What stands between the stages of a training step of Instant-NGP, so that a step is launches alone, without autograd
and without the host: see `taichi_nerf.resident` for their order. Composed of the functions of other modules."""

from .batch import (
    MARCHED,
    MARCHED_PER_RAY,
    RAYS,
    SAMPLES,
    SAMPLES_PER_RAY,
    SKIPPED,
    move_average,
    next_batch,
)
from .codes import code_rows, gather_code_gradient
from .distances import differentiate_distances, draw_known_rays, known_rays_of_step
from .exposure import centred_stops, gather_stops_gradient
from .harmonics import harmonics_gradient, sum_harmonics
from .loss import LOSS, SQUARED_ERROR, differentiate_rays, differentiate_rays_of_images, total_weight
from .near_camera import differentiate_near_camera
from .samples import (
    add_to_row,
    columns_in_use,
    consecutive,
    count_visible_rays,
    density_row,
    gather_visible,
    unit_positions,
    view_rows,
)
from .sparsity import differentiate_sparsity, draw_points
from .trimming import LEFT_OUT, compare_pixels, follow_threshold, keep_pixels, remember_errors
from .widths import gather_widths, radii_of_rays, widths_of_samples

__all__ = [
    "LEFT_OUT",
    "LOSS",
    "MARCHED",
    "MARCHED_PER_RAY",
    "RAYS",
    "SAMPLES",
    "SAMPLES_PER_RAY",
    "SKIPPED",
    "SQUARED_ERROR",
    "add_to_row",
    "centred_stops",
    "code_rows",
    "columns_in_use",
    "compare_pixels",
    "consecutive",
    "count_visible_rays",
    "density_row",
    "differentiate_distances",
    "differentiate_near_camera",
    "differentiate_rays",
    "differentiate_rays_of_images",
    "differentiate_sparsity",
    "draw_known_rays",
    "draw_points",
    "follow_threshold",
    "gather_code_gradient",
    "gather_stops_gradient",
    "gather_visible",
    "gather_widths",
    "harmonics_gradient",
    "keep_pixels",
    "known_rays_of_step",
    "move_average",
    "next_batch",
    "radii_of_rays",
    "remember_errors",
    "sum_harmonics",
    "total_weight",
    "unit_positions",
    "view_rows",
    "widths_of_samples",
]
