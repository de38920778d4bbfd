"""A renderer of files of splats that shares nothing with ours: numpy alone, from what others say of the format (Kerbl
et al. 2023 and its public code), a Gaussian after the other, nearest first."""

import numpy as np

C0, C1 = 0.28209479177387814, 0.4886025119029199
C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)


def picture_of_file(path, camera_to_world, focal, principal, size, background=0.0, near=0.01) -> np.ndarray:
    """[H, W, 3] in [0, 1] of a file with harmonics up to degree 2, seen by a camera with x right, y up, z back."""
    rows, names = _rows(path)
    column = {name: rows[:, n].astype(np.float64) for n, name in enumerate(names)}
    mean = np.stack([column[axis] for axis in "xyz"], axis=1)
    to_camera = np.diag([1.0, -1.0, -1.0]) @ np.asarray(camera_to_world, np.float64)[:, :3].T
    eye = np.asarray(camera_to_world, np.float64)[:, 3]
    t = (mean - eye) @ to_camera.T
    colour = _colour(column, names, mean - eye)
    opacity = 1 / (1 + np.exp(-column["opacity"]))
    width, height = size
    (fx, fy), (cx, cy) = focal, principal
    picture, through = np.zeros((height, width, 3)), np.ones((height, width))
    stopped = np.zeros((height, width), bool)
    for i in np.argsort(t[:, 2]):
        x, y, z = t[i]
        if z <= near:
            continue
        a, b = np.clip(x / z, -(cx + 0.15 * width) / fx, (width - cx + 0.15 * width) / fx), np.clip(
            y / z, -(cy + 0.15 * height) / fy, (height - cy + 0.15 * height) / fy)
        j = np.array([[fx / z, 0, -fx * a / z], [0, fy / z, -fy * b / z]]) @ to_camera
        r = _rotation(*(column[f"rot_{k}"][i] for k in range(4)))
        s = np.exp([column[f"scale_{k}"][i] for k in range(3)])
        extent = j @ r @ np.diag(s**2) @ r.T @ j.T + 0.3 * np.eye(2)
        inverse = np.linalg.inv(extent)
        u, v = fx * x / z + cx, fy * y / z + cy
        reach = 3.5 * np.sqrt(np.diag(extent))  # beyond which it is less than 1 / 255
        left, top = np.clip((u - reach[0], v - reach[1]), 0, (width, height)).astype(int)
        right, bottom = np.clip((u + reach[0] + 1, v + reach[1] + 1), 0, (width, height)).astype(int)
        here = slice(top, bottom), slice(left, right)
        dx, dy = np.meshgrid(np.arange(left, right) + 0.5 - u, np.arange(top, bottom) + 0.5 - v)
        power = 0.5 * (inverse[0, 0] * dx**2 + inverse[1, 1] * dy**2) + inverse[0, 1] * dx * dy
        alpha = np.minimum(0.99, opacity[i] * np.exp(-power))
        alpha[(alpha < 1 / 255) | stopped[here]] = 0
        ends = (alpha > 0) & (through[here] * (1 - alpha) < 1e-4)
        stopped[here] |= ends
        alpha[ends] = 0
        picture[here] += (through[here] * alpha)[..., None] * colour[i]
        through[here] *= 1 - alpha
    return np.clip(picture + through[..., None] * background, 0, 1)


def _rows(path):
    head, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[2] for line in head.decode().splitlines() if line.startswith("property")]
    return np.frombuffer(body, "<f4").reshape(-1, len(names)), names


def _colour(column, names, away):
    x, y, z = (away / np.linalg.norm(away, axis=1, keepdims=True)).T
    basis = [np.full_like(x, C0), -C1 * y, C1 * z, -C1 * x, C2[0] * x * y, C2[1] * y * z,
             C2[2] * (2 * z * z - x * x - y * y), C2[3] * x * z, C2[4] * (x * x - y * y)]
    rest = sum(name.startswith("f_rest_") for name in names) // 3
    channels = []
    for c in range(3):
        value = 0.5 + basis[0] * column[f"f_dc_{c}"]
        for k in range(rest):
            value = value + basis[k + 1] * column[f"f_rest_{c * rest + k}"]
        channels.append(np.maximum(value, 0))
    return np.stack(channels, axis=1)


def _rotation(w, x, y, z):
    w, x, y, z = np.array([w, x, y, z]) / np.linalg.norm([w, x, y, z])
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])
