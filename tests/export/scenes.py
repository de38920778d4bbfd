"""Small octrees whose values are also there as a dense grid, and what rays see of that grid: slow and plain."""

import numpy as np

from taichi_nerf.data.scene import Cameras
from taichi_nerf.data.svox import SvoxTree

OFFSET, SCALE = np.array([0.5, 0.45, 0.5]), np.array([0.31, 0.31, 0.31])  # tree = offset + scale * world


def ball_and_box(levels: int = 6, basis: int = 9, seed: int = 0) -> np.ndarray:
    """[S, S, S, 3 B + 1] float32, S = 2^levels: a shell of a ball over a box of mist, in colours that change with the
    direction."""
    side, draw = 2**levels, np.random.default_rng(seed)
    position = (np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1) + 0.5) / side
    radius = np.linalg.norm(position - (0.5, 0.5, 0.62), axis=-1)
    values = np.zeros((side, side, side, 3 * basis + 1), np.float32)
    waves = draw.normal(size=(3, 3 * basis)) * 5
    smooth = np.sin(position @ waves + draw.random(3 * basis) * 6)
    size = np.where(np.arange(basis) == 0, 5.0, 0.8)  # of the coefficients of a channel
    values[..., :-1] = smooth * np.tile(size, 3)
    values[..., -1] = np.where((radius < 0.27) & (radius > 0.27 - 3 / side), 60.0, 0.0)
    box = (slice(side // 8, side - side // 8),) * 2 + (slice(side // 8, side // 4),)
    values[box] = values[side // 2, side // 2, side // 8]
    values[box + (-1,)] = 2.5
    values[values[..., -1] == 0] = 0
    return values


def tree_of(grid: np.ndarray) -> SvoxTree:
    """What is alike is one leaf."""
    child, data, waiting = [np.zeros(8, np.int32)], [np.zeros((8, grid.shape[-1]), np.float32)], [(0, grid)]
    while waiting:
        node, block = waiting.pop(0)
        half = len(block) // 2
        for cell in range(8):
            part = block[tuple(slice(half * bit, half * (bit + 1)) for bit in (cell >> 2, cell >> 1 & 1, cell & 1))]
            if (part == part[0, 0, 0]).all():
                data[node][cell] = part[0, 0, 0]
                continue
            child[node][cell] = len(child) - node
            waiting.append((len(child), part))
            child.append(np.zeros(8, np.int32))
            data.append(np.zeros((8, grid.shape[-1]), np.float32))
    return svox_tree(np.array(child), np.array(data))


def svox_tree(child: np.ndarray, data: np.ndarray, offset=OFFSET, scale=SCALE) -> SvoxTree:
    """Of data [n, 8, 3 B + 1]: coefficients, then the density."""
    flat = data.reshape(-1, data.shape[-1])
    return SvoxTree(child=child, parent_depth=parents(child), density=flat[:, -1], coefficients=flat[:, :-1],
                    offset=tuple(offset), scale=tuple(scale))


def parents(child: np.ndarray) -> np.ndarray:
    """[n, 2] int32: the cell whose node each is, and its depth; nodes come after their parents."""
    found = np.zeros((len(child), 2), np.int32)
    for node, cell in np.argwhere(child):
        if node + child[node, cell] < len(child):
            found[node + child[node, cell]] = 8 * node + cell, found[node, 1] + 1
    return found


def around(count: int = 3, size: tuple[int, int] = (200, 150), distance: float = 3.6) -> Cameras:
    """Cameras that look at the middle, z up."""
    poses = []
    for n in range(count):
        angle, height = 2.2 * n + 0.4, (0.6, 0.1, 1.4)[n % 3]
        back = np.array([np.cos(angle), np.sin(angle), height])
        back /= np.linalg.norm(back)
        right = np.cross((0, 0, 1), back)
        right /= np.linalg.norm(right)
        poses.append(np.stack([right, np.cross(back, right), back, distance * back], axis=1))
    focal = np.full((count, 2), 1.2 * size[1])
    return Cameras(camera_to_world=np.array(poses), focal=focal, principal=np.tile(0.5 * np.array(size), (count, 1)),
                   distortion=np.zeros((count, 6)), lens=np.zeros(count), size=np.tile(size, (count, 1)))


def pinhole_rays(cameras: Cameras, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origins and unit directions [R, 3] of the pixels of camera n, row by row, and the radii [R] of their cones."""
    width, height = cameras.size[n]
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = cameras.principal[n]
    local = np.stack([across - x, y - down, np.full(across.shape, -cameras.focal[n, 0])], axis=-1)
    away = np.linalg.norm(local.reshape(-1, 3), axis=1, keepdims=True)
    direction = local.reshape(-1, 3) @ cameras.camera_to_world[n, :, :3].T.astype(float) / away
    origin = np.tile(cameras.camera_to_world[n, :, 3].astype(float), (len(direction), 1))
    return origin, direction, (2 / 12**0.5 / away)[:, 0]


def seen(grid: np.ndarray, cameras: Cameras, n: int, background: float = 1.0) -> np.ndarray:
    """[H, W, 3]: what camera n sees: between all planes of the grid that a ray crosses it is in one cell."""
    width, height = cameras.size[n]
    direction = pinhole_rays(cameras, n)[1]
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    side, step = len(grid), direction * SCALE
    origin = OFFSET + cameras.camera_to_world[n, :, 3] * SCALE
    crossings = (np.arange(side + 1)[:, None] / side - origin) / step[:, None]  # [R, S + 1, 3]
    t = np.sort(crossings.reshape(len(direction), -1), axis=1).clip(0)
    middle, length = 0.5 * (t[:, 1:] + t[:, :-1]), np.diff(t, axis=1)
    cell = np.floor((origin + middle[..., None] * step[:, None]) * side).astype(int)
    inside = ((cell >= 0) & (cell < side)).all(axis=2)
    values = grid[tuple(cell.clip(0, side - 1).transpose(2, 0, 1))[:3] + (-1,)] * inside  # sigma [R, T]
    depth = np.cumsum(values * length, axis=1)
    left = np.exp(-np.concatenate([np.zeros((len(t), 1)), depth], axis=1))
    weight = left[:, :-1] - left[:, 1:]
    ray, place = np.nonzero(weight > 1e-6)
    coefficients = grid[tuple(cell[ray, place].T)][:, :-1].reshape(len(ray), 3, -1)
    colour = 1 / (1 + np.exp(-np.einsum("ncb,nb->nc", coefficients, harmonics(direction, coefficients.shape[2])[ray])))
    picture = left[:, -1:] * np.full(3, background)
    np.add.at(picture, ray, weight[ray, place, None] * colour)
    return picture.reshape(height, width, 3)


def seen_contracted(grid: np.ndarray, cameras: Cameras, n: int, near: float = 0.0, background: float = 1.0,
                    steps: int = 1500) -> np.ndarray:
    """[H, W, 3]: what camera n sees of all space, contracted into the grid (`Frame`): in small steps, as long as they
    are in the grid."""
    width, height = cameras.size[n]
    origin, direction, _ = pinhole_rays(cameras, n)
    t = near + 0.6 * np.linspace(0, 1, steps + 1) / np.linspace(1, 1e-4, steps + 1)  # as far as 6000
    left, picture = np.ones(len(direction)), np.zeros((len(direction), 3))
    basis = harmonics(direction, (grid.shape[3] - 1) // 3)
    for middle, length in zip((t[1:] + t[:-1]) / 2, np.diff(t)):
        u = 4 * (OFFSET + SCALE * (origin + middle * direction)) - 2
        size = np.maximum(np.abs(u).max(axis=1, keepdims=True), 1)
        u = np.where(np.abs(u) >= size, np.sign(u) * (2 - 1 / size), u / size)
        values = grid[tuple(np.floor((0.5 + u / 4) * len(grid)).astype(int).clip(0, len(grid) - 1).T)]
        passed = left * np.exp(-values[:, -1] * length)
        colour = 1 / (1 + np.exp(-np.einsum("rcb,rb->rc", values[:, :-1].reshape(len(values), 3, -1), basis)))
        picture += (left - passed)[:, None] * colour
        left = passed
    return (picture + left[:, None] * background).reshape(height, width, 3)


def harmonics(direction: np.ndarray, basis: int) -> np.ndarray:
    """[N, B] of unit directions [N, 3], as of the reference."""
    import torch

    from taichi_nerf.reference.spherical_harmonics import spherical_harmonics

    return spherical_harmonics(torch.from_numpy(direction), round(basis**0.5)).numpy()
