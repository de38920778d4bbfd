"""Which pixels of a step count: what a photo shows and the others do not is left out of the loss.

    P pixels [P..] in patches of side x side, one patch after the other, row by row
    error[p]      mean over the channels of the squared error of pixel p
    kept[p]       1 where it counts, else 0
    threshold     running quantile of the errors of pixels that show something and are not as good as exact; 0: not
                  known yet
    drawn, erred  [N, C, C] of the C x C cells of N images: how many pixels of the last steps, and how many of these
                  were not below the limit

A pixel counts (Sabour et al. 2023, RobustNeRF) whose error is below the limit of `margin` thresholds, or most of whose
3 x 3 neighbourhood is, or which lies in the inner half of a patch where that holds of most pixels; whatever nothing
stands before or speaks against (transparent, guarded); whatever errs where not a share of `around` of the pixels of its
cell, or of one beside it, did so, too; and with probability `warm` any (Sabour et al. 2024, SpotLessSplats). As
`taichi_nerf.training.trimming`.
"""

from ..engine import live, on_cpu, stride_for, ti
from ..launch import kernel
from ..random import uniform
from .exposure import exposed
from .loss import background_of, composite_pixel, composite_ray

EXACT = 255.0**-2  # squared error of one step of 8 bits: below it a pixel tells nothing of what is usual
MEMORY = 32.0  # pixels of a cell: where there would be as many, half of them are forgotten
LEFT_OUT = 2  # place in `errors`
SEEN, BELOW, KEPT = range(3)  # places in `counts`


@kernel
def compare_pixels(
    geometry: ti.types.ndarray(ndim=2),  # [G.., K]
    raw: ti.types.ndarray(ndim=2),  # [3, K]
    dt: ti.types.ndarray(ndim=1),  # [K]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    rgba: ti.types.ndarray(ndim=2),  # [R, 4] truth, straight alpha
    background: float,
    background_seed: int,  # of a random colour per pixel; below 0: `background`
    image_index: ti.types.ndarray(ndim=1),  # [R] int32
    stops: ti.types.ndarray(ndim=1),  # [3 N] exposure of each image
    weights: ti.types.ndarray(ndim=1),  # scratch [K]
    shown: ti.types.ndarray(ndim=2),  # scratch [R, 4], where a pixel has several rays
    error: ti.types.ndarray(ndim=1),  # out [P..]
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),  # rays of a pixel, which follow one another
    exposing: ti.template(),  # whether images differ in exposure
):
    """The squared errors of pixels, as their images show them."""
    stride = ti.static(stride_for(64))
    if ti.static(per_pixel > 1):
        for slot in range(live(rgba.shape[0], rays, True) * stride):
            if slot % stride != 0:
                continue
            ray = slot // stride
            seen = composite_ray(ray_start[ray], ray_count[ray], geometry, raw, dt, weights)
            for k in ti.static(range(4)):
                shown[ray, k] = seen[k]
    for slot in range(live(rgba.shape[0], rays, True) // per_pixel * stride):
        if slot % stride != 0:
            continue
        pixel = slot // stride
        ray = pixel * per_pixel
        seen = composite_pixel(ray, ray_start[ray], ray_count[ray], geometry, raw, dt, weights, shown, rays, per_pixel)
        squares = 0.0
        for c in ti.static(range(3)):
            behind = background_of(ray, c, background, background_seed, per_pixel)
            colour = seen[c]
            if ti.static(exposing):
                colour = exposed(seen[c], 1.0 - seen[3], stops[3 * image_index[ray] + c])[0]
            miss = colour + seen[3] * behind - (rgba[ray, c] * rgba[ray, 3] + (1.0 - rgba[ray, 3]) * behind)
            squares += miss * miss
        error[pixel] = squares / 3.0


def _stride_of_patches(side: int) -> int:
    """Of a loop over patches: the larger they are, the fewer a thread takes at a time."""
    return stride_for(max(1, 64 // side**2))


@ti.func
def _mostly_below(first, k, error: ti.template(), limit, side: ti.template()):
    """Whether the errors of most of the neighbours of pixel k of a patch, and its own, are below the limit."""
    row, column = k // side, k % side
    below, count = 0, 0
    for i in range(ti.max(row - 1, 0), ti.min(row + 2, side)):
        for j in range(ti.max(column - 1, 0), ti.min(column + 2, side)):
            below += ti.cast(error[first + i * side + j] < limit, ti.i32)
            count += 1
    return 2 * below > count


@ti.func
def _cell_of(n, flat, image_table: ti.template(), cells):
    """Row and column of the cell of image n that the pixel `flat` lies in."""
    within, width, height = flat - image_table[n, 0], image_table[n, 1], image_table[n, 2]
    return ti.Vector([(within // width) * cells // height, (within % width) * cells // width])


@ti.func
def _err_around(n, cell, drawn: ti.template(), erred: ti.template(), around):
    """Whether in a cell of image n, or in one beside it, more than that share of the pixels erred; of one that nothing
    is known of none did."""
    found, last = False, drawn.shape[1] - 1
    for i in range(ti.max(cell[0] - 1, 0), ti.min(cell[0] + 1, last) + 1):
        for j in range(ti.max(cell[1] - 1, 0), ti.min(cell[1] + 1, last) + 1):
            found = found or erred[n, i, j] > around * (drawn[n, i, j] + 1.0)
    return found


@kernel
def keep_pixels(
    error: ti.types.ndarray(ndim=1),  # [P..]
    rgba: ti.types.ndarray(ndim=2),  # [R.., 4]
    image_index: ti.types.ndarray(ndim=1),  # [R..] int32
    pixel_index: ti.types.ndarray(ndim=1),  # [R..] int32
    image_table: ti.types.ndarray(ndim=2),  # [N, 4] int32: first pixel, width, height, lens
    guard: ti.types.ndarray(ndim=3),  # [N, C, C] int32: 1 where all in a cell of an image counts
    threshold: ti.types.ndarray(ndim=1),  # [1]
    margin: float,
    seed: int,
    warm: float,
    drawn: ti.types.ndarray(ndim=3),  # [N, C, C]
    erred: ti.types.ndarray(ndim=3),  # [N, C, C]
    around: float,  # 0: whatever is around it
    kept: ti.types.ndarray(ndim=1),  # out [P..]
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),
    side: ti.template(),
):
    """Which pixels of a step count, by the threshold of the steps before."""
    stride = ti.static(_stride_of_patches(side))
    area = ti.static(side * side)
    for slot in range(live(rgba.shape[0], rays, True) // (per_pixel * area) * stride):
        if slot % stride != 0:
            continue
        first, limit = slot // stride * area, margin * threshold[0]
        below = 0
        for k in range(area):
            below += ti.cast(_mostly_below(first, k, error, limit, side), ti.i32)
        for k in range(area):
            p = first + k
            ray, row, column = p * per_pixel, k // side, k % side
            inner = side // 4 <= ti.min(row, column) and ti.max(row, column) < side - side // 4
            counts = limit <= 0.0 or error[p] < limit or rgba[ray, 3] <= 0.0
            counts = counts or (inner and 2 * below > area) or uniform(seed, p) < warm
            if not counts:
                counts = _mostly_below(first, k, error, limit, side)
            if not counts:
                n = image_index[ray]
                cell = _cell_of(n, pixel_index[ray], image_table, guard.shape[1])
                counts = guard[n, cell[0], cell[1]] > 0
                if around > 0.0 and not counts:
                    counts = not _err_around(n, cell, drawn, erred, around)
            kept[p] = ti.cast(counts, float)


@kernel
def remember_errors(
    error: ti.types.ndarray(ndim=1),  # [P..]
    rgba: ti.types.ndarray(ndim=2),  # [R.., 4]
    image_index: ti.types.ndarray(ndim=1),  # [R..] int32
    pixel_index: ti.types.ndarray(ndim=1),  # [R..] int32
    image_table: ti.types.ndarray(ndim=2),  # [N, 4] int32: first pixel, width, height, lens
    threshold: ti.types.ndarray(ndim=1),  # [1]
    margin: float,
    drawn: ti.types.ndarray(ndim=3),  # in, out [N, C, C] whole numbers are added, in whatever order
    erred: ti.types.ndarray(ndim=3),  # in, out [N, C, C]
    each: float,  # what a pixel adds: how many ranks there are, whose mean is taken afterwards
    full: ti.types.ndarray(ndim=1),  # scratch [P..]: 1 of the pixel with which its cell has as many as it remembers
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),
):
    """Where in the images the pixels of a step are, and which of them are not below the limit, once there is one."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for p in range(live(rgba.shape[0], rays, True) // per_pixel):
        ray, limit = p * per_pixel, margin * threshold[0]
        full[p] = 0.0
        if limit > 0.0:
            n = image_index[ray]
            cell = _cell_of(n, pixel_index[ray], image_table, drawn.shape[1])
            before = ti.atomic_add(drawn[n, cell[0], cell[1]], each)
            full[p] = ti.cast(before < MEMORY and before + each >= MEMORY, float)
            if error[p] >= limit and rgba[ray, 3] > 0.0:
                ti.atomic_add(erred[n, cell[0], cell[1]], each)
    ti.loop_config(serialize=ti.static(on_cpu()))
    for p in range(live(rgba.shape[0], rays, True) // per_pixel):
        if full[p] > 0.0:
            ray = p * per_pixel
            n = image_index[ray]
            cell = _cell_of(n, pixel_index[ray], image_table, drawn.shape[1])
            i, j = cell[0], cell[1]
            while drawn[n, i, j] >= MEMORY:
                drawn[n, i, j] = ti.floor(0.5 * drawn[n, i, j])
                erred[n, i, j] = ti.floor(0.5 * erred[n, i, j])


@kernel
def follow_threshold(
    error: ti.types.ndarray(ndim=1),  # [P..]
    rgba: ti.types.ndarray(ndim=2),  # [R.., 4]
    quantile: float,
    most: float,  # share of the pixels: where more are left out the threshold grows
    rate: float,
    counts: ti.types.ndarray(ndim=1),  # scratch [3]
    threshold: ti.types.ndarray(ndim=1),  # in, out [1]
    kept: ti.types.ndarray(ndim=1),  # in, out [P..]: all where it would be none
    errors: ti.types.ndarray(ndim=1),  # [3]: the share that is left out is added
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),
):
    """The threshold grows by exp(rate (quantile - share of errors below it)), or by exp(rate) where too much is left
    out; at first it is the mean of the first errors."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for k in range(3):
        counts[k] = 0.0
    ti.loop_config(serialize=ti.static(on_cpu()))
    for p in range(live(rgba.shape[0], rays, True) // per_pixel):
        counts[KEPT] += kept[p]
        if rgba[p * per_pixel, 3] > 0.0 and error[p] > EXACT:
            counts[SEEN] += 1.0
            counts[BELOW] += ti.select(threshold[0] > 0.0, ti.cast(error[p] < threshold[0], float), error[p])
    ti.loop_config(serialize=ti.static(on_cpu()))
    for p in range(live(rgba.shape[0], rays, True) // per_pixel):
        if counts[KEPT] <= 0.0:
            kept[p] = 1.0
    ti.loop_config(serialize=ti.static(on_cpu()))
    for _ in range(1):
        pixels = ti.cast(ti.max(live(rgba.shape[0], rays, True) // per_pixel, 1), float)
        if counts[KEPT] > 0.0:
            errors[LEFT_OUT] += 1.0 - counts[KEPT] / pixels
        if counts[SEEN] > 0.0:
            share = counts[BELOW] / counts[SEEN]
            growth = ti.select(counts[KEPT] < (1.0 - most) * pixels, 1.0, quantile - share)
            threshold[0] = ti.select(threshold[0] > 0.0, threshold[0] * ti.exp(rate * growth), share)
