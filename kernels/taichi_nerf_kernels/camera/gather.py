"""A batch of training rays in one launch."""

from ..engine import live, stride_for, ti
from ..launch import kernel
from ..random import random_bits
from .view import camera_direction, world_direction


@ti.func
def _scaled(word, count):
    """floor(word * count / 2^32) in 32-bit arithmetic: an integer below `count`, evenly spread."""
    high, low = word >> ti.u32(16), word & ti.u32(0xFFFF)
    c_high, c_low = count >> ti.u32(16), count & ti.u32(0xFFFF)
    middle, other = high * c_low, low * c_high
    lower = (middle & ti.u32(0xFFFF)) + (other & ti.u32(0xFFFF)) + ((low * c_low) >> ti.u32(16))
    return high * c_high + (middle >> ti.u32(16)) + (other >> ti.u32(16)) + (lower >> ti.u32(16))


@ti.func
def image_of_pixel(image_table: ti.template(), flat):
    """The image that holds the flat pixel index: the last whose offset is not above it, by bisection."""
    low, high = 0, image_table.shape[0] - 1
    while low < high:
        middle = (low + high + 1) // 2
        if image_table[middle, 0] <= flat:
            low = middle
        else:
            high = middle - 1
    return low


@ti.func
def _write_ray(ray, flat, pixels: ti.template(), image_table: ti.template(), camera_table: ti.template(),
               origins: ti.template(), directions: ti.template(), rgba: ti.template(), image_index: ti.template(),
               pixel_index: ti.template(), side: ti.template()):
    """Ray and colour of the pixel `flat`; of its side x side rays the one whose turn it is."""
    n = image_of_pixel(image_table, flat)
    within = flat - image_table[n, 0]
    width = image_table[n, 1]
    column, line = ray % side, ray // side % side
    pixel = ti.Vector([within % width + (column + 0.5) / side, within // width + (line + 0.5) / side])
    row = ti.Vector([camera_table[n, i] for i in range(22)])
    c, _ = camera_direction(pixel, row[12:14], row[14:16], row[16:22], image_table[n, 3])
    d = world_direction(ti.Matrix([[row[4 * i + j] for j in range(3)] for i in range(3)]), c)
    colour = pixels[flat]
    for i in ti.static(range(3)):
        origins[ray, i] = row[4 * i + 3]
        directions[ray, i] = d[i]
    for i in ti.static(range(4)):
        rgba[ray, i] = ((colour >> (8 * i)) & 255) / 255.0
    image_index[ray] = n
    pixel_index[ray] = flat


@ti.func
def _place_in_patch(first, k, image_table: ti.template(), patch: ti.template()):
    """Pixel k of the patch, row by row, whose upper left one is `first`: beyond the end of a row or of a column of its
    image the patch goes on at the start, so that all pixels are drawn equally often."""
    n = image_of_pixel(image_table, first)
    start, width, height = image_table[n, 0], image_table[n, 1], image_table[n, 2]
    column = ((first - start) % width + k % patch) % width
    row = ((first - start) // width + k // patch) % height
    return start + row * width + column


@ti.func
def _is_among(allowed: ti.template(), flat):
    """Whether `flat` is one of the ascending indices, by bisection."""
    low, high = 0, allowed.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if allowed[middle] < flat:
            low = middle + 1
        else:
            high = middle
    return allowed[low] == flat


@kernel
def _gather_rays(
    pixels: ti.types.ndarray(ndim=1),  # [P] i32: R | G << 8 | B << 16 | A << 24, image by image, row by row
    image_table: ti.types.ndarray(ndim=2),  # [N, 4] i32: offset of the first pixel, width, height, lens
    camera_table: ti.types.ndarray(ndim=2),  # [N, 22]: pose row by row, focal, principal, distortion
    seed: int,
    origins: ti.types.ndarray(ndim=2),  # [R, 3] out
    directions: ti.types.ndarray(ndim=2),  # [R, 3] out, unit length
    rgba: ti.types.ndarray(ndim=2),  # [R, 4] out, in [0, 1]
    image_index: ti.types.ndarray(ndim=1),  # [R] i32 out
    pixel_index: ti.types.ndarray(ndim=1),  # [R] i32 out: into pixels
    count: ti.types.ndarray(),  # i32
    counted: ti.template(),
    side: ti.template(),
    patch: ti.template(),
):
    stride, area = ti.static(stride_for(64)), ti.static(patch * patch)
    for slot in range(live(rgba.shape[0], count, counted) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        bits = random_bits(seed, ray // (side * side * area))
        flat = ti.cast(_scaled(bits, ti.cast(pixels.shape[0], ti.u32)), ti.i32)
        if ti.static(patch > 1):
            flat = _place_in_patch(flat, ray // (side * side) % area, image_table, patch)
        _write_ray(ray, flat, pixels, image_table, camera_table, origins, directions, rgba, image_index, pixel_index,
                   side)


@kernel
def _gather_allowed_rays(
    pixels: ti.types.ndarray(ndim=1),  # [P] i32
    image_table: ti.types.ndarray(ndim=2),  # [N, 4] i32
    camera_table: ti.types.ndarray(ndim=2),  # [N, 22]
    allowed: ti.types.ndarray(ndim=1),  # [A] i32: into pixels
    seed: int,
    origins: ti.types.ndarray(ndim=2),  # [R, 3] out
    directions: ti.types.ndarray(ndim=2),  # [R, 3] out, unit length
    rgba: ti.types.ndarray(ndim=2),  # [R, 4] out, in [0, 1]
    image_index: ti.types.ndarray(ndim=1),  # [R] i32 out
    pixel_index: ti.types.ndarray(ndim=1),  # [R] i32 out: into pixels
    count: ti.types.ndarray(),  # i32
    counted: ti.template(),
    side: ti.template(),
    patch: ti.template(),
):
    """A kernel of its own: without masks there is no further argument, and no further read, to pay for."""
    stride, area = ti.static(stride_for(64)), ti.static(patch * patch)
    for slot in range(live(rgba.shape[0], count, counted) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        bits = random_bits(seed, ray // (side * side * area))
        flat = allowed[ti.cast(_scaled(bits, ti.cast(allowed.shape[0], ti.u32)), ti.i32)]
        if ti.static(patch > 1):
            place = _place_in_patch(flat, ray // (side * side) % area, image_table, patch)
            flat = ti.select(_is_among(allowed, place), place, flat)
        _write_ray(ray, flat, pixels, image_table, camera_table, origins, directions, rgba, image_index, pixel_index,
                   side)


def gather_rays(pixels, image_table, camera_table, seed: int, origins, directions, rgba, image_index, pixel_index,
                count=None, allowed=None, side: int = 1, patch: int = 1) -> None:
    """Rays and colours of pixels drawn uniformly, with replacement, from all images, or from the pixels `allowed`.

    Each pixel has side * side rays, one after the other, through a grid of places that are spread over its area: with
    one it goes through the centre. Ray r is a function of (seed, r) alone. The time does not depend on the number of
    images or their sizes. With a `count`, an int32 array on the device, only the first count[0] of the R rays are
    written. `allowed`, [A] int32, are the indices of the pixels that may be drawn: what a mask leaves.

    With a `patch` above 1 pixels come in squares of patch * patch, row by row, whose upper left ones are drawn so. What
    reaches over the right or the lower edge of an image lies at the other edge, and a pixel that is not allowed is
    replaced by the upper left one.
    """
    written = (origins, directions, rgba, image_index, pixel_index, image_index if count is None else count,
               count is not None, side, patch)
    if allowed is None:
        _gather_rays(pixels, image_table, camera_table, seed, *written)
    else:
        _gather_allowed_rays(pixels, image_table, camera_table, allowed, seed, *written)
