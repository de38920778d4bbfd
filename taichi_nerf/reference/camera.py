"""Rays from pixels in plain PyTorch, to be read and to be compared with.

    pixel (u, v) -> x' = (pixel - principal) / focal -> x = undistort(x') -> camera direction c -> R c / |R c|

OpenGL camera axes (x right, y up, z back), pixel centres at +0.5, k = (k1, k2, k3, k4, p1, p2), lens 0
perspective (Brown-Conrady k1 k2 k3 p1 p2), 1 fisheye (equidistant, k1 k2 k3 k4).
"""

import torch

from .random import random_bits

__all__ = ["distort", "drawn_pixels", "ndc_rays", "project", "rays_from_pixels", "undistort"]


def distort(p, k, lens):
    """[R, 2] image points with lens distortion of the points `p` [R, 2] without; k [R, 6], lens [R]."""
    x, y = p.unbind(-1)
    k1, k2, k3, k4, p1, p2 = k.unbind(-1)
    fisheye = lens == 1
    k4, p1, p2 = k4 * fisheye, p1 * ~fisheye, p2 * ~fisheye
    r2 = x**2 + y**2
    s = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + k4 * r2**4
    return torch.stack([s * x + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
                        s * y + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y], dim=-1)


def undistort(target, k, lens, rounds=60):
    """The points [R, 2] that `distort` maps to `target`: the distortion is brought in little by little.

    At each round the lens has a fraction of its coefficients and one Newton step follows its solution, so
    that the solution found is the one that continues the undistorted point. One more step carries the
    derivative.
    """
    p = target.detach()
    for i in range(rounds):
        p = _newton_step(p, target.detach(), k * min(1.0, 2 * (i + 1) / rounds), lens)
    return _newton_step(p.detach(), target, k, lens)


def _newton_step(p, target, k, lens):
    with torch.enable_grad():
        q = p.detach().requires_grad_()
        distorted = distort(q, k.detach(), lens)
        rows = [torch.autograd.grad(distorted[:, i].sum(), q, retain_graph=True)[0] for i in range(2)]
    jacobian = torch.stack(rows, dim=1)  # [R, 2, 2]
    return p + torch.linalg.solve(jacobian, target - distorted.detach())


def camera_direction(p, lens):
    """[R, 3] direction in camera axes of undistorted points [R, 2]."""
    perspective = torch.cat([p * p.new_tensor([1, -1]), -torch.ones_like(p[:, :1])], dim=-1)
    r = p.square().sum(-1, keepdim=True).clamp_min(1e-30).sqrt()
    fisheye = torch.cat([p * p.new_tensor([1, -1]) * torch.sin(r) / r, -torch.cos(r)], dim=-1)
    return torch.where((lens == 1)[:, None], fisheye, perspective)


def rays_from_pixels(image_index, pixel, camera_to_world, focal, principal, distortion, lens):
    """Origins [R, 3] and unit directions [R, 3]; arguments as of the operation of that name."""
    n = image_index.long()
    target = (pixel - principal[n]) / focal[n]
    p = undistort(target, distortion[n], lens[n])
    w = (camera_to_world[n, :, :3] @ camera_direction(p, lens[n])[..., None])[..., 0]
    return camera_to_world[n, :, 3], w / w.norm(dim=-1, keepdim=True)


def ndc_rays(origins, directions, focal, size, near=1.0):
    """Origins and directions [R, 3] in normalised device coordinates: the projections of two points of each ray."""
    o = origins - ((near + origins[:, 2]) / directions[:, 2])[:, None] * directions

    def projected(p):
        return torch.stack([-2 * focal[0] / size[0] * p[:, 0] / p[:, 2], -2 * focal[1] / size[1] * p[:, 1] / p[:, 2],
                            1 + 2 * near / p[:, 2]], dim=1)

    at_infinity = projected(directions) * o.new_tensor([1, 1, 0]) + o.new_tensor([0, 0, 1])
    return projected(o), at_infinity - projected(o)


def project(image_index, points, camera_to_world, focal, principal, distortion, lens):
    """Pixels [S, 2] and depths along the optical axis [S] of world points [S, 3]."""
    n = image_index.long()
    c = ((points - camera_to_world[n, :, 3])[:, None] @ camera_to_world[n, :, :3])[:, 0]  # R^T (point - t)
    depth = -c[:, 2]
    p = c[:, :2] * c.new_tensor([1, -1])
    r = p.norm(dim=-1)
    angle = torch.where(r > 0, torch.atan2(r, depth) / r.clamp_min(1e-30), 1 / depth)
    p = p * torch.where(lens[n] == 1, angle, 1 / depth)[:, None]
    return principal[n] + focal[n] * distort(p, distortion[n], lens[n]), depth


def drawn_pixels(seed, rays, pixels, allowed=None):
    """[R] int64: flat index floor(bits n / 2^32) of the pixel of each ray, of n = `pixels`, or of those `allowed`."""
    count = pixels if allowed is None else len(allowed)
    drawn = random_bits(seed, torch.arange(rays)) * count >> 32
    return drawn if allowed is None else allowed.long()[drawn]
