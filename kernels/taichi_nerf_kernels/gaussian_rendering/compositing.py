"""From ellipses to pixels. P entries in all, T tiles, row by row."""

from typing import NamedTuple

from ..bounds import entry_in
from ..engine import dealt, dealt_places, on_cpu, stride_for, ti
from ..launch import kernel

MOST = 0.99  # opacity of a Gaussian in a pixel
STOP = 1e-4  # transmittance that is not gone below


class Lists(NamedTuple):
    """Ellipses, and those of each tile."""

    ellipses: ti.types.ndarray(ndim=2)
    entries: ti.types.ndarray(ndim=1)
    tile_start: ti.types.ndarray(ndim=1)


@ti.func
def list_of(lists: ti.template(), x: int, y: int, width: int, tile: int):
    """(begin, end) of the entries of the tile that pixel (x, y) lies in."""
    number = y // tile * ((width + tile - 1) // tile) + x // tile
    total = ti.static(lists.entries).shape[0]
    begin = ti.max(0, ti.min(ti.static(lists.tile_start)[number], total))
    return begin, ti.max(begin, ti.min(ti.static(lists.tile_start)[number + 1], total))


@ti.func
def met(lists: ti.template(), entry: int, x: int, y: int):
    """(ellipse, d, P) of an entry in a pixel."""
    ellipses = ti.static(lists.ellipses)
    i = entry_in(ti.static(lists.entries)[entry], ellipses.shape[0])
    d = ti.Vector([x + 0.5 - ellipses[i, 0], y + 0.5 - ellipses[i, 1]])
    exponent = 0.5 * (ellipses[i, 2] * d.x * d.x + ellipses[i, 4] * d.y * d.y) + ellipses[i, 3] * d.x * d.y
    return i, d, exponent


@kernel
def composite_gaussians_forward(
    ellipses: ti.types.ndarray(ndim=2),  # [N, COLUMNS]
    entries: ti.types.ndarray(ndim=1),  # [P] int32: numbers of ellipses, tile by tile
    tile_start: ti.types.ndarray(ndim=1),  # [T + 1] int32
    colour: ti.types.ndarray(ndim=2),  # out [H W, 3] over black
    opacity: ti.types.ndarray(ndim=1),  # out [H W]
    end: ti.types.ndarray(ndim=1),  # out [H W] int32: the entry at which a pixel stopped
    width: int,
    height: int,
    tile: int,
):
    """Composite every pixel from front to back, a task a pixel."""
    places = width * height
    if ti.static(on_cpu()):
        places = dealt_places(width * height)
    for place in range(places):
        pixel = place
        if ti.static(on_cpu()):
            pixel = dealt(place, width * height)
        if pixel >= width * height:
            continue
        x, y = pixel % width, pixel // width
        lists = ti.static(Lists(ellipses, entries, tile_start))
        entry, last = list_of(lists, x, y, width, tile)
        through = 1.0
        shown = ti.Vector([0.0, 0.0, 0.0])
        while entry < last:
            i, _, exponent = met(lists, entry, x, y)
            if exponent <= ellipses[i, 9]:
                a = ti.min(MOST, ellipses[i, 5] * ti.exp(-exponent))
                left = through * (1.0 - a)
                if left < STOP:
                    break
                for channel in ti.static(range(3)):
                    shown[channel] += through * a * ellipses[i, 6 + channel]
                through = left
            entry += 1
        for channel in ti.static(range(3)):
            colour[pixel, channel] = shown[channel]
        opacity[pixel] = 1.0 - through
        end[pixel] = entry


@kernel
def composite_gaussians_backward(
    ellipses: ti.types.ndarray(ndim=2),  # [N, COLUMNS], as of the forward pass
    entries: ti.types.ndarray(ndim=1),  # [P] int32
    tile_start: ti.types.ndarray(ndim=1),  # [T + 1] int32
    opacity: ti.types.ndarray(ndim=1),  # [H W]
    end: ti.types.ndarray(ndim=1),  # [H W] int32
    colour_gradient: ti.types.ndarray(ndim=2),  # [H W, 3]
    opacity_gradient: ti.types.ndarray(ndim=1),  # [H W]
    pair_gradient: ti.types.ndarray(ndim=2),  # [P, GRADIENTS], zeroed by the caller: added to
    width: int,
    height: int,
    tile: int,
):
    """Gradient with respect to the ellipse of each entry, from back to front."""
    if ti.static(on_cpu()):
        stride = ti.static(stride_for(1))
        across = (width + tile - 1) // tile
        tiles = across * ((height + tile - 1) // tile)
        for slot in range(dealt_places(tiles) * stride):
            if slot % stride != 0:
                continue
            number = dealt(slot // stride, tiles)
            if number >= tiles:
                continue
            left, top = number % across * tile, number // across * tile
            for y in range(top, ti.min(top + tile, height)):
                for x in range(left, ti.min(left + tile, width)):
                    pixel_backward(ti.static(Lists(ellipses, entries, tile_start)), opacity, end, colour_gradient,
                                   opacity_gradient, pair_gradient, x, y, width, tile)
    else:
        for pixel in range(width * height):
            pixel_backward(ti.static(Lists(ellipses, entries, tile_start)), opacity, end, colour_gradient,
                           opacity_gradient, pair_gradient, pixel % width, pixel // width, width, tile)


@ti.func
def pixel_backward(lists: ti.template(), opacity: ti.template(), end: ti.template(), colour_gradient: ti.template(),
                   opacity_gradient: ti.template(), pair_gradient: ti.template(), x: int, y: int, width: int,
                   tile: int):
    """Add what one pixel has to say."""
    pixel = y * width + x
    ellipses = ti.static(lists.ellipses)
    first, last = list_of(lists, x, y, width, tile)
    through = 1.0 - opacity[pixel]
    behind = -opacity_gradient[pixel] * through  # dL/d log T of all that lies behind
    entry = ti.min(end[pixel], last) - 1
    while entry >= first:
        i, d, exponent = met(lists, entry, x, y)
        if exponent <= ellipses[i, 9]:
            falloff = ti.exp(-exponent)
            a = ti.min(MOST, ellipses[i, 5] * falloff)
            through = through / (1.0 - a)
            shown = 0.0
            for channel in ti.static(range(3)):
                at_channel = colour_gradient[pixel, channel]
                shown += at_channel * ellipses[i, 6 + channel]
                give(pair_gradient, entry, 6 + channel, through * a * at_channel)
            at_a = through * shown - behind / (1.0 - a)
            behind += through * a * shown
            if a < MOST:
                at_exponent = -a * at_a
                give(pair_gradient, entry, 0, -at_exponent * (ellipses[i, 2] * d.x + ellipses[i, 3] * d.y))
                give(pair_gradient, entry, 1, -at_exponent * (ellipses[i, 3] * d.x + ellipses[i, 4] * d.y))
                give(pair_gradient, entry, 2, 0.5 * at_exponent * d.x * d.x)
                give(pair_gradient, entry, 3, at_exponent * d.x * d.y)
                give(pair_gradient, entry, 4, 0.5 * at_exponent * d.y * d.y)
                give(pair_gradient, entry, 5, falloff * at_a)
        entry -= 1


@ti.func
def give(pair_gradient: ti.template(), entry: int, column: ti.template(), value):
    """Add to what only this task adds to on a CPU."""
    if ti.static(on_cpu()):
        pair_gradient[entry, column] = pair_gradient[entry, column] + value
    else:
        ti.atomic_add(pair_gradient[entry, column], value)
