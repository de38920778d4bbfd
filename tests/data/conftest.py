"""Small scenes, written as their programs write them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def look_at(position, target=(0.0, 0.0, 0.0)) -> list[list[float]]:
    """Camera to world, 4 x 4 rows, z up."""
    position = np.asarray(position, dtype=np.float64)
    back = position - np.asarray(target)
    back /= np.linalg.norm(back)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return matrix.tolist()


def orbit_pose(n: int, count: int, radius: float = 4.0, target=(0.0, 0.0, 0.0)) -> list[list[float]]:
    angle = 2 * math.pi * n / count
    offset = radius * np.array([math.cos(angle) * 0.8, math.sin(angle) * 0.8, 0.6])
    return look_at(offset + target, target)


def picture(n: int, width: int, height: int, channels: int = 4) -> np.ndarray:
    """Different for every n; with alpha, transparent in the upper left corner."""
    image = np.random.default_rng(n).integers(0, 256, (height, width, channels), dtype=np.uint8)
    if channels == 4:
        image[..., 3] = 255
        image[0, 0, 3] = 0
    return image


def write_json(path: Path, content) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def blender_folder(tmp_path) -> Path:
    """4 training, 2 validation and 5 test views of 10 x 8 pixels."""
    folder = tmp_path / "blender"
    first = 0
    for split, count in (("train", 4), ("val", 2), ("test", 5)):
        (folder / split).mkdir(parents=True)
        frames = []
        for n in range(count):
            Image.fromarray(picture(first + n, 10, 8)).save(folder / split / f"r_{n}.png")
            Image.fromarray(picture(99, 10, 8)).save(folder / split / f"r_{n}_depth_0001.png")
            pose = orbit_pose(first + n, 12)
            frames.append({"file_path": f"./{split}/r_{n}", "rotation": 0.03, "transform_matrix": pose})
        write_json(folder / f"transforms_{split}.json", {"camera_angle_x": 0.69, "frames": frames})
        first += count
    return folder


class Capture:
    """A folder with `transforms.json`; change `content` and call `write`."""

    def __init__(self, folder: Path, count: int = 12, size: tuple[int, int] = (12, 16)):
        self.folder = folder
        (folder / "images").mkdir(parents=True)
        self.content = {
            "fl_x": 14.0, "fl_y": 14.5, "cx": 6.2, "cy": 7.7, "w": size[0], "h": size[1],
            "k1": 0.05, "k2": -0.08, "p1": -0.001, "p2": 0.0002, "aabb_scale": 4, "frames": [],
        }  # fmt: skip
        for n in range(count):
            name = f"images/{n:04d}.png"
            Image.fromarray(picture(n, *size, channels=3)).save(folder / name)
            self.content["frames"].append({"file_path": name, "transform_matrix": orbit_pose(n, count)})
        self.write()

    @property
    def path(self) -> Path:
        return self.folder / "transforms.json"

    @property
    def frames(self) -> list[dict]:
        return self.content["frames"]

    def write(self, **changes) -> Path:
        """Write the file with top-level `changes`; a change to None takes the key out."""
        for key, value in changes.items():
            self.content[key] = value
            if value is None:
                del self.content[key]
        write_json(self.path, self.content)
        return self.folder


@pytest.fixture
def capture(tmp_path) -> Capture:
    return Capture(tmp_path / "capture")
