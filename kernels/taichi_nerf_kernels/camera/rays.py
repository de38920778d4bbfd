"""Rays from pixels, forward and backward, and pixels from points."""

from ..bounds import entry_in
from ..engine import ti
from ..launch import kernel
from .view import camera_direction, camera_direction_backward, project, world_direction


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
        n = entry_in(image_index[ray], focal.shape[0])
        c, _ = camera_direction(_row2(pixel, ray), _row2(focal, n), _row2(principal, n), _row6(distortion, n),
                                lens[n])
        d = world_direction(_rotation(camera_to_world, n), c)
        for i in ti.static(range(3)):
            origins[ray, i] = camera_to_world[n, i, 3]
            directions[ray, i] = d[i]


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
    # What each ray adds to its camera.
    for ray in range(pixel.shape[0]):
        n = entry_in(image_index[ray], focal.shape[0])
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
    # The sums over the rays.
    for n in range(focal.shape[0]):
        for i in ti.static(range(12)):
            grad_camera_to_world[n, i // 4, i % 4] = 0.0
        for i in ti.static(range(2)):
            grad_focal[n, i] = 0.0
            grad_principal[n, i] = 0.0
    ti.loop_config(serialize=serial)
    for ray in range(pixel.shape[0]):
        n = entry_in(image_index[ray], focal.shape[0])
        for i in ti.static(range(12)):
            _add(grad_camera_to_world, ti.static((i // 4, i % 4)), n, per_ray[ray, i], serial)
        for i in ti.static(range(2)):
            _add(grad_focal, ti.static((i,)), n, per_ray[ray, 12 + i], serial)
            _add(grad_principal, ti.static((i,)), n, per_ray[ray, 14 + i], serial)


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
        n = entry_in(image_index[s], focal.shape[0])
        point = ti.Vector([points[s, i] for i in range(3)])
        translation = ti.Vector([camera_to_world[n, i, 3] for i in range(3)])
        p, z, shown = project(point, _rotation(camera_to_world, n), translation, _row2(focal, n),
                              _row2(principal, n), _row6(distortion, n), lens[n])
        pixel[s, 0] = p[0]
        pixel[s, 1] = p[1]
        depth[s] = z
        visible[s] = shown
