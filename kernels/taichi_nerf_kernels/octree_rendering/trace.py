"""Pixels of rays, their adjoint, and how much of the light each leaf gives."""

from ..engine import ti
from ..field_rendering.networks import sigmoid
from ..launch import kernel
from ..octree import Tree
from ..spherical_harmonics import spherical_harmonics_basis
from ..volume_rendering import optical_depth_limit, transmittance
from .dealing import places_of, ray_at
from .walk import Frame
from .way import Way, begin_way, go_on, leave_leaf


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
        started = begin_way(origins, directions, ray, frame, near, contracted)
        way = ti.static(Way(*started))
        basis = spherical_harmonics_basis(way.unit, degree)
        limit = optical_depth_limit(early_stop)
        passed, through, distance, met = 0.0, 1.0, 0.0, 0
        shown = ti.Vector([0.0, 0.0, 0.0])
        while way.under_way:
            cell, out, after, bend = leave_leaf(way, tree, contracted)
            sigma = density[cell]
            met += 1
            if sigma > skip and out > way.at:
                passed += sigma * (out - way.at)
                behind = transmittance(passed)
                weight = through - behind
                through = behind
                shown += weight * leaf_colour(cell, coefficients, basis, ti.static(degree * degree))
                distance += weight * 0.5 * (way.at + out)
            go_on(way, out, after, bend, contracted)
            way.under_way = way.under_way and passed <= limit
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
        started = begin_way(origins, directions, ray, frame, near, contracted)
        way = ti.static(Way(*started))
        basis = spherical_harmonics_basis(way.unit, degree)
        limit = optical_depth_limit(early_stop)
        at_opacity, at_depth = opacity_gradient[ray], depth_gradient[ray]
        at_colour = ti.Vector([colour_gradient[ray, k] for k in range(3)])
        behind = opacity[ray] * at_opacity + depth[ray] * at_depth  # sum of w_j e_j over what is not passed
        for channel in ti.static(range(3)):
            behind += colour[ray, channel] * at_colour[channel]
        largest = ti.abs(at_colour).sum() + ti.abs(at_opacity) + ti.abs(at_depth) * way.end  # that an |e_j| can be
        passed, through = 0.0, 1.0
        while way.under_way:
            cell, out, after, bend = leave_leaf(way, tree, contracted)
            sigma = density[cell]
            if sigma > skip and out > way.at:
                passed += sigma * (out - way.at)
                left = transmittance(passed)
                weight = through - left
                through = left
                shown = leaf_colour(cell, coefficients, basis, ti.static(degree * degree))
                at_weight = at_opacity + at_depth * 0.5 * (way.at + out) + shown.dot(at_colour)
                # what is left is at most T times the largest |e_j|: behind a surface, and in the last leaf of a ray,
                # which may be very long, rounding must not stand for it
                behind = ti.min(ti.max(behind - weight * at_weight, -through * largest), through * largest)
                density_gradient[cell] += (out - way.at) * (through * at_weight - behind)
                for channel in ti.static(range(3)):
                    slope = weight * shown[channel] * (1.0 - shown[channel]) * at_colour[channel]
                    for b in ti.static(range(degree * degree)):
                        coefficients_gradient[cell, ti.static(channel * degree * degree + b)] += slope * basis[b]
            go_on(way, out, after, bend, contracted)
            way.under_way = way.under_way and passed <= limit


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
        started = begin_way(origins, directions, ray, frame, near, contracted)
        way = ti.static(Way(*started))
        limit = optical_depth_limit(early_stop)
        passed, through = 0.0, 1.0
        while way.under_way:
            cell, out, after, bend = leave_leaf(way, tree, contracted)
            sigma = density[cell]
            if sigma > 0.0 and out > way.at:
                passed += sigma * (out - way.at)
                left = transmittance(passed)
                ti.atomic_max(weights[cell], through - left)
                through = left
            go_on(way, out, after, bend, contracted)
            way.under_way = way.under_way and passed <= limit
