"""Scenes made worse on purpose: what corrections of cameras and exposures are tried on. All from a seed."""

from dataclasses import replace

import numpy as np

from .scene import Cameras, Images, Scene, Split

__all__ = ["disturb_poses", "exposed_by", "jitter_exposure"]


def disturb_poses(cameras: Cameras, degrees: float, distance: float, seed: int = 0) -> Cameras:
    """Each camera turned by `degrees` about a random axis through itself, and moved by `distance` somewhere."""
    random = np.random.default_rng(seed)
    axis, way = (_directions(random, len(cameras)) for _ in range(2))
    pose = cameras.camera_to_world.astype(np.float64)
    turned = _rotations(axis, np.radians(degrees)) @ pose[:, :, :3]
    moved = pose[:, :, 3:] + distance * way[:, :, None]
    return replace(cameras, camera_to_world=np.concatenate([turned, moved], axis=2))


def jitter_exposure(split: Split, stops: float, seed: int = 0) -> tuple[Split, np.ndarray]:
    """The images of a split exposed by up to `stops` more or less, and by how many [N]: their mean is 0."""
    random = np.random.default_rng(seed)
    exposure = random.uniform(-1, 1, len(split))
    exposure -= exposure.mean()
    exposure *= stops / np.abs(exposure).max() if np.abs(exposure).max() > 1 else stops
    return exposed_by(split, exposure), exposure


def exposed_by(split: Split, stops: np.ndarray) -> Split:
    """The linear light of each image times 2^stops [N]; what exceeds white is cut off, and 8 bits are kept."""
    images = []
    for n, e in enumerate(stops):
        image = split.images.image(n).copy()
        image[..., :3] = _exposed_bytes(e)[image[..., :3]]
        images.append(image)
    return replace(split, images=Images.from_list(images, split.images.names))


def with_split(scene: Scene, split: Split) -> Scene:
    """The scene with a split replaced."""
    return replace(scene, splits={**scene.splits, split.name: split})


def _exposed_bytes(stops: float) -> np.ndarray:
    """[256] uint8: what each sRGB value becomes."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) * 2.0**stops
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    return np.round(255 * np.clip(value, 0, 1)).astype(np.uint8)


def _directions(random: np.random.Generator, count: int) -> np.ndarray:
    vectors = random.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _rotations(axis: np.ndarray, angle: float) -> np.ndarray:
    """[N, 3, 3] by `angle` about each unit `axis` [N, 3] (Rodrigues)."""
    cross = np.zeros((len(axis), 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        cross[:, j, k], cross[:, k, j] = -axis[:, i], axis[:, i]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
