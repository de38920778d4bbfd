"""Widths of the samples of a step: what the pixel of its ray sees, at the distance of a sample.

    width_i = (share radius_ray t_i + added) / side        in units of the hash grid's cube

As `taichi_nerf.models.cones`, where `share` is the deviation of a disc of radius 1, of one of several rays of a pixel.
"""

from ..bounds import entry_in
from ..conical_frustum import pixel_radius
from ..engine import live, on_cpu, stride_for, ti
from ..launch import kernel


@kernel
def radii_of_rays(
    image_table: ti.types.ndarray(ndim=2),  # [N, 4] int32: offset of the first pixel, width, height, lens
    camera_table: ti.types.ndarray(ndim=2),  # [N, 22]: pose row by row, focal, principal, distortion
    image_index: ti.types.ndarray(ndim=1),  # [R] int32
    pixel_index: ti.types.ndarray(ndim=1),  # [R] int32: into the pixels of all images
    side: int,
    radius: ti.types.ndarray(ndim=1),  # out [R]
    rays: ti.types.ndarray(ndim=1),  # [1] int32: rays in use
):
    """Radius of each ray's cone at distance 1; a pixel has side * side rays, which go through a grid of places."""
    stride = ti.static(stride_for(64))
    for slot in range(live(radius.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        n = entry_in(image_index[ray], image_table.shape[0])
        within, width = pixel_index[ray] - image_table[n, 0], image_table[n, 1]
        column, line = ray % side, ray // side % side
        pixel = ti.Vector([within % width + (column + 0.5) / side, within // width + (line + 0.5) / side])
        row = ti.Vector([camera_table[n, 12 + i] for i in range(10)])
        radius[ray] = pixel_radius(pixel, row[0:2], row[2:4], row[4:10], image_table[n, 3])


@kernel
def widths_of_samples(
    t: ti.types.ndarray(ndim=1),  # [S]
    sample_ray: ti.types.ndarray(ndim=1),  # [S] int32
    radius: ti.types.ndarray(ndim=1),  # [R]
    share: float,
    added: float,
    side: float,
    widths: ti.types.ndarray(ndim=1),  # out [S]
    samples: ti.types.ndarray(ndim=1),  # [1] int32: samples in use
):
    """Those of the marched samples."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for i in range(live(t.shape[0], samples, True)):
        widths[i] = (share * radius[sample_ray[i]] * t[i] + added) / side


@kernel
def gather_widths(
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32, of the marched samples
    new_start: ti.types.ndarray(ndim=1),  # [R] int32, of the visible ones
    visible_ray: ti.types.ndarray(ndim=1),  # [K] int32
    widths: ti.types.ndarray(ndim=1),  # [S]
    visible_widths: ti.types.ndarray(ndim=1),  # out [K]
    samples: ti.types.ndarray(ndim=1),  # [1] int32: K in use
):
    """Those of the visible samples, packed."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for i in range(live(visible_ray.shape[0], samples, True)):
        ray = visible_ray[i]
        visible_widths[i] = widths[ray_start[ray] + i - new_start[ray]]
