"""From Gaussians to ellipses in a picture, a task a Gaussian."""

from typing import NamedTuple

from ..bounds import entry_in, is_finite
from ..engine import ti
from ..launch import kernel
from ..spherical_harmonics import spherical_harmonics_basis, spherical_harmonics_gradient

COLUMNS = 10  # of an ellipse: u, v, three of V^-1 (xx, xy, yy), opacity, red, green, blue, largest P that is seen
GRADIENTS = 9  # of these, all but the last
DILATION = 0.3  # square pixels
BEYOND = 0.3  # half pictures
FAINT = 1 / 255  # opacity that is not seen
LEAST = 1e-12  # that is divided by


class Camera(NamedTuple):
    """What is known of a camera within a kernel."""

    numbers: ti.types.ndarray(ndim=1)
    """[16]: the axes right, down, forward, one after the other; position; focal lengths; principal point."""
    width: int
    height: int


@ti.func
def axes_of(camera: ti.template()):
    """[3, 3], a row each."""
    c = ti.static(camera.numbers)
    return ti.Matrix([[c[0], c[1], c[2]], [c[3], c[4], c[5]], [c[6], c[7], c[8]]])


@ti.func
def position_of(camera: ti.template()):
    c = ti.static(camera.numbers)
    return ti.Vector([c[9], c[10], c[11]])


@ti.func
def focal_of(camera: ti.template()):
    c = ti.static(camera.numbers)
    return ti.Vector([c[12], c[13]])


@ti.func
def principal_of(camera: ti.template()):
    c = ti.static(camera.numbers)
    return ti.Vector([c[14], c[15]])


@ti.func
def slopes_kept(camera: ti.template(), slopes):
    """t_x / t_z and t_y / t_z for J, near to the picture."""
    focal, principal = focal_of(camera), principal_of(camera)
    size = ti.Vector([float(camera.width), float(camera.height)])
    margin = 0.5 * BEYOND * size
    lowest, highest = -(principal + margin) / focal, (size - principal + margin) / focal
    return ti.max(lowest, ti.min(slopes, highest))


@ti.func
def jacobian(camera: ti.template(), kept, z):
    """[2, 3] of (u, v) by t, at the slopes `kept`."""
    f = focal_of(camera) / z
    return ti.Matrix([[f.x, 0.0, -f.x * kept.x], [0.0, f.y, -f.y * kept.y]])


@ti.func
def row_3(values: ti.template(), n: int):
    return ti.Vector([values[n, 0], values[n, 1], values[n, 2]])


@ti.func
def unit_quaternion(quaternions: ti.template(), n: int):
    """(unit quaternion, length); that of no length stays 0, which is no rotation."""
    q = ti.Vector([quaternions[n, 0], quaternions[n, 1], quaternions[n, 2], quaternions[n, 3]])
    length = ti.max(q.norm(), LEAST)
    return q / length, length


@ti.func
def rotation_of(q):
    w, x, y, z = q[0], q[1], q[2], q[3]
    return ti.Matrix([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])


@ti.func
def quaternion_gradient(q, g):
    """dL/dq of a rotation's dL/dR, for a unit quaternion."""
    w, x, y, z = q[0], q[1], q[2], q[3]
    return 2 * ti.Vector([
        z * (g[1, 0] - g[0, 1]) + y * (g[0, 2] - g[2, 0]) + x * (g[2, 1] - g[1, 2]),
        y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) - 2 * x * (g[1, 1] + g[2, 2]) + w * (g[2, 1] - g[1, 2]),
        x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) - 2 * y * (g[0, 0] + g[2, 2]) + w * (g[0, 2] - g[2, 0]),
        x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) - 2 * z * (g[0, 0] + g[1, 1]) + w * (g[1, 0] - g[0, 1]),
    ])


@ti.func
def inverse_of(xx, xy, yy):
    """(xx, xy, yy) of the inverse of a symmetric matrix, and its determinant."""
    determinant = xx * yy - xy * xy
    return ti.Vector([yy, -xy, xx]) / determinant, determinant


@ti.func
def extent_of(camera: ti.template(), kept, z, quaternion, scale):
    """xx, xy, yy of V, with J W R [2, 3], of which V is made."""
    turned = jacobian(camera, kept, z) @ axes_of(camera) @ rotation_of(quaternion)
    xx, xy, yy = DILATION, 0.0, DILATION
    for k in ti.static(range(3)):
        across, down = turned[0, k] * scale[k], turned[1, k] * scale[k]
        xx += across * across
        xy += across * down
        yy += down * down
    return ti.Vector([xx, xy, yy]), turned


@ti.func
def way_to(mean, camera: ti.template()):
    """(unit direction in which the camera sees it, distance)."""
    away = mean - position_of(camera)
    distance = ti.max(away.norm(), LEAST)
    return away / distance, distance


@ti.func
def raw_colour(harmonics: ti.template(), n: int, basis, functions: ti.template()):
    """1/2 + sum_j k_cj Y_j of each channel."""
    colour = ti.Vector([0.5, 0.5, 0.5])
    for channel in ti.static(range(3)):
        for j in ti.static(range(functions)):
            colour[channel] += harmonics[n, channel, j] * basis[j]
    return colour


@ti.func
def tiles_of(middle, reach, tile: int, tiles: int):
    """First tile along an axis, and the one after the last."""
    first = ti.floor((middle - reach) / tile)
    last = ti.floor((middle + reach) / tile) + 1.0
    return ti.cast(ti.max(0.0, ti.min(first, tiles)), ti.i32), ti.cast(ti.max(0.0, ti.min(last, tiles)), ti.i32)


@kernel
def project_gaussians_forward(
    means: ti.types.ndarray(ndim=2),  # [N, 3]
    scales: ti.types.ndarray(ndim=2),  # [N, 3] standard deviations along its axes
    quaternions: ti.types.ndarray(ndim=2),  # [N, 4] w, x, y, z
    opacities: ti.types.ndarray(ndim=1),  # [N]
    harmonics: ti.types.ndarray(ndim=3),  # [N, 3, bands^2]
    camera_numbers: ti.types.ndarray(ndim=1),  # [16] as of `Camera`
    ellipses: ti.types.ndarray(ndim=2),  # out [N, COLUMNS]; 0 where nothing is seen
    depth: ti.types.ndarray(ndim=1),  # out [N] t_z
    tiles: ti.types.ndarray(ndim=2),  # out [N, 4] int32: first tile across and down, and those after the last
    width: int,
    height: int,
    tile: int,
    near: float,
    bands: ti.template(),
):
    """The ellipse of every Gaussian, and the tiles that it may be seen in."""
    for n in range(means.shape[0]):
        camera = ti.static(Camera(camera_numbers, width, height))
        mean = row_3(means, n)
        seen = axes_of(camera) @ (mean - position_of(camera))
        z = ti.max(seen.z, LEAST)
        slopes = ti.Vector([seen.x, seen.y]) / z
        quaternion, _length = unit_quaternion(quaternions, n)
        extent, _turned = extent_of(camera, slopes_kept(camera, slopes), z, quaternion, row_3(scales, n))
        inverse, determinant = inverse_of(extent[0], extent[1], extent[2])
        middle = principal_of(camera) + focal_of(camera) * slopes
        direction, _distance = way_to(mean, camera)
        colour = raw_colour(harmonics, n, spherical_harmonics_basis(direction, bands), bands * bands)
        opacity = opacities[n]
        farthest = ti.log(ti.max(opacity, FAINT) / FAINT)
        reach = ti.sqrt(2.0 * farthest * ti.Vector([extent[0], extent[2]]))
        total = middle.sum() + extent.sum() + inverse.sum() + colour.sum() + opacity
        there = seen.z > near and opacity > FAINT and determinant > 0.0 and is_finite(total)
        across, down = (width + tile - 1) // tile, (height + tile - 1) // tile
        left, right = tiles_of(middle.x, reach.x, tile, across)
        top, bottom = tiles_of(middle.y, reach.y, tile, down)
        if not (there and left < right and top < bottom):
            left, right, top, bottom = 0, 0, 0, 0
        depth[n] = seen.z
        tiles[n, 0] = left
        tiles[n, 1] = top
        tiles[n, 2] = right
        tiles[n, 3] = bottom
        for k in ti.static(range(COLUMNS)):
            ellipses[n, k] = 0.0
        if left < right:
            for k in ti.static(range(2)):
                ellipses[n, k] = middle[k]
            for k in ti.static(range(3)):
                ellipses[n, 2 + k] = inverse[k]
                ellipses[n, 6 + k] = ti.max(colour[k], 0.0)
            ellipses[n, 5] = opacity
            ellipses[n, 9] = farthest


@ti.func
def sum_of_pairs(first: ti.template(), places: ti.template(), at_pairs: ti.template(), n: int):
    """dL/d ellipse [GRADIENTS], over the tiles that it is listed in."""
    gradient = ti.Vector.zero(float, GRADIENTS)
    pairs = places.shape[0]
    for pair in range(ti.max(0, first[n]), ti.min(first[n + 1], pairs)):
        place = entry_in(places[pair], pairs)
        for k in ti.static(range(GRADIENTS)):
            gradient[k] += at_pairs[place, k]
    return gradient


@kernel
def project_gaussians_backward(
    means: ti.types.ndarray(ndim=2),  # [N, 3], as of the forward pass
    scales: ti.types.ndarray(ndim=2),  # [N, 3]
    quaternions: ti.types.ndarray(ndim=2),  # [N, 4]
    harmonics: ti.types.ndarray(ndim=3),  # [N, 3, bands^2]
    camera_numbers: ti.types.ndarray(ndim=1),  # [16]
    pair_first: ti.types.ndarray(ndim=1),  # [N + 1] int32: a Gaussian's pairs, and where they end
    pair_place: ti.types.ndarray(ndim=1),  # [P] int32: of a pair among the entries
    pair_gradient: ti.types.ndarray(ndim=2),  # [P, GRADIENTS] by entry
    means_gradient: ti.types.ndarray(ndim=2),  # out [N, 3]
    scales_gradient: ti.types.ndarray(ndim=2),  # out [N, 3]
    quaternions_gradient: ti.types.ndarray(ndim=2),  # out [N, 4]
    opacities_gradient: ti.types.ndarray(ndim=1),  # out [N]
    harmonics_gradient: ti.types.ndarray(ndim=3),  # out [N, 3, bands^2]
    width: int,
    height: int,
    bands: ti.template(),
):
    """Gradient with respect to all that makes a Gaussian; 0 where it is not seen."""
    for n in range(means.shape[0]):
        camera = ti.static(Camera(camera_numbers, width, height))
        at_mean, at_scale = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        at_quaternion = ti.Vector([0.0, 0.0, 0.0, 0.0])
        for channel in ti.static(range(3)):
            for j in ti.static(range(bands * bands)):
                harmonics_gradient[n, channel, j] = 0.0
        gradient = ti.Vector.zero(float, GRADIENTS)
        if pair_first[n] < pair_first[n + 1]:
            gradient = sum_of_pairs(pair_first, pair_place, pair_gradient, n)
            mean, scale = row_3(means, n), row_3(scales, n)
            quaternion, length = unit_quaternion(quaternions, n)
            axes = axes_of(camera)
            seen = axes @ (mean - position_of(camera))
            at_seen, at_turned, at_scale_here = extent_backward(camera, seen, quaternion, scale, gradient)
            at_scale = at_scale_here
            at_rotation = at_turned
            at_unit = quaternion_gradient(quaternion, at_rotation)
            at_quaternion = (at_unit - quaternion * quaternion.dot(at_unit)) / length
            at_mean = axes.transpose() @ at_seen
            at_mean += colour_backward(harmonics, harmonics_gradient, n, mean, camera, gradient, bands)
        for k in ti.static(range(3)):
            means_gradient[n, k] = at_mean[k]
            scales_gradient[n, k] = at_scale[k]
        for k in ti.static(range(4)):
            quaternions_gradient[n, k] = at_quaternion[k]
        opacities_gradient[n] = gradient[5]


@ti.func
def extent_backward(camera: ti.template(), seen, quaternion, scale, gradient):
    """dL/dt, dL/dR and dL/ds of the gradient of an ellipse."""
    z = seen.z
    focal = focal_of(camera)
    slopes = ti.Vector([seen.x, seen.y]) / z
    kept = slopes_kept(camera, slopes)
    extent, turned = extent_of(camera, kept, z, quaternion, scale)
    inverse, _determinant = inverse_of(extent[0], extent[1], extent[2])
    # dL/dV = -V^-1 (dL/dV^-1) V^-1
    conic = ti.Matrix([[inverse[0], inverse[1]], [inverse[1], inverse[2]]])
    at_conic = ti.Matrix([[gradient[2], 0.5 * gradient[3]], [0.5 * gradient[3], gradient[4]]])
    at_extent = -conic @ at_conic @ conic
    # V = B diag(s^2) B^T + 0.3 1 of B = J W R
    at_b = 2.0 * at_extent @ turned  # times s^2 below
    at_scale = ti.Vector([0.0, 0.0, 0.0])
    for k in ti.static(range(3)):
        at_scale[k] = scale[k] * (at_b[0, k] * turned[0, k] + at_b[1, k] * turned[1, k])
        for i in ti.static(range(2)):
            at_b[i, k] *= scale[k] * scale[k]
    axes = axes_of(camera)
    at_rotation = (jacobian(camera, kept, z) @ axes).transpose() @ at_b
    at_jacobian = at_b @ (axes @ rotation_of(quaternion)).transpose()
    at_seen = ti.Vector([0.0, 0.0, 0.0])
    for i in ti.static(range(2)):
        # u = f t_x / t_z; J has f / t_z and -f / t_z (t_x / t_z)
        at_slope = focal[i] * gradient[i]
        if kept[i] == slopes[i]:
            at_slope -= focal[i] / z * at_jacobian[i, 2]
        at_seen[i] += at_slope / z
        at_seen[2] -= at_slope * slopes[i] / z
        at_seen[2] -= focal[i] / (z * z) * (at_jacobian[i, i] - kept[i] * at_jacobian[i, 2])
    return at_seen, at_rotation, at_scale


@ti.func
def colour_backward(harmonics: ti.template(), harmonics_gradient: ti.template(), n: int, mean, camera: ti.template(),
                    gradient, bands: ti.template()):
    """dL/d mean by way of the direction in which it is seen; writes dL/d harmonics."""
    direction, distance = way_to(mean, camera)
    basis = spherical_harmonics_basis(direction, bands)
    colour = raw_colour(harmonics, n, basis, bands * bands)
    at_basis = ti.Vector.zero(float, bands * bands)
    for channel in ti.static(range(3)):
        at_colour = 0.0
        if colour[channel] > 0.0:
            at_colour = gradient[6 + channel]
        for j in ti.static(range(bands * bands)):
            harmonics_gradient[n, channel, j] = at_colour * basis[j]
            at_basis[j] += at_colour * harmonics[n, channel, j]
    at_direction = spherical_harmonics_gradient(direction, at_basis, bands)
    return (at_direction - direction * direction.dot(at_direction)) / distance
