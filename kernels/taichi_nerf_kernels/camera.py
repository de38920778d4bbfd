"""Rays from pixels and pixels from points, through lenses.

Notation
    pixel         (u, v), u to the right and v down, in pixels; the centre of the first pixel is (0.5, 0.5)
    intrinsics    x' = (u - cx) / fx, y' = (v - cy) / fy with focal (fx, fy) and principal (cx, cy) in pixels
    lens          (x', y') = distort(x, y); (x, y) to the right and down, free of distortion
    camera        OpenGL axes: x right, y up, z back
    pose          camera to world, [R | t]; a camera direction c gives direction = R c / |R c| and origin = t
    coefficients  k = (k1, k2, k3, k4, p1, p2)

Lenses, with r^2 = x^2 + y^2 and s = 1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8
    PERSPECTIVE   c = (x, -y, -1), Brown-Conrady without k4:
                  x' = s x + 2 p1 x y + p2 (r^2 + 2 x^2),  y' = s y + p1 (r^2 + 2 y^2) + 2 p2 x y
    FISHEYE       c = (x sin(r) / r, -y sin(r) / r, -cos(r)), r the angle off the axis (equidistant);
                  x' = s x, y' = s y, without p1 and p2

The distortion is inverted by Newton's method with its analytic Jacobian, in a fixed number of steps; without
distortion they are skipped. A lens whose image folds back on itself has several inverses; wanted is the one
on the sheet around the axis, where the Jacobian (it is symmetric) is positive definite. The iteration starts
on the axis and halves a step that leaves this sheet or enlarges the residual, so it neither meets a singular
Jacobian nor jumps to another sheet. A pixel that no direction reaches (past the fold) gets one on the sheet
as near as the steps came, and gives the intrinsics no gradient.

Normalised device coordinates, for cameras that all look along -z: the frustum in front of the plane z = -near becomes
a cube, and a ray one whose t runs from 0 at that plane to 1 at infinity. With (fx, fy) focal lengths and (W, H) the
size of the pictures, s = (2 fx / W, 2 fy / H), and o moved along d onto the plane,

    origin = (s_x o_x / near, s_y o_y / near, -1),   direction = (-s_x (d_x / d_z + o_x / near), same for y, 2)

(Mildenhall et al. 2020, supplement C, with o_z = -near.)

Differentiable: origins and directions, by pose, focal and principal; those of `ndc_rays`, by the rays. Not: pixel,
distortion, lens, and what `ndc_rays` is told of the camera.
"""

from .engine import live, stride_for, ti
from .launch import kernel
from .random import random_bits

__all__ = [
    "FISHEYE",
    "PERSPECTIVE",
    "camera_direction",
    "camera_direction_backward",
    "distort",
    "gather_rays",
    "image_of_pixel",
    "ndc_rays_backward",
    "ndc_rays_forward",
    "project",
    "project_points",
    "rays_backward",
    "rays_forward",
    "undistort",
    "world_direction",
]

PERSPECTIVE = 0
FISHEYE = 1

NEWTON_STEPS = 12
SHEET_CHECKS = 8
PI = 3.141592653589793


# Building blocks: the lens


@ti.func
def distort(p, k, lens):
    """(x', y') of `p` = (x, y), and the symmetric Jacobian as (dx'/dx, dx'/dy, dy'/dy)."""
    k4, p1, p2 = 0.0 * k[3], k[4], k[5]
    if lens == FISHEYE:
        k4, p1, p2 = k[3], 0.0 * p1, 0.0 * p2
    x, y = p[0], p[1]
    r2 = x * x + y * y
    s = 1.0 + r2 * (k[0] + r2 * (k[1] + r2 * (k[2] + r2 * k4)))
    slope = 2.0 * (k[0] + r2 * (2.0 * k[1] + r2 * (3.0 * k[2] + r2 * 4.0 * k4)))  # ds/d(x, y) = slope (x, y)
    distorted = ti.Vector([s * x + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
                           s * y + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y])
    jacobian = ti.Vector([s + x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x,
                          x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y,
                          s + y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x])
    return distorted, jacobian


@ti.func
def unfolded(p, jacobian, lens):
    """Whether the lens does not fold at `p`: a positive definite Jacobian; for a fisheye, at most pi."""
    definite = jacobian[0] > 0.0 and jacobian[0] * jacobian[2] > jacobian[1] * jacobian[1]
    return definite and (lens != FISHEYE or p.norm_sqr() <= PI * PI)


@ti.func
def solve_symmetric(jacobian, b):
    """The solution of [[j0, j1], [j1, j2]] x = b."""
    determinant = jacobian[0] * jacobian[2] - jacobian[1] * jacobian[1]
    return ti.Vector([jacobian[2] * b[0] - jacobian[1] * b[1],
                      jacobian[0] * b[1] - jacobian[1] * b[0]]) / determinant


@ti.func
def undistort(target, k, lens):
    """The point that `distort` maps to `target`, by safeguarded Newton steps from the axis."""
    p = 0.0 * target
    error = target.norm_sqr()
    step = target
    for _ in range(NEWTON_STEPS):
        trial = p + step
        distorted, jacobian = distort(trial, k, lens)
        residual = target - distorted
        if unfolded(trial, jacobian, lens) and residual.norm_sqr() <= error:
            p = trial
            error = residual.norm_sqr()
            step = solve_symmetric(jacobian, residual)
        else:
            step *= 0.5
    return p


@ti.func
def undistort_backward(p, target, k, lens, gradient):
    """Gradient of `target` from that of p = undistort(target), by the inverse (symmetric) Jacobian."""
    distorted, jacobian = distort(p, k, lens)
    determinant = jacobian[0] * jacobian[2] - jacobian[1] * jacobian[1]
    result = 0.0 * gradient
    if (target - distorted).norm() < 1e-4 and determinant > 1e-6:
        result = solve_symmetric(jacobian, gradient)
    return result


@ti.func
def bend(p, lens):
    """Camera direction of the undistorted point `p`; not of unit length."""
    c = ti.Vector([p[0], -p[1], -1.0])
    r = p.norm()
    if lens == FISHEYE and r > 0.0:
        s = ti.sin(r) / r
        c = ti.Vector([s * p[0], -s * p[1], -ti.cos(r)])
    return c


@ti.func
def bend_backward(p, lens, gradient):
    """Gradient of `p` from that of `bend`."""
    g = ti.Vector([gradient[0], -gradient[1]])
    r = p.norm()
    if lens == FISHEYE and r > 0.0:
        unit = p / r
        s = ti.sin(r) / r
        g = s * g + unit * ((ti.cos(r) - s) * g.dot(unit) + ti.sin(r) * gradient[2])
    return g


# Building blocks: one camera


@ti.func
def camera_direction(pixel, focal, principal, k, lens):
    """Direction in which `pixel` looks, in camera axes, not of unit length; and its undistorted point."""
    p = (pixel - principal) / focal
    if k.norm_sqr() > 0.0:
        p = undistort(p, k, lens)
    return bend(p, lens), p


@ti.func
def camera_direction_backward(pixel, focal, principal, k, lens, p, gradient):
    """Gradients of focal and principal from that of `camera_direction`; `p` is its second result."""
    target = (pixel - principal) / focal
    g = bend_backward(p, lens, gradient)
    if k.norm_sqr() > 0.0:
        g = undistort_backward(p, target, k, lens, g)
    return -g * target / focal, -g / focal


@ti.func
def world_direction(rotation, c):
    """Unit direction in the world."""
    return (rotation @ c).normalized()


@ti.func
def project(point, rotation, translation, focal, principal, k, lens):
    """Pixel that sees the world point, its depth along the optical axis, and 1 if the lens shows it, else 0.

    The lens shows what lies before it (perspective) and inside the first fold of its distortion; whether the
    pixel lies inside the picture is for the caller to see.
    """
    c = rotation.transpose() @ (point - translation)
    depth = -c[2]
    p = ti.Vector([c[0], -c[1]])
    visible = 1
    if lens == FISHEYE:
        r = p.norm()
        if r > 0.0:
            p *= ti.atan2(r, depth) / r
    else:
        visible = ti.cast(depth > 1e-6, int)
        p /= ti.max(depth, 1e-6)
    distorted, _ = distort(p, k, lens)
    if visible == 1 and k.norm_sqr() > 0.0:
        visible = on_first_sheet(p, k, lens)
    return principal + focal * distorted, depth, visible


@ti.func
def on_first_sheet(p, k, lens):
    """1 if the lens does not fold anywhere between the axis and `p`, as far as a few points tell, else 0."""
    inside = 1
    for i in range(SHEET_CHECKS):
        q = p * ((i + 1.0) / SHEET_CHECKS)
        _, jacobian = distort(q, k, lens)
        if not unfolded(q, jacobian, lens):
            inside = 0
    return inside


# Kernels: rays from pixels, forward and backward


@ti.func
def _rotation(camera_to_world: ti.template(), n):
    return ti.Matrix([[camera_to_world[n, i, j] for j in range(3)] for i in range(3)])


@ti.func
def _row2(array: ti.template(), n):
    return ti.Vector([array[n, 0], array[n, 1]])


@ti.func
def _row6(array: ti.template(), n):
    return ti.Vector([array[n, i] for i in range(6)])


@kernel
def rays_forward(
    image_index: ti.types.ndarray(ndim=1),  # [R] i32
    pixel: ti.types.ndarray(ndim=2),  # [R, 2]
    camera_to_world: ti.types.ndarray(ndim=3),  # [N, 3, 4]
    focal: ti.types.ndarray(ndim=2),  # [N, 2]
    principal: ti.types.ndarray(ndim=2),  # [N, 2]
    distortion: ti.types.ndarray(ndim=2),  # [N, 6]
    lens: ti.types.ndarray(ndim=1),  # [N] i32
    origins: ti.types.ndarray(ndim=2),  # [R, 3] out
    directions: ti.types.ndarray(ndim=2),  # [R, 3] out, unit length
):
    """Origin and unit direction of the ray of each pixel."""
    for ray in range(pixel.shape[0]):
        n = image_index[ray]
        c, _ = camera_direction(_row2(pixel, ray), _row2(focal, n), _row2(principal, n), _row6(distortion, n),
                                lens[n])
        d = world_direction(_rotation(camera_to_world, n), c)
        for i in ti.static(range(3)):
            origins[ray, i] = camera_to_world[n, i, 3]
            directions[ray, i] = d[i]


@kernel
def rays_backward(
    image_index: ti.types.ndarray(ndim=1),  # [R] i32
    pixel: ti.types.ndarray(ndim=2),  # [R, 2]
    camera_to_world: ti.types.ndarray(ndim=3),  # [N, 3, 4]
    focal: ti.types.ndarray(ndim=2),  # [N, 2]
    principal: ti.types.ndarray(ndim=2),  # [N, 2]
    distortion: ti.types.ndarray(ndim=2),  # [N, 6]
    lens: ti.types.ndarray(ndim=1),  # [N] i32
    grad_origins: ti.types.ndarray(ndim=2),  # [R, 3]
    grad_directions: ti.types.ndarray(ndim=2),  # [R, 3]
    per_ray: ti.types.ndarray(ndim=2),  # [R, 16] scratch: pose row by row, focal, principal
    grad_camera_to_world: ti.types.ndarray(ndim=3),  # [N, 3, 4] out
    grad_focal: ti.types.ndarray(ndim=2),  # [N, 2] out
    grad_principal: ti.types.ndarray(ndim=2),  # [N, 2] out
    serial: ti.template(),  # sum in the order of the rays by one thread (a CPU), else by atomic adds (a GPU)
):
    """Gradients of the cameras: d = w / |w|, w = R c, so dL/dw = (g - d (d.g)) / |w|, dL/dR = dL/dw c^T."""
    for ray in range(pixel.shape[0]):
        n = image_index[ray]
        p, f, m, k = _row2(pixel, ray), _row2(focal, n), _row2(principal, n), _row6(distortion, n)
        c, undistorted = camera_direction(p, f, m, k, lens[n])
        rotation = _rotation(camera_to_world, n)
        w = rotation @ c
        d = w.normalized()
        g = ti.Vector([grad_directions[ray, i] for i in range(3)])
        g_w = (g - d * d.dot(g)) / w.norm()
        g_focal, g_principal = camera_direction_backward(p, f, m, k, lens[n], undistorted,
                                                         rotation.transpose() @ g_w)
        for i in ti.static(range(3)):
            for j in ti.static(range(3)):
                per_ray[ray, 4 * i + j] = g_w[i] * c[j]
            per_ray[ray, 4 * i + 3] = grad_origins[ray, i]
        for i in ti.static(range(2)):
            per_ray[ray, 12 + i] = g_focal[i]
            per_ray[ray, 14 + i] = g_principal[i]
    for n in range(focal.shape[0]):
        for i in ti.static(range(12)):
            grad_camera_to_world[n, i // 4, i % 4] = 0.0
        for i in ti.static(range(2)):
            grad_focal[n, i] = 0.0
            grad_principal[n, i] = 0.0
    ti.loop_config(serialize=serial)
    for ray in range(pixel.shape[0]):
        n = image_index[ray]
        for i in ti.static(range(12)):
            _add(grad_camera_to_world, ti.static((i // 4, i % 4)), n, per_ray[ray, i], serial)
        for i in ti.static(range(2)):
            _add(grad_focal, ti.static((i,)), n, per_ray[ray, 12 + i], serial)
            _add(grad_principal, ti.static((i,)), n, per_ray[ray, 14 + i], serial)


@ti.func
def _add(array: ti.template(), index: ti.template(), n, value, serial: ti.template()):
    if ti.static(serial):
        if ti.static(len(index) == 2):
            array[n, index[0], index[1]] = array[n, index[0], index[1]] + value
        else:
            array[n, index[0]] = array[n, index[0]] + value
    else:
        if ti.static(len(index) == 2):
            ti.atomic_add(array[n, index[0], index[1]], value)
        else:
            ti.atomic_add(array[n, index[0]], value)


# Kernels: normalised device coordinates


@kernel
def ndc_rays_forward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3] with z below 0
    scale_x: float,
    scale_y: float,
    near: float,
    ndc_origins: ti.types.ndarray(ndim=2),  # [R, 3] out
    ndc_directions: ti.types.ndarray(ndim=2),  # [R, 3] out
):
    """The rays in normalised device coordinates."""
    for ray in range(origins.shape[0]):
        forward = near + origins[ray, 2]
        for axis in ti.static(range(2)):
            scale = ti.Vector([scale_x, scale_y])[axis]
            slope = directions[ray, axis] / directions[ray, 2]
            on_plane = (origins[ray, axis] - forward * slope) / near
            ndc_origins[ray, axis] = scale * on_plane
            ndc_directions[ray, axis] = -scale * (slope + on_plane)
        ndc_origins[ray, 2] = -1.0
        ndc_directions[ray, 2] = 2.0


@kernel
def ndc_rays_backward(
    origins: ti.types.ndarray(ndim=2),  # [R, 3]
    directions: ti.types.ndarray(ndim=2),  # [R, 3]
    scale_x: float,
    scale_y: float,
    near: float,
    ndc_origins_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    ndc_directions_gradient: ti.types.ndarray(ndim=2),  # [R, 3]
    origins_gradient: ti.types.ndarray(ndim=2),  # [R, 3] out
    directions_gradient: ti.types.ndarray(ndim=2),  # [R, 3] out
):
    """Gradient with respect to origins and directions."""
    for ray in range(origins.shape[0]):
        forward = near + origins[ray, 2]
        at_forward, at_z = 0.0, 0.0
        for axis in ti.static(range(2)):
            scale = ti.Vector([scale_x, scale_y])[axis]
            slope = directions[ray, axis] / directions[ray, 2]
            at_plane = scale * (ndc_origins_gradient[ray, axis] - ndc_directions_gradient[ray, axis]) / near
            at_slope = -scale * ndc_directions_gradient[ray, axis] - forward * at_plane
            origins_gradient[ray, axis] = at_plane
            directions_gradient[ray, axis] = at_slope / directions[ray, 2]
            at_forward -= slope * at_plane
            at_z -= at_slope * slope / directions[ray, 2]
        origins_gradient[ray, 2] = at_forward
        directions_gradient[ray, 2] = at_z


# Kernels: pixels from points


@kernel
def project_points(
    image_index: ti.types.ndarray(ndim=1),  # [S] i32
    points: ti.types.ndarray(ndim=2),  # [S, 3]
    camera_to_world: ti.types.ndarray(ndim=3),  # [N, 3, 4]
    focal: ti.types.ndarray(ndim=2),  # [N, 2]
    principal: ti.types.ndarray(ndim=2),  # [N, 2]
    distortion: ti.types.ndarray(ndim=2),  # [N, 6]
    lens: ti.types.ndarray(ndim=1),  # [N] i32
    pixel: ti.types.ndarray(ndim=2),  # [S, 2] out
    depth: ti.types.ndarray(ndim=1),  # [S] out
    visible: ti.types.ndarray(ndim=1),  # [S] i32 out
):
    """Where camera `image_index` sees each world point: `project`."""
    for s in range(points.shape[0]):
        n = image_index[s]
        point = ti.Vector([points[s, i] for i in range(3)])
        translation = ti.Vector([camera_to_world[n, i, 3] for i in range(3)])
        p, z, shown = project(point, _rotation(camera_to_world, n), translation, _row2(focal, n),
                              _row2(principal, n), _row6(distortion, n), lens[n])
        pixel[s, 0] = p[0]
        pixel[s, 1] = p[1]
        depth[s] = z
        visible[s] = shown


# Kernel: a batch of training rays in one launch


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
):
    stride = ti.static(stride_for(64))
    for slot in range(live(rgba.shape[0], count, counted) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        bits = random_bits(seed, ray // (side * side))
        flat = ti.cast(_scaled(bits, ti.cast(pixels.shape[0], ti.u32)), ti.i32)
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
):
    """A kernel of its own: without masks there is no further argument, and no further read, to pay for."""
    stride = ti.static(stride_for(64))
    for slot in range(live(rgba.shape[0], count, counted) * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        bits = random_bits(seed, ray // (side * side))
        drawn = ti.cast(_scaled(bits, ti.cast(allowed.shape[0], ti.u32)), ti.i32)
        _write_ray(ray, allowed[drawn], pixels, image_table, camera_table, origins, directions, rgba, image_index,
                   pixel_index, side)


def gather_rays(pixels, image_table, camera_table, seed: int, origins, directions, rgba, image_index, pixel_index,
                count=None, allowed=None, side: int = 1) -> None:
    """Rays and colours of pixels drawn uniformly, with replacement, from all images, or from the pixels `allowed`.

    Each pixel has side * side rays, one after the other, through a grid of places that are spread over its area: with
    one it goes through the centre. Ray r is a function of (seed, r) alone. The time does not depend on the number of
    images or their sizes. With a `count`, an int32 array on the device, only the first count[0] of the R rays are
    written. `allowed`, [A] int32, are the indices of the pixels that may be drawn: what a mask leaves.
    """
    written = (origins, directions, rgba, image_index, pixel_index, image_index if count is None else count,
               count is not None, side)
    if allowed is None:
        _gather_rays(pixels, image_table, camera_table, seed, *written)
    else:
        _gather_allowed_rays(pixels, image_table, camera_table, allowed, seed, *written)
