"""Small scenes as people have them: well formed, and with one thing that is otherwise.

All views stand on an arc around the origin. `SIZE` is that of their pictures.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import Scene

from .captures import arc_poses, opencv_from_world, quaternion

SIZE, VIEWS, FOCAL = 24, 12, 34.0
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
FOV = math.degrees(2 * math.atan(0.5 * SIZE / FOCAL))


def photo(n: int, size: int = SIZE) -> np.ndarray:
    """[H, W, 3] uint8, different for every n; smooth, so that a smaller copy shows the same."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(2 * np.pi * (x * (1 + k) + y * (2 - k) + 0.1 * n * (k + 1))) for k in range(3)]
    return np.round(127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def thing(n: int) -> np.ndarray:
    """[H, W, 4] uint8: a disc of a photo before nothing."""
    y, x = np.mgrid[:SIZE, :SIZE] - 0.5 * (SIZE - 1)
    alpha = np.where(x**2 + y**2 < (0.3 * SIZE + n % 3) ** 2, 255, 0).astype(np.uint8)
    return np.dstack([photo(n), alpha])


def over_white(image: np.ndarray) -> np.ndarray:
    alpha = image[..., 3:] / 255
    return np.round(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def save(path: Path, image: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def poses() -> np.ndarray:
    """[N, 4, 4] camera to world, OpenGL axes."""
    return arc_poses(VIEWS)


class Transforms:
    """A folder with `transforms.json`, whose `content` is changed before it is written."""

    def __init__(self, folder: Path, *, objects: bool = False, name: str = "images/{n:04d}.png"):
        self.folder = folder
        lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2}
        self.content = {**lens, "w": SIZE, "h": SIZE, "frames": []}
        for n, pose in enumerate(poses()):
            save(folder / name.format(n=n), thing(n) if objects else photo(n))
            self.content["frames"].append({"file_path": name.format(n=n), "transform_matrix": pose.tolist()})
        self.write()

    @property
    def frames(self) -> list[dict]:
        return self.content["frames"]

    def image(self, n: int) -> Path:
        return self.folder / self.frames[n]["file_path"]

    def repose(self, function):
        """Every pose [4, 4] replaced by a function of it."""
        for frame in self.frames:
            frame["transform_matrix"] = np.asarray(function(np.array(frame["transform_matrix"]))).tolist()
        return self

    def repaint(self, function):
        """Every picture replaced by a function of its number and itself [H, W, 3 or 4]."""
        for n in range(len(self.frames)):
            save(self.image(n), function(n, np.asarray(Image.open(self.image(n)))))
        return self

    def write(self, **changes) -> Path:
        """The file, with changes of its head; None takes a key out."""
        self.content.update(changes)
        self.content = {key: value for key, value in self.content.items() if value is not None}
        write(self.folder / "transforms.json", self.content)
        return self.folder


def blender(folder: Path, *, scale: float = 1.0, shift=(0.0, 0.0, 0.0), opaque: bool = False,
            images: tuple[str, ...] = ("train", "test")) -> Path:
    """The layout of the Blender scenes, every third view for testing; splits not in `images` have cameras alone."""
    every = poses()
    for split, numbers in (("train", [n for n in range(VIEWS) if n % 3]), ("test", range(0, VIEWS, 3))):
        frames = []
        for n in numbers:
            pose = every[n].copy()
            pose[:3, 3] = pose[:3, 3] * scale + shift
            if split in images:
                save(folder / split / f"r_{n}.png", over_white(thing(n)) if opaque else thing(n))
            frames.append({"file_path": f"./{split}/r_{n}", "transform_matrix": pose.tolist()})
        write(folder / f"transforms_{split}.json", {"camera_angle_x": math.radians(FOV), "frames": frames})
    return folder


def colmap(folder: Path, *, place: str = "sparse/0", stored: str = "{n:04d}.png", listed: str | None = None,
           count: int = VIEWS, blank: bool = True, points: bool = True, shift=(0.0, 0.0, 0.0),
           camera: str = f"PINHOLE {SIZE} {SIZE} {FOCAL} {FOCAL} {SIZE / 2} {SIZE / 2}") -> Path:
    """A text model of the first `count` views; `stored` are the names of the files, `listed` those in the model."""
    lines = []
    for n, pose in enumerate(poses()):
        save(folder / "images" / stored.format(n=n, k=n % 2), photo(n))
        pose[:3, 3] += shift
        from_world = opencv_from_world(pose)
        numbers = (*quaternion(from_world[:, :3]), *from_world[:, 3])
        if n < count:
            name = (listed or stored).format(n=n, k=n % 2)
            lines += [f"{n + 1} {' '.join(repr(float(v)) for v in numbers)} 1 {name}", *([""] if blank else [])]
    model = folder / place
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(f"1 {camera}\n")
    (model / "images.txt").write_text("# Image list\n" + "\n".join(lines) + "\n")
    if points:
        cloud = np.random.default_rng(0).uniform(-0.5, 0.5, (60, 3)) + shift
        rows = (f"{k + 1} {' '.join(repr(float(v)) for v in p)} 200 100 50 0.5\n" for k, p in enumerate(cloud))
        (model / "points3D.txt").write_text("".join(rows))
    return folder


def assert_same(scene: Scene, good: Scene, *, tolerance: float = 1e-5, pixels: bool = True):
    """The same views in the same splits, cameras and pixels, in the same place of the model."""
    assert list(scene.splits) == list(good.splits)
    for key in ("aabb_scale", "background", "bounded", "held_out", "forward_facing"):
        assert getattr(scene, key) == getattr(good, key), key
    assert scene.near == pytest.approx(good.near, rel=tolerance)
    for name, split in good.splits.items():
        found = scene.splits[name]
        assert found.images.names == split.images.names
        cameras, expected = scene.model_cameras(name), good.model_cameras(name)
        for field in ("camera_to_world", "focal", "principal", "distortion"):
            np.testing.assert_allclose(getattr(cameras, field), getattr(expected, field), rtol=tolerance,
                                       atol=tolerance, err_msg=field)
        assert np.array_equal(cameras.lens, expected.lens) and np.array_equal(cameras.size, expected.size)
        if pixels:
            assert np.array_equal(found.images.pixels, split.images.pixels)
            assert np.array_equal(found.images.allowed, split.images.allowed)
