"""Rays through a tree that stays as it is: pictures, for which it is put in another order first.

    full            a leaf whose density is above that of empty ones
    block           cell of the depth `top`, no deeper than the shallowest node with a full leaf; N = 2^top along the
                    cube, number x N^2 + y N + z
    block [N^3]     of one with a full leaf its node; else -r: all blocks fewer than r away, along each axis, are empty
    link [n, 8]     of a cell with a node that node's number, but of one whose node has leaves alone -row of the first
                    full one; of a full leaf -row, of what is empty 0
    below [n, 2]    a byte for each cell: which leaves of such a node are full, their rows following each other; else 0
    row [K + 1, ..] density of a full leaf, and its harmonics Y_0 of red, green and blue, Y_1 of them, ..; row 0: empty

Neighbours go together until one of them may meet something (`beam`). From there on a ray leaps over the 2 r - 1 blocks
around an empty one at once, and reads of an empty leaf nothing but two numbers of the node above. What it sees is what
`trace_forward` shows, leaf by leaf.
"""

from typing import NamedTuple

from ..bounds import entry_in
from ..engine import on_cpu, ti
from ..field_rendering.networks import sigmoid
from ..launch import kernel
from ..octree import LEVELS, half_of
from ..spherical_harmonics import spherical_harmonics_basis
from ..volume_rendering import optical_depth_limit, transmittance
from .beam import TOGETHER, clear_until
from .dealing import places_of, ray_at
from .walk import Frame, cell_around
from .way import Way, begin_way, go_on, leave


class Scenery(NamedTuple):
    """What a ray of a picture needs of a tree."""

    block: ti.types.ndarray
    link: ti.types.ndarray
    below: ti.types.ndarray
    row: ti.types.ndarray


@kernel
def mark_blocks(
    parent_depth: ti.types.ndarray(ndim=2),  # [n, 2] int32
    cells: ti.types.ndarray(ndim=1),  # [K] int32, full leaves
    top: int,
    block: ti.types.ndarray(ndim=1),  # in and out [N^3] int32: the node of each block that holds one of them
):
    for k in range(cells.shape[0]):
        node = entry_in(cells[k] >> 3, parent_depth.shape[0])
        for _ in range(ti.min(parent_depth[node, 1], LEVELS) - top):
            node = entry_in(parent_depth[node, 0] >> 3, parent_depth.shape[0])
        above, number = node, 0
        for bit in range(top):
            cell = parent_depth[above, 0]
            number |= (cell >> 2 & 1) << (2 * top + bit) | (cell >> 1 & 1) << (top + bit) | (cell & 1) << bit
            above = entry_in(cell >> 3, parent_depth.shape[0])
        ti.atomic_max(block[number], node)  # for Vulkan an array that is only written has no past


@kernel
def nearest_along(
    before: ti.types.ndarray(ndim=1),  # [N^3] int32
    axis: int,
    top: int,
    after: ti.types.ndarray(ndim=1),  # out [N^3] int32
):
    """after_i = min over j of max(|i - j|, before_j) along an axis, 0 the last: after all three the number of blocks to
    the nearest that was 0, the largest of those along the axes."""
    for number in range(before.shape[0]):
        size, shift = 1 << top, axis * top
        place, nearest, away = number >> shift & (size - 1), before[number], 1
        while away < nearest:
            if place + away < size:
                nearest = ti.min(nearest, ti.max(away, before[number + (away << shift)]))
            if place >= away:
                nearest = ti.min(nearest, ti.max(away, before[number - (away << shift)]))
            away += 1
        after[number] = nearest


@ti.func
def ones_in(byte):
    """How many bits of it are 1."""
    pairs = byte - (byte >> 1 & 0x55)
    fours = (pairs & 0x33) + (pairs >> 2 & 0x33)
    return (fours + (fours >> 4)) & 15


@ti.func
def box_around(q, scenery: ti.template(), top: int):
    """(row, lowest q, side) of the full leaf around q, or of a box in which nothing is, of row 0."""
    shift = LEVELS - top
    place = q >> shift
    node = ti.min(scenery.block[(place[0] << top | place[1]) << top | place[2]], scenery.link.shape[0] - 1)
    away = ti.max(-node, 1)
    row, low, side = 0, (place - away + 1) << shift, (2 * away - 1) << shift
    if node >= 0:
        level = shift - 1
        half = half_of(q, level)
        link = scenery.link[node, half]
        while link > 0 and level > 0:
            level -= 1
            node, half = ti.min(link, scenery.link.shape[0] - 1), half_of(q, level)
            link = scenery.link[node, half]
        row = -link
        full = scenery.below[node, half >> 2] >> (8 * (half & 3)) & 255
        if full != 0 and level > 0:
            level -= 1
            half = half_of(q, level)
            row = ti.select((full >> half & 1) == 1, row + ones_in(full & ((1 << half) - 1)), 0)
        row = entry_in(row, scenery.row.shape[0])
        low, side = cell_around(q, level)
    return row, low, side


@ti.func
def row_colour(row: int, rows: ti.template(), basis, harmonics: ti.template()):
    """sigmoid(sum of k Y) of the three channels."""
    raw = ti.Vector([0.0, 0.0, 0.0])
    for b in ti.static(range(harmonics)):
        for channel in ti.static(range(3)):
            raw[channel] += rows[row, ti.static(1 + 3 * b + channel)] * basis[b]
    return ti.Vector([sigmoid(raw[0]), sigmoid(raw[1]), sigmoid(raw[2])])


class Sight(NamedTuple):
    """What a ray has seen so far: variables of a kernel."""

    passed: float
    through: float
    shown: ti.Vector
    distance: float
    met: int


@ti.func
def see_next(way: ti.template(), sight: ti.template(), basis, scenery: ti.template(), top: int, limit,
             contracted: ti.template(), harmonics: ti.template()):
    """One box further."""
    row, low, side = box_around(way.q, scenery, top)
    out, after, bend = leave(way, low, side, contracted)
    if row > 0 and out > way.at:
        sight.met += 1
        sight.passed += scenery.row[row, 0] * (out - way.at)
        behind = transmittance(sight.passed)
        weight = sight.through - behind
        sight.through = behind
        sight.shown += weight * row_colour(row, scenery.row, basis, harmonics)
        sight.distance += weight * 0.5 * (way.at + out)
    go_on(way, out, after, bend, contracted)
    way.under_way = way.under_way and sight.passed <= limit


@kernel
def trace_picture(
    origins: ti.types.ndarray(ndim=2),  # [R, 3] in the world
    directions: ti.types.ndarray(ndim=2),  # [R, 3] unit vectors
    block: ti.types.ndarray(ndim=1),  # [N^3] int32
    link: ti.types.ndarray(ndim=2),  # [n, 8] int32
    below: ti.types.ndarray(ndim=2),  # [n, 2] int32
    row: ti.types.ndarray(ndim=2),  # [K + 1, 1 + 3 degree^2]
    top: int,
    offset_x: float, offset_y: float, offset_z: float, scale_x: float, scale_y: float, scale_z: float,
    near: float,
    early_stop: float,
    contracted: ti.template(),
    degree: ti.template(),
    clear: ti.types.ndarray(ndim=1),  # out [ceil(R / TOGETHER)]: t up to which the rays of a beam meet nothing
    colour: ti.types.ndarray(ndim=2),  # out [R, 3]
    opacity: ti.types.ndarray(ndim=1),  # out [R]
    depth: ti.types.ndarray(ndim=1),  # out [R]
    leaves: ti.types.ndarray(ndim=1),  # out [R] int32, full ones that were met
):
    """What every ray sees. On a CPU two neighbours go in turn: one makes its step while the other waits for memory."""
    if ti.static(not contracted):
        for beam in range(clear.shape[0]):
            frame = ti.static(Frame(offset_x, offset_y, offset_z, scale_x, scale_y, scale_z))
            clear[beam] = clear_until(origins, directions, beam * TOGETHER, frame, near, block, top)
    together = ti.static(2 if on_cpu() else 1)
    for place in range(places_of((origins.shape[0] + together - 1) // together)):
        first = together * ray_at(place, (origins.shape[0] + together - 1) // together)
        if first >= origins.shape[0]:
            continue
        scenery = ti.static(Scenery(block, link, below, row))
        frame = ti.static(Frame(offset_x, offset_y, offset_z, scale_x, scale_y, scale_z))
        limit = optical_depth_limit(early_stop)
        start = near
        if ti.static(not contracted):
            start = ti.max(start, clear[first // TOGETHER])
        begun = [begin_way(origins, directions, ti.min(first + n, origins.shape[0] - 1), frame, start, contracted)
                 for n in range(together)]
        ways = ti.static([Way(*variables) for variables in begun])
        seen = [(0.0, 1.0, ti.Vector([0.0, 0.0, 0.0]), 0.0, 0) for n in range(together)]
        sights = ti.static([Sight(*variables) for variables in seen])
        bases = [spherical_harmonics_basis(way.unit, degree) for way in ways]
        under_way = True
        while under_way:
            under_way = False
            for n in ti.static(range(together)):
                if ways[n].under_way:
                    see_next(ways[n], sights[n], bases[n], scenery, top, limit, contracted, ti.static(degree * degree))
                under_way = under_way or ways[n].under_way
        for n in ti.static(range(together)):
            ray = ti.min(first + n, origins.shape[0] - 1)
            for channel in ti.static(range(3)):
                colour[ray, channel] = sights[n].shown[channel]
            opacity[ray] = 1.0 - sights[n].through
            depth[ray] = sights[n].distance
            leaves[ray] = sights[n].met
