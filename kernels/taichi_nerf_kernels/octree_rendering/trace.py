"""Pixels of rays, their adjoint, and how much of the light each leaf gives."""

from ..engine import dealt, dealt_places, on_cpu, ti
from ..field_rendering.networks import sigmoid
from ..launch import kernel
from ..octree import LEVELS, Tree, go_down, go_up
from ..spherical_harmonics import spherical_harmonics_basis
from ..volume_rendering import optical_depth_limit, transmittance
from .pieces import FARTHEST, MOST_PIECES, NONE, in_core, piece_of, region_of, time_at
from .walk import FAR, TINY, Frame, enter_cube, integer_at, leave_leaf, ray_in_cells

HAND = 64  # rays, which are a tile of a picture


@ti.func
def places_of(rays: int):
    """Places of a loop over rays. Rays take unlike long: on a CPU they are dealt to the threads, a HAND at a time."""
    places = rays
    if ti.static(on_cpu()):
        places = dealt_places((rays + HAND - 1) // HAND) * HAND
    return places


@ti.func
def ray_at(place: int, rays: int):
    """The ray at a place, or a number beyond."""
    ray = place
    if ti.static(on_cpu()):
        ray = dealt(place // HAND, (rays + HAND - 1) // HAND) * HAND + place % HAND
    return ray


@ti.func
def ray_begin(origins: ti.template(), directions: ti.template(), ray: int, frame: ti.template(), near,
              contracted: ti.template()):
    """(o, d, 1 / d) of a ray in cells, its unit direction, u and its slope, t of its first leaf, a bound of t, and the
    place along the way. It meets nothing if not t < bound."""
    o, d, inverse, unit, finite = ray_in_cells(origins, directions, ray, frame)
    u, v = in_core(o, d)
    at, end = enter_cube(o, inverse, near)
    s = at
    if ti.static(contracted):
        at, s = near, 0.0
        end = ti.select(finite, near + 2.0 * FARTHEST / ti.max(ti.abs(v).max(), TINY), near)
    return o, d, inverse, unit, u, v, at, end, s


@ti.func
def leaf_colour(cell: int, coefficients: ti.template(), basis, harmonics: ti.template()):
    """sigmoid(sum of k Y) of the three channels."""
    shown = ti.Vector([0.0, 0.0, 0.0])
    for channel in ti.static(range(3)):
        raw = 0.0
        for b in ti.static(range(harmonics)):
            raw += coefficients[cell, ti.static(channel * harmonics + b)] * basis[b]
        shown[channel] = sigmoid(raw)
    return shown


@kernel
def trace_forward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3] in the world
    directions: ti.types.ndarray(ndim=2),  # [R, 3] unit vectors
    child: ti.types.ndarray(ndim=2),  # [n, 8] int32
    parent_depth: ti.types.ndarray(ndim=2),  # [n, 2] int32
    density: ti.types.ndarray(ndim=1),  # [8 n]
    coefficients: ti.types.ndarray(ndim=2),  # [8 n, 3 degree^2]
    offset_x: float, offset_y: float, offset_z: float, scale_x: float, scale_y: float, scale_z: float,
    near: float,
    early_stop: float,
    skip: float,
    contracted: ti.template(),
    degree: ti.template(),
    colour: ti.types.ndarray(ndim=2),  # out [R, 3]
    opacity: ti.types.ndarray(ndim=1),  # out [R]
    depth: ti.types.ndarray(ndim=1),  # out [R]
    leaves: ti.types.ndarray(ndim=1),  # out [R] int32, met
):
    """What every ray sees."""
    for place in range(places_of(origins.shape[0])):
        ray = ray_at(place, origins.shape[0])
        if ray >= origins.shape[0]:
            continue
        tree = ti.static(Tree(child, parent_depth))
        frame = ti.static(Frame(offset_x, offset_y, offset_z, scale_x, scale_y, scale_z))
        o, d, inverse, unit, u, v, at, end, s = ray_begin(origins, directions, ray, frame, near, contracted)
        begin, pieces, h, k, last, whole, following = near * 1.0, 0, 1.0, 0.0, FAR * 1.0, FAR * 1.0, NONE
        if ti.static(contracted):
            o, d, inverse, h, k, last, whole, following = piece_of(u + near * v, v, region_of(u + near * v))
        under_way, q, node, level = at < end, integer_at(o, d, s), 0, LEVELS - 1
        basis = spherical_harmonics_basis(unit, degree)
        limit = optical_depth_limit(early_stop)
        passed, through, distance, met = 0.0, 1.0, 0.0, 0
        shown = ti.Vector([0.0, 0.0, 0.0])
        while under_way:
            cell, node_here, level_here = go_down(q, node, level, tree.child)
            out, after, changed = leave_leaf(q, level_here, s, o, d, inverse)
            bend = False
            if ti.static(contracted):
                bend = out >= last
                s = ti.min(out, last)
                out = ti.max(at, begin + ti.select(bend, whole, time_at(s, h, k)))
            else:
                s = out
            sigma = density[cell]
            met += 1
            if sigma > skip and out > at:
                passed += sigma * (out - at)
                behind = transmittance(passed)
                weight = through - behind
                through = behind
                shown += weight * leaf_colour(cell, coefficients, basis, ti.static(degree * degree))
                distance += weight * 0.5 * (at + out)
            at, q = out, after
            under_way = ((changed >> LEVELS) == 0 or bend) and passed <= limit
            node, level = go_up(changed, node_here, level_here, tree.parent_depth)
            if ti.static(contracted):
                if bend:
                    begin, s, node, level, pieces = at, 0.0, 0, LEVELS - 1, pieces + 1
                    under_way = under_way and following != NONE and pieces < MOST_PIECES
                    o, d, inverse, h, k, last, whole, following = piece_of(u + at * v, v, following)
                    q = integer_at(o, d, s)
        for channel in ti.static(range(3)):
            colour[ray, channel] = shown[channel]
        opacity[ray] = 1.0 - through
        depth[ray] = distance
        leaves[ray] = met


@kernel
def trace_backward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    child: ti.types.ndarray(ndim=2),  # [n, 8] int32
    parent_depth: ti.types.ndarray(ndim=2),  # [n, 2] int32
    density: ti.types.ndarray(ndim=1),  # [8 n]
    coefficients: ti.types.ndarray(ndim=2),  # [8 n, 3 degree^2]
    offset_x: float, offset_y: float, offset_z: float, scale_x: float, scale_y: float, scale_z: float,
    near: float,
    early_stop: float,
    skip: float,
    contracted: ti.template(),
    degree: ti.template(),
    colour: ti.types.ndarray(ndim=2),  # [R, 3], as are the next two of the forward pass
    opacity: ti.types.ndarray(ndim=1),  # [R]
    depth: ti.types.ndarray(ndim=1),  # [R]
    colour_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    opacity_gradient: ti.types.ndarray(ndim=1),  # [R]
    depth_gradient: ti.types.ndarray(ndim=1),  # [R]
    density_gradient: ti.types.ndarray(ndim=1),  # in and out [8 n]: added to
    coefficients_gradient: ti.types.ndarray(ndim=2),  # in and out [8 n, 3 degree^2]: added to
):
    """With e_i = dL/dw_i, from colour, opacity and depth:

        dL/dsigma_i = (t_{i+1} - t_i) (T_{i+1} e_i - sum over j > i of w_j e_j)
        dL/dk_b     = w_i c (1 - c) dL/dcolour Y_b, of each channel
    """
    for place in range(places_of(origins.shape[0])):
        ray = ray_at(place, origins.shape[0])
        if ray >= origins.shape[0]:
            continue
        tree = ti.static(Tree(child, parent_depth))
        frame = ti.static(Frame(offset_x, offset_y, offset_z, scale_x, scale_y, scale_z))
        o, d, inverse, unit, u, v, at, end, s = ray_begin(origins, directions, ray, frame, near, contracted)
        begin, pieces, h, k, last, whole, following = near * 1.0, 0, 1.0, 0.0, FAR * 1.0, FAR * 1.0, NONE
        if ti.static(contracted):
            o, d, inverse, h, k, last, whole, following = piece_of(u + near * v, v, region_of(u + near * v))
        under_way, q, node, level = at < end, integer_at(o, d, s), 0, LEVELS - 1
        basis = spherical_harmonics_basis(unit, degree)
        limit = optical_depth_limit(early_stop)
        at_opacity, at_depth = opacity_gradient[ray], depth_gradient[ray]
        at_colour = ti.Vector([colour_gradient[ray, k] for k in range(3)])
        behind = opacity[ray] * at_opacity + depth[ray] * at_depth  # sum of w_j e_j over what is not passed
        for channel in ti.static(range(3)):
            behind += colour[ray, channel] * at_colour[channel]
        largest = ti.abs(at_colour).sum() + ti.abs(at_opacity) + ti.abs(at_depth) * end  # that an |e_j| can be
        passed, through = 0.0, 1.0
        while under_way:
            cell, node_here, level_here = go_down(q, node, level, tree.child)
            out, after, changed = leave_leaf(q, level_here, s, o, d, inverse)
            bend = False
            if ti.static(contracted):
                bend = out >= last
                s = ti.min(out, last)
                out = ti.max(at, begin + ti.select(bend, whole, time_at(s, h, k)))
            else:
                s = out
            sigma = density[cell]
            if sigma > skip and out > at:
                passed += sigma * (out - at)
                left = transmittance(passed)
                weight = through - left
                through = left
                shown = leaf_colour(cell, coefficients, basis, ti.static(degree * degree))
                at_weight = at_opacity + at_depth * 0.5 * (at + out) + shown.dot(at_colour)
                # what is left is at most T times the largest |e_j|: behind a surface, and in the last leaf of a ray,
                # which may be very long, rounding must not stand for it
                behind = ti.min(ti.max(behind - weight * at_weight, -through * largest), through * largest)
                density_gradient[cell] += (out - at) * (through * at_weight - behind)
                for channel in ti.static(range(3)):
                    slope = weight * shown[channel] * (1.0 - shown[channel]) * at_colour[channel]
                    for b in ti.static(range(degree * degree)):
                        coefficients_gradient[cell, ti.static(channel * degree * degree + b)] += slope * basis[b]
            at, q = out, after
            under_way = ((changed >> LEVELS) == 0 or bend) and passed <= limit
            node, level = go_up(changed, node_here, level_here, tree.parent_depth)
            if ti.static(contracted):
                if bend:
                    begin, s, node, level, pieces = at, 0.0, 0, LEVELS - 1, pieces + 1
                    under_way = under_way and following != NONE and pieces < MOST_PIECES
                    o, d, inverse, h, k, last, whole, following = piece_of(u + at * v, v, following)
                    q = integer_at(o, d, s)


@kernel
def leaf_weights(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    child: ti.types.ndarray(ndim=2),  # [n, 8] int32
    parent_depth: ti.types.ndarray(ndim=2),  # [n, 2] int32
    density: ti.types.ndarray(ndim=1),  # [8 n]
    offset_x: float, offset_y: float, offset_z: float, scale_x: float, scale_y: float, scale_z: float,
    near: float,
    early_stop: float,
    contracted: ti.template(),
    weights: ti.types.ndarray(ndim=1),  # in and out [8 n]
):
    """weights <- max(weights, w) of every leaf that a ray meets."""
    for place in range(places_of(origins.shape[0])):
        ray = ray_at(place, origins.shape[0])
        if ray >= origins.shape[0]:
            continue
        tree = ti.static(Tree(child, parent_depth))
        frame = ti.static(Frame(offset_x, offset_y, offset_z, scale_x, scale_y, scale_z))
        o, d, inverse, _, u, v, at, end, s = ray_begin(origins, directions, ray, frame, near, contracted)
        begin, pieces, h, k, last, whole, following = near * 1.0, 0, 1.0, 0.0, FAR * 1.0, FAR * 1.0, NONE
        if ti.static(contracted):
            o, d, inverse, h, k, last, whole, following = piece_of(u + near * v, v, region_of(u + near * v))
        under_way, q, node, level = at < end, integer_at(o, d, s), 0, LEVELS - 1
        limit = optical_depth_limit(early_stop)
        passed, through = 0.0, 1.0
        while under_way:
            cell, node_here, level_here = go_down(q, node, level, tree.child)
            out, after, changed = leave_leaf(q, level_here, s, o, d, inverse)
            bend = False
            if ti.static(contracted):
                bend = out >= last
                s = ti.min(out, last)
                out = ti.max(at, begin + ti.select(bend, whole, time_at(s, h, k)))
            else:
                s = out
            sigma = density[cell]
            if sigma > 0.0 and out > at:
                passed += sigma * (out - at)
                left = transmittance(passed)
                ti.atomic_max(weights[cell], through - left)
                through = left
            at, q = out, after
            under_way = ((changed >> LEVELS) == 0 or bend) and passed <= limit
            node, level = go_up(changed, node_here, level_here, tree.parent_depth)
            if ti.static(contracted):
                if bend:
                    begin, s, node, level, pieces = at, 0.0, 0, LEVELS - 1, pieces + 1
                    under_way = under_way and following != NONE and pieces < MOST_PIECES
                    o, d, inverse, h, k, last, whole, following = piece_of(u + at * v, v, following)
                    q = integer_at(o, d, s)
